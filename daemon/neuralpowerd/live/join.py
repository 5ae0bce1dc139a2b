"""Joins inferences with ticks: where each layer lay, and what energy was drawn meanwhile, in microjoules.

A first, plain answer while things run: total power, straight lines between readings. What a layer really costs is
estimated later, from the recording.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.result.energy import energy_between
from neuralpower_wire import LAYERS, Batch, Epoch, Ticks, total_power_w
from neuralpower_wire.link import Inference

from ..logs.feeds import in_one

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
    """Holds the newest ticks and the inferences that wait for them. Ticks become power when an inference asks."""

    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self.given_up = 0
        self._number = 0
        self._epoch: Epoch | None = None
        self._raw: deque[Ticks] = deque()
        self._parts: deque[tuple[Times, Series]] = deque()
        self._waiting: deque[tuple[int, Inference]] = deque()

    def new_epoch(self, epoch: Epoch) -> None:
        """Forget the ticks before: nothing is integrated across epochs."""
        self._raw.clear()
        self._parts.clear()
        self._epoch = epoch

    def add_ticks(self, ticks: Ticks) -> None:
        """Take ticks of the epoch, one or more, that follow the ones before."""
        self._raw.append(ticks)
        oldest = ticks["t_ns"].item(-1) - KEEP_NS
        while self._raw[0]["t_ns"].item(-1) < oldest:
            self._raw.popleft()
        while self._parts and self._parts[0][0].item(-1) < oldest:
            self._parts.popleft()

    def _make_power(self) -> None:
        """Turn the ticks put by into total power."""
        if self._raw and self._epoch is not None:
            ticks = in_one(self._raw)
            self._parts.append((ticks["t_ns"].astype("<i8"), total_power_w(self._epoch, ticks)))
            self._raw.clear()

    def add_inference(self, index: int, inference: Inference) -> None:
        """Let the inference with journal index `index` wait for its ticks."""
        self._waiting.append((index, inference))
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.given_up += 1

    def finished(self) -> Batch | None:
        """A `layers` message of waiting inferences that ended before the newest tick, or None."""
        if not self._waiting:
            return None
        self._make_power()
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
        durations = [inference.durations_ns for _, inference in ready]
        counts = np.array(list(map(len, durations)))
        windows = _windows(begin, end, counts, durations)
        energy = self._energy_uj(np.concatenate([begin, windows[:, 0]]), np.concatenate([end, windows[:, 1]]))
        first, self._number = self._number, self._number + len(ready)
        columns = {
            "inference": np.repeat(indices, counts),
            "layer": (np.arange(len(windows)) - np.repeat(np.cumsum(counts) - counts, counts)).astype("<u4"),
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
        period_ns = self._epoch.period_ns if self._epoch else 1
        # Only the parts that matter, and the one before them, whose last reading the first line begins at.
        first = bisect_left(self._parts, int(begin_ns.min()), key=lambda part: part[0].item(-1))
        parts = list(self._parts)[max(0, first - 1) :]
        t_ns = np.concatenate([part[0] for part in parts])
        power_w = np.concatenate([part[1] for part in parts])
        joules = energy_between(t_ns, power_w, begin_ns, end_ns, MAX_GAP_PERIODS * period_ns)
        return np.where(np.isfinite(joules), np.rint(np.nan_to_num(joules) * 1e6), UNKNOWN_UJ).astype("<i8")


def _windows(begin_ns: Times, end_ns: Times, counts: Times, durations_ns: list[Times]) -> Times:
    """(n, 2): the windows of all layers, inference after inference. Those of as many layers are laid together."""
    windows = np.empty((int(counts.sum()), 2), "<i8")
    rows = np.repeat(counts, counts)
    for count in set(counts.tolist()):
        alike = counts == count
        each = np.concatenate([durations_ns[at] for at in np.flatnonzero(alike).tolist()]).reshape(
            np.count_nonzero(alike), count
        )
        windows[rows == count] = layer_windows(begin_ns[alike], end_ns[alike], each).reshape(-1, 2)
    return windows
