"""Sums of what is known: runtime alone is worth a prediction and a ranking, a sum of nothing is no number, a part is a lower bound."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_features_onnx import tiny
from test_models_store import measured
from test_rank import models

from neuralpower.cli import main
from neuralpower.dataset import Dataset, dataset_of, row, write_dataset
from neuralpower.features.layers import Layer
from neuralpower.models import store
from neuralpower.models.network import predict_network
from neuralpower.models.six import Remainder, SixModels
from neuralpower.models.whole import FittedRemainder, HeldOutNetwork, WholeModel
from neuralpower.ranking import Limits, candidate, front, ranked
from neuralpower.report.pareto_plot import pareto

CONV = Layer("c", "conv", 1, 8, 9, 9, 8, 9, 9, 3, 3, precision="FP16")
POOL = Layer("p", "pool", 1, 8, 9, 9, 8, 4, 4, 2, 2, 2, 2, precision="FP16")
TRANSPOSED = Layer("t", "other", layer_type="ConvTranspose")


def runtime_only(kinds: tuple[str, ...] = ("conv", "pool", "fc")) -> SixModels:
    """The models without those of power; other layers were timed alone."""
    six = models(kinds=kinds)
    six.models_ = {key: model for key, model in six.models_.items() if key[1] == "runtime"}
    return SixModels.fitted(**vars(six) | {"remainder_": Remainder(5, 2e-6, None)})


def engine(path: Path, *layers: dict[str, object]) -> Path:
    path.write_text(json.dumps({"Layers": list(layers)}))
    return path


def test_runtime_alone_has_a_sum() -> None:
    """Without power models the network has its time, with the mean other layer, and neither energy nor power."""
    predicted = predict_network(runtime_only(), "net", [CONV, POOL, Layer("o", "other")])
    one = [5e-6 + 2e-11 * layer.memory_accesses() for layer in (CONV, POOL)]
    assert predicted.runtime_s == pytest.approx(sum(one) + 2e-6)
    assert predicted.energy_j is None and predicted.power_w is None
    assert not predicted.runtime_least and predicted.energy_least


def test_a_sum_of_nothing_is_no_number() -> None:
    """Where no layer has a model there is no sum, also where the mean other layer is known."""
    predicted = predict_network(models(kinds=("fc",)), "net", [CONV, Layer("o", "other"), Layer("u", "unclassified")])
    assert (predicted.runtime_s, predicted.energy_j, predicted.power_w) == (None, None, None)


def test_what_the_mean_knows_nothing_of_is_named() -> None:
    """A product of kind other (transposed convolution, product of activations) is not priced as a mean reformat, and makes the sum a lower bound."""
    for layer_type in ("ConvTranspose", "CaskDeconvolutionV2", "MatMul", "Attention", "LSTM"):
        product = replace(TRANSPOSED, layer_type=layer_type)
        predicted = predict_network(models(), "net", [CONV, product, Layer("r", "other", layer_type="Reformat")])
        assert predicted.missing == {f"no model of {layer_type}": 1} and predicted.remainder_layers == 1
        assert predicted.runtime_least and predicted.energy_least


def test_products_are_no_part_of_the_mean_other_layer() -> None:
    """A slow transposed convolution in the training data makes reformats no dearer."""
    data = measured()
    extra = row(TRANSPOSED, network="n0", origin="network", runtime_s=1.0, power_w=100.0)
    joined = dataset_of([*({n: data[n][i] for n in data.table} for i in range(len(data))), extra], data.provenance)
    six = SixModels(folds=4).fit(joined)
    assert six.remainder_ is not None and six.remainder_.runtime_s == pytest.approx(4e-6)


def test_a_lower_bound_is_ranked_apart_and_never_surely_within() -> None:
    """However cheap what is known of it: behind the others, not on the front, "perhaps" at best; beyond a limit it is beyond."""
    partly = models(kinds=("conv", "fc"))
    bound = candidate(predict_network(partly, "part", [CONV, POOL]), "m", None, False)
    full = candidate(predict_network(models(), "full", [CONV, CONV, POOL]), "m", None, False)
    assert bound.energy_least and bound.runtime_least and bound.runtime_s.value < full.runtime_s.value
    for by in ("energy", "runtime"):
        assert [each.network for each, _ in ranked([bound, full], by)] == ["full", "part"]
    assert front([bound, full]) == [full]
    assert (Limits(1.0, 1.0).met(bound), Limits(1.0, 1.0).met(full)) == ("perhaps", "yes")
    assert Limits(runtime_s=1e-6).met(bound) == "no"
    timed = candidate(predict_network(runtime_only(), "timed", [CONV]), "m", None, False)
    assert timed.energy_j is None and Limits(energy_j=1.0).met(timed) == "perhaps" and Limits(1.0).met(timed) == "yes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.save(models(kinds=("conv", "fc")), tmp_path / "part.json")
    store.save(runtime_only(), tmp_path / "timed.json")
    tiny(tmp_path / "tiny.onnx")
    return tmp_path


def test_no_remainder_is_less_than_nothing_where_no_whole_was() -> None:
    """However unsure the fitted remainder, its interval keeps the whole at the least share of its layers that was measured."""
    unsure = FittedRemainder(1e-6, 0.0, 0.0, 0.5, 1.02)
    network = HeldOutNetwork("n", (1.0, 1.0), (1.0, 1.0))
    whole = WholeModel(False, unsure, unsure, dict.fromkeys(("runtime", "energy", "power"), (0.9, 1.1)), (network,) * 6)
    alone = 5e-6 + 2e-11 * CONV.memory_accesses()
    told = predict_network(SixModels.fitted(**vars(models()) | {"whole_": whole}), "net", [CONV]).whole
    assert told is not None and told.remainder_s[0] > told.remainder_s[1] == pytest.approx(0.02 * alone)


def test_predict_says_what_a_sum_lacks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ "≥" before a sum in which layers are missing; runtime alone has a sum without energy; JSON says the same."""
    net = str(folder / "tiny.onnx")
    assert main(["predict", str(folder / "part.json"), net]) == 0
    shown = capsys.readouterr().out
    assert "≥ " in shown and "not in the sum: 2 of " in shown
    assert main(["predict", str(folder / "timed.json"), net]) == 0
    shown = capsys.readouterr().out
    assert "not in the sum of energy: " in shown and "≥" not in shown
    assert main(["predict", str(folder / "timed.json"), net, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runtime_s"] > 0 and told["energy_j"] is None and told["energy_interval_j"] is None
    assert (told["runtime_least"], told["energy_least"]) == (False, True)


def test_rank_says_which_sum_lacks_what(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What has a runtime and no power is missing in the energy alone, also beside what has neither."""
    store.save(runtime_only(kinds=("conv",)), folder / "part.json")
    assert main(["rank", str(folder / "part.json"), str(folder / "tiny.onnx"), "--by", "runtime"]) == 0
    shown = capsys.readouterr().out
    assert "not in the energy: tiny: " in shown and "layers: no conv power model" in shown
    lines = [line for line in shown.splitlines() if line.startswith("not in the sums: ")]
    assert lines and all("runtime or power model" in line for line in lines)


def test_predicting_nothing_ends_with_status_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The layers and why they have no model, null sums, one line of error."""
    fused = engine(folder / "fused.json", {"Name": "{ForeignNode[a...b]}", "LayerType": "Myelin"})
    assert main(["predict", str(folder / "timed.json"), str(fused)]) == 1
    said = capsys.readouterr()
    assert "ForeignNode" in said.out and " 0 " not in said.out.splitlines()[-2]
    assert said.err == "neuralpower: fused: no layer of it can be predicted, so there is no sum\n"
    assert main(["predict", str(folder / "timed.json"), str(fused), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["runtime_s"], told["energy_j"], told["runtime_interval_s"]) == (None, None, None)


def test_rank_orders_by_time_where_there_is_no_power(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unasked too; an order by energy and a plot of it are refused with the option that helps."""
    command = ["rank", str(folder / "timed.json"), str(folder / "tiny.onnx")]
    assert main([*command, "--by", "runtime"]) == 0
    assert main(command) == 0
    assert "By time for one item" in capsys.readouterr().out
    for more, part in ((["--by", "energy"], "--by runtime"), (["--plot", str(folder / "p.svg")], "no power model")):
        assert main([*command, *more]) == 2
        error = capsys.readouterr().err
        assert part in error and error.count("\n") == 1


def test_rank_shows_lower_bounds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They have no place, "≥" before their sums, and a line that says what it means; limits are "perhaps"."""
    command = ["rank", str(folder / "part.json"), str(folder / "tiny.onnx"), "--max-runtime-ms", "1000"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "≥ " in shown and "perhaps" in shown and " yes " not in shown and "lower bound" in shown


def test_a_network_of_fixed_batch_does_not_end_the_ranking(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is ranked at the batch that it has and named for the other; alone at another batch it is refused."""
    store.save(models(), folder / "m.json")
    fixed = tiny(folder / "fixed.onnx", batch=1)
    command = ["rank", str(folder / "m.json"), str(folder / "tiny.onnx"), str(fixed), "--json"]
    assert main([*command, "--batch", "1,8"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {(c["network"], c["batch"]) for c in told["candidates"]} == {("tiny", 1), ("tiny", 8), ("fixed", 1)}
    assert len(told["not_ranked"]) == 1 and "batch 8" in told["not_ranked"][0] and "fixed.onnx" in told["not_ranked"][0]
    assert main([*command, "--batch", "8"]) == 2


def test_limits_have_names_in_the_plot() -> None:
    """Each line that stands for a limit says so, with its value."""
    found = [
        candidate(predict_network(models(), name, [CONV] * n), "m", None, False) for n, name in ((1, "a"), (3, "b"))
    ]
    figure = pareto(found, found[:1], Limits(1e-3, 2e-3))
    told = {text.get_text().strip() for text in figure.axes[0].texts}
    assert {"limit 1 ms", "limit 2 mJ"} <= told


def test_fit_says_what_it_drops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values that are none, infinite or not positive, and layers of which there is no model, each with how many."""
    data = measured()
    table = dict(data.table)
    table["runtime_s"] = table["runtime_s"].copy()
    table["runtime_s"][:3] = float("nan"), float("inf"), -1.0
    table["layer_type"] = table["layer_type"].copy()
    table["layer_type"][8] = "Deconvolution"
    changed = Dataset(table, data.provenance)
    write_dataset(changed.table, tmp_path / "d.parquet", changed.provenance)
    assert main(["fit", str(tmp_path / "d.parquet"), "-o", str(tmp_path / "m.json"), "--folds", "4"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "1 of 73 rows: no runtime, in no runtime model",
        "2 of 73 rows: runtime not a positive finite number, in no runtime model",
        "1 of 73 rows: Deconvolution, of which there is no model",
    ):
        assert f"left out: {line}\n" in shown
