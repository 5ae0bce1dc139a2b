"""Predictions beyond the data, losses without a pull, intervals that know their layer, and what nothing measured supports."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from benchmarks.accuracy.models_h200 import groups, h200_layer, h200_layers

from neuralpower.cli.modelling.predict import _print_totals
from neuralpower.dataset import dataset_of, row
from neuralpower.features.layers import Layer
from neuralpower.models.network import predict_network
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.lasso import SparsePolynomial
from neuralpower.models.regression.law import Law
from neuralpower.models.regression.polynomial import LEVEL, UNSURE, Interval, Polynomial, PredictionBounds
from neuralpower.models.regression.terms import plain
from neuralpower.models.six import SixModels
from neuralpower.models.validation.score import Score

SIZES = Dictionary(columns=("in_c", "out_c"), physical=("in_c",))
LAUNCH_S, RATE = 20e-6, 2e11


def convolution(
    channels: int, side: int, kernel: int = 3, groups: int = 1, batch: int = 1, precision: str = "FP16"
) -> Layer:
    pad = kernel // 2
    return Layer(f"c{channels}s{side}k{kernel}", "conv", batch, channels, side, side, channels, side, side, kernel, kernel,
                 pad_h=pad, pad_w=pad, groups=groups, precision=precision)  # fmt: skip


def seconds(layer: Layer) -> float:
    return LAUNCH_S + layer.macs() / RATE


@pytest.fixture(scope="module")
def large() -> SixModels:
    """Models of layers of 2 ms and more, whose time is a launch and work over a rate, and whose power follows their rate."""
    layers = [
        convolution(c, s, k) for c, s, k in product((64, 96, 128, 192, 256, 384), (28, 40, 56, 80, 100), (1, 3, 5))
    ]
    rows = [
        row(
            each,
            network=each.name,
            origin="sweep",
            runtime_s=seconds(each),
            power_w=4 + each.macs() / seconds(each) / 1e11,
        )
        for each in layers
        if seconds(each) > 2e-3
    ]
    return SixModels().fit(dataset_of(rows, {}))


def test_small_layers_are_no_small_copies_of_large_ones(large: SixModels) -> None:
    """Twenty layers a hundred times shorter than any measured come to what the law makes of them; their interval knows that it is far from its data."""
    small = [convolution(32, 14)] * 20
    predicted = predict_network(large, "small", small)
    truth = 20 * seconds(small[0])
    assert predicted.runtime_s == pytest.approx(truth, rel=0.2)
    low, high = predicted.layers[0].runtime_interval_s or (0.0, 0.0)
    assert low < truth / 20 < high and high > 4 * low
    assert 4 < (predicted.layers[0].power_w or 0) < 6.1


def test_large_layers_go_on_as_work_does(large: SixModels) -> None:
    """A layer thirty times beyond the largest takes thirty times as long."""
    huge = convolution(1024, 200, 5)
    assert large.models_["conv", "runtime"].predict([huge])[0] == pytest.approx(seconds(huge), rel=0.1)


def test_the_way_beyond_begins_at_the_edge() -> None:
    """Within the domain a law changes nothing, and no prediction jumps at its edge; intervals widen from there with the distance."""
    columns, domain = ("operations", "bytes"), {"operations": (1e6, 1e8), "bytes": (1e4, 1e6)}
    law = Law(1e-5, (plain("operations"),), (1e-12,))
    model = Polynomial(
        columns,
        1,
        5e-6,
        (plain("operations"),),
        (2e-12,),
        (1.0,),
        PredictionBounds(1e-5, None, {}),
        Interval(0.9, 1.2),
        domain,
        law=law,
    )

    def at(operations: float) -> float:
        return float(model.predict(np.array([[operations, 1e5]]))[0])

    assert at(1e7) == pytest.approx(2.5e-5)
    assert at(1e6) == pytest.approx(at(0.999e6), rel=1e-3) and at(1e8) == pytest.approx(at(1.001e8), rel=2e-3)
    assert at(1e2) == pytest.approx(
        1e-5 * law.at({"operations": np.array([1e2]), "bytes": np.array([1e5])})[0] / 1.1e-5
    )
    low, high = model.predict_interval(np.array([[1e7, 1e5], [1e9, 1e5], [1e10, 1e5]]))
    assert (high / low).tolist() == pytest.approx([1.2 / 0.9 * (10**far) ** (2 * UNSURE) for far in (0, 1, 2)])


def test_what_nothing_supports_is_said(large: SixModels, capsys: pytest.CaptureFixture[str]) -> None:
    """A depthwise or grouped convolution, a batch or precision that was never measured; and how much of the sums leans on such."""
    strange = [
        convolution(64, 56, groups=64),
        convolution(64, 56, groups=2),
        convolution(96, 56, batch=8),
        convolution(96, 56, precision="INT8"),
    ]
    predicted = predict_network(large, "net", [convolution(256, 56), *strange])
    assert [p.unsupported for p in predicted.layers] == [
        (),
        ("depthwise",),
        ("groups",),
        ("batch 8",),
        ("element_bytes 1",),
    ]
    count, of_runtime, of_energy = predicted.unsupported
    assert count == 4 and 0 < of_runtime < 1 and 0 < of_energy < 1
    _print_totals(large, predicted)
    said = capsys.readouterr().out
    assert f"no support: 4 of 5 predictions, {100 * of_runtime:.0f} % of the runtime" in said and "depthwise" in said


def scattered(rows: int, deviation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = np.round(2 ** random.uniform(3, 9, (rows, 2)))
    return x, 1e-6 * (5 + x[:, 0]) * np.exp(deviation * random.standard_normal(rows))


def test_the_sum_comes_out_right_whatever_the_scatter() -> None:
    """Where layers scatter by a factor of two, errors relative to the measurement guess half; the others do not."""
    x, y = scattered(500, 0.7, 40)
    new, truth = scattered(3000, 0.7, 41)
    told = {
        loss: SparsePolynomial(SIZES, degrees=(1,), loss=loss).fit(x, y).predict(new)
        for loss in ("relative", "log-ratio", "relative-y")
    }
    found = {loss: Score.of(predicted, truth) for loss, predicted in told.items()}
    assert found["relative"].sum_bias == pytest.approx(1.0, abs=0.1)
    assert found["log-ratio"].sum_bias == pytest.approx(np.exp(-(0.7**2) / 2), abs=0.1)
    assert (found["relative-y"].sum_bias or 1.0) < 0.55
    assert (found["log-ratio"].geometric or 9) <= min(each.geometric or 0 for each in found.values())


@pytest.mark.parametrize("loss", ["relative", "log-ratio"])
def test_a_few_strange_layers_carry_no_fit(loss: str) -> None:
    """One layer in thirty measured at a fiftieth, or at fifty times: it pulls by its thirtieth, where errors relative to the measurement give in."""
    x, y = scattered(300, 0.1, 42)
    new, truth = scattered(1000, 0.0, 43)
    for factor in (0.02, 50.0):
        wrong = y.copy()
        wrong[::30] *= factor
        predicted = SparsePolynomial(SIZES, degrees=(1,), loss=loss).fit(x, wrong).predict(new)
        assert abs(np.median(np.log(predicted / truth))) < 0.1, factor
    low = y.copy()
    low[::30] *= 0.02
    old = SparsePolynomial(SIZES, degrees=(1,), loss="relative-y").fit(x, low).predict(new)
    assert np.median(np.log(old / truth)) < -0.5


def test_intervals_know_their_layer() -> None:
    """Where wide layers scatter ten times as far as narrow ones, each has its interval, and nine in ten of each lie within."""
    dictionary = Dictionary(columns=("in_c", "out_c"), physical=("in_c",), regions=("in_c", "out_c"))
    random = np.random.default_rng(44)

    def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = np.round(2 ** random.uniform(3, 9, (rows, 2)))
        return x, (5 + x[:, 0]) * np.exp(np.where(x[:, 1] > 64, 0.5, 0.05) * random.standard_normal(rows))

    fitted = SparsePolynomial(dictionary, degrees=(1,), regions=False).fit(*drawn(600))
    new, truth = drawn(4000)
    low, high = fitted.predict_interval(new)
    inside, wide = (truth >= low) & (truth <= high), new[:, 1] > 64
    for some in (wide, ~wide):
        assert inside[some].mean() == pytest.approx(LEVEL, abs=0.05)
    assert np.median((high / low)[wide]) > 2 * np.median((high / low)[~wide])
    assert all("out_c" in where.name for where, _, _ in fitted.polynomial_.interval.groups)


def test_a_score_tells_both_ways() -> None:
    """The sum's bias, and the typical factor between prediction and measurement."""
    score = Score.of(np.array([2.0, 1.0, 4.0]), np.array([1.0, 2.0, 4.0]))
    assert score.sum_bias == 1.0 and score.geometric == pytest.approx(2 ** (2 / 3) - 1)


