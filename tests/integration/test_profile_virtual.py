"""The whole way from a described network to the inference link and the timeline, in real time."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import zmq

from neuralpower.cli import main
from neuralpower.experiment import experiment
from neuralpower.experiment.repeat import distinct, write
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.virtual.device.hardware import RAILS
from neuralpower.virtual.device.truth import Truth
from neuralpower.virtual.networks.known import build
from neuralpower.virtual.run import run_virtual
from neuralpower_wire import Timeline, create_timeline, decode, encode
from neuralpower_wire.link import ENGINE, HELLO, INFERENCE, Credit, Describe, Engine, Hello, Inference


class Daemon(threading.Thread):
    """Takes inferences as neuralpowerd does, and keeps them in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.inferences: list[Inference] = []
        self.engines: dict[str, Engine] = {}
        self._stop_asked = threading.Event()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.bind(f"ipc://{folder}/inferences.ipc")

    def run(self) -> None:
        while not self._stop_asked.is_set():
            if self._socket.poll(20):
                peer, *frames = self._socket.recv_multipart()
                for answer in self._take(frames):
                    self._socket.send_multipart([peer, *encode(answer.batch())])
        self._socket.close(0)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def _take(self, frames: list[bytes]) -> Iterator[Credit | Describe]:
        batch = decode(frames)
        if batch.topic == HELLO:
            session = Hello.of(batch).session
            yield Credit(256, max((i.seq for i in self.inferences if i.session == session), default=-1))
        elif batch.topic == ENGINE:
            engine = Engine.of(batch)
            self.engines[engine.hash] = engine
        elif batch.topic == INFERENCE:
            inference = Inference.of(batch)
            self.inferences.append(inference)
            if inference.engine not in self.engines:
                yield Describe(inference.engine)
            yield Credit(1, inference.seq)


@pytest.fixture
def rundir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(experiment, "IDLE_S", 0.05)
    create_timeline(tmp_path / "timeline", RAILS, [3_000_000, 600_000, 900_000])
    return tmp_path


@pytest.fixture
def daemon(rundir: Path) -> Iterator[Daemon]:
    thread = Daemon(rundir)
    thread.start()
    yield thread
    thread.stop()


def test_networks_and_sweep_arrive_complete(rundir: Path, daemon: Daemon) -> None:
    """Each inference of each engine arrives once and in order, its anchors enclose the truth, its durations fit it."""
    seen: list[str] = []
    truth = run_virtual(
        ["lenet5", "sweep"], rundir, 3, on_progress=lambda done, total, name: seen.append(f"{done}/{total} {name}"),
        runs=40, sweep_size=(1, 1, 1), sweep_seconds=0.1,
    )  # fmt: skip
    assert truth.lost == 0 and seen[0] == "0/4 lenet5" and seen[-1] == "4/4 "
    runs = Counter(inference.engine for inference in daemon.inferences)
    assert runs == {key: engine.runs for key, engine in truth.engines.items()} and set(daemon.engines) == set(runs)
    for key, engine in truth.engines.items():
        arrived = [inference for inference in daemon.inferences if inference.engine == key]
        assert [inference.seq for inference in arrived] == list(range(engine.runs))
        for inference, begin, end in zip(arrived, engine.begin_ns, engine.end_ns, strict=True):
            assert inference.begin_ns < begin < end <= inference.end_ns
            assert inference.durations_ns.sum() <= inference.end_ns - inference.begin_ns
        mean_s = np.mean([inference.durations_ns.sum() for inference in arrived]) * 1e-9
        assert mean_s == pytest.approx(engine.runtime_s.sum() * engine.repeats, rel=0.01)


def test_engines_arrive_as_they_were_described(rundir: Path, daemon: Daemon) -> None:
    """The daemon's copy of the description is marked simulated and reads as the same layers."""
    run_virtual(["squeezenet1.1"], rundir, 3, runs=2)
    (engine,) = daemon.engines.values()
    assert engine.simulated and engine.name == "squeezenet1.1" and engine.inspector == build("squeezenet1.1")
    assert [layer.name for layer in layers_from_engine(engine.inspector)] == engine.layers


def test_published_energy_is_the_truths(rundir: Path, daemon: Daemon) -> None:
    """The timeline's integral over each inference is the truth's energy of it."""
    truth = run_virtual(["lenet5"], rundir, 3, runs=20).named("lenet5")
    timeline = Timeline(rundir / "timeline")
    records = timeline._records[: timeline.count].copy()
    timeline.close()
    assert truth.runs == len(truth.begin_ns) == 20
    for number, (begin, end) in enumerate(zip(truth.begin_ns, truth.end_ns, strict=True)):
        covered = np.clip(records["end_ns"], begin, end) - np.clip(records["start_ns"], begin, end)
        idle_uw = (end - begin - covered.sum()) * 3_000_000
        joules = ((covered * records["power_uw"][:, 0]).sum() + idle_uw) * 1e-15
        assert joules == pytest.approx(truth.inference_j["VDD_IN"][number], rel=1e-9)


