"""Simpler ways and other people's to predict a layer, for the same table: each fits layers and values, and predicts layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neuralpower.features.layers import Layer
from neuralpower.models.judging.original import original_matrix
from neuralpower.models.regression.design import monomials
from neuralpower.models.regression.path import Lasso, Moments
from neuralpower.models.regression.quantities import measure
from neuralpower.models.regression.terms import evaluate

Floats = NDArray[np.float64]

CV_FOLDS = 10
"""Of both predecessors."""


class BaselineModel(Protocol):
    """What a baseline does. Each is bounded below by the smallest value it was fitted to, as a runtime cannot be negative."""

    def fit(self, layers: Sequence[Layer], y: Floats) -> BaselineModel: ...

    def predict(self, layers: Sequence[Layer]) -> Floats: ...


class Mean:
    """The mean of the training rows."""

    def fit(self, layers: Sequence[Layer], y: Floats) -> Mean:
        self._mean = float(y.mean())
        return self

    def predict(self, layers: Sequence[Layer]) -> Floats:
        return np.full(len(layers), self._mean)


class _LeastSquaresLasso:
    """Lasso by squared error whose penalty has the least squared error over ten random folds."""

    standardised = True
    penalties = np.geomspace(1.0, 1e-3, 50)

    def __init__(self, kind: str, target: str, seed: int = 0) -> None:
        self.kind, self.target, self.seed = kind, target, seed

    def matrix(self, layers: Sequence[Layer]) -> Floats:
        """Of the columns of a way; each way has its own."""
        raise NotImplementedError

    def fit(self, layers: Sequence[Layer], y: Floats) -> _LeastSquaresLasso:
        raw = self.matrix(layers)
        self._mean, self._scale = raw.mean(axis=0), raw.std(axis=0)
        self._kept = np.flatnonzero(self._scale > 1e-9 * np.abs(raw).max(axis=0))
        z, even = self._z(raw), np.ones(len(y))
        # What one unit of a coefficient of a standardised column is in units of the column: what is penalised if it is not.
        factor = None if self.standardised else 1 / self._scale[self._kept]
        moments = Moments.of(z, y, even)
        fold = np.random.default_rng(self.seed).permutation(len(y)) % min(CV_FOLDS, len(y))
        squared = np.zeros(len(self.penalties))
        for number in np.unique(fold):
            out = fold == number
            solver = Lasso(moments - Moments.of(z[out], y[out], even[out]), factor)
            coefficients, intercepts = solver.follow(self.penalties)
            squared += ((intercepts + z[out] @ coefficients - y[out, None]) ** 2).sum(axis=0)
        coefficients, intercepts = Lasso(moments, factor).follow(self.penalties[: int(squared.argmin()) + 1])
        self._coefficients, self._intercept, self._least = coefficients[:, -1], intercepts[-1], float(y.min())
        return self

    def predict(self, layers: Sequence[Layer]) -> Floats:
        return np.asarray(np.maximum(self._least, self._intercept + self._z(self.matrix(layers)) @ self._coefficients))

    @property
    def terms(self) -> int:
        """Non-zero coefficients and the constant: the size as NeuralPower counts it."""
        return int(np.count_nonzero(self._coefficients)) + 1

    def _z(self, raw: Floats) -> Floats:
        return np.asarray((raw - self._mean)[:, self._kept] / self._scale[self._kept])


class Original(_LeastSquaresLasso):
    """NeuralPower as published (arXiv 1710.05420): 127, 127, 21, 65, 86 or 93 columns, squared error."""

    def matrix(self, layers: Sequence[Layer]) -> Floats:
        return original_matrix(self.kind, self.target, layers)


_WINDOW = ("batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w", "kernel_h", "kernel_w")
_EDGE_PROFILER = {
    "conv": (*_WINDOW, "pad_h", "pad_w", "stride_h", "stride_w"),
    "pool": (*_WINDOW, "stride_h", "stride_w"),
    "fc": ("batch", "in_c", "out_c"),
}
_EDGE_SPECIAL: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Its "operations" take the output's width where the channels are meant.
    "conv": (
        ("in_c", "in_h", "in_w", "kernel_h", "kernel_w", "out_w"),
        ("in_c", "in_h", "in_w", "kernel_h", "kernel_w", "out_w", "batch"),
    ),
    "pool": (
        ("batch", "in_c", "in_h", "in_w"),
        ("batch", "out_c", "out_h", "out_w"),
        ("batch", "in_c", "in_h", "in_w", "kernel_h", "kernel_w"),
    ),
    "fc": (),
}


class EdgeProfiler(_LeastSquaresLasso):
    """The pipelines of fuzzylabs/edge-vision-power-estimation: all monomials to degree 3 of its raw features and its products of
    operations, a convolution's power by log(1 + x), Lasso without scaling the columns, ten folds, squared error.
    """

    standardised = False
    penalties = np.geomspace(1.0, 1e-3, 100)

    def matrix(self, layers: Sequence[Layer]) -> Floats:
        names = list(_EDGE_PROFILER[self.kind])
        values = np.array([[getattr(layer, name) for name in names] for layer in layers], dtype=np.float64)
        raw = dict(zip(names, values.T, strict=True))
        logs = self.kind == "conv" and self.target == "power"
        column = {name: np.log1p(x) if logs else x for name, x in raw.items()}
        regular = evaluate(monomials(names, 3), column, len(layers)) if not logs else _products(column, names)
        special = [np.prod([raw[name] for name in product], axis=0) for product in _EDGE_SPECIAL[self.kind]]
        return np.column_stack([regular, *special])


def _products(column: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    terms = monomials(names, 3)
    return np.column_stack(
        [np.prod([column[feature] ** power for feature, power in term.exponents], axis=0) for term in terms]
    )


class Paleo:
    """Paleo's analytical runtime (Qi, Sparks, Talwalkar 2017): operations over the peak rate plus bytes over the bandwidth.

    The platform's peaks are not known, so the best rates measured stand for them; the utilisation factor, Paleo's percent of
    peak, is the one of least RMSPE. Power: none.
    """

    def fit(self, layers: Sequence[Layer], y: Floats) -> Paleo:
        work = measure(layers, ("operations", "bytes"))
        self._peak = (work / y[:, None]).max(axis=0)
        ideal = self._ideal(layers)
        # Of c·ideal/y - 1 the mean square is least at this c.
        self._factor = float((ideal / y).sum() / ((ideal / y) ** 2).sum())
        return self

    def predict(self, layers: Sequence[Layer]) -> Floats:
        return self._factor * self._ideal(layers)

    def _ideal(self, layers: Sequence[Layer]) -> Floats:
        return np.asarray((measure(layers, ("operations", "bytes")) / self._peak).sum(axis=1))


_SEEN = ("batch", "in_c", "out_c", "in_side", "out_side", "kernel_side", "stride", "dilation", "groups", "element_bytes",
         "window", "out_pixels", "operations", "inputs", "outputs", "bytes", "intensity")  # fmt: skip


class Trees:
    """Boosted regression trees under the same relative loss: what a model can reach that nobody can read.

    Of the settings tried on the measured convolutions these did best; smaller leaves take the rare slow layers for a rule.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, layers: Sequence[Layer], y: Floats) -> Trees:
        from sklearn.ensemble import GradientBoostingRegressor

        self._least = float(y.min())
        model = GradientBoostingRegressor(
            n_estimators=300, learning_rate=0.05, max_depth=5, min_samples_leaf=15, subsample=0.5, max_features=0.5,
            random_state=self.seed,
        )  # fmt: skip
        self._model = model.fit(measure(layers, _SEEN), y, sample_weight=(y.mean() / y) ** 2)
        return self

    def predict(self, layers: Sequence[Layer]) -> Floats:
        return np.asarray(np.maximum(self._least, self._model.predict(measure(layers, _SEEN))))


