"""Few layers of a device: models that start from another device's, and the plan of what to measure next."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_features_onnx import tiny
from test_models_conditions import drawn

from neuralpower.cli import main
from neuralpower.dataset import Dataset, write_dataset
from neuralpower.features.layers import Layer
from neuralpower.models import store
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.lasso import SparsePolynomial
from neuralpower.models.regression.transfer import OtherQuantities, StartedPolynomial
from neuralpower.models.six import SixModels
from neuralpower.models.sweep_plan import plan
from neuralpower.models.validation.score import geometric_error


def slower(dataset: Dataset, times: float, launch: float = 0.0) -> Dataset:
    """The same layers on a device that takes so many times as long and `launch` s more, and draws half."""
    told = {"runtime_s": times * dataset["runtime_s"] + launch, "power_w": dataset["power_w"] / 2}
    return Dataset({**dataset.table, **told}, dataset.provenance)


@pytest.fixture(scope="module")
def known() -> SixModels:
    return SixModels(folds=2).fit(drawn({"FP16": 120}))


def test_few_layers_do_where_another_device_is_known(known: SixModels) -> None:
    """Six layers of a device that is three times slower predict the others, many times larger ones too; afresh six are too few."""
    other = slower(drawn({"FP16": 120}), 3.0)
    work = np.array([layer.macs() for layer in other.layers()])
    few = other.take(np.argsort(work)[:30:5])
    started = SixModels(folds=3).fit(few, start=known)
    truth = np.column_stack([other["runtime_s"], other["power_w"]])
    assert geometric_error(started.predict(other), truth) < 0.05
    assert started.started_from_ == known.sha256_
    with pytest.raises(ValueError, match="10 different layers"):
        SixModels(folds=3).fit(few)


def test_coefficients_move_where_the_data_say_so(known: SixModels) -> None:
    """A launch that is not three times as long is learnt from forty layers."""
    other = slower(drawn({"FP16": 120}), 3.0, launch=40e-6)
    few = other.take(np.arange(0, 120, 3))
    x, seconds = few, other["runtime_s"].astype(float)
    started = SixModels(folds=3).fit(x, start=known).predict(other)[:, 0]
    assert geometric_error(started, seconds) < 0.08


def test_without_a_start_it_is_the_plain_fit() -> None:
    """And a start of other quantities is refused."""
    random = np.random.default_rng(4)
    x = 2 ** random.uniform(2, 8, (60, 2))
    y = 1 + x[:, 0] + 0.1 * x[:, 1]
    plain = SparsePolynomial(degrees=(1,), penalties=10).fit(x, y)
    same = StartedPolynomial(degrees=(1,), penalties=10).fit(x, y)
    np.testing.assert_array_equal(same.predict(x), plain.predict(x))
    assert not same.started_
    with pytest.raises(OtherQuantities, match="the start is made of x0, x1, and X holds a, b"):
        StartedPolynomial(plain.polynomial_, Dictionary(columns=("a", "b"), powers=("a",))).fit(x, y)
    again = StartedPolynomial(plain.polynomial_, degrees=(1,), penalties=10).fit(x[:8], 2 * y[:8])
    assert again.started_ and again.predict(x) == pytest.approx(2 * plain.predict(x), rel=0.02)


def test_fit_starts_from_a_file(known: SixModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says from what; the file keeps it, and evaluate computes the errors again with the same start alone."""
    few = slower(drawn({"FP16": 40}), 2.0)
    write_dataset(few.table, tmp_path / "few.parquet", {})
    store.save(known, tmp_path / "known.json")
    started = ["--from", str(tmp_path / "known.json")]
    assert main(["fit", str(tmp_path / "few.parquet"), *started, "--folds", "2", "-o", str(tmp_path / "m.json")]) == 0
    assert "started from" in capsys.readouterr().out
    assert store.load(tmp_path / "m.json").started_from_ == known.sha256_
    evaluate = ["evaluate", str(tmp_path / "m.json"), str(tmp_path / "few.parquet")]
    assert main(evaluate) == 2
    assert "name it with --from" in capsys.readouterr().err
    assert main([*evaluate, *started, "--json"]) == 0
    assert main(["evaluate", str(tmp_path / "known.json"), str(tmp_path / "few.parquet"), *started]) == 2