def test_command_runs_a_network(rundir: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """`neuralpower profile` says that it simulates, runs engine JSON too, and stores the truth where asked.

    This daemon takes inferences alone: no ticks, so no energies, and that is said.
    """
    (rundir / "mine.json").write_text(json.dumps(build("lenet5")))
    arguments = ["profile", str(rundir / "mine.json"), "--runs", "12", "--virtual", "--address", str(rundir)]
    assert main([*arguments, "--truth", str(rundir / "truth.json"), "--json"]) == 0
    output = capsys.readouterr()
    assert "simulated device" in output.err
    document = json.loads(output.out)
    (engine,) = document["engines"]
    assert document["simulated"] and engine["simulated"] and (engine["name"], engine["layers"]) == ("mine", 10)
    assert engine["inferences"] == 12 and engine["unprofiled"] > 0 and engine["ended"] == "12 inferences"
    assert engine["acknowledged"] == engine["inferences"] + engine["unprofiled"] == len(daemon.inferences)
    assert any("no energies" in note for note in engine["notes"])
    truth = Truth.read(rundir / "truth.json").named("mine")
    assert truth.runs == len(daemon.inferences) and len(truth.unprofiled) == engine["unprofiled"]


def test_profiled_and_unprofiled_are_interleaved_and_told_apart(rundir: Path, daemon: Daemon) -> None:
    """Unprofiled inferences go under an engine of their own, with anchors alone, and run faster; anchors enclose the truth."""
    assert main(["profile", "squeezenet1.1", "--runs", "40", "--virtual", "--address", str(rundir), "--truth",
                 str(rundir / "truth.json")]) == 0  # fmt: skip
    (truth,) = Truth.read(rundir / "truth.json").engines.values()
    by_name = {engine.name: engine for engine in daemon.engines.values()}
    plain, full = by_name["squeezenet1.1 unprofiled"], by_name["squeezenet1.1"]
    assert plain.inspector["Unprofiled"] == full.hash and plain.simulated and plain.layers == ["inference"]
    unprofiled = [inference.engine == plain.hash for inference in daemon.inferences]
    assert [at for at, each in enumerate(unprofiled) if each] == truth.unprofiled
    assert [inference.seq for inference in daemon.inferences] == list(range(truth.runs))
    for inference, begin, end in zip(daemon.inferences, truth.begin_ns, truth.end_ns, strict=True):
        assert inference.begin_ns < begin < end <= inference.end_ns
    spent = np.array(truth.end_ns) - np.array(truth.begin_ns)
    assert 0.9 < spent[unprofiled].mean() / spent[~np.array(unprofiled)].mean() < 0.99


def test_layers_are_repeated_from_a_model(rundir: Path, daemon: Daemon, tmp_path: Path) -> None:
    """`--repeat-layers` runs each layer of an ONNX model as an engine of 20 ms, which the daemon gets described."""
    path = str(Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_bvlc_alexnet.onnx")
    layer = distinct(Path(path))[0].layer
    write(layer, 1, tmp_path / "one.onnx")
    arguments = [
        "profile",
        str(tmp_path / "one.onnx"),
        "--repeat-layers",
        "--runs",
        "3",
        "--no-unprofiled",
        "--virtual",
    ]
    assert main([*arguments, "--address", str(rundir)]) == 0
    (engine,) = daemon.engines.values()
    assert engine.name.startswith("repeat/") and len({inference.engine for inference in daemon.inferences}) == 1
    assert all(20e6 < inference.durations_ns.sum() < 22e6 for inference in daemon.inferences)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a network"),
        (["nonet"], "no network 'nonet' in the zoo"),
        (["lenet5", "--runs", "0"], "must be positive"),
        (["lenet5", "--address", "tcp://jetson:5555"], "on the device itself"),
        (["missing.json"], "missing.json: cannot be read: No such file"),
        (["lenet5", "--address", "/nowhere"], "start neuralpowerd"),
        (["lenet5", "--batch", "2"], "has its own precision and batch"),
        (["lenet5", "--precision", "fp8"], "no precision 'fp8'"),
        (["lenet5", "--recording", "x"], "give --until"),
        (["none.onnx"], "none.onnx: no such file"),
    ],
)
def test_bad_input_is_one_line(
    rundir: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments end with status 2 and one clear line."""
    address = [] if "--address" in arguments else ["--address", str(rundir)]
    assert main(["profile", "--virtual", *arguments, *address]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "broken JSON"),
        ("[]", "no list Layers"),
        ('{"Layers": ["a"]}', "mine: the engine lists only its layers' names"),
        ('{"Layers": []}', "mine: TensorRT engine information with an empty list of Layers"),
    ],
)
def test_bad_engine_files_are_one_line(rundir: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An engine file that tells nothing is refused by name."""
    (rundir / "mine.json").write_text(text)
    assert main(["profile", str(rundir / "mine.json"), "--virtual", "--address", str(rundir)]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_list_shows_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` needs no daemon."""
    assert main(["profile", "--list", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert "resnet18" in names and len(names) >= 10
