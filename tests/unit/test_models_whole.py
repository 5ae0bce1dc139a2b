"""Whole inferences: the remainder, intervals of networks, and what the dataset keeps of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower.attribution.results import EngineAttribution, LayerPower, WholeInference
from neuralpower.dataset import Dataset, concat, dataset_of, read_dataset, row, write_dataset
from neuralpower.dataset_networks import described, whole_networks
from neuralpower.errors import InputError
from neuralpower.features import Layer
from neuralpower.models.network import predict_network
from neuralpower.models.six import SixModels
from neuralpower.models.whole import WholeModel, accuracy, fit_whole
from neuralpower.show.models import print_whole

START_S, EACH_S, OTHER_S = 80e-6, -1e-6, 5e-6
BOARD_W = 4.0


def measured(
    networks: int = 12, scatter: float = 0.02, unprofiled: bool = True
) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Networks of convolutions and other layers; layers are predicted with an error that a network's have in common."""
    random = np.random.default_rng(5)
    rows, entries = [], []
    for number in range(networks):
        name, count, others = f"n{number}", int(random.integers(5, 40)), int(random.integers(0, 9))
        time, power = random.uniform(1e-5, 2e-4, count), random.uniform(5, 9, count)
        for place in range(count + others):
            conv = place < count
            layer = Layer(f"c{place}", "conv", 1, 8, 9, 9, 8, 9, 9, 3, 3) if conv else Layer(f"o{place}", "other")
            values = (time[place], power[place]) if conv else (4e-6, 5.0)
            rows.append(
                row(
                    layer,
                    network=name,
                    position=place,
                    origin="network",
                    runtime_s=values[0],
                    power_w=values[1],
                    engine=name,
                )
            )
        beside = START_S + EACH_S * count + OTHER_S * others
        entries.append(entry(name, time.sum() + beside, time @ power + BOARD_W * beside, unprofiled, count + others))
    dataset = dataset_of(rows, {"networks": entries})
    common = dict(zip(dataset["engine"].tolist(), np.exp(random.normal(0, scatter, len(dataset))), strict=True))
    factor = np.array([common[name] for name in dataset["engine"].tolist()])
    return dataset, {"runtime": dataset["runtime_s"] * factor, "power": dataset["power_w"].astype(np.float64)}


def entry(name: str, seconds: float, joules: float, unprofiled: bool, layers: int) -> dict[str, Any]:
    covariance = [[0.0] * place + [0.01] for place in range(layers)]
    return {"network": name, "engine": name, "unprofiled": unprofiled, "inferences": 100, "runtime_s": seconds, "runtime_se_s": 1e-7,
            "energy_j": joules, "energy_se_j": None, "unit": list(range(layers)), "unit_covariance_w2": covariance}  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> WholeModel:
    found = fit_whole(*_with_kinds(measured()))
    assert found is not None
    return found


def _with_kinds(made: tuple[Dataset, dict[str, np.ndarray]]) -> tuple[Dataset, tuple[str, ...], dict[str, np.ndarray]]:
    return made[0], ("conv",), made[1]


def test_the_remainder_is_found(whole: WholeModel) -> None:
    """What an inference takes beside its layers, for each modelled layer and for each other one, with hardly an error."""
    assert whole.unprofiled
    found = (whole.runtime.inference, whole.runtime.modelled_layer, whole.runtime.other_layer)
    assert found == pytest.approx((START_S, EACH_S, OTHER_S), rel=1e-6)
    assert whole.energy.other_layer == pytest.approx(BOARD_W * OTHER_S, rel=1e-6)
    assert whole.runtime.relative_error < 1e-9
    assert whole.runtime.beside(1e-3, 10, 3) == pytest.approx(START_S + 10 * EACH_S + 3 * OTHER_S)


def test_no_whole_is_less_of_its_layers_than_any_measured(whole: WholeModel) -> None:
    """A thousand layers of next to no time would leave less than nothing."""
    assert 1e-5 + whole.runtime.beside(1e-5, 1000, 0) == pytest.approx(whole.runtime.least_share * 1e-5)


