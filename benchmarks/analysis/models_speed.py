"""(s) Fitting the six models to 20,000 layers beside PolynomialFeatures → StandardScaler → LassoCV; and to 2,000 at degree 4."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower.console import progress
from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.models.regression.design import DICTIONARIES, KINDS, TARGETS, dictionary_of
from neuralpower.models.regression.lasso import SparsePolynomial
from neuralpower.models.six import fit_together
from neuralpower.models.validation.held_out import KindFolds
from neuralpower.models.validation.score import rmspe
from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.sweep import sweep

from ..report import Result
from ..statistics import Bar, Form, Metrics, Rounds, Row, interleave

MINUTES = 15.0
BAR = Bar(1 / 5)
ERROR_BAR = Bar(1.0)
SHARES = {"conv": 0.6, "pool": 0.2, "fc": 0.2}
"""Of each layer type among the layers; a layer has a runtime and a power, so each type makes two models."""
IDLE_W, LUCK = 4.5, {"runtime": 0.07, "power": 0.046}
HELD_OUT = 0.1
"""So many layers more, as a share, on which the errors are compared."""
WARM_UP = 150
CV_FOLDS, ALPHAS = 10, 500
_SIZES = {
    "conv": ("batch", "out_h", "out_w", "kernel_w", "in_c", "out_c", "in_h"),
    "pool": ("batch", "out_h", "out_w", "out_c", "kernel_h", "in_h"),
    "fc": ("batch", "out_c", "in_h", "in_w", "in_c"),
}
"""The sizes that NeuralPower's scripts take their monomials from."""

Floats = npt.NDArray[np.float64]
Fitted = Mapping[tuple[str, str], Callable[[Sequence[Layer]], Floats]]


def run(form: Form) -> Result:
    """Whole at degree 3, and on the smaller set at degree 4: processor time for all six models, and errors on fresh layers."""
    result = Result()
    for degree, layers in ((3, int(form.pick(1000, 20_000))), (4, int(form.pick(300, 2000)))):
        result.rows += _compare(degree, layers, form)
    result.notes += [
        f"processor time of fitting six models, one thread. Reference: monomials of the original's sizes to the degree, standardised, "
        f"LassoCV(cv={CV_FOLDS}, {ALPHAS} penalties). Ours: the dictionaries of neuralpower.models to the degree, regions, rates, nested "
        "folds by configuration and intervals, as `neuralpower fit` without its outer folds; of more than 3000 layers of a type a sample "
        "chooses the terms, and all fit them",
        "errors: geometric mean over the six models of the RMSPE on layers drawn anew; simulated device, simulated noise of "
        f"{LUCK['runtime']:.1%} and {LUCK['power']:.1%}",
    ]
    return result


def _compare(degree: int, count: int, form: Form) -> list[Row]:
    from threadpoolctl import threadpool_limits

    # Loading libraries is no part of fitting: whoever came first would pay for it.
    for warm in (_ours, _reference):
        warm(_drawn(WARM_UP, 3), 1)
    training, fresh = _drawn(count, 1), _drawn(max(60, int(HELD_OUT * count)), 2)

    def timed(fit: Callable[[Dataset, int], Fitted]) -> Callable[[], Metrics]:
        def once() -> Metrics:
            begin = time.process_time()
            fitted = fit(training, degree)
            return {"seconds": time.process_time() - begin, "error": _error(fitted, fresh)}

        return once

    sides = {"ours": timed(_ours), "reference": timed(_reference)}
    rounds = form.count(1, 2)
    with threadpool_limits(1), progress(f"s: {count} layers, degree {degree}", rounds) as advance:
        found: Rounds = interleave(sides, rounds, advance)
    what = f"{count} layers at degree {degree}"
    return [
        *found.row(f"fitting {what}", "seconds", "s", bar=BAR),
        *found.row(f"error after {what}", "error", "1", bar=ERROR_BAR),
    ]


def _drawn(count: int, seed: int) -> Dataset:
    """Layers that fill the space of the zoo's, as a simulated device runs them."""
    hardware, random = Hardware.drawn(1), np.random.default_rng((seed, 9))
    wanted = [int(count * SHARES[kind]) for kind in KINDS]
    rows = []
    for probe in sweep(seed, *wanted):
        layer = layers_from_engine(probe.engine(1), probe.name)[0]
        cost = hardware.cost(layer)
        luck = np.exp(random.normal(0, [LUCK[target] for target in TARGETS]))
        runtime, power = cost.duration_s * luck[0], (IDLE_W + cost.power_w[0]) * luck[1]
        rows.append(
            row(layer, network="", origin="sweep", runtime_s=runtime, power_w=power, method="direct", simulated=True)
        )
    return dataset_of(rows, {})


def _ours(dataset: Dataset, degree: int) -> Fitted:
    fitted: dict[tuple[str, str], Callable[[Sequence[Layer]], Floats]] = {}
    for kind in KINDS:
        folds = KindFolds.of(dataset, kind, TARGETS, 5, 0)
        models = fit_together(folds, kind, folds.fold >= 0, lambda kind, target: _estimator(kind, target, degree))
        for target, model in models.items():
            fitted[kind, target] = _predictor(model.predict, dictionary_of(kind, target).columns)
    return fitted


def _estimator(kind: str, target: str, degree: int) -> SparsePolynomial:
    return SparsePolynomial(dictionary_of(kind, target), degrees=tuple(range(1, degree + 1)))


def _predictor(predict: Callable[[Floats], Floats], columns: Sequence[str]) -> Callable[[Sequence[Layer]], Floats]:
    from neuralpower.models.regression.quantities import measure

    return lambda layers: predict(measure(layers, columns))


def _reference(dataset: Dataset, degree: int) -> Fitted:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    fitted: dict[tuple[str, str], Callable[[Sequence[Layer]], Floats]] = {}
    for kind, target in DICTIONARIES:
        chosen = dataset.where(kind=kind)
        y = chosen["runtime_s" if target == "runtime" else "power_w"].astype(np.float64)
        pipeline = make_pipeline(PolynomialFeatures(degree, include_bias=False), StandardScaler(), _lasso_cv())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it stops after its own number of sweeps
            pipeline.fit(_raw(chosen.layers(), kind), y)
        fitted[kind, target] = _bounded(pipeline, kind, float(y.min()))
    return fitted


def _lasso_cv() -> Any:
    """Newer scikit-learn counts penalties by `alphas`, older by `n_alphas`."""
    from sklearn import __version__
    from sklearn.linear_model import LassoCV

    newer = tuple(int(part) for part in __version__.split(".")[:2]) >= (1, 7)
    return LassoCV(cv=CV_FOLDS, **{"alphas" if newer else "n_alphas": ALPHAS})


def _raw(layers: Sequence[Layer], kind: str) -> Floats:
    return np.array([[getattr(layer, name) for name in _SIZES[kind]] for layer in layers], dtype=np.float64)


def _bounded(pipeline: Any, kind: str, least: float) -> Callable[[Sequence[Layer]], Floats]:
    """A runtime below zero would make the reference's error meaningless; it gets the floor that the original has."""
    return lambda layers: np.maximum(least, pipeline.predict(_raw(layers, kind)))


def _error(fitted: Fitted, fresh: Dataset) -> float:
    errors = []
    for (kind, target), predict in fitted.items():
        chosen = fresh.where(kind=kind)
        truth = chosen["runtime_s" if target == "runtime" else "power_w"].astype(np.float64)
        errors.append(rmspe(predict(chosen.layers()), truth))
    return float(np.exp(np.mean(np.log(errors))))
