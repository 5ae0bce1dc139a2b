"""Measuring campaigns on a GPU: the sweep's layers, warming up until all stands still, time budgets, what each run is asked."""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from neuralpower.cli import main
from neuralpower.cli.measuring import profile
from neuralpower.cli.measuring import zoo as command
from neuralpower.errors import InputError
from neuralpower.experiment import repeat, zoo
from neuralpower.experiment.around import fresh_rate_hz
from neuralpower.experiment.design import SensorTiming
from neuralpower.experiment.sweep import drawn, layers_of, spec
from neuralpower.experiment.zoo import Zoo, ZooNetwork, swept
from neuralpower.features.onnx.fused import layers_from_onnx
from neuralpower.recordings.conditions import EngineConditions, of_bodies, throttled
from neuralpower.runtimes.steady import LOOKS, SteadyState, warm_up
from neuralpower_wire import Channel, Chip, Epoch


def test_layers_of_a_sweep_are_the_same_however_many_are_asked_for() -> None:
    """A seed's first layers are a longer sweep's first; another seed has others; none is drawn twice."""
    some, more = layers_of(spec(3, 0, 40)), layers_of(spec(3, 0, 90))
    assert more[:40] == some and layers_of(spec(3, 30, 20)) == more[30:50]
    assert layers_of(spec(4, 0, 40)) != some
    assert len({layer.name for layer in more}) == 90