def test_intervals_hold_nine_in_ten_new_networks() -> None:
    """Networks of which only six to twelve others are known: 90 % of them within the interval, over many draws."""
    held = []
    for seed in range(120):
        random = np.random.default_rng(seed)
        dataset, _ = SHARED
        count = 6 + seed % 7
        common = np.exp(random.normal(0.01, 0.05, 12))
        names = dataset["engine"].tolist()
        factor = np.array([common[int(name[1:])] for name in names])
        known = dataset.take(np.array([int(name[1:]) < count for name in names]))
        found = fit_whole(known, ("conv",), {"runtime": (dataset["runtime_s"] / factor)[: len(known)],
                                             "power": dataset["power_w"][: len(known)].astype(np.float64)})  # fmt: skip
        assert found is not None
        low, high = found.factors["energy"]
        held.append(low < float(np.exp(random.normal(0.01, 0.05))) < high)
    assert np.mean(held) == pytest.approx(0.9, abs=0.08)


SHARED = measured()


def test_few_networks_are_none() -> None:
    """Five networks fit no remainder of three numbers; without whole measurements there is none either."""
    assert fit_whole(*_with_kinds(measured(networks=5))) is None
    dataset, held_out = measured()
    assert fit_whole(Dataset(dataset.table, {}), ("conv",), held_out) is None


def test_networks_are_told_with_their_accuracy(whole: WholeModel, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has every network and the mean accuracy; profiled ones say so."""
    print_whole(SixModels.fitted(whole_=whole))
    said = capsys.readouterr().out
    assert "without the profiler" in said and "n11" in said and "accuracy, mean" in said
    assert accuracy([(1.1, 1.0), (0.8, 1.0)]) == pytest.approx(0.85)
    profiled = fit_whole(*_with_kinds(measured(unprofiled=False)))
    assert profiled is not None and not profiled.unprofiled


def test_a_prediction_has_the_whole_with_its_parts(whole: WholeModel) -> None:
    """Layers without a model at hand give no whole; the fit survives its file (test_models_store does the rest)."""
    assert predict_network(SixModels.fitted(whole_=whole), "net", [Layer("o", "other")]).whole is None


def test_the_dataset_keeps_whole_networks(tmp_path: Path) -> None:
    """Through a file and joined with others; those without rows are left out; sums know that neighbours err against each other."""
    layers = tuple(LayerPower(f"l{i}", "conv", i, 1, 9, 1, 1e-4, 1e-7, 6.0, 0.2) for i in range(2))
    inference = WholeInference(9, 3e-4, 1e-7, 2e-3, 1e-5)
    engine = EngineAttribution("h", "net", "least-squares", layers, 9, 2e-3, 4.0, 1.0, 0.1, True, whole=inference,
                               unit_covariance_w2=((0.04, -0.039), (-0.039, 0.04)))  # fmt: skip
    rows = [row(Layer(f"l{i}", "other"), network="net", position=i, origin="network", engine="h") for i in range(2)]
    kept = described(engine)
    assert kept is not None and not kept["unprofiled"]
    dataset = dataset_of(rows, {"networks": [kept, {**kept, "engine": "elsewhere"}]})
    write_dataset(dataset.table, tmp_path / "d.parquet", dataset.provenance)
    other = dataset_of([row(Layer("x", "other"), network="x", origin="sweep")], {})
    (network,) = whole_networks(concat([read_dataset(tmp_path / "d.parquet"), other]))
    assert (network.network, network.runtime_s, network.energy_j) == ("net", 3e-4, 2e-3)
    one, both = np.array([0]), np.array([0, 1])
    assert network.layers_energy_se_j(one, np.array([1e-4])) == pytest.approx(0.2e-4)
    assert network.layers_energy_se_j(both, np.array([1e-4, 1e-4])) == pytest.approx(np.sqrt(0.002) * 1e-4)
    broken = json.loads(json.dumps(kept))
    del broken["unit"]
    with pytest.raises(InputError, match="networks in its provenance"):
        whole_networks(dataset_of(rows, {"networks": [broken]}))
