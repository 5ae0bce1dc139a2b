"""Whole networks: layers and remainder fitted together, and layer models from networks alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.dataset_networks import measured_whole
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.models import store
from neuralpower.models.joint import PARTS, JointStart, alike, by_others, fit_joint
from neuralpower.models.network import predict_network
from neuralpower.models.regression.quantities import measure, measure_rows
from neuralpower.models.six import SixModels

LAUNCH_S, OPERATION_S, OTHER_S, OTHER_BYTE_S = 4e-6, 2e-12, 3e-6, 1e-11
IDLE_W, OPERATION_J = 5.0, 3e-12


def conv(channels: int, side: int, batch: int) -> Layer:
    return Layer(f"c{channels}", "conv", batch, channels, side, side, channels, side, side, 3, 3, precision="FP16")


def add(channels: int, side: int, batch: int) -> Layer:
    return Layer("add", "other", batch, channels, side, side, channels, side, side, precision="FP16",
                 told_accesses=3 * batch * channels * side * side)  # fmt: skip


def seconds(layer: Layer) -> float:
    if layer.kind == "conv":
        return LAUNCH_S + OPERATION_S * layer.macs()
    return OTHER_S + OTHER_BYTE_S * 2 * layer.memory_accesses()


def network(random: np.random.Generator, batch: int) -> list[Layer]:
    sizes = [(int(2 ** random.integers(4, 9)), int(2 ** random.integers(2, 6))) for _ in range(random.integers(4, 16))]
    return [
        each for size in sizes for each in (conv(*size, batch), *([add(*size, batch)] * int(random.integers(0, 3))))
    ]


def networks(count: int) -> Dataset:
    """Networks at two batch sizes, measured whole with an error of 1 %, their layers not at all."""
    random = np.random.default_rng(3)
    rows, wholes = [], []
    for number in range(count):
        shape = np.random.default_rng(number)
        for batch in (1, 8):
            layers = network(np.random.default_rng(shape.integers(1 << 30) if batch == 1 else number), batch)
            time = sum(map(seconds, layers)) * random.normal(1, 0.01)
            joules = IDLE_W * time + OPERATION_J * sum(layer.macs() for layer in layers)
            name = f"n{number} batch {batch}"
            wholes.append(measured_whole(name, name, 9, time, joules))
            rows += [
                row(layer, network=name, position=at, origin="import", engine=name) for at, layer in enumerate(layers)
            ]
    return dataset_of(rows, {"networks": wholes})


@pytest.fixture(scope="module")
def alone() -> SixModels:
    return SixModels(folds=4).fit(networks(24))


def test_layers_are_known_from_networks_alone(alone: SixModels) -> None:
    """No layer was measured, and yet a convolution's time and power come out, as the sums of networks have them."""
    layer = conv(256, 32, 4)
    one = predict_network(alone, "one", [layer]).layers[0]
    assert one.runtime_s == pytest.approx(seconds(layer), rel=0.05)
    watts = IDLE_W + OPERATION_J * layer.macs() / seconds(layer)
    assert one.power_w == pytest.approx(watts, rel=0.05)


def test_a_whole_is_its_layers_and_what_is_beside(alone: SixModels, tmp_path: Path) -> None:
    """A network of another make comes out within a few percent, also after the models were written and read."""
    layers = network(np.random.default_rng(999), 3)
    truth = sum(map(seconds, layers))
    store.save(alone, tmp_path / "model.json")
    for models in (alone, store.load(tmp_path / "model.json")):
        whole = predict_network(models, "new", layers).whole
        assert whole is not None
        assert whole.runtime_s[0] == pytest.approx(truth, rel=0.05)
        assert whole.runtime_s[1] < truth < whole.runtime_s[2]


def test_few_networks_are_no_ground_for_layers() -> None:
    """Eleven different networks, each at two batch sizes, leave it at the refusal."""
    with pytest.raises(InputError, match="different layers"):
        SixModels(folds=4).fit(networks(5))


def counts(random: np.random.Generator, size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    layers = random.uniform(1e-4, 1e-3, (size, PARTS))
    return np.column_stack(
        [
            layers,
            np.ones(size),
            random.integers(5, 50, size),
            random.integers(0, 40, size),
            random.uniform(1e6, 1e8, size),
            random.integers(0, 9, size),
            random.uniform(0, 1e7, size),
        ]
    )


def test_layers_and_remainder_are_fitted_together() -> None:
    """Networks say that layers take four fifths of what they take alone, and what another layer and its bytes cost; a few of them move the numbers only part of the way."""
    random = np.random.default_rng(1)
    table = counts(random, 1500)
    truth = np.array([*[0.8] * PARTS, 1e-5, 1e-6, 3e-6, 5e-13, 1e-6, 3e-13])
    start = JointStart(2e-6, 2.5e-13)
    many = fit_joint(table, table @ truth, start)
    assert table @ many == pytest.approx(table @ truth, rel=0.03) and many[0] == pytest.approx(0.8, abs=0.03)
    few = fit_joint(table[:1], table[:1] @ truth, start)
    assert 0.8 < few[:PARTS].mean() < 1.0


def test_no_number_but_one_is_negative() -> None:
    """Wholes far below their layers make other layers free, not paid for."""
    table = counts(np.random.default_rng(2), 30)
    found = fit_joint(table, 0.3 * table[:, :PARTS].sum(axis=1), JointStart(2e-6, 2.5e-13))
    assert (np.delete(found, PARTS + 1) >= 0).all()


def test_another_batch_size_is_the_same_network() -> None:
    """Both are left out together: what is said of a network does not know it at another batch size."""
    assert alike([("a",), ("b",), ("a",)]).tolist() == [0, 1, 0]
    table = counts(np.random.default_rng(4), 8)
    whole, groups = table.sum(axis=1), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    start = JointStart(2e-6, 2.5e-13)
    said = by_others(table, whole, start, groups)
    assert said[:2] == pytest.approx(table[:2] @ fit_joint(table[2:], whole[2:], start))


def test_rows_and_layers_have_the_same_quantities() -> None:
    """What is fused and how a pool pools are read from a dataset's columns as from layers, whatever stands beside."""
    pools = [Layer("p", "pool", 1, 8, 9, 9, 8, 4, 4, 2, 2, 2, 2, precision="FP16", layer_type=name)
             for name in ("max", "avg", "MaxPool", "GlobalAveragePool")]  # fmt: skip
    convolutions = [Layer("c", "conv", 1, 8, 9, 9, 8, 9, 9, 3, 3, precision="FP16", fused=count) for count in (0, 2)]
    for kind, layers, names, told in (
        ("pool", pools, ("operations", "averaging"), [1, 2, 1, 2]),
        ("conv", convolutions, ("operations", "inside"), [1, 3]),
    ):
        dataset = dataset_of([row(layer, network="n", origin="sweep") for layer in layers], {})
        found = measure(layers, names)
        assert found[:, 1].tolist() == told
        assert (measure_rows(dataset.table, np.arange(len(layers)), kind, names) == found).all()