def test_a_sweep_has_all_kinds_from_its_beginning() -> None:
    """Convolutions are half of it, and each kind is there among the first eighteen; sizes spread over their range."""
    layers = list(itertools.islice(drawn(1), 180))
    kinds = Counter(layer.layer_type if layer.kind == "other" else layer.kind for layer in layers)
    assert 80 <= kinds["conv"] + kinds["fc"] - 20 <= 100
    first = {layer.kind for layer in layers[:18]}
    assert first == {"conv", "pool", "fc", "other", "matmul", "norm"}
    assert {layer.layer_type for layer in layers if layer.kind == "other"} == {"Relu", "Add", "Mul", "Gelu", "Sigmoid", "Softmax"}  # fmt: skip
    channels = sorted(layer.in_c for layer in layers if layer.kind == "conv")
    assert channels[0] == 3 and channels[-1] > 700 and 16 < channels[len(channels) // 2] < 256
    assert {layer.batch for layer in layers if layer.kind == "conv"} >= {1, 2, 4, 8, 16, 32}


def test_a_layer_of_each_kind_becomes_onnx_and_comes_back(tmp_path: Path) -> None:
    """So many copies of that geometry, as TensorRT is given them."""
    for layer in itertools.islice(drawn(2), 36):
        path = repeat.write(layer, 3, tmp_path / "layer.onnx")
        model = onnx.load(str(path))
        onnx.checker.check_model(model, full_check=True)
        found = layers_from_onnx(path)
        assert len(found) == 3, layer.name
        assert {each.kind for each in found} == {layer.kind}, layer.name
        assert all(each.macs() == layer.macs() and each.outputs() == layer.outputs() for each in found), layer.name


@pytest.mark.parametrize("text", ["sweep:", "sweep:1:2", "sweep:1:-2:3", "sweep:x:0:8", "sweep:1:0:99999999999"])
def test_what_is_no_part_of_a_sweep_is_refused(text: str) -> None:
    """In one line."""
    with pytest.raises(InputError, match="write sweep:SEED:FIRST:COUNT"):
        layers_of(text)


def bodies(temperature: list[float], mhz: list[float], reasons: str = "none") -> Iterator[list[dict[str, Any]]]:
    for each_c, each_mhz in zip(temperature, mhz, strict=True):
        told = {"temperature_c.gpu0": each_c, "clock_hz.gpu0.sm": each_mhz * 1e6, "clock_hz.gpu0.memory": 1e9}
        yield [{**told, "throttle_reasons.gpu0": reasons}]
    while True:
        yield []


def warmed(looks: Iterator[list[dict[str, Any]]], least_s: float = 2.0) -> tuple[SteadyState, int]:
    """How it ended and after how many seconds; a run takes one."""
    seconds = itertools.count()
    ran = []
    found = warm_up(lambda: ran.append(1), lambda: next(looks), least_s, lambda: float(next(seconds)))
    return found, len(ran)


def test_warming_up_ends_when_temperature_and_clocks_stand_still() -> None:
    """Not while either moves, not before the least time, and with the last of both."""
    rising = [40.0, 45, 50, 54, 57, 59, 60, 60, 60, 61, 60, 60]
    found, seconds = warmed(bodies(rising, [1900.0] * 12))
    assert found.steady and found.temperature_c == 60 and 10 <= seconds <= 13
    falling = [1980.0 - 40 * step for step in range(9)] + [1600.0] * LOOKS
    found, seconds = warmed(bodies([60.0] * 15, falling))
    assert found.steady and found.clock_hz == 1600e6 and seconds >= 13


def test_warming_up_that_never_ends_and_clocks_held_back_are_told() -> None:
    """After a minute it goes on and says so; reasons of the driver's are in the note, those that hold nothing back are not."""
    found, seconds = warmed(bodies([40.0 + step for step in range(80)], [1900.0] * 80, "software-power-cap, idle"))
    assert found.steady is False and 58 <= seconds <= 62
    notes = found.notes("net")
    assert "still moved after 60 s" in notes[0] and "software-power-cap" in notes[1] and "idle" not in notes[1]


def test_without_conditions_it_lasts_as_long_as_ever() -> None:
    """Nobody can tell, and nobody is told."""
    found, seconds = warmed(bodies([], []))
    assert found.steady is None and not found.notes("net") and 2 <= seconds <= 5


def test_conditions_of_an_engine_are_means_and_reasons() -> None:
    """Of the GPU's own clock and temperature, NVML's or a Jetson's; what is not told is nan."""
    found = of_bodies([next(bodies([60.0], [1900.0], "software-power-cap"))[0], next(bodies([62.0], [1800.0]))[0]])
    assert found == EngineConditions(1.85e9, 61.0, "software-power-cap")
    jetson = of_bodies([{"clock_hz.17000000.ga10b": 1.3e9, "clock_hz.cpu0": 2e9, "temperature_c.gpu-thermal": 48.5}])
    assert (jetson.clock_hz, jetson.temperature_c, jetson.throttled) == (1.3e9, 48.5, "")
    assert math.isnan(of_bodies([]).clock_hz)
    assert throttled({"throttle_reasons.gpu1": "hardware-thermal"}) == ["hardware-thermal"]


def test_gaps_are_for_the_sensor_that_the_daemon_tells() -> None:
    """Readings 20 ms apart without a scan want gaps of some of them; a chip that tells its scan is as before."""
    channels = (Channel("gpu0", "power_uw", "gpu0 samples", 1), Channel("gpu0", "energy_uj", "gpu0 energy", 1))
    epoch = Epoch(1, 0, 10**7, 0, "nvml", True, "b", channels, (Chip("gpu0 samples"), Chip("gpu0 energy")), ("gpu0",))
    status = {"fresh_rates": {"gpu0 samples": {"kind": "known", "rate_hz": 50.0}, "gpu0 energy": {"rate_hz": 10.0}}}
    assert fresh_rate_hz(epoch, status) == 50.0 and fresh_rate_hz(epoch, {}) == 0.0
    timing = SensorTiming.stamped(50.0)
    assert timing.gap_s == pytest.approx(0.08) and timing.rest_s > 0.3
    chip = Epoch(1, 0, 10**6, 0, "sim", True, "b", channels[:1], (Chip("gpu0 samples", scan_ns=6_600_000),), ("gpu0",))
    assert fresh_rate_hz(chip, status) == 0.0


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    profile.add_arguments(parser)
    return parser.parse_args(words)


def test_a_part_of_a_sweep_is_asked_for_with_its_runtime() -> None:
    """Its own process: the spec, the runtime, and seconds for a repeated layer."""
    args = parsed("--sweep", "20", "-o", "x", "--precision", "fp32")
    parts = swept(1, 20)
    assert [part.layers for part in parts] == ["sweep:1:0:8", "sweep:1:8:8", "sweep:1:16:4"]
    words = command.command(args, "/run", SimpleNamespace(simulated=False, name="torch"), parts[2], Path("p"))  # type: ignore[arg-type]  # a stand-in
    assert "sweep:1:16:4" in words and words[words.index("--runtime") + 1] == "torch"
    assert float(words[words.index("--seconds") + 1]) == command.SWEPT_SECONDS
    assert words[words.index("--precision") + 1] == "fp32"


def test_no_network_is_begun_that_would_not_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how long those before it took; the rest is told, and another run goes on with it; the time left is told before."""
    now = [0.0]
    monkeypatch.setattr(zoo.time, "monotonic", lambda: now[0])

    def one(self: Zoo, network: ZooNetwork, result: zoo.Result) -> None:
        now[0] += 100.0
        (self.folder / network.name).mkdir()
        result.state = "done"

    monkeypatch.setattr(Zoo, "_one", one)
    parts, said = swept(1, 40), list[str]()
    Zoo(tmp_path, "", lambda network, part: [], False, said.append, 250.0).run(parts)
    assert said[0].endswith("done; about 7 min left") and "the time is over: 3 of 5 are left" in said[2]
    said.clear()
    now[0] = 0.0
    Zoo(tmp_path, "", lambda network, part: [], False, said.append, 1000.0).run(parts)
    assert len(said) == 5 and all("done" in line for line in said)
    assert json.loads((tmp_path / zoo.STATE).read_text())["networks"].keys() == {part.name for part in parts}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sweep", "-o", "x", "--virtual"], "--sweep is for a GPU"),
        (["--sweep", "0", "-o", "x"], "must be positive"),
        (["--sweep", "8", "--virtual"], "say where with -o DIR|--sweep is for a GPU"),
        (["net.onnx", "--budget", "3"], "go with --zoo and --sweep"),
        (["net.onnx", "--sweep", "8", "-o", "x"], "a sweep has no network"),
        (["--zoo", "-o", "x", "--budget", "0"], "must be positive"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, status 2."""
    monkeypatch.chdir(tmp_path)
    assert main(["profile", *words, "--address", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert any(each in line for each in says.split("|"))


def test_the_zoo_on_a_gpu_runs_in_a_random_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the seed: what comes late meets another temperature than what comes early."""
    asked: list[list[str]] = []
    monkeypatch.setattr(command.Zoo, "run", lambda self, networks: asked.append([each.name for each in networks]))
    runtime = SimpleNamespace(simulated=False, name="torch")
    for seed in ("1", "1", "2"):
        args = parsed("--zoo", "--sweep", "16", "-o", str(tmp_path / "z"), "--seed", seed, "--json")
        assert command.run(args, str(tmp_path), runtime) == 0  # type: ignore[arg-type]  # a stand-in
    assert asked[0] == asked[1] != asked[2] and len(asked[0]) == 23
    assert sorted(asked[0]) != asked[0]
