"""Joins inferences with ticks: where each layer lay, and what energy was drawn meanwhile, in microjoules.

A first, plain answer while things run: total power, straight lines between readings. What a layer really costs is
estimated later, from the recording.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from neuralpower_align.energy import energy_between
from neuralpower_align.windows import layer_windows
from neuralpower_wire import LAYERS, Batch
from neuralpower_wire.link import Inference

UNKNOWN_UJ = -1
MAX_WAITING = 8192
"""Inferences waiting for ticks: at 1000 a second, 8 s. Those before are given up; their layers can be recomputed."""
MAX_ROWS = 16384
"""Layers of one message."""
KEEP_NS = 10_000_000_000
"""Power kept for inferences that are reported late."""
MAX_GAP_PERIODS = 5
"""A hole of more ticks than this is not integrated across."""

Series = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


class Join:
    """Holds the newest power and the inferences that wait for it."""

    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self.given_up = 0
        self._number = 0
        self._period_ns = 1
        self._parts: deque[tuple[Times, Series]] = deque()
        self._waiting: deque[tuple[int, Inference]] = deque()

    def new_epoch(self, period_ns: int) -> None:
        """Forget the power before: nothing is integrated across epochs."""
        self._parts.clear()
        self._period_ns = period_ns

    def add_power(self, t_ns: Times, power_w: Series) -> None:
        """Take the total power (n,) in watts at times `t_ns`, which follow the ones before; nan where unknown."""
        if len(t_ns):
            self._parts.append((t_ns, power_w))
            while int(self._parts[0][0][-1]) < int(t_ns[-1]) - KEEP_NS:
                self._parts.popleft()

    def add_inference(self, index: int, inference: Inference) -> None:
        """Let the inference with journal index `index` wait for its ticks."""
        self._waiting.append((index, inference))
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.given_up += 1

    def finished(self) -> Batch | None:
        """A `layers` message of waiting inferences that ended before the newest tick, or None."""
        newest = int(self._parts[-1][0][-1]) if self._parts else 0
        ready: list[tuple[int, Inference]] = []
        rows = 0
        while self._waiting and self._waiting[0][1].end_ns <= newest and rows < MAX_ROWS:
            ready.append(self._waiting.popleft())
            rows += len(ready[-1][1].durations_ns)
        return self._batch(ready) if ready else None

    def _batch(self, ready: list[tuple[int, Inference]]) -> Batch:
        indices = np.array([index for index, _ in ready], "<u8")
        begin = np.array([inference.begin_ns for _, inference in ready], "<i8")
        end = np.array([inference.end_ns for _, inference in ready], "<i8")
        counts = [len(inference.durations_ns) for _, inference in ready]
        windows = np.concatenate([layer_windows(i.begin_ns, i.end_ns, i.durations_ns) for _, i in ready])
        energy = self._energy_uj(np.concatenate([begin, windows[:, 0]]), np.concatenate([end, windows[:, 1]]))
        first, self._number = self._number, self._number + len(ready)
        columns = {
            "inference": np.repeat(indices, counts),
            "layer": np.concatenate([np.arange(count, dtype="<u4") for count in counts]),
            "begin_ns": windows[:, 0],
            "end_ns": windows[:, 1],
            "energy_uj": energy[len(ready) :],
            "inference_index": indices,
            "inference_begin_ns": begin,
            "inference_end_ns": end,
            "inference_energy_uj": energy[: len(ready)],
        }
        return Batch(LAYERS, {"stream": self.stream, "first": first, "count": len(ready)}, columns)

    def _energy_uj(self, begin_ns: Times, end_ns: Times) -> Times:
        t_ns = np.concatenate([part[0] for part in self._parts])
        power_w = np.concatenate([part[1] for part in self._parts])
        joules = energy_between(t_ns, power_w, begin_ns, end_ns, MAX_GAP_PERIODS * self._period_ns)
        return np.where(np.isfinite(joules), np.rint(np.nan_to_num(joules) * 1e6), UNKNOWN_UJ).astype("<i8")
