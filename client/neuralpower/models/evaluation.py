"""Errors of models on a dataset, by layer type and by network, and of the baselines on the same folds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.models.original import original_matrix
from neuralpower.models.polynomial import Bounds
from neuralpower.models.rows import Rows, groups_of, networks_of, rows_of
from neuralpower.models.score import Score
from neuralpower.models.six import CrossValidation, Key, SixModels, cross_validate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class NetworkError:
    """Sums over the layers of one network that have both models and both measurements: relative errors of runtime and energy."""

    network: str
    layers: int
    runtime: float
    energy: float
    trained_on: bool


def scores(models: SixModels, dataset: Dataset) -> dict[Key, Score]:
    """(kind, target) -> errors of the models as they are, on the dataset's rows."""
    found = {}
    for (kind, target), model in models.models_.items():
        rows = rows_of(dataset, kind, target)
        if len(rows):
            found[kind, target] = Score.of(model.predict(rows.layers), rows.y)
    return found


def network_errors(models: SixModels, dataset: Dataset) -> list[NetworkError]:
    """One entry for each network (not: single layer) of which some layers can be compared, in the dataset's order."""
    sums: dict[str, list[Floats]] = defaultdict(list)
    for kind in dict.fromkeys(kind for kind, _ in models.models_):
        if (kind, "runtime") not in models.models_ or (kind, "power") not in models.models_:
            continue
        time, power = rows_of(dataset, kind, "runtime"), rows_of(dataset, kind, "power")
        both, at_time, at_power = np.intersect1d(time.index, power.index, return_indices=True)
        if not len(both):
            continue
        layers = [time.layers[place] for place in at_time]
        seconds = models.models_[kind, "runtime"].predict(layers)
        watts = models.models_[kind, "power"].predict(layers)
        measured_s, measured_w = time.y[at_time], power.y[at_power]
        columns = np.column_stack([seconds, measured_s, seconds * watts, measured_s * measured_w])
        for name, line in zip(dataset["network"][both].tolist(), columns, strict=True):
            sums[name].append(line)
    trained = set(models.networks_)
    errors = []
    networks = networks_of(dataset)
    for name in dict.fromkeys(dataset["network"].tolist()):
        if name in networks and sums[name]:
            t, t_measured, e, e_measured = np.sum(sums[name], axis=0)
            errors.append(NetworkError(name, len(sums[name]), t / t_measured - 1, e / e_measured - 1, name in trained))
    return errors


def baselines(models: SixModels, dataset: Dataset) -> dict[Key, dict[str, CrossValidation]]:
    """(kind, target) -> name -> errors of simpler ways, on the folds of the models' own table.

    ``mean`` predicts the mean of the training rows. ``original`` is NeuralPower's matrix and squared error, its penalty of least
    squared error over ten folds; it is bounded below by the smallest training value, as the original's runtime is by a constant.
    """
    found: dict[Key, dict[str, CrossValidation]] = {}
    for kind, target in models.models_:
        rows = rows_of(dataset, kind, target)
        groups, grouped_by = groups_of(dataset, rows, models.folds)
        matrix = original_matrix(kind, target, rows.layers)
        ways = {"mean": partial(_mean, rows), "original": partial(_original, rows, matrix, models.seed)}
        found[kind, target] = {
            name: cross_validate(way, rows, groups, grouped_by, models.folds, models.seed) for name, way in ways.items()
        }
    return found


def _mean(rows: Rows, train: Bools, test: Bools) -> Floats:
    return np.full(int(test.sum()), rows.y[train].mean())


def _original(rows: Rows, matrix: Floats, seed: int, train: Bools, test: Bools) -> Floats:
    from neuralpower.models.lasso import WeightedLasso, distinct

    y = rows.y[train]
    kept, z = distinct(matrix[train])
    even = np.ones(len(y))
    shares = np.geomspace(1.0, 1e-3, 50)
    fold = np.random.default_rng(seed).permutation(len(y)) % min(10, len(y))
    squared = np.zeros(len(shares))
    for number in np.unique(fold):
        out = fold == number
        coefficients, intercepts = WeightedLasso(z[~out], y[~out], even[~out]).follow(shares, tolerance=1e-3)
        squared += ((intercepts + z[out] @ coefficients - y[out, None]) ** 2).sum(axis=0)
    best = int(squared.argmin())
    coefficients, intercepts = WeightedLasso(matrix[train][:, kept], y, even).follow(shares[: best + 1])
    predicted = intercepts[-1] + matrix[test][:, kept] @ coefficients[:, -1]
    return Bounds(float(y.min()), None, {}).apply(predicted, {})
