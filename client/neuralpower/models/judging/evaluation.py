"""Errors of models on a dataset, by layer type and by network, and of the baselines on the same folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.dataset_networks import whole_networks
from neuralpower.models.judging.baselines import BaselineModel, baselines
from neuralpower.models.network import predict_network
from neuralpower.models.regression.design import KINDS
from neuralpower.models.rows import networks_of, rows_of
from neuralpower.models.six import Key, SixModels
from neuralpower.models.validation.held_out import CrossValidation, HeldOut, KindFolds
from neuralpower.models.validation.score import Score

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NetworkError:
    """Sums over the layers of one network that have both models and both measurements: relative errors of runtime and energy.

    `energy_se`: the measured energy's own standard error, a share, with what the errors of its units have in common; nan where that is
    not known.
    """

    network: str
    layers: int
    runtime: float
    energy: float
    trained_on: bool
    energy_se: float = float("nan")


@dataclass(frozen=True)
class WholeError:
    """A whole inference beside its prediction: value, low, high and measurement of runtime (s), energy (J) and power (W)."""

    network: str
    runtime: tuple[float, float, float, float]
    energy: tuple[float, float, float, float]
    power: tuple[float, float, float, float]
    unprofiled: bool
    trained_on: bool

    def holds(self, quantity: str) -> bool:
        """Whether the measurement lies within the interval."""
        _, low, high, measured = getattr(self, quantity)
        return bool(low <= measured <= high)


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
    compared: list[NDArray[np.intp]] = []
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
        compared.append(both)
    trained = set(models.networks_)
    errors = []
    networks = networks_of(dataset)
    for name in dict.fromkeys(dataset["network"].tolist()):
        if name in networks and sums[name]:
            t, t_measured, e, e_measured = np.sum(sums[name], axis=0)
            rows = np.concatenate(compared)
            error = _energy_se_j(dataset, rows[dataset["network"][rows] == name]) / e_measured
            errors.append(
                NetworkError(name, len(sums[name]), t / t_measured - 1, e / e_measured - 1, name in trained, error)
            )
    return errors


def _energy_se_j(dataset: Dataset, rows: NDArray[np.intp]) -> float:
    """Standard error of the energy of some layers of a network, from the covariance of its units; nan where that is not known."""
    engines = set(dataset["engine"][rows].tolist())
    found = [each for each in whole_networks(dataset) if each.engine in engines]
    if len(engines) != 1 or not found:
        return float("nan")
    return found[0].layers_energy_se_j(dataset["position"][rows], dataset["runtime_s"][rows].astype(np.float64))


def whole_errors(models: SixModels, dataset: Dataset) -> list[WholeError]:
    """One entry for each whole network of the dataset that the models predict, in its order."""
    errors, trained = [], set(models.networks_)
    for each in whole_networks(dataset):
        layers = dataset.take(np.flatnonzero(dataset["engine"] == each.engine)).layers()
        whole = predict_network(models, each.network, layers).whole
        if whole is not None and np.isfinite([each.runtime_s, each.energy_j]).all():
            pairs = (
                (whole.runtime_s, each.runtime_s),
                (whole.energy_j, each.energy_j),
                (whole.power_w, each.energy_j / each.runtime_s),
            )
            time, energy, power = ((*ends, measured) for ends, measured in pairs)
            errors.append(WholeError(each.network, time, energy, power, each.unprofiled, each.network in trained))
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


def held_out_baseline(folds: KindFolds, target: str, make: Callable[[], BaselineModel]) -> CrossValidation | None:
    """The errors of a baseline on the folds; it takes a unit's layers for measured one by one, which it cannot help."""
    rows, found = folds.rows[target], HeldOut(folds, target)
    for train, test in folds.parts():
        if not folds.few(target, train):
            chosen, asked = rows.where(train[rows.index]), rows.where(test[rows.index])
            if len(asked):
                found.add(test, make().fit(chosen.layers, chosen.y).predict(asked.layers))
    return found.score()
