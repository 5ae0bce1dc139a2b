"""neuralpower watch: a daemon, live in the terminal."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neuralpower import address as addresses
from neuralpower.console import plain, text
from neuralpower.errors import InputError
from neuralpower.interval import MEANING, Z95, plus_minus
from neuralpower.names import drawn_on, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from neuralpower.subscriber.client import Client
    from neuralpower_wire.estimates import EngineEstimate

    from .live import Curve, Live

HELP = """Live rails, rates, losses and inferences in the terminal; one line a second where the output is not a terminal.

example: neuralpower watch ipc:///run/neuralpower --seconds 10"""

REFRESH_S = 0.25
"""Four times a second is as fast as numbers can be read."""
LINE_S = 1.0
BARS = "▁▂▃▄▅▆▇█"
FRAME = 18
"""Characters of a rail's line beside its name and its curve."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "address", nargs="?", default=str(addresses.DEFAULT), help="ipc:///run/neuralpower or tcp://host:port"
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object a second")


def run(args: argparse.Namespace) -> int:
    """Watch until the time is over or Ctrl-C."""
    from neuralpower.subscriber.client import Client

    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds:g}: give a positive number")
    end = time.monotonic() + (args.seconds or float("inf"))
    with Client(args.address, topics=("rails", "inferences", "layers", "status", "estimates"), latest=True) as client:
        try:
            if sys.stdout.isatty() and not args.json:
                _draw(client, end)
            else:
                _print_lines(client, end, args.json)
        except KeyboardInterrupt:
            return 0  # the usual way to leave a live view
    return 0


def _draw(client: Client, end: float) -> None:
    from rich.console import Console
    from rich.live import Live as Screen

    from .live import Live

    live = Live()
    terminal = Console(file=drawn_on(sys.stdout))
    with Screen(view(live, client), console=terminal, auto_refresh=False, screen=False) as screen:
        while (now := time.monotonic()) < end:
            while time.monotonic() < min(now + REFRESH_S, end):
                live.take(client.poll(REFRESH_S / 2))
            screen.update(view(live, client, screen.console.width), refresh=True)


def _print_lines(client: Client, end: float, as_json: bool) -> None:
    from .live import Live

    live, waiting = Live(), False
    while (now := time.monotonic()) < end:
        while time.monotonic() < min(now + LINE_S, end):
            live.take(client.poll(0.2))
        if as_json:
            print(json.dumps(plain(facts(live, client))), flush=True)
        elif client.connected or not waiting:
            print(line(live, client), flush=True)
        waiting = not client.connected


def facts(live: Live, client: Client) -> dict[str, Any]:
    """What the view shows, as plain values."""
    p50, p99 = live.lateness_us()
    return {
        "connected": client.connected,
        "refused": client.refused,
        "simulated": live.simulated,
        "rails_w": {rail: curve.now for rail, curve in live.rails.items()},
        "total_w": live.total.now,
        "totals": list(live.totals),
        "covers": live.covers,
        "doubted": live.doubted,
        "rate_hz": live.rate_hz(),
        "fresh": live.fresh,
        "lateness_p50_us": p50,
        "lateness_p99_us": p99,
        "missed_slots": live.missed_slots,
        "ticks": live.tick_count,
        "passed_over": client.passed_over,
        "inferences": live.inference_count,
        "last_inferences": [
            {"engine": name_of(live, seen.engine), "ms": seen.duration_ms, "energy_j": seen.energy_j}
            for seen in reversed(live.inferences.values())
        ],
        "estimates": [_estimate(live, each) for each in live.estimates],
    }


def _estimate(live: Live, each: EngineEstimate) -> dict[str, Any]:
    """One engine's estimate as plain values."""
    return {
        "engine": name_of(live, each.engine),
        "state": each.state,
        "why": each.why,
        "inferences": each.inferences,
        "energy_j": each.energy_j,
        "energy_se_j": each.energy_se_j,
        "layers": [
            {"unit": int(unit), "power_w": float(power), "power_se_w": float(error)}
            for unit, power, error in zip(each.unit, each.power_w, each.power_se_w, strict=True)
        ],
    }


def estimate_line(live: Live, each: EngineEstimate) -> str:
    """One engine's estimate as one line."""
    name = name_of(live, each.engine)
    if each.state != "running":
        return f"{name}: {each.state} for {each.why}" if each.why else f"{name}: {each.state}"
    if each.why:
        return f"{name}: energy withheld: {each.why}"
    units = int(each.unit.max()) + 1 if each.unit.size else 0
    energy = plus_minus(each.energy_j * 1e3, Z95 * each.energy_se_j * 1e3, "mJ")
    return f"{name}: {energy} an inference in its layers, {each.unit.size} layers in {units} units"


