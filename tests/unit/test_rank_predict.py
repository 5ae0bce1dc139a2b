"""Predicting one network: intervals, precision, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_features_onnx import tiny
from test_rank import ENGINE, models

from neuralpower.cli import main
from neuralpower.models import store


@pytest.fixture
def files(tmp_path: Path) -> Path:
    store.save(models(simulated=True), tmp_path / "m.json")
    tiny(tmp_path / "tiny.onnx")
    return tmp_path


def test_half_the_bytes_take_less_time(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FP16 halves the bytes of FP32, the part of the runtime that the model puts on bytes; intervals hold the prediction."""
    found = {}
    for precision in ("FP32", "fp16"):
        command = ["predict", str(files / "m.json"), str(files / "tiny.onnx"), "--precision", precision, "--json"]
        assert main(command) == 0
        found[precision] = json.loads(capsys.readouterr().out)
    first = [told["layers"][0] for told in found.values()]
    assert [layer["precision"] for layer in first] == ["FP32", "FP16"]
    assert (first[0]["runtime_s"] - 5e-6) == pytest.approx(2 * (first[1]["runtime_s"] - 5e-6))
    for told in found.values():
        for key in ("runtime_s", "energy_j"):
            low, high = told[key.replace("_", "_interval_", 1)]
            assert 0 < low < told[key] < high
        assert all(layer["runtime_interval_s"] for layer in told["layers"] if layer["runtime_s"])


def test_the_table_shows_intervals(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Layers and sums have theirs, and the batch is the one asked for."""
    assert main(["predict", str(files / "m.json"), str(files / "tiny.onnx"), "--batch", "2"]) == 0
    shown = capsys.readouterr().out
    assert "interval of the sum" in shown and "90 %" in shown and "(simulated)" in shown


def test_a_network_without_a_predicted_layer_says_so(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is invented where no model applies."""
    store.save(models(kinds=("pool",)), files / "pools.json")
    net = files / "one.json"
    net.write_text(json.dumps({"Layers": [{"Name": "x", "LayerType": "Strange"}]}))
    assert main(["predict", str(files / "pools.json"), str(net)]) == 1
    assert "not in the sum: 1 of 1 layers: unclassified: x\n" in capsys.readouterr().out
    assert main(["rank", str(files / "pools.json"), str(net)]) == 2
    assert "no layer of it can be predicted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "arguments", "part"),
    [
        ("tiny.onnx", ["--precision", "FP12"], "--precision FP12: one of"),
        ("built.json", ["--precision", "FP16"], "an engine, which has its own"),
        ("tiny.onnx", ["--input-shape", "3"], "--input-shape 3"),
        ("tiny.onnx", ["--batch", "0"], "--batch 0"),
    ],
)
def test_forms_that_cannot_be_are_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], network: str, arguments: list[str], part: str
) -> None:
    """An unknown precision, another one for an engine, and sizes that are none."""
    (files / "built.json").write_bytes(ENGINE.read_bytes())
    assert main(["predict", str(files / "m.json"), str(files / network), *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1


def test_info_knows_a_model_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors, provenance and what is missing are shown, formulas with units on demand, and other JSON is refused."""
    six = models(kinds=("conv",), simulated=True)
    six.skipped_["fc", "power"] = "2 different layers measured"
    store.save(six, files / "m.json")
    assert main(["info", str(files / "m.json"), "--formula"]) == 0
    shown = capsys.readouterr().out
    for part in ("(simulated)", "conv runtime [s] = 5e-06", "+1e-11 * bytes", "fc power: 2 different", "10.0"):
        assert part in shown
    assert main(["info", str(files / "m.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "neuralpower-models"
    (files / "other.json").write_text("{}")
    assert main(["info", str(files / "other.json")]) == 2
    assert "not a model" in capsys.readouterr().err
