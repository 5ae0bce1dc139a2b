"""Six models: fitting, storing, loading, predicting a network."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower import interval
from neuralpower.cli import main
from neuralpower.dataset import Dataset, dataset_of, read_dataset, row, write_dataset
from neuralpower.errors import InputError
from neuralpower.features import Layer
from neuralpower.models import store
from neuralpower.models.judging import evaluation
from neuralpower.models.network import predict_network
from neuralpower.models.rows import groups_of, rows_of
from neuralpower.models.six import SixModels


def convolution(channels: int, side: int, kernel: int = 3, name: str = "c") -> Layer:
    return Layer(name, "conv", 1, channels, side, side, channels, side, side, kernel, kernel, precision="FP16")


def measured() -> Dataset:
    """Convolutions in eight networks whose runtime is 5 µs + work, some pools (too few), and other layers."""
    rng = np.random.default_rng(10)
    rows = []
    for number in range(8):
        for position in range(8):
            c = convolution(int(rng.integers(8, 256)), int(rng.integers(7, 56)), int(rng.choice([1, 3])))
            runtime = 5e-6 + c.macs() / 5e11
            power = 5 + c.macs() / 5e11 / runtime
            rows.append(
                row(c, network=f"n{number}", position=position, origin="network", runtime_s=runtime, power_w=power)
            )
        copy_node = Layer("reformat", "other")
        rows.append(row(copy_node, network=f"n{number}", position=8, origin="network", runtime_s=4e-6, power_w=6.0))
    for line in rows:
        line["engine"] = line["network"]
    networks = [whole(rows, f"n{number}") for number in range(8)]
    pool = Layer("p", "pool", 1, 64, 28, 28, 64, 14, 14, 2, 2, 2, 2)
    rows.append(row(pool, network="n0", position=9, origin="network", runtime_s=1e-5, power_w=6.0, simulated=True))
    return dataset_of(rows, {"networks": networks})


def whole(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """A whole inference that takes 50 µs and 0.25 mJ more than its layers."""
    mine = [line for line in rows if line["network"] == name]
    seconds = sum(line["runtime_s"] for line in mine) + 50e-6
    joules = sum(line["runtime_s"] * line["power_w"] for line in mine) + 250e-6
    return {"network": name, "engine": name, "unprofiled": True, "inferences": 10, "runtime_s": seconds, "runtime_se_s": 0.0,
            "energy_j": joules, "energy_se_j": 0.0, "unit": [], "unit_covariance_w2": []}  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> SixModels:
    return SixModels(folds=4, seed=3).fit(measured())


def test_six_models_skip_what_has_too_few_layers(fitted: SixModels) -> None:
    """Convolutions are modelled, grouped by network; pools and fully connected layers are skipped with a reason."""
    assert set(fitted.models_) == {("conv", "runtime"), ("conv", "power")}
    assert "1 different layers" in fitted.skipped_["pool", "runtime"]
    assert fitted.simulated_
    assert fitted.remainder_ is not None
    assert (fitted.remainder_.layers, fitted.remainder_.runtime_s) == (8, pytest.approx(4e-6))
    model = fitted.models_["conv", "runtime"]
    assert (model.cross_validation.grouped_by, model.cross_validation.folds) == ("network", 4)
    assert model.cross_validation.score.rmspe < 0.08
    assert model.cross_validation.low <= model.cross_validation.score.rmspe <= model.cross_validation.high


def test_a_dataset_without_layers_is_bad_input() -> None:
    """Too few layers for any model is one clear line."""
    with pytest.raises(InputError, match="10 different layers"):
        SixModels().fit(measured().take(np.arange(5)))


def test_unresolved_measurements_are_left_out_and_counted() -> None:
    """A power known to half of itself only is no ground to fit on."""
    dataset = measured()
    dataset.table["power_se_w"][:3] = dataset.table["power_w"][:3] / 2
    cv = SixModels(folds=4).fit(dataset).models_["conv", "power"].cross_validation
    assert (cv.unresolved, cv.score.rows) == (3, 61)


def test_layers_of_one_unit_stay_on_one_side() -> None:
    """Rows of one network go by configuration, but those of its engine that share a power by that."""
    powers = [7.0, 7.0, 8.0, 7.0, 6.0, float("nan")]
    hashes = ["e", "e", "e", "f", "", ""]
    rows = [
        row(convolution(8 * n + 8, 14), network="net", origin="network", runtime_s=1e-3, power_w=power, engine=engine)
        for n, (power, engine) in enumerate(zip(powers, hashes, strict=True))
    ]
    dataset = dataset_of(rows, {})
    groups, grouped_by = groups_of(dataset, rows_of(dataset, "conv", "runtime"), folds=5)
    assert grouped_by == "configuration" and groups.tolist() == [0, 0, 1, 2, 3, 4]


def test_models_come_back_from_json_as_they_were(fitted: SixModels, tmp_path: Path) -> None:
    """Saving and loading is exact to the last bit, and saving again writes the same bytes."""
    path = tmp_path / "m.json"
    store.save(fitted, path)
    loaded = store.load(path)
    assert loaded == fitted
    layers = [convolution(33, 17), convolution(4000, 300, 5)]
    for key, model in fitted.models_.items():
        np.testing.assert_array_equal(loaded.models_[key].predict(layers), model.predict(layers))
    store.save(loaded, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_fitting_again_gives_the_same_models(fitted: SixModels) -> None:
    """The folds and the seed in the file are enough to compute the table again."""
    assert SixModels(fitted.folds, fitted.seed).fit(measured()) == fitted


def with_rate(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The models, the power model with a term of a rate."""
    document["models"][1]["terms"][0].update(exponents={"byte_rate": 1}, term="byte_rate")
    return list(document["models"])


