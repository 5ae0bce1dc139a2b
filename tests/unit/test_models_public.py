"""The 999 measured convolutions: the accuracy that the documentation claims, and the commands as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuralpower.cli import main
from neuralpower.dataset import read_dataset, write_dataset


@pytest.fixture(scope="module")
def layers(public_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "l.parquet"
    assert main(["import", "neurstrucenergy", str(public_data / "neurstrucenergy/conv2d.txt"), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def model(layers: Path) -> Path:
    path = layers.with_name("m.json")
    assert main(["fit", str(layers), "-o", str(path), "--loss", "relative"]) == 0
    return path


def test_999_layers_are_fitted_as_well_as_claimed(model: Path) -> None:
    """Errors relative to the prediction: five folds, no configuration on two sides: the sum of runtimes within 8 %, geometric error at most 25 %; power RMSPE at most 11 %; intervals hold 90 %."""
    found = {entry["target"]: entry["cross_validation"] for entry in json.loads(model.read_text())["models"]}
    assert found["runtime"]["score"]["rows"] == found["power"]["score"]["rows"] == 999
    assert (found["runtime"]["folds"], found["runtime"]["grouped_by"]) == (5, "configuration")
    assert found["runtime"]["score"]["sum_bias"] == pytest.approx(1.0, abs=0.08)
    assert found["runtime"]["score"]["geometric"] <= 0.25
    assert found["power"]["score"]["rmspe"] <= 0.11
    assert all(each["coverage"] == pytest.approx(0.9, abs=0.03) for each in found.values())


def test_the_loss_of_the_rmspe_still_makes_it_small(layers: Path, tmp_path: Path) -> None:
    """Errors relative to the measurement: runtime RMSPE at most 31 %, power at most 11 %; and its sum is what they cost."""
    path = tmp_path / "m.json"
    assert main(["fit", str(layers), "-o", str(path), "--loss", "relative-y"]) == 0
    found = {entry["target"]: entry["cross_validation"]["score"] for entry in json.loads(path.read_text())["models"]}
    assert found["runtime"]["rmspe"] <= 0.31 and found["power"]["rmspe"] <= 0.11
    assert found["runtime"]["sum_bias"] < 0.75


def test_evaluate_reproduces_the_table(layers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stored folds and seed give the stored errors again, and the original's way does worse."""
    part, model = tmp_path / "part.parquet", tmp_path / "m.json"
    some = read_dataset(layers).take(np.arange(90))
    write_dataset(some.table, part, some.provenance)
    assert main(["fit", str(part), "-o", str(model), "--seed", "4"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(model), str(part), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reproduced"] is True
    stored = [entry["cross_validation"]["score"]["rmspe"] for entry in json.loads(model.read_text())["models"]]
    assert [entry["score"]["rmspe"] for entry in found["cross_validation"]] == pytest.approx(stored, rel=1e-9)
    for entry, ours in zip(found["baselines"], stored, strict=True):
        assert entry["original"]["score"]["rmspe"] > ours
        assert entry["mean"]["score"]["rmspe"] > ours
        assert {"trees", "EdgeProfiler"} <= set(entry)


def test_predict_lists_every_layer_of_an_engine(
    model: Path, public_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every layer of ResNet-18 is there; the max pool has kernel 3; what has no model is counted."""
    engine = public_data / "edgeprofiler/engines/resnet18_trt_engine_info.json"
    assert main(["predict", str(model), str(engine), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["layers"]) == len(json.loads(engine.read_text())["Layers"])
    pools = [layer for layer in found["layers"] if layer["kind"] == "pool"]
    assert pools[0]["kernel_h"] == 3
    assert found["covered"] + sum(found["missing"].values()) == len(found["layers"])
    assert main(["predict", str(model), str(engine)]) == 0
    assert "outside the data" in capsys.readouterr().out


def test_bad_input_is_one_line_and_status_2(model: Path, layers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset in place of a model, a model in place of a dataset, impossible numbers: one line each."""
    capsys.readouterr()
    for command in (
        ["predict", str(layers), "x.onnx"],
        ["predict", str(model), "missing.onnx"],
        ["predict", str(model), "x.onnx", "--batch", "0"],
        ["fit", str(model), "-o", "no.json"],
        ["fit", str(layers), "-o", "no.json", "--folds", "1"],
        ["fit", str(layers), "-o", "no.json", "--seed", "-1"],
        ["evaluate", str(model), str(model)],
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert error.startswith("neuralpower: ") and error.count("\n") == 1, error
