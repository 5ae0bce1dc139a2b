"""The whole way on a GPU, over stand-ins for NVIDIA's library and for PyTorch's CUDA (simulated): daemon, experiment, recording, dataset."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemon_process import Daemon
from test_nvml_daemon import on_gpus
from tests.patience import until
from tests.worlds.gpu.cuda_stand_in import Cuda, RealTimeGpu

from neuralpower.experiment.around import Around
from neuralpower.experiment.experiment import CONTEXT_IDLE, DEVICE_IDLE, Bench
from neuralpower.experiment.power_log import PowerLog
from neuralpower.experiment.stopping import Seconds
from neuralpower.experiment.sweep import layers_of
from neuralpower.features.layers import Layer
from neuralpower.profiler.events import EventClock
from neuralpower.profiler.marks import Marks, spans
from neuralpower.recordings.conditions import conditions_of
from neuralpower.recordings.recording import Recording
from neuralpower.runtimes.device_bench import THROTTLED, DeviceBench, DeviceRuntime
from neuralpower.runtimes.options import Options
from neuralpower.runtimes.run import jobs, run
from neuralpower.runtimes.runtime import Program, seconds_of
from neuralpower.runtimes.torch.context import Step, TorchContext, TorchStream
from neuralpower.runtimes.torch.cupti import Activities, KernelTimes
from neuralpower.runtimes.torch.events import AroundEvents, EventTimes, span_of
from neuralpower_sampler import AVAILABLE
from neuralpower_wire.power import stamps_ns

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs the C sampler")


class StandInRuntime(DeviceRuntime):
    """As a runtime, with the context of PyTorch's and no PyTorch: each layer is a kernel of 0.5 ms."""

    name, simulated = "stand-in", True

    def __init__(self) -> None:
        self.gpu = RealTimeGpu()
        self.cuda, self.records = Cuda(self.gpu), Activities(self.gpu.cupti)

    def why_not(self) -> str:
        return ""

    def about(self) -> str:
        return "a stand-in (simulated)"

    def opened(self, address: Any) -> Any:
        return nullcontext()

    def load(self, spec: str, options: Options) -> Program:
        layers = layers_of("sweep:1:0:3")
        return self._program(spec, [Step((layer,), lambda: self.gpu.launch("kernel", 5e5)) for layer in layers])

    def layers(self, spec: str, options: Options) -> list[Layer]:
        return layers_of("sweep:1:0:3")

    def repeated(self, layer: Layer, copies: int, options: Options, name: str) -> Program:
        every = tuple(layer.renamed(f"{layer.name} ×{copy}") for copy in range(1, copies + 1))
        return self._program(name, [Step(every, lambda: [self.gpu.launch("kernel", 5e5) for _ in every] and None)])

    def seconds(self, program: Program) -> float:
        return seconds_of(program, 5)

    def bench(self, program: Program, address: Any) -> Bench:
        return DeviceBench(program, address, warm_up_s=0.2)

    def idle(self, seconds: float) -> None:
        self.gpu.wait()
        until_ns = self.gpu.now_ns + seconds * 1e9
        while self.gpu.now_ns < until_ns:
            pass

    def _program(self, name: str, steps: list[Step]) -> Program:
        stream, single = TorchStream(self.cuda.Stream()), len(steps) == 1
        times = EventTimes(self.cuda, 1, True) if single else KernelTimes(self.records, len(steps), True)
        context = TorchContext(name, steps, self.cuda, stream, times, captured=True, about={}, simulated=True)
        return Program(name, context, stream, events=EventClock(AroundEvents(self.cuda, span_of(context))))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = on_gpus("fast_us=500000")
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.slow
def test_a_network_and_a_repeated_layer_are_measured_and_recorded(daemon: Daemon, tmp_path: Path) -> None:
    """Gaps and rests are those of the sensor that the daemon tells, power is read at its stamps, all baselines are there; the recording has
    inferences with known windows, clocks, temperature and what held clocks back, which is noted and marked."""
    recorder = subprocess.Popen(
        [sys.executable, "-m", "neuralpower.cli", "record", str(daemon.folder), "-o", str(tmp_path / "run")],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: (tmp_path / "run" / "recording.json").exists())
        runtime = StandInRuntime()
        address = str(daemon.folder)
        power = PowerLog(address)
        with Around(Marks(address), power, runtime.idle, lambda engine: Seconds(4.0), seed=1) as around:
            assert 0.03 < around.sensor.scan_s < 0.06 and around.sensor.rest_s > 0.3
            every = [*jobs(runtime, ["net"], Options()), *list(jobs(runtime, ["sweep:1:0:1"], Options()))]
            outcomes = list(run(runtime, every, around, address))
            t_ns, watts = power.readings(0, 2**62)
            assert np.all(np.diff(t_ns) > 8e6) and np.all((watts > 70) & (watts < 310))
    finally:
        recorder.send_signal(2)
        recorder.wait(60)
    assert [outcome.name for outcome in outcomes] == ["net", "repeat/" + layers_of("sweep:1:0:1")[0].name]
    for outcome in outcomes:
        assert outcome.simulated and outcome.anchors == "events" and outcome.acknowledged == outcome.inferences + outcome.unprofiled  # fmt: skip
        assert {DEVICE_IDLE, CONTEXT_IDLE} <= outcome.baselines.keys()
        assert np.isfinite(outcome.baselines[CONTEXT_IDLE].value)
        assert any("holds its clocks back" in note for note in outcome.notes)
    recording = Recording(tmp_path / "run")
    assert recording.simulated
    (epoch,) = recording.epochs()
    assert epoch.source == "nvml" and (stamps_ns(recording.ticks(), 0) > 0).mean() > 0.5
    found = conditions_of(recording)
    engines = {body["name"]: name for name, body in recording.engines().items()}
    assert found[engines["net"]].clock_hz == 1980e6 and found[engines["net"]].temperature_c == 41.0
    assert "hardware-thermal" in found[engines["net"]].throttled
    assert {span.more["engine"] for span in spans(recording.records(), THROTTLED)} == {each.name for each in outcomes}
    profiled = [each for each in recording.inferences() if each.engine == engines["net"]]
    spent = np.stack([each.durations_ns for each in profiled])
    assert spent.shape[1] == 5 and np.median(spent[:, ::2]) == pytest.approx(5e5, rel=0.02)
    assert np.abs(spent.sum(axis=1) - [each.end_ns - each.begin_ns for each in profiled]).max() < 3000
