"""The estimator, its folds, its scores and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from neuralpower.models.regression import lasso
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.folds import assign, labels, splits
from neuralpower.models.regression.lasso import SparsePolynomial
from neuralpower.models.regression.path import Lasso, Moments
from neuralpower.models.regression.polynomial import PredictionBounds
from neuralpower.models.regression.search import distinct
from neuralpower.models.validation.score import Score, median_ape, rmse, rmspe

SIZES = Dictionary(columns=("in_c", "out_c", "batch"), powers=("in_c", "out_c", "batch"))


def sizes(rows: int, seed: int = 10) -> np.ndarray:
    return np.round(2 ** np.random.default_rng(seed).uniform(2, 8, (rows, 3)))


def test_rmspe_is_the_root_of_the_mean_squared_relative_error() -> None:
    """Errors of 10 % and -20 % give sqrt((0.01 + 0.04)/2), whatever the sizes."""
    predicted, measured = np.array([1.1, 80.0]), np.array([1.0, 100.0])
    assert rmspe(predicted, measured) == pytest.approx(np.sqrt(0.025))
    assert rmse(predicted, measured) == pytest.approx(np.sqrt((0.01 + 400) / 2))
    assert median_ape(predicted, measured) == pytest.approx(0.15)
    assert Score.of(predicted, measured).rows == 2


def test_a_known_sparse_polynomial_is_recovered() -> None:
    """From 3 + 2·in_c² + 0.5·in_c·out_c with 1 % noise come degree 2, few terms, and the truth on new layers."""
    x, new = sizes(300), sizes(300, seed=11)

    def truth(q: np.ndarray) -> np.ndarray:
        return 3 + 2 * q[:, 0] ** 2 + 0.5 * q[:, 0] * q[:, 1]

    noise = 1 + 0.01 * np.random.default_rng(12).standard_normal(300)
    fitted = SparsePolynomial(SIZES, seed=10).fit(x, truth(x) * noise)
    assert fitted.degree_ >= 2
    assert {"in_c^2", "in_c*out_c"} <= {term.name for term in fitted.polynomial_.terms}
    assert len(fitted.polynomial_.terms) <= 8
    assert rmspe(fitted.predict(new), truth(new)) < 0.02


def test_the_loss_is_relative() -> None:
    """Where one straight line cannot fit both small and large values, the small ones are fitted too."""
    x = sizes(200)
    y = 1e-3 * x[:, 0] * (1 + (x[:, 0] > 100))
    columns = x[:, :1]
    shares = np.geomspace(1, 1e-4, 20)
    relative = Lasso(Moments.of(columns, y, y**-2)).follow(shares)
    even = Lasso(Moments.of(columns, y, np.ones(len(y)))).follow(shares)
    errors = [rmspe(intercept[-1] + columns @ c[:, -1], y) for c, intercept in (relative, even)]
    assert errors[0] < 0.6 * errors[1]


def test_weights_are_as_good_as_repeated_rows() -> None:
    """A weight of 2 gives what a row written twice gives."""
    x = sizes(40)
    y = x[:, 0] + x[:, 1]
    double = np.arange(40) % 3 == 0
    shares = np.geomspace(1, 1e-3, 10)
    weighted = Lasso(Moments.of(x, y, 1.0 + double)).follow(shares)
    repeated = np.r_[np.arange(40), np.flatnonzero(double)]
    twice = Lasso(Moments.of(x[repeated], y[repeated], np.ones(len(repeated)))).follow(shares)
    np.testing.assert_allclose(weighted[0], twice[0], rtol=1e-4, atol=1e-6)


def test_the_path_is_that_of_coordinate_descent() -> None:
    """At every penalty the solution is scikit-learn's, converged; the moments of two halves add up to those of the whole."""
    from sklearn.linear_model import lasso_path

    random = np.random.default_rng(14)
    x = random.standard_normal((80, 20)) @ random.standard_normal((20, 20))
    y = x[:, 0] - 2 * x[:, 3] + random.standard_normal(80)
    shares = np.geomspace(1, 1e-3, 15)
    even = np.ones(80)
    second = Moments.of(x[40:], y[40:], even[40:])
    first = Moments.of(x, y, even) - second
    np.testing.assert_allclose(first.products, Moments.of(x[:40], y[:40], even[:40]).products, atol=1e-8)
    solver = Lasso(Moments.of(x, y, even))
    ours, intercepts = solver.follow(shares)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    highest = np.abs(z.T @ (y - y.mean())).max() / 80
    _, theirs, _ = lasso_path(z, y - y.mean(), alphas=highest * shares, tol=1e-12, max_iter=100_000)
    np.testing.assert_allclose(ours * solver.scales[:, None], theirs, atol=1e-4)
    np.testing.assert_allclose(intercepts, y.mean() - x.mean(axis=0) @ ours, atol=1e-9)


def test_the_estimator_keeps_to_scikit_learn() -> None:
    """The constructor only stores, clone gives an unfitted twin, and fit returns the estimator."""
    estimator = SparsePolynomial(SIZES, degrees=(1,), seed=13)
    twin = clone(estimator)
    assert twin is not estimator
    assert twin.get_params() == estimator.get_params()
    assert not [name for name in vars(twin) if name.endswith("_")]
    x = sizes(30)
    assert twin.fit(x, x.sum(axis=1)) is twin
    np.testing.assert_array_equal(twin.predict(x), clone(twin).fit(x, x.sum(axis=1)).predict(x))


