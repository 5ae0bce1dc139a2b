"""What the estimator promises beyond a fit: scikit-learn's conventions, regions, rates, intervals, units measured together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.features import Layer
from neuralpower.models.judging.baselines import Mean, Paleo, Trees, baselines
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.lasso import Nested, SparsePolynomial
from neuralpower.models.regression.merged import Merged
from neuralpower.models.regression.polynomial import LEVEL, Interval, Polynomial, PredictionBounds
from neuralpower.models.regression.terms import step
from neuralpower.models.rows import rows_of
from neuralpower.models.validation.held_out import KindFolds
from neuralpower.models.validation.score import rmspe

SIZES = Dictionary(columns=("in_c", "out_c", "batch"), powers=("in_c", "out_c", "batch"))


def sizes(rows: int, seed: int = 10) -> np.ndarray:
    return np.round(2 ** np.random.default_rng(seed).uniform(2, 8, (rows, 3)))


@parametrize_with_checks([SparsePolynomial(degrees=(1,), penalties=10)])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    """scikit-learn's own checks of an estimator, for monomials of columns that are no layers."""
    check(estimator)


def test_regions_are_found_and_can_be_read() -> None:
    """Where a box of sizes runs three times as long, a term says which box, and the error there is gone."""
    dictionary = Dictionary(columns=("in_c", "out_c"), physical=("in_c",), regions=("in_c", "out_c"), amounts=("in_c",))
    random = np.random.default_rng(20)

    def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = np.round(2 ** random.uniform(4, 9, (rows, 2)))
        slow = (x[:, 0] > 96) & (x[:, 0] <= 224) & (x[:, 1] > 96)
        return x, 1e-6 * x[:, 0] * np.where(slow, 3.0, 1.0)

    x, y = drawn(600)
    new, truth = drawn(300)
    smooth = SparsePolynomial(dictionary, degrees=(1,), regions=False).fit(x, y)
    boxes = SparsePolynomial(dictionary, degrees=(1,)).fit(x, y)
    assert rmspe(boxes.predict(new), truth) < 0.15 < 0.2 < rmspe(smooth.predict(new), truth)
    assert any("[in_c>" in term.name and "[out_c>" in term.name for term in boxes.polynomial_.terms)


def test_regions_are_sought_in_the_training_rows_alone() -> None:
    """On noise no region survives its held-out folds by much: the fit stays near the mean."""
    dictionary = Dictionary(columns=("in_c", "out_c"), regions=("in_c", "out_c"), physical=("in_c",))
    random = np.random.default_rng(21)
    x = np.round(2 ** random.uniform(4, 9, (300, 2)))
    y = np.exp(0.1 * random.standard_normal(300))
    fitted = SparsePolynomial(dictionary, degrees=(1,)).fit(x, y)
    assert np.std(fitted.predict(x)) < 0.05


def test_intervals_hold_what_they_promise() -> None:
    """Of layers drawn like those in training, 90 % lie within; the interval is near that of the noise."""
    x, new = sizes(400, 22), sizes(4000, 23)
    random = np.random.default_rng(24)
    noise = 0.1
    fitted = SparsePolynomial(SIZES, degrees=(1,)).fit(x, (3 + x[:, 0]) * np.exp(noise * random.standard_normal(400)))
    truth = (3 + new[:, 0]) * np.exp(noise * random.standard_normal(4000))
    low, high = fitted.predict_interval(new)
    assert np.mean((truth >= low) & (truth <= high)) == pytest.approx(LEVEL, abs=0.04)
    assert fitted.polynomial_.interval.high == pytest.approx(np.exp(1.64 * noise), rel=0.05)


@pytest.mark.parametrize("rows", [1, 5, 19, 100])
def test_an_interval_of_few_rows_is_their_range(rows: int) -> None:
    """With fewer rows than the level needs, the interval spans them all; with more, it leaves out as many as it may."""
    ratios = 1 + np.arange(rows) / rows
    interval = Interval.of(ratios)
    outside = np.sum(ratios < interval.low) + np.sum(ratios > interval.high)
    assert outside <= (1 - LEVEL) * rows
    assert outside == (8 if rows == 100 else 0)


