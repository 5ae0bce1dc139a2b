"""`neuralpower profile`, `window` and `mark` against a real daemon, on the virtual device."""

from __future__ import annotations

import json
import math
import time
from collections import Counter

import pytest
from daemon_process import Daemon
from tests.patience import PATIENCE_S, until

import neuralpower
from neuralpower.cli import main
from neuralpower.experiment.experiment import ASIDE, BASELINE, BASELINES, BLOCK
from neuralpower.experiment.repeat import write
from neuralpower.features.layers import Layer
from neuralpower.profiler.marks import WINDOW, marks_to, spans
from neuralpower.virtual.device.truth import Truth
from neuralpower_wire import Kind


def test_an_onnx_model_is_profiled_end_to_end(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Rounds run, every inference is journaled, the three baselines and each block are declared, and times are told."""
    layer = Layer("conv", "conv", 1, 64, 28, 28, 64, 28, 28, 3, 3, 1, 1, 1, 1)
    path = write(layer, 6, daemon.folder / "six.onnx")
    truth_path = daemon.folder / "truth.json"
    arguments = ["profile", str(path), "--virtual", "--runs", "80", "--address", str(daemon.folder), "--json"]
    assert main([*arguments, "--truth", str(truth_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    (engine,) = document["engines"]
    assert document["simulated"] and engine["name"] == "six" and engine["inferences"] == 80 and engine["unprofiled"] > 0
    assert engine["acknowledged"] == engine["inferences"] + engine["unprofiled"]
    inferences = daemon.records(Kind.INFERENCE)
    assert len(inferences) == engine["acknowledged"]
    assert {record.body["name"] for record in daemon.records(Kind.ENGINE)} == {"six", "six unprofiled"}
    declared = spans(daemon.records(Kind.MARK))
    assert {span.name for span in declared if span.kind == BASELINE} == set(BASELINES)
    blocks = [span for span in declared if span.kind == BLOCK]
    assert sum(block.more["inferences"] for block in blocks) == len(inferences)
    inside: Counter[int] = Counter()
    for record in inferences:
        for at, block in enumerate(blocks):
            inside[at] += block.begin_ns <= record.body["begin_ns"] and record.body["end_ns"] <= block.end_ns
    assert [inside[at] for at in range(len(blocks))] == [block.more["inferences"] for block in blocks]
    for span in declared:
        if span.kind in (BASELINE, ASIDE):
            assert not [r for r in inferences if r.body["begin_ns"] < span.end_ns and r.body["end_ns"] > span.begin_ns]
    assert set(engine["baselines_w"]) == set(BASELINES)
    truth = Truth.read(truth_path).named("six")
    assert truth.runs == len(inferences)
    assert engine["inference_s"]["profiled"]["value"] > engine["inference_s"]["unprofiled"]["value"] > 0


def test_a_window_has_the_energy_of_its_time(daemon: Daemon) -> None:
    """The board idles, so a window draws the idle power; its mark lies in the journal, and so does a plain one."""
    address, idle_w = daemon.folder, 3.0
    # What a virtual device has planned ahead still passes.
    daemon.until(lambda: abs((daemon.ask("status").body.get("total_w") or 0.0) - idle_w) < 0.05)
    neuralpower.mark("before", "a window", address=address)
    windows = []

    def measured() -> bool:
        """A machine that stands still for 50 ms leaves a hole in the ticks, over which no energy is told."""
        with neuralpower.window("waits", address=address) as window:
            until_ns = time.monotonic_ns() + 300_000_000
            until(lambda: time.monotonic_ns() >= until_ns)
        windows.append(window)
        return math.isfinite(window.energy_j)

    until(measured)
    window = windows[-1]
    seconds = (window.end_ns - window.begin_ns) * 1e-9
    assert seconds >= 0.3 and window.power_w == pytest.approx(idle_w, rel=0.05)
    assert window.energy_j == pytest.approx(window.power_w * seconds)
    link = marks_to(address)
    link.close(PATIENCE_S)
    assert link.dropped == 0 == link.pending
    marks = daemon.records(Kind.MARK)
    assert "before" in [record.body["name"] for record in marks]
    found = spans(marks, WINDOW)[-1]
    assert (found.name, found.begin_ns, found.end_ns) == ("waits", window.begin_ns, window.end_ns)
    assert daemon.process is not None and daemon.process.poll() is None


def test_a_window_that_nobody_measured_is_not_a_number(tmp_path: object) -> None:
    """Without a daemon the code runs as it is, and its energy is nan."""
    with neuralpower.window("alone", address=str(tmp_path)) as window:
        value = 1 + 1
    assert value == 2 and math.isnan(window.energy_j)
