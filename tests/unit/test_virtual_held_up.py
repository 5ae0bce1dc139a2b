"""The virtual device on a busy host: its time slows down, nothing of what it publishes becomes untrue, and it says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.worlds.virtual_time import Bench

from neuralpower.profiler import LayerProfiler
from neuralpower.profiler.marks import Marks
from neuralpower.virtual import run
from neuralpower.virtual.device.device import LEAD_MS, RESERVE
from neuralpower.virtual.device.plan import Chunk
from neuralpower.virtual.device.truth import Truth

LEAD_NS = int(LEAD_MS * 1e6)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.device.close()


def published_j(records: np.ndarray) -> float:
    """Energy of VDD_IN in all that was published."""
    return float(((records["end_ns"] - records["start_ns"]) * records["power_uw"][:, 0]).sum() * 1e-15)


def told_j(truth: Truth) -> float:
    """The same as the truth has it."""
    engines = sum(sum(engine.inference_j["VDD_IN"]) for engine in truth.engines.values())
    return sum(rest[1] for rest in truth.rests.values()) + engines


@pytest.mark.parametrize("stall", [0.9, 2.0, 7.5])
def test_a_run_outlives_any_stall(bench: Bench, stall: float) -> None:
    """However long each sleep is held up, in leads, all inferences run in order, and the truth is what was published."""
    contexts = [bench.context("lenet5", 300), bench.context("resnet18", 300)]
    bench.time.stall_ns = int(stall * LEAD_NS)
    for context in contexts:
        bench.run(context)
    truth = bench.device.close()
    records = bench.records()
    assert [engine.runs for engine in truth.engines.values()] == [300, 300]
    assert not (records["start_ns"][1:] - records["end_ns"][:-1]).any()
    assert told_j(truth) == pytest.approx(published_j(records), rel=1e-9)
    begin = np.concatenate([engine.begin_ns for engine in truth.engines.values()])
    end = np.concatenate([engine.end_ns for engine in truth.engines.values()])
    assert np.all(begin[1:] > end[:-1]) and truth.held_up
    for held_ns, free_ns in truth.held_up:
        assert free_ns > held_ns and not np.any((begin < free_ns) & (end > held_ns))


def test_a_stall_within_the_reserve_delays_nothing(bench: Bench) -> None:
    """As long as half of the lead is left, what was planned runs when it was planned."""
    context = bench.context(runs=300)
    bench.time.stall_ns = int(RESERVE * LEAD_NS)
    bench.run(context)
    truth = bench.device.close()
    assert truth.late_writes > 0 and not truth.held_up and truth.held_up_note() == ""


def test_slow_planning_leaves_no_hole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where planning takes longer than what it plans, idling is put in before the end is reached: all of it is published in time."""
    planner, late_ns = bench.device._planner, list[int]()
    inferences, append = planner.inferences, bench.device._writer.append

    def slowly(*arguments: Any, **options: Any) -> Chunk:
        bench.time.now_ns += int(0.45 * LEAD_NS)
        return inferences(*arguments, **options)

    def noted(start_ns: np.ndarray, *rest: Any) -> None:
        late_ns.append(bench.time.now_ns - int(start_ns[0]))
        append(start_ns, *rest)

    monkeypatch.setattr(planner, "inferences", slowly)
    monkeypatch.setattr(bench.device._writer, "append", noted)
    bench.run(bench.context("alexnet", 400))
    truth = bench.device.close()
    assert max(late_ns) < 0 and truth.unpublished_s == 0 and truth.least_lead_ms > 0
    assert len(truth.held_up) > 1 and "inferences ran" in truth.held_up_note()


def test_time_without_a_record_is_counted(bench: Bench) -> None:
    """For how long the chip had nothing to look at is known exactly, and told."""
    bench.device.pump()
    ahead_ns = int(bench.records()["end_ns"][-1]) - bench.time.now_ns
    bench.time.now_ns += ahead_ns + 250_000_000
    bench.device.pump()
    bench.time.now_ns += LEAD_NS // 2
    bench.device.pump()
    truth = bench.device.close()
    assert truth.unpublished_s == pytest.approx(0.25) and truth.least_lead_ms == pytest.approx(-250)
    assert truth.held_up_note() == "for 0.250 s its power came too late, and ticks went without readings"


