"""``neuralpower demo``: the whole tool on this machine."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from ..errors import Failure, InputError

HELP = """Run everything on this machine in about three minutes: start the daemon, run networks with the profiler
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


def run(args: argparse.Namespace) -> int:
    seed = secrets.randbelow(100_000) if args.seed is None else args.seed
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed {seed}: from 0 to {LARGEST_SEED}")
    from ..demo import story

    _make_room(args.output)
    story.run(args.output, seed)
    return 0


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
