"""What a power monitor shows of inferences: each of them a box of unknown height, delayed, smeared by one pole and by the scan.

Ticks that come late just when the profiling process works are readings missing just where the sensor still shows the inference.
An integral over such readings is too low. What is left of readings when this picture is subtracted hardly depends on where
they lie, so it is integrated instead, and the picture's own integral, which is known exactly, added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SHORTEST_S = 20e-6
_STEPS = 7
_ROUNDS = 5
_EARLIEST_S, _LATEST_S = -0.001, 0.004
"""Where the delay is looked for; of a slow sensor the lag takes up more."""
MOST = 200
"""Inferences of a block that the search looks at."""


class Response(NamedTuple):
    """How a reading depends on power, seconds: delay, then one pole of `lag_s`, and the mean over `hold_s` before."""

    delay_s: float
    lag_s: float
    hold_s: float


@dataclass(frozen=True)
class BlockReadings:
    """Readings (k,) ns and W of a block and a margin, and the anchors of its inferences, (m,) ns."""

    t_ns: Ints
    power_w: Floats
    begin_ns: Ints
    end_ns: Ints

    def first(self, most: int) -> BlockReadings:
        """The readings of the first `most` inferences."""
        if len(self.begin_ns) <= most:
            return self
        kept = self.t_ns < self.begin_ns[most]
        return BlockReadings(self.t_ns[kept], self.power_w[kept], self.begin_ns[:most], self.end_ns[:most])


class Shown:
    """The share of inferences in a reading at any time, and its integral, for one response: exact, no grid."""

    def __init__(self, response: Response, begin_ns: Ints, end_ns: Ints) -> None:
        self._response = response
        self._zero_ns = int(begin_ns[0])
        edges = np.stack([begin_ns, end_ns], axis=1).ravel() - self._zero_ns
        self._edge_s = np.concatenate([[-1e9], edges * 1e-9])
        self._input = np.concatenate([[0.0], np.tile([1.0, 0.0], len(begin_ns))])
        length = np.diff(self._edge_s)
        lag = max(response.lag_s, 1e-9)
        keep = np.exp(-length / lag)
        level, levels = 0.0, [0.0]
        for source, kept in zip(self._input[:-1].tolist(), keep.tolist(), strict=True):
            level = source + (level - source) * kept
            levels.append(level)
        self._level = np.array(levels)
        off = (self._level[:-1] - self._input[:-1]) * lag
        once = self._input[:-1] * length + off * (1 - keep)
        self._once = np.concatenate([[0.0], np.cumsum(once)])
        twice = self._once[:-1] * length + self._input[:-1] * length**2 / 2 + off * (length - lag * (1 - keep))
        self._twice = np.concatenate([[0.0], np.cumsum(twice)])

    def share(self, t_ns: Ints) -> Floats:
        """(k,) of readings at (k,)."""
        late = self._late(t_ns)
        hold = self._response.hold_s
        return np.asarray((self._integrals(late)[0] - self._integrals(late - hold)[0]) / hold, np.float64)

    def seconds(self, begin_ns: int, end_ns: int) -> float:
        """The share's integral over a stretch of readings."""
        late = self._late(np.array([begin_ns, end_ns], np.int64))
        hold = self._response.hold_s
        return float(np.diff(self._integrals(late)[1] - self._integrals(late - hold)[1])[0]) / hold

    def _late(self, t_ns: Ints) -> Floats:
        return np.asarray((t_ns - self._zero_ns) * 1e-9 - self._response.delay_s, np.float64)

    def _integrals(self, t_s: Floats) -> tuple[Floats, Floats]:
        """The pole's output, integrated once and twice, up to (k,)."""
        at = np.searchsorted(self._edge_s, t_s, side="right") - 1
        lag = max(self._response.lag_s, 1e-9)
        source, passed = self._input[at], t_s - self._edge_s[at]
        off, gone = (self._level[at] - source) * lag, -np.expm1(-passed / lag)
        once = self._once[at] + source * passed + off * gone
        return once, self._twice[at] + self._once[at] * passed + source * passed**2 / 2 + off * (passed - lag * gone)


def response_of(blocks: Sequence[BlockReadings], scan_s: float, lag_s: float) -> Response | None:
    """The response under which readings of blocks fit best; None where there is nothing to fit.

    scan_s: a reading is held so long, which for inferences at random places is a mean over it. lag_s: the lag expected.
    """
    looked = [block.first(MOST) for block in blocks]
    looked = [block for block in looked if len(block.t_ns) > 8]
    if not looked:
        return None
    hold_s = max(scan_s, _SHORTEST_S)
    low, high = np.array([_EARLIEST_S, math.log(_SHORTEST_S)]), np.array([_LATEST_S, math.log(4 * lag_s)])
    for _ in range(_ROUNDS):
        points = [
            (delay, lag)
            for delay in np.linspace(low[0], high[0], _STEPS)
            for lag in np.linspace(low[1], high[1], _STEPS)
        ]
        misfits = [
            sum(_misfit(block, Response(delay, math.exp(lag), hold_s)) for block in looked) for delay, lag in points
        ]
        best, width = np.array(points[int(np.argmin(misfits))]), (high - low) / (_STEPS - 1)
        low, high = best - width, best + width
    return Response(float(best[0]), math.exp(float(best[1])), hold_s)


def _misfit(block: BlockReadings, response: Response) -> float:
    share = Shown(response, block.begin_ns, block.end_ns).share(block.t_ns)
    share, power = share - share.mean(), block.power_w - block.power_w.mean()
    size = float(share @ share)
    explained = float(share @ power) ** 2 / size if size else 0.0
    return float(power @ power) - explained