def test_what_is_held_up_between_inferences_is_an_aside(bench: Bench) -> None:
    """Idling put among the inferences of an engine draws what gaps draw and is declared once; before an engine it is context idle."""
    bench.time.stall_ns = 2 * LEAD_NS
    bench.run(bench.context("alexnet", 400))
    asides = bench.device.asides()
    assert asides and not bench.device.asides()
    truth = bench.device.close()
    (engine,) = truth.engines.values()
    assert set(asides) == {(a, b) for a, b in truth.held_up if engine.begin_ns[0] < a}
    assert {a for a, _ in truth.held_up} > {a for a, _ in asides}
    records = bench.records()
    by_start = dict(zip(records["start_ns"].tolist(), records["power_uw"][:, 0].tolist(), strict=True))
    among, before = ([by_start[a] for a, b in truth.held_up if ((a, b) in asides) is told] for told in (True, False))
    assert min(among) > max(before) + 100_000


def test_asides_go_into_the_journal(bench: Bench) -> None:
    """Each stretch is a mark that attribution leaves out."""
    sent: list[tuple[str, int, int]] = []

    class Noted:
        def span(self, kind: str, name: str, begin_ns: int, end_ns: int) -> None:
            sent.append((kind, begin_ns, end_ns))

        def poll(self) -> None:
            """Nothing to send."""

    bench.time.stall_ns = 2 * LEAD_NS
    bench.run(bench.context("alexnet", 400))
    run.declare_asides(bench.device, cast(Marks, Noted()))
    asides = [("aside", begin, end) for begin, end in bench.device.truth.held_up]
    assert sent and set(sent) < set(asides)


def test_the_truths_file_tells_hold_ups(bench: Bench, tmp_path: Path) -> None:
    """What is written is read back; a file of before has none."""
    bench.time.stall_ns = 2 * LEAD_NS
    bench.run(bench.context("alexnet", 50))
    truth = bench.device.close()
    truth.write(tmp_path / "truth.json")
    assert Truth.read(tmp_path / "truth.json") == truth and truth.held_up
    document = json.loads((tmp_path / "truth.json").read_text())
    del document["held_up"], document["unpublished_s"]
    (tmp_path / "truth.json").write_text(json.dumps(document))
    assert Truth.read(tmp_path / "truth.json").held_up_note() == ""


class Slow:
    """A profiler whose daemon takes one inference each `seconds_each`, and none of the last `stuck`."""

    def __init__(self, bench: Bench, pending: int, seconds_each: float, stuck: int = 0) -> None:
        self._bench, self.pending, self._each_ns, self._stuck = bench, pending, seconds_each * 1e9, stuck
        self._due_ns = bench.time.now_ns + self._each_ns

    def poll(self) -> None:
        if self.pending > self._stuck and self._bench.time.now_ns >= self._due_ns:
            self.pending -= 1
            self._due_ns += self._each_ns


def test_a_slow_daemon_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it takes inferences, in all far longer than a daemon that takes none is waited for."""
    monkeypatch.setattr(run.time, "monotonic", lambda: bench.time.now_ns * 1e-9)
    slow = Slow(bench, 8, seconds_each=0.7 * run._DRAIN_S)
    run.drain(cast(LayerProfiler, slow), bench.device)
    assert slow.pending == 0
    begin_ns = bench.time.now_ns
    dead = Slow(bench, 3, seconds_each=1.0, stuck=2)
    run.drain(cast(LayerProfiler, dead), bench.device)
    assert dead.pending == 2 and (bench.time.now_ns - begin_ns) * 1e-9 == pytest.approx(run._DRAIN_S + 1, abs=0.1)
