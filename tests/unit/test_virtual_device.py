"""The virtual device in a time that the test makes pass: lead, pacing, contexts with TensorRT's face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.worlds.virtual_time import Bench

from neuralpower.errors import Failure, InputError
from neuralpower.virtual.device.device import LEAD_MS, VirtualDevice
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.device.truth import Truth
from neuralpower.virtual.networks.known import build
from neuralpower_wire import Timeline, create_timeline

LEAD_NS = 400_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.device.close()


class Listener:
    """A profiler that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        self.calls.append((layer_name, ms))


def test_the_timeline_is_always_its_lead_ahead(bench: Bench) -> None:
    """At each step of a run the horizon is at least the lead ahead, and no plan was late."""
    leads: list[int] = []
    context = bench.context(runs=200)
    bench.run(context, lambda: leads.append(int(bench.records()["end_ns"][-1]) - bench.time.now_ns))
    truth = bench.device.close()
    assert min(leads) >= LEAD_NS and truth.late_writes == 0 and truth.least_lead_ms >= 400


def test_the_timeline_has_neither_overlap_nor_hole(bench: Bench) -> None:
    """Records of several engines follow one another."""
    bench.run(bench.context("lenet5"))
    bench.run(bench.context("resnet18", 5))
    bench.device.close()
    records = bench.records()
    holes = records["start_ns"][1:] - records["end_ns"][:-1]
    assert not holes.any()


def test_the_truth_tells_the_baselines(bench: Bench) -> None:
    """Idle before an engine is loaded, context idle while it waits, gaps between its inferences; each rail's integral is the timeline's."""
    bench.device.idle(0.5)
    context = bench.device.load_empty(Load.of("lenet5", build("lenet5"), bench.device.hardware))
    bench.device.idle(2.0)
    context.extend(np.full(20, 3_000_000), np.ones(20, bool), 200_000_000)
    context.profiler, context.enqueue_emits_profile = Listener(), False
    bench.run(context, context.report_to_profiler)
    bench.device.idle(2.0)
    bench.device.unload(context)
    truth = bench.device.close()
    device, loaded, gap = (truth.baseline_w(name) for name in ("device idle", "context idle", "gap"))
    assert 2.9 < device < 3.1 and device + 0.1 < loaded < gap - 0.1
    assert truth.rests["gap"][0] > 0.26 and truth.rests["context idle"][0] > 3.9
    records = bench.records()
    published = ((records["end_ns"] - records["start_ns"]) * records["power_uw"][:, 0]).sum() * 1e-15
    told = sum(rest[1] for rest in truth.rests.values()) + sum(truth.named("lenet5").inference_j["VDD_IN"])
    assert told == pytest.approx(published, rel=1e-9)


def test_engines_idle_before_they_run(bench: Bench) -> None:
    """The rails idle for 0.3 s before an engine that was loaded in time, and hardly longer."""
    first, second = bench.context(runs=30), bench.context("alexnet", 5)
    bench.run(first)
    bench.run(second)
    one, two = bench.device.close().engines.values()
    idle_s = (two.begin_ns[0] - one.end_ns[-1]) * 1e-9
    assert 0.3 <= idle_s < 0.31


def test_late_plans_are_counted(bench: Bench) -> None:
    """A host that is held up by less than the lead is reported, and nothing is void."""
    context = bench.context(runs=50)
    bench.time.stall_ns = int(0.6e6 * LEAD_MS)
    bench.run(context)
    truth = bench.device.close()
    assert truth.late_writes > 0 and 0 < truth.least_lead_ms < LEAD_MS


def test_close_says_that_the_rails_idle(bench: Bench) -> None:
    """The timeline is open while the device lives and closed after, once."""
    timeline = Timeline(bench.path)
    assert timeline.open
    bench.device.close()
    bench.device.close()
    assert not timeline.open
    timeline.close()


def test_a_second_device_is_refused(bench: Bench) -> None:
    """One timeline has one writer."""
    with pytest.raises(InputError, match="another virtual device"):
        VirtualDevice(bench.path, 2)


def test_no_timeline_is_one_clear_line(tmp_path: Path) -> None:
    """Without a daemon of source sim the message says what to start."""
    with pytest.raises(InputError, match="start neuralpowerd"):
        VirtualDevice(tmp_path / "timeline", 1)


def test_other_rails_are_refused(tmp_path: Path) -> None:
    """The device does not run on a board that it does not model."""
    create_timeline(tmp_path / "timeline", ["POM_5V_IN"], [1000])
    with pytest.raises(InputError, match="POM_5V_IN"):
        VirtualDevice(tmp_path / "timeline", 1)


def test_synchronise_waits_until_the_planned_end(bench: Bench) -> None:
    """An inference is over only after its time has passed."""
    context = bench.context(runs=3)
    ends: list[int] = []
    bench.run(context, lambda: ends.append(bench.time.now_ns))
    truth = bench.device.close().named("lenet5")
    assert all(now >= end for now, end in zip(ends, truth.end_ns, strict=True))