class LogTrees:
    """Boosted regression trees on the logarithm of the value: errors relative both ways, by what nobody can read."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, layers: Sequence[Layer], y: Floats) -> LogTrees:
        from sklearn.ensemble import GradientBoostingRegressor

        model = GradientBoostingRegressor(
            n_estimators=300, learning_rate=0.05, max_depth=5, min_samples_leaf=5, subsample=0.5, max_features=0.5,
            random_state=self.seed,
        )  # fmt: skip
        self._model = model.fit(measure(layers, _SEEN), np.log(y))
        return self

    def predict(self, layers: Sequence[Layer]) -> Floats:
        return np.asarray(np.exp(self._model.predict(measure(layers, _SEEN))))


def baselines(kind: str, target: str, seed: int) -> dict[str, Callable[[], BaselineModel]]:
    """Name -> a maker of the baseline, for those that know the layer type and target; energy has only the general ones."""
    found: dict[str, Callable[[], BaselineModel]] = {
        "mean": Mean,
        "trees": lambda: Trees(seed),
        "log trees": lambda: LogTrees(seed),
    }
    if target == "energy":
        return found
    found["original"] = lambda: Original(kind, target, seed)
    found["EdgeProfiler"] = lambda: EdgeProfiler(kind, target, seed)
    if target == "runtime":
        found["Paleo"] = Paleo
    return found
