"""``neuralpower demo``: the whole tool on this machine."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from neuralpower.console import print_json
from neuralpower.errors import Failure, InputError

HELP = """Run everything on this machine in four to six minutes: start the daemon, run networks with the profiler
attached, record over the real sockets, attribute power to layers, fit the six models, predict a network that was held
out, write a report. Where there is no INA3221 the power monitor and the GPU are simulated, and every number says so.

example:
  neuralpower demo --seed 7 -o build/demo"""

LARGEST_SEED = 2**31 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=int, help="of all that is drawn; without it one is drawn, and printed at the end"
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("build/demo"), help="(build/demo)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON, and the tables on stderr")


def run(args: argparse.Namespace) -> int:
    seed = secrets.randbelow(100_000) if args.seed is None else args.seed
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed {seed}: from 0 to {LARGEST_SEED}")
    from neuralpower.demo import story

    _make_room(args.output)
    with _stop_on_signal(), contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        results = story.run(args.output, seed)
    if args.json:
        print_json(results)
    return 0


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP (the terminal is gone) end the block as Ctrl-C does, so that nothing is left running."""
    ended = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in ended}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make_room(directory: Path) -> None:
    """Clear an earlier demo's recording; anything else that lies there is left alone."""
    import shutil

    recording = directory / "recording"
    try:
        if recording.exists():
            if not (recording / "recording.json").exists():
                raise InputError(f"{recording}: is there and is no recording; name another folder with -o")
            shutil.rmtree(recording)
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{directory}: cannot be made ready: {error.strerror}; name another folder with -o") from None