def test_measured_layers_are_read_with_their_geometry(tmp_path: Path) -> None:
    """Sides may be pairs; a pool has its type, each layer its precision, time in s and power in W; groups have enough layers."""
    measured = {"ms": 0.5, "watts": 200.0, "repeats": 3}
    conv = {
        "kind": "conv",
        "dtype": "fp16",
        "n": 2,
        "ci": 8,
        "h": 17,
        "w": 17,
        "co": 16,
        "k": [1, 7],
        "s": 1,
        "p": [0, 3],
        "g": 1,
    }
    pool = {"kind": "pool", "dtype": "fp32", "n": 2, "ci": 8, "h": 9, "w": 9, "k": 9, "s": 1, "p": 0, "pool": "gap"}
    fc = {"kind": "fc", "dtype": "fp16", "n": 4, "ci": 100, "co": 10}
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"device": "our own", "layers": [{**each, **measured} for each in (conv, pool, fc)]}))
    dataset = h200_layers(path)
    layers = dataset.layers()
    assert [(layer.kind, layer.out_h, layer.out_w, layer.precision) for layer in layers] == [
        ("conv", 17, 17, "FP16"), ("pool", 1, 1, "FP32"), ("fc", 1, 1, "FP16")]  # fmt: skip
    assert layers[0].kernel_w == 7 and layers[1].layer_type == "GlobalAveragePool"
    assert dataset["runtime_s"].tolist() == [5e-4] * 3 and dataset["device"].tolist() == ["our own"] * 3
    depthwise = h200_layer({**conv, "co": 8, "g": 8}, "d")
    assert set(groups([depthwise] * 10 + [layers[0]] * 9)) >= {"depthwise", "batch 2 and more"}
    assert "dense" not in groups([depthwise] * 10 + [layers[0]] * 9)
