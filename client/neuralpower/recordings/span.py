"""Spans of a recording as people name them: so long after its beginning, or the time on a clock on the wall."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

import numpy as np

from ..errors import InputError
from .recording import Recording

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
HELP = "seconds after the first tick, or 15m, 2h, 1d, or a time like 2026-03-01T12:00:00 (UTC, or with an offset)"
_AFTER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)")
_END_NS = (1 << 63) - 1


def part_of(recording: Recording, begin: str | None, end: str | None) -> Recording:
    """The part of a recording from `begin` on and before `end`, each as :data:`HELP` says; None leaves that side open.

    Raises InputError: a time that cannot be read, or lies where nothing tells the time; more than one tick stream, whose clocks differ.
    """
    if begin is None and end is None:
        return recording
    if len(recording.streams) != 1:
        raise InputError(
            f"{recording.directory}: holds {len(recording.streams)} tick streams, whose clocks differ: --from and --to need one stream"
        )
    first_ns, last_ns = recording.tick_summary().span_ns
    begin_ns = first_ns if begin is None else _at_ns(recording, "--from", begin, first_ns)
    end_ns = _END_NS if end is None else _at_ns(recording, "--to", end, first_ns)
    if end_ns <= begin_ns:
        raise InputError(f"--from {begin or 'the beginning'} is not before --to {end}: give an earlier time first")
    if begin_ns > last_ns or end_ns <= first_ns:
        raise InputError(
            f"{recording.directory}: has {(last_ns - first_ns) * 1e-9:.1f} s of ticks, and none of them between --from and --to"
        )
    return recording.between(begin_ns, end_ns)


def _at_ns(recording: Recording, option: str, text: str, first_ns: int) -> int:
    if match := _AFTER.fullmatch(text.strip()):
        seconds = float(match[1]) * UNITS[match[2]]
        return min(first_ns + round(seconds * 1e9), _END_NS)
    try:
        wall = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise InputError(f"{option} {text}: give {HELP}") from None
    return monotonic_ns(recording, wall if wall.tzinfo else wall.replace(tzinfo=timezone.utc), option)


def monotonic_ns(recording: Recording, wall: datetime, what: str = "the time") -> int:
    """A time on the wall on the device's CLOCK_MONOTONIC, by the recorded clock map nearest to it. InputError where there is none."""
    points = recording.clock_points()
    if not len(points):
        raise InputError(
            f"{recording.directory}: no clock map is recorded, so {what} is not known; give seconds instead"
        )
    since = wall - datetime(1970, 1, 1, tzinfo=timezone.utc)
    wall_ns = ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    nearest = points[int(np.argmin(np.abs(points[:, 2] - wall_ns)))]
    return int(nearest[0]) + wall_ns - int(nearest[2])


def wall_time(recording: Recording, t_ns: int) -> datetime | None:
    """A time of CLOCK_MONOTONIC on the wall, to the microsecond; None where no clock map is recorded."""
    points = recording.clock_points()
    if not len(points):
        return None
    nearest = points[int(np.argmin(np.abs(points[:, 0] - t_ns)))]
    seconds, rest = divmod(int(nearest[2]) + t_ns - int(nearest[0]), 1_000_000_000)
    return datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=math.floor(rest / 1000))
