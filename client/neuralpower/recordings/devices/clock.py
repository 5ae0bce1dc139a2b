"""From a device's clock to the recorder's: what brackets of questions and answers allow, as lines with bounds.

The device's time of an answer lies between the recorder's times of asking and of hearing, whatever the network did, so each
comparison bounds the difference of the clocks from both sides. A line (offset and rate) that passes between all bounds of some minutes can
be the truth; the set of all such lines is a polygon in the plane of offset and rate, and its corners bound the difference at any time (Moon,
Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", 1999, for one-way delays; here from both
sides). Only the network's asymmetry is not seen, and the bounds hold it: half of the least round trip.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...subscriber.comparison import ClockComparison

PIECE_NS = 120_000_000_000
"""A line is of no more: clocks wander with temperature, and over two minutes little."""
WANDER = 0.5e-6
"""By so much of the time since a piece's beginning its clocks may leave their line: a crystal changes by about as much where a device warms
up by ten degrees."""
MOST_RATE = 1e-3
"""Two clocks do not run apart faster: crystals by 100 ppm each, and NTP slews by 500 at most."""
Point = tuple[float, float]
"""Offset in ns at a piece's first comparison, and rate: ns of offset each ns."""


@dataclass(frozen=True)
class ClockPiece:
    """One line of a mapping, from `begin_ns` to `end_ns` of the device's clock: recorder's time = device's time + `offset_ns` + rate × (device's
    time − `begin_ns`)."""

    begin_ns: int
    end_ns: int
    boot: bytes
    """Of the recorder: times of another boot of it mean nothing."""
    base_ns: int
    """Added to the corners' offsets, which stay small."""
    corners: tuple[Point, ...]
    """Of all lines that can be."""
    comparisons: int
    wall_ns: int
    """The recorder's wall time less its clock, at the end."""

    @property
    def offset_ns(self) -> float:
        """Recorder's clock less the device's at `begin_ns`, the middle of what can be."""
        return self.base_ns + float(np.mean(_ends([each for each, _ in self.corners])))

    @property
    def offset_bound_ns(self) -> float:
        """By how much it may be wrong, either way."""
        return float(np.ptp([each for each, _ in self.corners]) / 2)

    @property
    def rate_ppm(self) -> float:
        """By how much the recorder's clock is faster than the device's, the middle of what can be."""
        return 1e6 * float(np.mean(_ends([each for _, each in self.corners])))

    @property
    def rate_bound_ppm(self) -> float:
        """By how much that may be wrong, either way."""
        return 1e6 * float(np.ptp([each for _, each in self.corners]) / 2)

    def limits_ns(self, t_ns: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The least and the greatest difference (less `base_ns`) that the clocks can have at these (n,) times of the device."""
        after = (t_ns - self.begin_ns).astype(np.float64)
        beyond = np.maximum(np.maximum(-after, after - (self.end_ns - self.begin_ns)), 0.0)
        lines = np.array([offset + rate * after for offset, rate in self.corners])
        wander = WANDER * (np.clip(after, 0, self.end_ns - self.begin_ns) + beyond)
        return lines.min(axis=0) - wander, lines.max(axis=0) + wander


class ClockMapping:
    """Device's CLOCK_MONOTONIC to the recorder's clock, of one tick stream and one boot of the recorder.

    Between pieces that do not meet (a clock was set, a machine slept, the recorder was away) the bounds are those of both neighbours together.
    """

    def __init__(self, pieces: Sequence[ClockPiece]) -> None:
        self.pieces = list(pieces)

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def to_recorder_ns(self, t_ns: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(n,) times of the device in ns to (n,) times of the recorder in ns, and by how much each may be wrong either way.

        ValueError without any piece.
        """
        if not self.pieces:
            raise ValueError("nothing compared the device's clock with the recorder's")
        times = np.atleast_1d(np.asarray(t_ns, np.int64))
        at = np.clip(
            np.searchsorted([piece.begin_ns for piece in self.pieces], times, "right") - 1, 0, len(self.pieces) - 1
        )
        base = self.pieces[0].base_ns
        low, high = np.zeros(len(times)), np.zeros(len(times))
        for number in np.unique(at).tolist():
            mine = at == number
            low[mine], high[mine] = self._limits(number, times[mine], base)
        middle = np.round((low + high) / 2).astype(np.int64)
        return times + base + middle, (high - low) / 2

    def _limits(
        self, number: int, times: npt.NDArray[np.int64], base: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        piece = self.pieces[number]
        low, high = (each + (piece.base_ns - base) for each in piece.limits_ns(times))
        if number + 1 < len(self.pieces):
            following = self.pieces[number + 1]
            others = [each + (following.base_ns - base) for each in following.limits_ns(times)]
            between = times > piece.end_ns
            low, high = (
                np.where(between, np.minimum(low, others[0]), low),
                np.where(between, np.maximum(high, others[1]), high),
            )
        return low, high


def pieces_of(comparisons: Iterable[ClockComparison]) -> list[ClockPiece]:
    """The lines of comparisons of one stream and one boot, in the order of the device's time.

    A piece ends after :data:`PIECE_NS`, and where no line passes between the bounds any more: a clock was set, or stood still in sleep. Neighbours
    share the comparison where the first ends, unless that is so.
    """
    found: list[ClockPiece] = []
    piece: list[ClockComparison] = []
    corners: list[Point] = []
    for each in sorted(comparisons, key=lambda one: one.device_ns):
        if piece:
            if each.device_ns - piece[0].device_ns <= PIECE_NS:
                narrower = _clipped(corners, piece[0], each)
                if narrower:
                    piece.append(each)
                    corners = narrower
                    continue
                found.append(_piece(piece, corners))
                piece = []
            else:
                found.append(_piece(piece, corners))
                last, piece = piece[-1], []
                if each.device_ns - last.device_ns <= PIECE_NS and (shared := _clipped(_begun(last), last, each)):
                    piece, corners = [last, each], shared
                    continue
        piece, corners = [each], _begun(each)
    if piece:
        found.append(_piece(piece, corners))
    return found


def _begun(first: ClockComparison) -> list[Point]:
    """All lines that one comparison allows."""
    half = first.bracket_ns / 2
    return [(-half, -MOST_RATE), (half, -MOST_RATE), (half, MOST_RATE), (-half, MOST_RATE)]


def _base_ns(first: ClockComparison) -> int:
    return (first.asked_ns + first.answered_ns) // 2 - first.device_ns


def _clipped(corners: list[Point], first: ClockComparison, new: ClockComparison) -> list[Point]:
    """The lines that another comparison leaves of a polygon; none where nothing fits."""
    after, base = float(new.device_ns - first.device_ns), _base_ns(first)
    low = float(new.asked_ns - new.device_ns - base) - WANDER * after
    high = float(new.answered_ns - new.device_ns - base) + WANDER * after
    return _half(_half(corners, after, high, 1.0), after, low, -1.0)


def _half(corners: list[Point], after: float, bound: float, sign: float) -> list[Point]:
    """What of a convex polygon has sign × (offset + rate × after) ≤ sign × bound (Sutherland and Hodgman's clipping)."""
    kept: list[Point] = []
    for one, other in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        here, there = (sign * (bound - offset - rate * after) for offset, rate in (one, other))
        if here >= 0:
            kept.append(one)
        if (here < 0 < there) or (there < 0 < here):
            share = here / (here - there)
            kept.append((one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])))
    return kept


def _piece(comparisons: list[ClockComparison], corners: list[Point]) -> ClockPiece:
    first, last = comparisons[0], comparisons[-1]
    return ClockPiece(
        first.device_ns,
        last.device_ns,
        first.boot,
        _base_ns(first),
        tuple(corners),
        len(comparisons),
        last.wall_ns - last.answered_ns,
    )


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