Mutilation = Callable[[dict[str, Any]], object]
MUTILATIONS: dict[str, Mutilation] = {
    "format": lambda d: d.update(format="other"),
    "version": lambda d: d.update(version=99),
    "text coefficient": lambda d: d["models"][0]["terms"][0].update(coefficient="1.5"),
    "true coefficient": lambda d: d["models"][0]["terms"][0].update(coefficient=True),
    "nan coefficient": lambda d: d["models"][0]["terms"][0].update(coefficient=float("nan")),
    "infinite intercept": lambda d: d["models"][0].update(intercept=float("inf")),
    "unknown feature": lambda d: d["models"][0]["terms"][0].update(exponents={"in_q": 1}, term="in_q"),
    "negative exponent": lambda d: d["models"][0]["terms"][0].update(exponents={"in_c": -1}, term="in_c^-1"),
    "wrong formula": lambda d: d["models"][0]["terms"][0].update(term="in_c^3"),
    "term twice": lambda d: d["models"][0]["terms"].append(d["models"][0]["terms"][0]),
    "no exponents": lambda d: d["models"][0]["terms"][0].pop("exponents"),
    "negative degree": lambda d: d["models"][0].update(degree=-1),
    "degree 2.5": lambda d: d["models"][0].update(degree=2.5),
    "wrong unit": lambda d: d["models"][0].update(unit="ms"),
    "unknown kind": lambda d: d["models"][0].update(kind="lstm"),
    "model twice": lambda d: d["models"].append(d["models"][0]),
    "unknown quantity": lambda d: d["models"][0]["domain"].update(moons={"from": 1, "to": 2}),
    "domain backwards": lambda d: d["models"][0]["domain"]["in_c"].update({"from": 1e9}),
    "negative floor": lambda d: d["models"][0]["bounds"].update(lowest=-1.0),
    "cap below floor": lambda d: d["models"][1]["bounds"].update(highest=1e-9),
    "rate of nothing": lambda d: d["models"][0]["bounds"]["rates"].update(moons=1.0),
    "interval upside down": lambda d: d["models"][0]["interval"].update(low=9.0),
    "interval of a group upside down": lambda d: d["models"][0]["interval"].update(
        groups=[{"where": "[in_c>9]", "exponents": {"[in_c>9]": 1}, "low": 2.0, "high": 1.0}]
    ),
    "interval of a group of nothing": lambda d: d["models"][0]["interval"].update(
        groups=[{"where": "[moons>9]", "exponents": {"[moons>9]": 1}, "low": 0.5, "high": 2.0}]
    ),
    "no groups of the interval": lambda d: d["models"][0]["interval"].pop("groups"),
    "law of nothing": lambda d: d["models"][0].update(law={"constant": 0.0, "amounts": []}),
    "law that falls": lambda d: d["models"][0]["law"].update(
        amounts=[{"term": "operations", "exponents": {"operations": 1}, "slope": -1.0}]
    ),
    "law of an unknown quantity": lambda d: d["models"][0]["law"]["amounts"].append(
        {"term": "moons", "exponents": {"moons": 1}, "slope": 1.0}
    ),
    "no law": lambda d: d["models"][0].pop("law"),
    "interval of another level": lambda d: d["models"][0]["interval"].update(level=0.5),
    "unknown loss": lambda d: d.update(loss="absolute"),
    "rate in a runtime model": lambda d: d["models"][0]["terms"][0].update(
        exponents={"operation_rate": 1}, term="operation_rate"
    ),
    "rate without a runtime model": lambda d: d.update(models=with_rate(d)[1:]),
    "coverage in words": lambda d: d["models"][0]["cross_validation"].update(coverage="most"),
    "step without a bound": lambda d: d["models"][0]["terms"][0].update(exponents={"[in_c>]": 1}, term="[in_c>]"),
    "energy of nothing": lambda d: d.update(energy=[{"kind": "lstm"}]),
    "no cross-validation": lambda d: d["models"][0].pop("cross_validation"),
    "one fold": lambda d: d.update(folds=1),
    "simulated in words": lambda d: d.update(simulated="no"),
    "whole of nobody": lambda d: d["whole"].update(networks=[]),
    "whole upside down": lambda d: d["whole"]["factors"]["runtime"].update(low=9.0),
    "whole in words": lambda d: d.update(whole="all"),
    "remainder without a share": lambda d: d["whole"]["energy"].pop("least_share"),
    "models as object": lambda d: d.update(models={}),
    "model as text": lambda d: d.update(models=["conv"]),
}


