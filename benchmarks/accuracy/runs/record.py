"""`python -m benchmarks.accuracy record`: one run in virtual time, its recording and its truth, for looking at."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from tests.worlds.runs.make import UserRun, make, write

from neuralpower.errors import InputError
from neuralpower.virtual.device.manner import Manner

SENSOR = ("clock_ppm", "swing_ppm", "walk_ppm", "noise_uv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("networks", nargs="+", metavar="NETWORK", help="of the virtual device's zoo")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="gets recording/ and truth.json")
    parser.add_argument("--seed", type=int, default=1, help="of everything (default 1)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each network (default 5)")
    parser.add_argument("--config", type=lambda text: int(text, 0), default=0x7007, help="register 0 (default 0x7007)")
    parser.add_argument("--delay-us", type=float, default=0.0, metavar="US")
    parser.add_argument("--lag-us", type=float, default=0.0, metavar="US")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON",
        help=f"a parameter of the device (client/neuralpower/virtual/manner.py) or of the chip ({', '.join(SENSOR)})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Make it, and say where it lies."""
    folder = Path(args.output)
    begin = time.perf_counter()
    made = make(_wanted(args))
    folder.mkdir(parents=True, exist_ok=True)
    write(made, folder / "recording")
    made.truth.write(folder / "truth.json")
    seconds = (made.ticks["t_ns"][-1] - made.ticks["t_ns"][0]) * 1e-9
    print(
        f"{folder}: recording and truth.json (simulated), {seconds:.1f} s, {len(made.ticks)} ticks, "
        f"{len(made.records)} records, made in {time.perf_counter() - begin:.1f} s"
    )
    return 0


def _wanted(args: argparse.Namespace) -> UserRun:
    given: dict[str, Any] = {}
    for text in args.set:
        name, _, value = text.partition("=")
        try:
            given[name] = json.loads(value)
        except ValueError:
            raise InputError(f"--set {text}: write NAME=JSON, as gap_s=1e-6 or stall=[0,1]") from None
    sensor: Any = {name: given.pop(name) for name in SENSOR if name in given}
    sensor |= {"delay_ns": round(args.delay_us * 1e3), "lag_ns": round(args.lag_us * 1e3)}
    return UserRun(args.seed, tuple(args.networks), args.seconds, args.config, sensor, Manner.of(given))