def test_rates_carry_the_runtime_model_with_them() -> None:
    """Power that is work over time is found through the predicted runtime, also for new layers, from sizes alone."""
    dictionary = Dictionary(
        columns=("operations", "bytes"), physical=("bytes",), nested=("operation_rate", "byte_rate")
    )
    random = np.random.default_rng(25)
    x, new = 2 ** random.uniform(10, 20, (300, 2)), 2 ** random.uniform(10, 20, (100, 2))

    def seconds(q: np.ndarray) -> np.ndarray:
        return 1e-4 + 1e-9 * q[:, 0] + 2e-9 * q[:, 1]

    def watts(q: np.ndarray) -> np.ndarray:
        return 3 + 5e-9 * q[:, 0] / seconds(q)

    columns = Dictionary(columns=dictionary.columns, physical=("operations", "bytes"))
    runtime = SparsePolynomial(columns, degrees=(1,)).fit(x, seconds(x))
    nested = Nested(runtime.held_out_, runtime.polynomial_)
    power = SparsePolynomial(dictionary, degrees=(1,)).fit(x, watts(x), nested=nested)
    assert rmspe(power.predict(new), watts(new)) < 0.02
    assert "operation_rate" in power.polynomial_.quantities()


def test_squared_loss_serves_the_large() -> None:
    """The original's loss makes the squared error less and the relative error more."""
    x = sizes(300, 26)
    y = 1e-3 * x[:, 0] * (1 + (x[:, 0] > 100))
    relative = SparsePolynomial(SIZES, degrees=(1,)).fit(x, y).predict(x)
    squared = SparsePolynomial(SIZES, degrees=(1,), loss="squared").fit(x, y).predict(x)
    assert np.mean((squared - y) ** 2) < np.mean((relative - y) ** 2)
    assert rmspe(relative, y) < rmspe(squared, y)
    with pytest.raises(ValueError, match="loss"):
        SparsePolynomial(SIZES, loss="absolute").fit(x, y)


def test_a_unit_is_one_equation() -> None:
    """Layers known only together, by their energy, teach the power of each: Σ P_j·t_j = E."""
    x = sizes(400, 27)
    power = 2 + 0.05 * x[:, 0]
    time = np.random.default_rng(28).uniform(1, 3, 400)
    unit = np.arange(400) // 2
    mean = (np.bincount(unit, power * time) / np.bincount(unit, time))[unit]
    estimator = SparsePolynomial(SIZES, degrees=(1,))
    groups = unit // 5
    together = clone(estimator).fit(x, mean, groups, units=unit, shares=time).predict(x)
    apart = clone(estimator).fit(x, mean, groups).predict(x)
    assert rmspe(together, power) < 0.02 < 0.1 < rmspe(apart, power)


def test_units_of_one_row_change_nothing() -> None:
    """Numbering every row by itself is the same as numbering none."""
    x = sizes(60, 29)
    y = 1 + x[:, 0]
    plain = SparsePolynomial(SIZES, degrees=(1,)).fit(x, y)
    numbered = clone(plain).fit(x, y, units=np.arange(60) + 7, shares=np.full(60, 3.0))
    np.testing.assert_allclose(numbered.predict(x), plain.predict(x))


def test_merged_rows_average_by_share() -> None:
    """Means follow the shares, groups that share a unit are joined, and bad shares are refused."""
    merged = Merged.of(4, [5, 5, 9, 9], [1.0, 3.0, 1.0, 1.0])
    assert merged.mean(np.array([4.0, 8.0, 1.0, 3.0])).tolist() == [7.0, 2.0]
    assert merged.joined(np.array([0, 1, 1, 2])).tolist() == [0, 0, 0, 0]
    assert merged.joined(np.array([0, 0, 2, 2])).tolist() == [0, 0, 2, 2]
    for bad in ([1.0, 0.0, 1.0, 1.0], [1.0, 1.0]):
        with pytest.raises(ValueError, match="shares"):
            Merged.of(4, [5, 5, 9, 9], bad)


def convolution(channels: int, side: int = 14) -> Layer:
    return Layer(f"c{channels}", "conv", 1, channels, side, side, channels, side, side, 3, 3)