def test_reports_come_after_the_fact_in_order(bench: Bench) -> None:
    """Nothing is reported before synchronise; then each layer once, in order, as C floats of 1.024 µs steps."""
    context = bench.context(runs=2)
    context.profiler, context.enqueue_emits_profile = Listener(), False
    context.execute_async_v3(0)
    assert context.report_to_profiler() is False and not context.profiler.calls
    bench.device.stream.synchronize()
    assert context.report_to_profiler() is True
    assert [name for name, _ in context.profiler.calls] == context.load.layers
    for _, ms in context.profiler.calls:
        assert ms == float(np.float32(ms)) and abs(ms / 0.001024 - round(ms / 0.001024)) < 1e-3
    assert context.report_to_profiler() is False


def test_enqueue_emits_the_profile_unless_told_not_to(bench: Bench) -> None:
    """By default execute is synchronous with a profiler attached, as TensorRT's is."""
    context = bench.context(runs=1)
    context.profiler = Listener()
    context.execute_async_v3(0)
    assert len(context.profiler.calls) == context.engine.num_layers


def test_exceptions_in_the_callback_are_swallowed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """As TensorRT does: printed, and the burst goes on."""

    class Broken(Listener):
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            super().report_layer_time(layer_name, ms)
            raise ValueError("mine")

    context = bench.context(runs=1)
    context.profiler = Broken()
    context.execute_async_v3(0)
    assert len(context.profiler.calls) == context.engine.num_layers
    assert "ValueError: mine" in capsys.readouterr().err


def test_the_host_clock_gives_the_planned_anchors(bench: Bench) -> None:
    """Before execute the clock stands where the host enters enqueue, after synchronise where it leaves."""
    context = bench.context(runs=2)
    context.profiler, context.enqueue_emits_profile = Listener(), False
    anchors = []
    while context.remaining:
        begin = context.clock_ns()
        context.execute_async_v3(0)
        bench.device.stream.synchronize()
        anchors.append((begin, context.clock_ns()))
        context.report_to_profiler()
    truth = bench.device.close().named("lenet5")
    for (enter, leave), begin, end in zip(anchors, truth.begin_ns, truth.end_ns, strict=True):
        assert enter + 40_000 <= begin < end <= leave <= bench.time.now_ns


def test_misuse_is_told(bench: Bench) -> None:
    """Two inferences at once, and more than were planned, are errors with one clear line."""
    context = bench.context(runs=2)
    context.execute_async_v3(0)
    with pytest.raises(Failure, match="synchronise before"):
        context.execute_async_v3(0)
    bench.device.stream.synchronize()
    bench.run(context)
    with pytest.raises(Failure, match="all 2 planned"):
        context.execute_async_v3(0)
    with pytest.raises(InputError, match="0 inferences"):
        bench.context(runs=0)


def test_truth_survives_its_file(bench: Bench, tmp_path: Path) -> None:
    """What is written is read back, with means per execution and energy = power × time."""
    bench.run(bench.context(runs=7))
    truth = bench.device.close()
    truth.write(tmp_path / "truth.json")
    again = Truth.read(tmp_path / "truth.json")
    assert again == truth and again.simulated
    engine = again.named("lenet5")
    assert engine.runs == len(engine.begin_ns) == len(engine.inference_j["VDD_IN"]) == 7
    busy = engine.runtime_s > 0
    np.testing.assert_allclose((engine.power_w * engine.runtime_s[:, None])[busy], engine.energy_j[busy])
    assert np.isnan(engine.power_w[~busy]).all() and 20e-6 < engine.runtime_s.sum() < 200e-6
    with pytest.raises(KeyError):
        again.named("vgg16")


def test_a_course_is_planned_as_it_was_asked_for(bench: Bench) -> None:
    """Pauses are the ones given, unprofiled inferences are faster for the same work, and a course may follow another."""
    context: Any = bench.device.load_empty(Load.of("resnet18", build("resnet18"), bench.device.hardware))
    assert context.remaining == 0
    for _ in range(2):
        pauses = np.array([50_000_000] + [1_000_000, 4_000_000] * 10)
        profiled = np.arange(len(pauses)) % 3 > 0
        context.extend(pauses, profiled)
        for on in profiled:
            context.profiler = Listener() if on else None
            context.enqueue_emits_profile = False
            context.clock_ns()
            context.execute_async_v3(0)
            bench.device.stream.synchronize()
            context.clock_ns()
            context.report_to_profiler()
    truth = bench.device.close().named("resnet18")
    begin, end = np.array(truth.begin_ns), np.array(truth.end_ns)
    waited = begin[1:] - end[:-1]
    assert truth.runs == 42 and truth.unprofiled == [at for at in range(42) if at % 21 % 3 == 0]
    expected = np.tile(pauses, 2)[1:]
    between = np.delete(waited - expected, 20)
    assert np.all((between > 70_000) & (between < 400_000)) and waited[20] > 50_000_000
    spent = end - begin
    plain = np.isin(np.arange(42), truth.unprofiled)
    assert 0.9 < spent[plain].mean() / spent[~plain].mean() < 0.995


@pytest.mark.parametrize("planned", [True, False])
def test_the_profiler_must_be_as_it_was_planned(bench: Bench, planned: bool) -> None:
    """The power of an inference is published before it runs, so whether it is profiled cannot change any more."""
    context: Any = bench.device.load_empty(Load.of("lenet5", build("lenet5"), bench.device.hardware))
    context.extend(np.array([1_000_000]), np.array([planned]))
    context.profiler = None if planned else Listener()
    with pytest.raises(Failure, match=f"planned {'with' if planned else 'without'} the profiler"):
        context.execute_async_v3(0)
