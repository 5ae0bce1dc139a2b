"""neuralpower record: a daemon into a folder."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from neuralpower import address as addresses
from neuralpower.address import AddressLike
from neuralpower.console import print_json, progress
from neuralpower.errors import InputError
from neuralpower.names import printable

if TYPE_CHECKING:
    from neuralpower.recordings.recorder import Summary
    from neuralpower.subscriber.follower import Past

HELP = """Record everything a daemon publishes, fetch what was missed, survive restarts of either side.
Ctrl-C ends it cleanly. Started again on the same folder it goes on and fills the gap.

examples:
  neuralpower record ipc:///run/neuralpower -o monday --seconds 60 --past all
  neuralpower record ipc:///run/neuralpower -o monday --since 5m
  neuralpower record tcp://jetson-1:7380 orin=tcp://10.0.0.7:7380 -o rack"""

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "address",
        nargs="*",
        default=[str(addresses.DEFAULT)],
        help="ipc:///run/neuralpower or tcp://host:port; several are recorded together, each as NAME=ADDRESS or under its host's name",
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the recording")
    parser.add_argument("--seconds", type=float, metavar="N", help="end N seconds after the first entry arrived")
    parser.add_argument(
        "--past", metavar="N|all", help="also what the daemon holds of the last N seconds, or all of it"
    )
    parser.add_argument(
        "--when-full",
        choices=("stop", "drop-oldest"),
        default="stop",
        help="what a full disk does: stop (default), or drop-oldest: the oldest minutes go for the newest",
    )
    parser.add_argument(
        "--since",
        metavar="5m",
        help="the same as a time: 90s, 5m, 2h, 1d; says where the daemon no longer holds as much",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Record; 0 also after Ctrl-C."""
    from neuralpower.recordings.recorder import record

    if args.past is not None and args.since is not None:
        raise InputError("--past and --since: give one of them")
    past = _past(args.past) if args.since is None else _since(args.since)
    devices = [_device(text) for text in args.address]
    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds:g}: give a positive number")
    if len(devices) > 1 or devices[0][0]:
        return _together(args, devices, past)
    address = args.address[0]
    with _stop_on_signal() as stop, progress(f"recording {address}", args.seconds) as advance:
        summary = record(
            address,
            args.output,
            args.seconds,
            past,
            on_progress=_shown(address, advance),
            on_notice=_say,
            stop=stop,
            when_full=args.when_full,
        )
    if args.json:
        print_json({"recording": args.output, **asdict(summary)})
    else:
        print(ending(args.output, summary))
    return 0


def _device(text: str) -> tuple[str, addresses.Address]:
    """Name, or nothing, and address. InputError where it is none."""
    name, equals, address = text.partition("=")
    if equals and "/" not in name:
        return name, addresses.parse(address)
    return "", addresses.parse(text)


def _together(args: argparse.Namespace, devices: list[tuple[str, addresses.Address]], past: Past) -> int:
    """Several devices, each into a folder of its own below the one that was named."""
    from neuralpower.recordings.devices.together import named, record_together

    chosen = named(devices)
    with _stop_on_signal() as stop, progress(f"recording {len(chosen)} devices", args.seconds) as advance:

        def show(told: dict[str, Summary]) -> None:
            advance(max(each.seconds for each in told.values()), notes(told, chosen))

        summaries = record_together(
            chosen,
            args.output,
            args.seconds,
            past,
            on_progress=show,
            on_notice=_say,
            stop=stop,
            when_full=args.when_full,
        )
    if args.json:
        print_json({"folder": args.output, "devices": {name: asdict(each) for name, each in summaries.items()}})
    else:
        for name, summary in summaries.items():
            print(ending(f"{args.output}/{name}", summary))
    return 0


def notes(told: dict[str, Summary], devices: Mapping[str, AddressLike]) -> str:
    """The running line of several devices: what has come so far, and who is not there."""
    away = [name for name in devices if name not in told or not told[name].connected]
    mark = " (simulated)" if any(each.simulated for each in told.values()) else ""
    lost = sum(each.ticks_lost + each.records_lost for each in told.values())
    line = f"{sum(each.ticks for each in told.values())} ticks, {sum(each.inferences for each in told.values())} inferences, {lost} lost{mark}"
    return f"{line}; not there: {', '.join(away)}" if away else line


def _say(line: str) -> None:
    print(f"neuralpower: {printable(line)}", file=sys.stderr, flush=True)


def _shown(address: str, advance: Callable[[float, str], None]) -> Callable[[Summary], None]:
    """Moves the progress bar; where there is no terminal to draw it on, says when the daemon comes and goes."""
    before = True, ""

    def show(summary: Summary) -> None:
        nonlocal before
        advance(summary.seconds, note(summary, address))
        if (summary.connected, summary.refused) != before and not sys.stderr.isatty():
            _say("the daemon is there" if summary.connected else note(summary, address))
        before = summary.connected, summary.refused

    return show


def note(summary: Summary, address: str) -> str:
    """The running line: what has come so far, or that nobody is there."""
    if not summary.connected:
        return addresses.nobody(addresses.parse(address), summary.refused)
    mark = " (simulated)" if summary.simulated else ""
    return f"{summary.ticks} ticks, {summary.inferences} inferences, {summary.ticks_lost + summary.records_lost} lost{mark}"


def ending(folder: str, summary: Summary) -> str:
    """The last line: what this run added."""
    mark = " (simulated)" if summary.simulated else ""
    return (
        f"{folder}{mark}: {summary.ticks} ticks and {summary.inferences} inferences in {summary.seconds:.1f} s; "
        f"missed slots {summary.missed_slots}; lost {summary.ticks_lost} ticks and {summary.records_lost} records"
    )


def _past(text: str | None) -> Past:
    if text is None or text == "all":
        return text == "all"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"--past {text}: give seconds, or all")
    return seconds


def _since(text: str) -> Past:
    unit_s, number = UNITS_S.get(text[-1:], 0.0), text[:-1]
    if not unit_s or not number.isascii() or not number.replace(".", "", 1).isdigit():
        raise InputError(f"--since {text}: give a number and a unit: 90s, 5m, 2h, 1d")
    return float(number) * unit_s


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second SIGINT interrupts as usual."""
    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
