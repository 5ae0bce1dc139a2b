"""What experiments show: tables with intervals, plain values for machines, and power of a steady state with holes."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from typing import Any

import numpy as np
import pytest

from neuralpower.console import plain
from neuralpower.experiment.balance import Block, BlockMean
from neuralpower.experiment.design import (
    PLAIN_GAPS,
    PLAIN_RUN,
    PROFILED_GAPS,
    PROFILED_RUN,
    ExperimentDesign,
    InferenceOrder,
    SensorTiming,
)
from neuralpower.experiment.experiment import CONTEXT_IDLE, DEVICE_IDLE, GAP, Experiment, Outcome
from neuralpower.experiment.outcomes import document, show
from neuralpower.experiment.power_log import PowerLog
from neuralpower.experiment.stopping import Runs
from neuralpower.interval import cells


def outcome() -> Outcome:
    blocks = [
        Block(kind, 100, seconds * (1 + 0.001 * turn), joules * (1 + 0.01 * turn))
        for turn in (-1, 0, 1)
        for kind, seconds, joules in (
            (PROFILED_RUN, 0.0022, 0.011),
            (PLAIN_RUN, 0.002, 0.010),
            (PROFILED_GAPS, 0.0022, 0.011),
            (PLAIN_GAPS, 0.002, 0.010),
        )
    ]
    baselines = {
        DEVICE_IDLE: BlockMean(3.0, math.nan, 1),
        CONTEXT_IDLE: BlockMean(3.2, 0.1, 4),
        GAP: BlockMean(3.3, 0.1, 8),
    }
    return Outcome("net", 60, True, 600, 600, 1200, 3, 9.0, "9 s", "host", blocks, baselines, ["a note"])


def test_ratios_and_energies_come_with_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    """Profiled over unprofiled in time and energy, four kinds of blocks, three baselines; simulated is said."""
    told = document(outcome())
    json.dumps(plain(told), allow_nan=False)
    ratio = told["profiled_over_unprofiled"]["back to back"]
    assert ratio["time"]["value"] == pytest.approx(1.1) and ratio["energy"]["value"] == pytest.approx(1.1)
    assert 0.002 < ratio["time"]["half_width"] < 0.01 < ratio["energy"]["half_width"] < 0.1
    assert list(told["baselines_w"]) == [DEVICE_IDLE, CONTEXT_IDLE, GAP] and told["ended"] == "9 s"
    show([outcome()], simulated=True)
    printed = capsys.readouterr().out
    assert printed.count("(simulated)") == 4 and "note: a note" in printed and "context idle" in printed
    assert printed.count("95 % interval") == 1 and "nan" not in printed
    half = ratio["energy"]["half_width"]
    assert "  ".join(cells(1.1, half)) in re.sub(" +", "  ", printed) and "3.200  0.100" not in printed
    assert re.search(r"context idle +3\.20 +0\.10\n", printed) and re.search(r"device idle +3\.000 +-\n", printed)


class Board:
    """A board whose power is known: idle, and more while an inference runs; on the bench and in the log alike."""

    simulated = True
    inference_s = 0.002
    idle_w, busy_w, settle_ns = 3.0, 8.0, 3_000_000

    def __init__(self) -> None:
        self.now_ns = 10**12
        self.runs: list[tuple[int, int]] = []
        self.profiler: Any = type("Profiler", (), {})()
        self.profiler.engine = type("Engine", (), {"name": "net", "layers": ["a", "b"]})()
        self.profiler.anchors, self.profiler.regions, self.profiler.pending = "host", [], 0
        self.profiler.counts = type("Counts", (), {"acknowledged": 0})()
        self.profiler.poll = lambda: None

    def clock_ns(self) -> int:
        return self.now_ns

    def lay(self, course: InferenceOrder) -> None: ...

    def wait(self, pause_ns: int) -> None:
        self.now_ns += pause_ns

    def infer(self, profiled: bool) -> tuple[int, int]:
        begin, self.now_ns = self.now_ns, self.now_ns + (2_200_000 if profiled else 2_000_000)
        self.runs.append((begin, self.now_ns))
        return begin, self.now_ns

    def rest(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    idle = rest

    def reach(self, t_ns: int) -> bool:
        return True

    def readings(self, begin_ns: int, end_ns: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(0, np.int64), np.zeros(0)

    def energy_j(self, begin_ns: int, end_ns: int, shown: object = None) -> float:
        """What a sensor that shows everything 3 ms late reads between two moments."""
        begin_ns, end_ns = begin_ns - self.settle_ns, end_ns - self.settle_ns
        busy_ns = sum(max(0, min(end, end_ns) - max(begin, begin_ns)) for begin, end in self.runs)
        return ((end_ns - begin_ns) * self.idle_w + busy_ns * (self.busy_w - self.idle_w)) * 1e-9

    def mean_w(self, begin_ns: int, end_ns: int) -> float:
        return self.energy_j(begin_ns, end_ns) / ((end_ns - begin_ns) * 1e-9)


class Declared:
    """Takes marks."""

    pending = 0

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, int, int]] = []

    def span(self, kind: str, name: str, begin_ns: int, end_ns: int, **more: Any) -> None:
        self.spans.append((kind, name, begin_ns, end_ns))

    def poll(self) -> None: ...


def test_a_late_sensor_changes_neither_energies_nor_baselines() -> None:
    """Blocks' energies are the truth's to a part in a million although every reading is 3 ms late; rests hold no inference."""
    board, marks = Board(), Declared()
    design = ExperimentDesign(SensorTiming(0.0066, 0.002), 0.002, 5)
    found = Experiment(board, design, Runs(400), marks, board, clock_ns=board.clock_ns).run()  # type: ignore[arg-type]  # stand-ins of the same face
    assert found.inferences == 400 and found.reason == "400 inferences"
    for block in found.blocks:
        seconds = 0.0022 if block.kind in (PROFILED_RUN, PROFILED_GAPS) else 0.002
        assert block.seconds == pytest.approx(seconds) and block.joules == pytest.approx(8.0 * seconds, rel=1e-6)
    for name in (CONTEXT_IDLE, GAP):
        assert found.baselines[name].value == pytest.approx(3.0, rel=1e-6)
    for kind, _, begin, end in marks.spans:
        inside = [run for run in board.runs if run[0] < end and run[1] > begin]
        assert bool(inside) == (kind == "block")


def test_a_steady_state_is_told_across_a_hole() -> None:
    """A baseline is the mean of its readings; energy over the hole stays unknown."""
    log = PowerLog.__new__(PowerLog)
    times = np.concatenate([np.arange(0, 100), np.arange(200, 300)]).astype(np.int64) * 1_000_000
    log._parts = deque([(times, np.full(200, 3.0)), (times[-1:], np.full(1, 3.0))])
    assert log.mean_w(50_000_000, 250_000_000) == 3.0 and math.isnan(log.energy_j(50_000_000, 250_000_000))
    assert log.energy_j(210_000_000, 220_000_000) == pytest.approx(0.03)
    assert math.isnan(log.mean_w(10**12, 2 * 10**12))
