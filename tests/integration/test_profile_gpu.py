"""The whole way on a GPU, over stand-ins for NVIDIA's library and for PyTorch's CUDA (simulated): daemon, experiment, recording, and what reads it."""

from __future__ import annotations

import json
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

    name = "stand-in"

    def __init__(self, simulated: bool = True) -> None:
        self.gpu, self.simulated = RealTimeGpu(), simulated
        self.cuda, self.records = Cuda(self.gpu), Activities(self.gpu.cupti)

    def why_not(self) -> str:
        return ""

    def about(self) -> str:
        return "a stand-in (simulated)" if self.simulated else "some GPU"

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
        context = TorchContext(name, steps, self.cuda, stream, times, captured=True, about={}, simulated=self.simulated)
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


def said(*words: str | Path) -> str:
    """What a command of `neuralpower` prints."""
    run = subprocess.run([sys.executable, "-m", "neuralpower.cli", *map(str, words)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def measured_fc(file: Path, simulated: bool) -> Path:
    """Fully connected layers as measured ones are written, enough for a model."""
    draw = np.random.default_rng(1)
    sizes = [(int(2 ** draw.uniform(5, 12)), int(2 ** draw.uniform(5, 12))) for _ in range(16)]
    layers = [
        {"kind": "fc", "dtype": "fp32", "n": 1, "ci": ci, "co": co, "relu": True, "ms": 3e-3 + ci * co * 2e-9,
         "watts": 130 + 20 * float(np.log2(ci)), "readings": 20, "repeats": 100}
        for ci, co in sizes
    ]  # fmt: skip
    file.write_text(json.dumps({"device": "some GPU", "simulated": simulated, "layers": layers, "networks": []}))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("signed", [True, False])
def test_only_what_a_stand_in_signs_is_called_simulated(signed: bool, tmp_path: Path) -> None:
    """The library's sign alone decides, and the runtime's: readings of one that has none are called measured, by every command that reads the
    recording, and the word is nowhere; with the sign each says it."""
    daemon = on_gpus("fast_us=500000", signed)
    try:
        daemon.start()
        command = [sys.executable, "-m", "neuralpower.cli", "record", str(daemon.folder), "-o", str(tmp_path / "run")]
        recorder = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: (tmp_path / "run" / "recording.json").exists())
        runtime, address = StandInRuntime(signed), str(daemon.folder)
        with Around(Marks(address), PowerLog(address), runtime.idle, lambda engine: Seconds(2.0), seed=1) as around:
            outcomes = list(run(runtime, jobs(runtime, ["sweep:1:0:1"], Options()), around, address))
        recorder.send_signal(2)
        recorder.wait(60)
        assert [outcome.simulated for outcome in outcomes] == [signed]
    finally:
        daemon.close()
    folder, dataset, rows, page = (tmp_path / name for name in ("run", "run.parquet", "fc.parquet", "page.html"))
    quick = ("--method", "window-mean")  # the words are the same
    words = {
        "info": said("info", folder),
        "attribute": said("attribute", folder, *quick),
        "dataset": said("dataset", folder, "-o", dataset, *quick),
        "import": said("import", "measured", measured_fc(tmp_path / "fc.json", signed), "-o", rows),
        "fit": said("fit", rows, dataset, "-o", tmp_path / "model.json"),
        "report": said("report", folder, tmp_path / "model.json", "-o", page, *quick) + page.read_text(),
    }
    assert {name: "simulat" in text.lower() for name, text in words.items()} == dict.fromkeys(words, signed)