def test_bad_input_is_refused() -> None:
    """Zero or missing targets, zero sizes and wrong shapes are errors that name the trouble."""
    x, y = sizes(20), np.ones(20)
    estimator = SparsePolynomial(SIZES)
    for bad_x, bad_y in ((x, y * 0), (x, y * np.nan), (x * 0, y), (x[:, :2], y), (x, y[:10]), (x[:0], y[:0])):
        with pytest.raises(ValueError, match=r"positive|shape|inconsistent|NaN|0 sample"):
            estimator.fit(bad_x, bad_y)
    with pytest.raises(ValueError, match="two groups"):
        estimator.fit(x, y, groups=np.zeros(20))


def test_columns_that_say_the_same_are_offered_once() -> None:
    """Constants and multiples of an earlier column are left out; the earlier one stays."""
    x = sizes(50)
    matrix = np.column_stack([np.full(50, 7.0), x[:, 0], 3 * x[:, 0] + 1, x[:, 1], -x[:, 0]])
    assert distinct(matrix).tolist() == [1, 3]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 25)), min_size=2, max_size=80),
    st.integers(2, 6),
    st.integers(0, 99),
)
def test_no_group_and_no_configuration_is_on_both_sides(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    """Training and test rows share neither a group nor a configuration, and every row is tested once."""
    groups = labels([group for group, _ in rows])
    configurations = labels([configuration for _, configuration in rows])
    fold = assign(groups, folds, seed)
    tested = np.zeros(len(rows), dtype=int)
    for train, test in splits(fold, configurations):
        assert not set(groups[train]) & set(groups[test])
        assert not set(configurations[train]) & set(configurations[test])
        tested += test
    assert (tested == 1).all()
    assert len(np.unique(fold)) == min(folds, len(np.unique(groups)))


def test_folds_follow_the_seed_and_are_even() -> None:
    """The same seed gives the same folds, another seed others; equal groups fill the folds evenly."""
    groups = np.arange(100)
    assert (assign(groups, 5, 1) == assign(groups, 5, 1)).all()
    assert (assign(groups, 5, 1) != assign(groups, 5, 2)).any()
    assert np.bincount(assign(groups, 5, 1)).tolist() == [20] * 5


def test_bounds_come_from_what_was_measured() -> None:
    """A runtime is no less than the least measured, nor than its work at the best rate measured; a cap holds above."""
    work = np.array([10.0, 100.0, 1000.0])
    bounds = PredictionBounds.of({"operations": work}, np.array([1.0, 5.0, 20.0]), ("operations",), capped=False)
    assert bounds.apply(np.array([-3.0, 0.5, 1e9]), {"operations": np.array([1.0, 1e4, 1.0])}).tolist() == [
        1.0,
        200.0,
        1e9,
    ]
    capped = PredictionBounds.of({}, np.array([3.0, 8.0]), (), capped=True)
    assert capped.apply(np.array([[1.0, 9.0], [4.0, -1.0]]), {}).tolist() == [[3.0, 8.0], [4.0, 3.0]]


def test_predictions_stay_positive_far_outside_the_data() -> None:
    """Even where a polynomial falls below zero, the prediction is what was measured at least."""
    x = sizes(60)
    y = 50 - 0.1 * x[:, 0]
    fitted = SparsePolynomial(SIZES, degrees=(1,)).fit(x, y)
    assert fitted.predict(np.array([[1e5, 1.0, 1.0]]))[0] == y.min()


def test_values_known_badly_count_little() -> None:
    """Rows that are off by half and say so leave the fit to the others; rows that do not say so bend it."""
    x = sizes(160)
    y = 1.0 + 0.5 * x[:, 0] + 0.25 * x[:, 1]
    off = np.arange(160) % 4 == 0
    estimator = SparsePolynomial(SIZES, degrees=(1,))
    misled = clone(estimator).fit(x, y * (1 + off / 2)).predict(x)
    told = clone(estimator).fit(x, y * (1 + off / 2), relative_se=off / 2).predict(x)
    assert rmspe(told, y) < 0.02 < 0.05 < rmspe(misled, y)
    exact = [clone(estimator).fit(x, y, relative_se=error).predict(x) for error in (None, np.zeros(160))]
    np.testing.assert_array_equal(*exact)


def test_of_many_rows_a_sample_chooses_and_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out predictions are those of the sample's test units; the sum errs no more than that of the sample alone; units stay whole."""
    x, new = sizes(900), sizes(300, seed=11)

    def truth(q: np.ndarray) -> np.ndarray:
        return 3 + 2 * q[:, 0] ** 2 + 0.5 * q[:, 0] * q[:, 1]

    y = truth(x) * (1 + 0.05 * np.random.default_rng(12).standard_normal(900))
    regional = Dictionary(columns=SIZES.columns, powers=SIZES.powers, regions=SIZES.columns)
    monkeypatch.setattr(lasso, "SEARCH_TRAINING", 120)
    monkeypatch.setattr(lasso, "SEARCH_TEST", 60)
    fitted = SparsePolynomial(regional, seed=10).fit(x, y)
    seen = np.isfinite(fitted.held_out_)
    assert seen.sum() == 60
    alone = SparsePolynomial(regional, seed=10).fit(x[seen], y[seen])
    assert rmspe(fitted.predict(new), truth(new)) < min(0.02, rmspe(alone.predict(new), truth(new)))
    again = SparsePolynomial(regional, seed=10).fit(x, y)
    assert again.polynomial_ == fitted.polynomial_
    units = np.arange(900) // 2
    joint = np.repeat(y.reshape(-1, 2).mean(axis=1), 2)
    together = SparsePolynomial(SIZES, seed=10).fit(x, joint, units=units)
    assert np.isfinite(together.held_out_).sum() == 120
    assert rmspe(together.predict(new), truth(new)) < 0.1