@pytest.mark.parametrize("name", MUTILATIONS)
def test_a_mutilated_model_is_refused_with_a_reason(name: str, fitted: SixModels, tmp_path: Path) -> None:
    """Each lie in the JSON is one line that names the file."""
    document = copy.deepcopy(store.document(fitted))
    for model in document["models"]:  # a law alone may be all that such clean layers need
        model["terms"] = model["terms"] or [
            {"term": "in_c", "exponents": {"in_c": 1}, "coefficient": 1e-9, "scale": 1.0}
        ]
    MUTILATIONS[name](document)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        store.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"PAR1", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    """Foreign content is one line, not a traceback."""
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        store.load(path)


def test_a_model_cut_off_anywhere_is_refused(fitted: SixModels, tmp_path: Path) -> None:
    """No beginning of a model file passes for a model."""
    path = tmp_path / "m.json"
    store.save(fitted, path)
    whole = path.read_bytes().rstrip()
    for end in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=re.escape(str(path))):
            store.load(path)


def test_a_network_is_the_sum_of_its_layers_and_names_the_rest(fitted: SixModels) -> None:
    """T = ΣT_n, E = ΣP_n·T_n; other layers count as the mean one; pools and unclassified layers are named."""
    pool = Layer("p", "pool", 1, 64, 28, 28, 64, 14, 14, 2, 2, 2, 2)
    convs = [convolution(64, 28), convolution(128, 14)]
    layers = [*convs, pool, Layer("r", "other"), Layer("?", "unclassified")]
    predicted = predict_network(fitted, "net", layers)
    t = fitted.models_["conv", "runtime"].predict(convs)
    p = fitted.models_["conv", "power"].predict(convs)
    assert [prediction.layer for prediction in predicted.layers] == layers
    assert predicted.runtime_s == pytest.approx(t.sum() + 4e-6)
    assert predicted.energy_j == pytest.approx((t * p).sum() + 4e-6 * 6)
    assert predicted.power_w == pytest.approx(predicted.energy_j / predicted.runtime_s)
    assert predicted.missing == {"no pool runtime or power model": 1, "unclassified": 1}
    whole = predicted.whole
    assert whole is not None
    assert whole.runtime_s[0] == pytest.approx(t.sum() + 50e-6 + 4e-6, rel=1e-3)
    assert whole.energy_j[0] == pytest.approx((t * p).sum() + 250e-6 + 4e-6 * 6, rel=1e-3)
    assert whole.runtime_s[1] < whole.runtime_s[0] < whole.runtime_s[2]
    assert whole.remainder_s[0] == pytest.approx(54e-6, rel=1e-2)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("up", "deconv", 1, 64, 28, 28, 32, 56, 56, 2, 2, 2, 2),
        Layer("scores", "matmul", 8, 64, 128, 1, 128, 128, 1),
        Layer("heads", "attention", told_flops=1 << 30, told_accesses=1 << 20),
        Layer("volume", "conv3d", told_flops=1 << 30, told_weights=1 << 10, told_accesses=1 << 20),
    ],
)
def test_work_without_a_model_is_named_and_not_priced_as_a_copy(fitted: SixModels, layer: Layer) -> None:
    """A kind that no model knows adds nothing to the sums and is counted with its reason; a builder's reformat counts as the mean one does."""
    conv = convolution(64, 28)
    alone, joined = (predict_network(fitted, "net", layers) for layers in ([conv], [conv, layer]))
    assert joined.runtime_s == alone.runtime_s and joined.energy_j == alone.energy_j
    assert joined.missing == {f"no {layer.kind} runtime or power model": 1} and joined.remainder_layers == 0
    other, reformat = (predict_network(fitted, "net", [conv, Layer("r", kind)]) for kind in ("other", "reformat"))
    assert other.runtime_s == reformat.runtime_s != alone.runtime_s and reformat.missing == {}


