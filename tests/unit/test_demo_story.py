"""The demo goes to its end and says plainly what it could not tell, where engines are withheld."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from test_attribution_recording import small
from test_demo_judgement import engine, real

from neuralpower import console
from neuralpower.attribution import Attribution, EngineAttribution
from neuralpower.demo import story, workload
from neuralpower.demo.stage import DemoRecording
from neuralpower.features.layers import Layer
from neuralpower.virtual.device.truth import Truth

REASON = "the readings contradict the sensor"
NETWORKS = (workload.SHOWN, "vgg11", workload.HELD_OUT)
SWEEP = 24
CHANNELS = 8


def convolutions(name: str, first: int, count: int) -> EngineAttribution:
    """So many different convolutions of 1 ms, each resolved."""
    told = [4.0 + 0.1 * at for at in range(count)]
    found = engine(name, told, [0.01] * count, list(range(count)))
    layers = []
    for at, layer in enumerate(found.layers):
        channels = CHANNELS * (first + at + 1)
        geometry = Layer(layer.name, "conv", 1, 64, 28, 28, channels, 28, 28, 3, 3, 1, 1)
        layers.append(replace(layer, resolved=True, geometry=geometry, runtime_s=1e-5 * (first + at + 1)))
    return replace(found, layers=tuple(layers))


def attribution(withheld: Collection[str]) -> Attribution:
    """Three networks and repeated layers, some of them withheld."""
    engines = [convolutions(name, 4 * number, 4) for number, name in enumerate(NETWORKS)]
    for number in range(SWEEP):
        (only,) = convolutions(f"sweep/{number}", 12 + number, 1).layers
        found = convolutions(f"sweep/{number}", 12 + number, 1)
        engines.append(replace(found, layers=(replace(only, repeats=30),)))
    held = [replace(each, withheld=REASON) if each.name in withheld else each for each in engines]
    return Attribution(
        "least-squares", {each.hash: each for each in held}, 4e-4, 2e-4, 8.4e-4, 6e-7, 4.5, 0.03, None, "b", True, ()
    )  # fmt: skip


def demo(
    folder: Path, withheld: Collection[str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, dict[str, object], str]:
    """What it prints, returns, and writes as its page, all that is recorded and attributed given."""
    truth = Truth(1, ["VDD_IN", "VDD_SOC"], "VDD_IN", [3.0, 1.0], 1000.0)
    for each in attribution(()).engines.values():
        true_w = [layer.power_w for layer in each.layers]
        truth.engines[each.hash] = real(each.name, true_w, 30 if each.repeated else 1)
    recording = small().write(folder / "recording")
    patch.setattr(story, "record_everything", lambda *_: DemoRecording(recording, {}, truth))
    patch.setattr(story, "attribute", lambda _: attribution(withheld))
    results = json.loads(json.dumps(console.plain(story.run(folder, 7))))
    return capsys.readouterr().out, results, (folder / "report.html").read_text(encoding="utf-8")


EVERY = (*NETWORKS, *(f"sweep/{number}" for number in range(SWEEP)))


@pytest.mark.parametrize("withheld", [(), (workload.HELD_OUT,), (workload.SHOWN, "sweep/3"), NETWORKS, EVERY])
def test_the_demo_ends_whatever_is_withheld(
    withheld: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All tables, a page and the results; what nobody knows is a dash, and a reason stands beside it."""
    printed, results, page = demo(tmp_path, withheld, monkeypatch, capsys)
    assert not re.search(r"\b(nan|None)\b", printed) and not re.search(r"\bnan\b", page)
    assert (REASON in printed) == (REASON in page) == bool(withheld)
    assert ("its measured power is withheld" in printed) == (workload.HELD_OUT in withheld and withheld != EVERY)
    judged = results["judged"]
    assert isinstance(judged, dict)
    for title, names in (("networks", NETWORKS), ("repeated layers", EVERY[3:])):
        silent = set(names) <= set(withheld)
        assert (judged[title]["intervals_hold"] is None) == silent
        assert (f"nothing is told of {title}: there are no intervals to judge" in printed) == silent


def test_where_all_is_withheld_there_are_no_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo says so with the reason, predicts nothing, and still writes the dataset and the page."""
    printed, results, _ = demo(tmp_path, EVERY, monkeypatch, capsys)
    rows = 8 + SWEEP
    assert f"no models: no power of {rows} layers can be used: {rows} are withheld ({REASON})" in printed
    assert f"{workload.HELD_OUT} is not predicted: there are no models" in printed
    assert results["models"] is None and str(results["no_models"]).startswith(f"no power of {rows} layers")
    assert results["held_out"] is None and not (tmp_path / "models.json").exists()
    assert (tmp_path / "layers.parquet").exists()


def test_layers_that_are_in_no_prediction_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where too few powers are told for a power model, there is no sum to hold against the measured one."""
    told = (workload.SHOWN, workload.HELD_OUT)
    printed, results, _ = demo(tmp_path, [name for name in EVERY if name not in told], monkeypatch, capsys)
    assert "no conv power model: 4 different layers measured, 10 needed" in printed
    assert "not in the prediction: 4 layers (no conv power model)" in printed and "-100" not in printed
    held_out = results["held_out"]
    assert isinstance(held_out, dict) and held_out["energy_j"]["predicted"] is None
    assert held_out["energy_j"]["measured"] > 0
