"""Errors of models on a dataset, by layer type and by network, and of the baselines on the same folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.models.baselines import Baseline, baselines
from neuralpower.models.design import KINDS
from neuralpower.models.held_out import CrossValidation, HeldOut, KindFolds
from neuralpower.models.rows import networks_of, rows_of
from neuralpower.models.score import Score
from neuralpower.models.six import Key, SixModels

Floats = NDArray[np.float64]


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
            merged = rows.merged
            found[kind, target] = Score.of(merged.mean(model.predict(rows.layers)), merged.first(rows.y))
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


def simpler_ways(models: SixModels, dataset: Dataset) -> dict[Key, dict[str, CrossValidation]]:
    """(kind, target) -> name -> errors of other ways (:mod:`.baselines`), on the folds of the models' own table."""
    found: dict[Key, dict[str, CrossValidation]] = {}
    for kind in KINDS:
        targets = [target for key, target in models.models_ if key == kind]
        if not targets:
            continue
        folds = models.folds_of(dataset, kind)
        for target in targets:
            makers = baselines(kind, target, models.seed)
            scores = {name: held_out_baseline(folds, target, make) for name, make in makers.items()}
            found[kind, target] = {name: score for name, score in scores.items() if score is not None}
    return found


def held_out_baseline(folds: KindFolds, target: str, make: Callable[[], Baseline]) -> CrossValidation | None:
    """The errors of a baseline on the folds; it takes a unit's layers for measured one by one, which it cannot help."""
    rows, found = folds.rows[target], HeldOut(folds, target)
    for train, test in folds.parts():
        if not folds.few(target, train):
            chosen, asked = rows.where(train[rows.index]), rows.where(test[rows.index])
            if len(asked):
                found.add(test, make().fit(chosen.layers, chosen.y).predict(asked.layers))
    return found.score()