def test_what_lies_outside_the_data_says_so(fitted: SixModels) -> None:
    """A layer larger than any measured is predicted with a warning that names the sizes; one inside has none."""
    inside, outside = predict_network(fitted, "net", [convolution(64, 28), convolution(4096, 28)]).layers
    assert inside.outside == ()
    assert any(text.startswith("in_c 4096 ") for text in outside.outside)
    assert outside.energy_j is not None and outside.energy_j > 0


def test_whole_networks_are_held_against_their_measurement(
    fitted: SixModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks that were not trained on come with the accuracy and with how many intervals held; energies with their own error."""
    dataset = measured()
    entries = dataset.provenance["networks"]
    for each in entries:
        each.update(unit=[0] * 4 + [1] * 5, unit_covariance_w2=[[0.01], [-0.009, 0.01]])
    fresh = SixModels.fitted(**vars(fitted) | {"networks_": ["n0"]})
    errors = evaluation.whole_errors(fresh, dataset)
    assert [each.trained_on for each in errors] == [True] + [False] * 7
    assert all(each.runtime[0] == pytest.approx(each.runtime[3], rel=0.1) for each in errors)
    assert sum(each.holds("runtime") for each in errors) >= 6
    sums = evaluation.network_errors(fresh, dataset)
    assert all(0 < each.energy_se < 0.02 for each in sums)
    write_dataset(dataset.table, tmp_path / "d.parquet", dataset.provenance)
    store.save(fresh, tmp_path / "m.json")
    other = read_dataset(tmp_path / "d.parquet").take(np.arange(1, 73))
    write_dataset(other.table, tmp_path / "d.parquet", other.provenance)
    assert main(["evaluate", str(tmp_path / "m.json"), str(tmp_path / "d.parquet")]) == 0
    said = capsys.readouterr().out
    assert "accuracy, mean, of those not trained on" in said and " of 7" in said
    known = evaluation.network_errors(fresh, other)
    assert all(f"± {interval.half(196 * each.energy_se)} %" in said for each in known) and said.count("95 %") == 1
