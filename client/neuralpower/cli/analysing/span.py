"""The options that choose a part of a recording, alike for all commands that read one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuralpower.recordings.recording import Recording

_TIME = "seconds after the first tick, or 15m, 2h, 1d, or a time like 2026-03-01T12:00:00 (UTC, or with an offset)"


def add_span(parser: argparse.ArgumentParser) -> None:
    """Declare --from and --to."""
    parser.add_argument("--from", dest="begin", metavar="TIME", help=f"only what is from then on: {_TIME}")
    parser.add_argument("--to", dest="end", metavar="TIME", help="only what is before then, told in the same way")


def chosen(recording: Recording, args: argparse.Namespace) -> Recording:
    """The part of the recording that was asked for; all of it where neither was given. Raises InputError."""
    from neuralpower.recordings.span import part_of

    return part_of(recording, args.begin, args.end)