def test_a_start_of_other_quantities_is_one_line(
    known: SixModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Models of one clock start none of several."""
    write_dataset(drawn({"FP16": 40}, mhz=(500, 1000)).table, tmp_path / "clocks.parquet", {})
    store.save(known, tmp_path / "known.json")
    command = [
        "fit",
        str(tmp_path / "clocks.parquet"),
        "--from",
        str(tmp_path / "known.json"),
        "-o",
        str(tmp_path / "m.json"),
    ]
    assert main(command) == 2
    (*_, error) = capsys.readouterr().err.splitlines()
    assert "known.json: the start is made of" in error and error.endswith("fit it again to data with the same columns")


# ---- What to measure next ----------------------------------------------------------------------


def fc(inputs: int, outputs: int, precision: str = "FP16") -> Layer:
    return Layer(f"{inputs} to {outputs}", "fc", 1, inputs, 1, 1, outputs, 1, 1, precision=precision)


def test_the_plan_spreads_and_asks_once() -> None:
    """Ends of the range come before its middle, layers that are equal are one, and of what was measured little is left to ask."""
    candidates = [fc(size, size) for size in (16, 64, 64, 256, 1024, 4096)]
    found = plan(None, candidates, 6)
    assert {each.layer.in_c for each in found[:2]} == {16, 4096}
    assert len(found) == 5 and {each.layer.in_c: each.times for each in found}[64] == 2
    assert all(a.leverage >= b.leverage for a, b in pairwise(found))
    assert not plan(None, [Layer("r", "other")], 3)


def test_what_was_measured_is_not_asked_again() -> None:
    """Beside a hundred and twenty convolutions in FP16 another one tells little, one in INT8 or depthwise much."""
    measured = drawn({"FP16": 120})
    like = measured.layers()[0]
    wide = Layer("int8", "conv", 1, 32, 20, 20, 32, 20, 20, 3, 3, pad_h=1, pad_w=1, precision="INT8")
    single = Layer("depthwise", "conv", 1, 32, 20, 20, 32, 20, 20, 3, 3, pad_h=1, pad_w=1, groups=32, precision="FP16")
    leverage = {each.layer.name: each.leverage for each in plan(measured, [like, wide, single], 3)}
    assert leverage["c"] < 1 < min(leverage["int8"], leverage["depthwise"])


def test_the_command_writes_a_table_to_fill_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it names comes back through import table once it has runtimes; batch sizes and precisions multiply."""
    tiny(tmp_path / "tiny.onnx")
    command = ["plan-sweep", str(tmp_path / "tiny.onnx"), "--batch", "1,4", "--precision", "FP16", "--count", "5"]
    assert main([*command, "-o", str(tmp_path / "plan.csv")]) == 0
    assert "5 of 5 tell more" in capsys.readouterr().out
    with (tmp_path / "plan.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (
        len(rows) == 5
        and {row["precision"] for row in rows} == {"FP16"}
        and {row["batch"] for row in rows} <= {"1", "4"}
    )
    for row in rows:
        row |= {"runtime_s": "1e-5", "power_w": "7"}
    with (tmp_path / "measured.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main(["import", "table", str(tmp_path / "measured.csv"), "-o", str(tmp_path / "m.parquet")]) == 0
    capsys.readouterr()
    assert main([*command, "--measured", str(tmp_path / "m.parquet"), "--json"]) == 0
    left = json.loads(capsys.readouterr().out)
    assert max(each["leverage"] for each in left) < 60 and set(left[0]) >= {"kind", "in_c", "leverage", "times"}
    assert main([*command[:-1], "0"]) == 2