def unit_dataset() -> Dataset:
    """An engine whose first three layers, one of them a pool, are a unit of 6 W; its short layers have wide errors."""
    pool = Layer("p", "pool", 1, 8, 14, 14, 8, 7, 7, 2, 2, 2, 2)
    listed = [(convolution(8), 1e-5, 6.0, 3.0), (pool, 1e-5, 6.0, 3.0), (convolution(16), 2e-5, 6.0, 2.0)]
    rows = [
        row(layer, network="n", position=place, origin="network", runtime_s=t, power_w=p, power_se_w=se, energy_j=t * p,
            method="least-squares, unit of 3", engine="e")
        for place, (layer, t, p, se) in enumerate(listed)
    ]  # fmt: skip
    rows.append(row(convolution(32), network="n", position=3, origin="network", runtime_s=1e-3, power_w=7.0, power_se_w=0.1,
                    energy_j=7e-3, method="least-squares", engine="e"))  # fmt: skip
    return dataset_of(rows, {})


def test_no_layer_of_a_unit_is_dropped_for_being_short() -> None:
    """Layers whose own error is half their power stay, as one row with the unit's error and shares of its time."""
    rows = rows_of(unit_dataset(), "conv", "power")
    assert (len(rows), rows.unresolved) == (3, 0)
    assert rows.units[0] == rows.units[1] != rows.units[2]
    merged = rows.merged
    assert merged.mean(np.array([5.0, 8.0, 7.0])).tolist() == pytest.approx([7.0, 7.0])
    assert rows.relative_se[0] < 0.25
    energy = rows_of(unit_dataset(), "conv", "energy")
    assert energy.y[:2].tolist() == pytest.approx([6.0 * 3e-5 / 2] * 2)


def test_a_fold_never_cuts_a_unit() -> None:
    """When a layer of a unit is left out of the training rows, so is the unit."""
    rng = np.random.default_rng(30)
    rows = []
    for network in range(6):
        for place in range(6):
            layer = convolution(int(8 * rng.integers(1, 12)))
            rows.append(row(layer, network=f"n{network}", position=place, origin="network", runtime_s=1e-5,
                            power_w=5.0 + place // 2 + network / 10, method="least-squares, unit of 2", engine=f"e{network}"))  # fmt: skip
    folds = KindFolds.of(dataset_of(rows, {}), "conv", ("runtime", "power"), 3, 0)
    power = folds.rows["power"]
    assert np.bincount(power.merged.unit).tolist() == [2] * 18
    cut = 0
    for train, test in folds.parts():
        trained, tested = set(power.units[train]), set(power.units[test])
        assert not trained & tested
        assert all(train[power.units == unit].all() for unit in trained)
        cut += int((~train & ~test).sum())
    assert cut > 0


def test_a_formula_tells_its_units() -> None:
    """The printed sum names target, unit, and every coefficient with its term."""
    x = sizes(80, 31)
    fitted = SparsePolynomial(SIZES, degrees=(1,)).fit(x, 3 + 2 * x[:, 0])
    text = fitted.polynomial_.formula("runtime", "s")
    assert text.startswith("runtime [s] = ")
    assert "* in_c" in text and text.count("\n") == len(fitted.polynomial_.terms)


def test_a_polynomial_without_terms_is_its_intercept() -> None:
    """Nothing but a constant predicts the constant."""
    bounds, interval = PredictionBounds(1.0, None, {}), Interval(0.9, 1.1)
    constant = Polynomial(("in_c",), 1, 2.0, (), (), (), bounds, interval, {"in_c": (1.0, 9.0)})
    assert constant.predict(np.array([[4.0], [5.0]])).tolist() == [2.0, 2.0]
    assert constant.formula("power", "W") == "power [W] = 2"


def test_every_baseline_fits_and_is_positive() -> None:
    """Each predicts positive numbers for new layers; the mean the mean, Paleo what its rates allow, trees what they saw."""
    layers = [convolution(8 * c, side) for c in range(1, 13) for side in (7, 14, 28)]
    y = np.array([1e-5 + layer.macs() / 1e11 for layer in layers])
    for target in ("runtime", "power"):
        for name, make in baselines("conv", target, 0).items():
            predicted = make().fit(layers, y).predict([convolution(20), convolution(1000)])
            assert np.isfinite(predicted).all() and (predicted > 0).all(), name
    assert Mean().fit(layers, y).predict(layers[:1]).tolist() == [pytest.approx(y.mean())]
    trees = Trees().fit(layers, y).predict(layers)
    assert rmspe(trees, y) < rmspe(Mean().fit(layers, y).predict(layers), y) / 5
    assert rmspe(Paleo().fit(layers, y).predict(layers), y) < 0.7
    assert step("in_c", ">", 3.5) == "[in_c>3.5]"