def line(live: Live, client: Client) -> str:
    """One second as one line."""
    if not client.connected:
        return printable(client.nobody)
    rails = "  ".join(f"{rail} {text(curve.now)} W" for rail, curve in live.rails.items())
    return printable(f"{rails} | {sampling_line(live, client)} | {live.inference_count} inferences{_last(live)}")


def _last(live: Live) -> str:
    if not live.inferences:
        return ""
    seen = next(reversed(live.inferences.values()))
    return f", last {name_of(live, seen.engine)} {seen.duration_ms:.3f} ms {text(seen.energy_j * 1e3)} mJ"


def sampling_line(live: Live, client: Client) -> str:
    """Rates, lateness, missed slots, and what this view passed over because it was too slow."""
    p50, p99 = live.lateness_us()
    mark = " (simulated)" if live.simulated else ""
    skipped = sum(client.passed_over.values())
    behind = f" | {skipped} entries passed over" if skipped else ""
    return (
        f"{live.rate_hz():.1f} Hz, fresh {live.fresh}{mark} | late p50 {p50:.0f} p99 {p99:.0f} µs | "
        f"missed {live.missed_slots}{behind}"
    )


def total_line(live: Live) -> str:
    """What the total covers and which rails are doubted; empty where neither is known."""
    from neuralpower_wire.epoch import COVERS

    parts = []
    if live.totals and live.covers in COVERS:
        parts.append(f"total {' + '.join(live.totals)}: {COVERS[live.covers]}")
    if live.doubted:
        parts.append(f"doubted: {', '.join(live.doubted)} (neuralpowerd check says why)")
    return "; ".join(parts)


def name_of(live: Live, engine: str) -> str:
    """The engine's name, or the beginning of its hash, in one line."""
    return printable(live.engines.get(engine, engine[:12]))


def sparkline(points: Sequence[float]) -> str:
    """The points as bars from zero to their largest; a blank where a point is not known."""
    most = max((point for point in points if point > 0), default=0.0)
    return "".join(_bar(point, most) for point in points)


def _bar(point: float, most: float) -> str:
    if point != point:  # nan
        return " "
    return BARS[min(len(BARS) - 1, int(point / most * len(BARS)))] if most > 0 and point > 0 else BARS[0]


def view(live: Live, client: Client, width: int = 80) -> RenderableType:
    """The whole picture for rich, on a terminal `width` characters wide."""
    from rich.console import Group
    from rich.panel import Panel

    title = _text(f"{client.address}{' (simulated)' if live.simulated else ''}")
    if not client.connected and not live.rails:
        return Panel(_text(client.nobody, style="yellow"), title=title)
    parts: list[RenderableType] = [_rails(live, width), _text(sampling_line(live, client), style="dim")]
    if told_of_total := total_line(live):
        parts.append(_text(told_of_total, style="yellow" if live.doubted else "dim"))
    if not client.connected:
        parts.append(_text(client.nobody, style="yellow"))
    if live.inferences:
        parts.append(_inferences(live))
    told = [estimate_line(live, each) for each in live.estimates]
    parts += [_text(each) for each in told]
    if any("±" in each for each in told):
        parts.append(_text(MEANING, style="dim"))
    parts.append(_text(f"{live.inference_count} inferences of {len(live.engines)} engines; Ctrl-C ends", style="dim"))
    return Panel(Group(*parts), title=title)


def _rails(live: Live, width: int) -> RenderableType:
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False)
    for heading, justify in (("rail", "left"), ("W", "right"), ("last 20 s", "left")):
        drawn.add_column(heading, justify="right" if justify == "right" else "left")
    rows: list[tuple[str, Curve]] = [*live.rails.items()]
    if len(live.totals) > 1:
        rows.append(("total", live.total))
    room = max(1, width - FRAME - max((len(rail) for rail, _ in rows), default=0))
    for rail, curve in rows:
        style = "bold" if rail in live.totals or rail == "total" else ""
        drawn.add_row(_text(rail), f"{curve.now:.3f}", sparkline([*curve.points, curve.now][-room:]), style=style)
    return drawn


def _inferences(live: Live) -> RenderableType:
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("last inferences")
    for heading in ("ms", "mJ", "mean W"):
        drawn.add_column(heading, justify="right")
    for seen in reversed(live.inferences.values()):
        watts = seen.energy_j / (seen.duration_ms * 1e-3)
        name = _text(name_of(live, seen.engine))
        drawn.add_row(name, f"{seen.duration_ms:.3f}", text(seen.energy_j * 1e3), text(watts))
    return drawn


def _text(line: str, style: str = "") -> Text:
    """A line for rich that moves no cursor, whoever chose the names in it."""
    from rich.text import Text

    return Text(printable(line), style=style)
