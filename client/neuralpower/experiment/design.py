"""The experiment's design: which inferences run profiled, and how long the host waits before each.

What tells layers apart is where in the sensor's scan they fall. Inferences that follow one another at a fixed pace meet the
same phases again and again; random gaps, even over at least one scan and twice the lag, meet all of them. Beside them run
back-to-back inferences, which a service's are like, and unprofiled ones of both kinds, because the profiler slows small layers
down and so changes their power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LONGEST_GAP_S = 0.1
"""No gap is longer: a GPU left alone changes its clocks and turns its rail off. NVIDIA's driver waits half a second before it
gates the rail; what a governor does earlier is not known for every board, so lock the clocks too."""
LAG_S = 0.002
"""Taken for the sensor's lag where only its filter is known: the boards' own lag is not, and this is the most expected."""
SHORTEST_BLOCK_S = 0.3
"""Of inferences of one kind: long beside any lag, so that what happens at its ends counts little."""
LARGEST_BLOCK = 1000
"""Inferences: of very short ones the daemon would be sent more than it takes in."""
GAP_SHARE = 4
"""Blocks of random gaps with the profiler in each round, for one of each other kind: these tell the layers."""
REST_LAGS = 8.0
PROFILED_GAPS, PROFILED_RUN, PLAIN_GAPS, PLAIN_RUN = "profiled, gaps", "profiled", "unprofiled, gaps", "unprofiled"


@dataclass(frozen=True)
class SensorTiming:
    """What of the daemon's sensor decides the gaps: the longest scan of its chips and its lag, filter included, in seconds."""

    scan_s: float
    lag_s: float

    @classmethod
    def of(cls, chips: Sequence[Any], filter_s: float | None) -> SensorTiming:
        """From an epoch's chips (`scan_ns`) and the status's time constant of the filter."""
        scan_s = max((chip.scan_ns for chip in chips), default=0) * 1e-9
        return cls(scan_s, LAG_S + (filter_s or 0.0))

    @classmethod
    def stamped(cls, rate_hz: float) -> SensorTiming:
        """Of readings that are new `rate_hz` times a second and each a mean over what is not known: over no more than the time between two is expected.

        NVML's means over a second are no rail of a total.
        """
        return cls(2 / rate_hz, 1 / rate_hz)

    @property
    def gap_s(self) -> float:
        """Gaps are drawn evenly from 0 to this: one scan and twice the lag, at most :data:`LONGEST_GAP_S`."""
        return min(LONGEST_GAP_S, self.wanted_gap_s)

    @property
    def wanted_gap_s(self) -> float:
        """The same without the limit."""
        return self.scan_s + 2 * self.lag_s

    @property
    def rest_s(self) -> float:
        """Between blocks: the sensor settles, and half of it is left to measure the baseline."""
        return max(0.1, 2 * (self.scan_s + REST_LAGS * self.lag_s))


@dataclass(frozen=True)
class InferenceOrder:
    """n inferences in order: `pause_ns` (n,) the host waits before each, `profiled` (n,), and the block each belongs to.

    `kinds` names each block's kind, one of the four above; `rest_ns` is what the host waits behind the last inference.
    """

    pause_ns: Ints
    profiled: Bools
    block: Ints
    kinds: tuple[str, ...]
    rest_ns: int = 0

    def __len__(self) -> int:
        return len(self.pause_ns)


class ExperimentDesign:
    """Draws rounds of blocks from a seed.

    Args:
        sensor: what the gaps must cover.
        inference_s: how long an inference takes, roughly.
        seed: of the gaps and of the order of blocks.
        unprofiled: whether to run inferences without the profiler too.
    """

    def __init__(self, sensor: SensorTiming, inference_s: float, seed: int, unprofiled: bool = True) -> None:
        self.sensor, self.inference_s, self._unprofiled = sensor, inference_s, unprofiled
        self._rng = np.random.default_rng([seed, 11])

    def round(self, most: int | None = None) -> InferenceOrder:
        """The next round, of at most `most` profiled inferences: blocks in random order, rests between them."""
        kinds = [PROFILED_GAPS] * GAP_SHARE + [PROFILED_RUN]
        kinds += [PLAIN_GAPS, PLAIN_RUN] if self._unprofiled else []
        counts = self._counts(kinds, most)
        order = [at for at in self._rng.permutation(len(kinds)).tolist() if counts[at]]
        pauses, profiled = [], []
        for at in order:
            gap_s = self.sensor.gap_s if kinds[at] in (PROFILED_GAPS, PLAIN_GAPS) else 0.0
            drawn = self._rng.uniform(0, gap_s, counts[at])
            drawn[0] = self.sensor.rest_s
            pauses.append(np.rint(drawn * 1e9).astype(np.int64))
            profiled.append(np.full(counts[at], kinds[at] in (PROFILED_GAPS, PROFILED_RUN)))
        block = np.repeat(np.arange(len(order)), [counts[at] for at in order]).astype(np.int64)
        rest_ns = round(self.sensor.rest_s * 1e9)
        return InferenceOrder(
            np.concatenate(pauses), np.concatenate(profiled), block, tuple(kinds[at] for at in order), rest_ns
        )

    def _counts(self, kinds: Sequence[str], most: int | None) -> list[int]:
        """Inferences of each block; where there may be only `most` profiled ones, every kind gets its share of them."""
        counts = [self._count(kind) for kind in kinds]
        wanted = sum(count for kind, count in zip(kinds, counts, strict=True) if kind in (PROFILED_GAPS, PROFILED_RUN))
        if most is None or wanted <= most:
            return counts
        left, scaled = most, []
        for kind, count in zip(kinds, counts, strict=True):
            share = max(1, round(count * most / wanted))
            if kind in (PROFILED_GAPS, PROFILED_RUN):
                share = left if kind == PROFILED_RUN else min(share, left)
                left -= share
            scaled.append(share)
        return scaled

    def _count(self, kind: str) -> int:
        gap_s = self.sensor.gap_s / 2 if kind in (PROFILED_GAPS, PLAIN_GAPS) else 0.0
        return min(LARGEST_BLOCK, max(8, math.ceil(SHORTEST_BLOCK_S / (self.inference_s + gap_s))))

    def describe(self) -> dict[str, Any]:
        """For the journal and the user: what was planned and why."""
        return {
            "gap_s": [0.0, self.sensor.gap_s],
            "scan_s": self.sensor.scan_s,
            "lag_s": self.sensor.lag_s,
            "rest_s": self.sensor.rest_s,
        }

    def warnings(self) -> list[str]:
        """What the design cannot do here."""
        if self.sensor.scan_s == 0:
            return ["the sensor's scan is not known: gaps are drawn as if it had none, so layers may not be told apart"]
        if self.sensor.wanted_gap_s > LONGEST_GAP_S:
            return [
                f"one scan and twice the lag are {self.sensor.wanted_gap_s * 1e3:.0f} ms; gaps stay below {LONGEST_GAP_S * 1e3:.0f} ms, "
                "where clocks and rails do not gate: set a lower averaging or shorter conversions"
            ]
        return []
