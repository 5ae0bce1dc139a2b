"""Learning curves: the error on other layers against how many were measured, started from another device's models and fitted afresh."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower import console
from neuralpower.dataset import Dataset
from neuralpower.models import store
from neuralpower.models.regression.design import KINDS, TARGETS
from neuralpower.models.six import SixModels, fit_together, started
from neuralpower.models.validation.held_out import KindFolds
from neuralpower.models.validation.score import geometric_error, rmspe, sum_bias

from .models_devices import Device
from .models_public import layers, public_data

Row = dict[str, Any]
Bools = npt.NDArray[np.bool_]

MEASURED = (10, 30, 100, 300)
"""Different layers of a type that were measured on the new device."""
LEFT = 50
"""Different layers that have to be left to judge by; a curve ends where fewer are."""
FROM, TO = 1, 2
"""Seeds of the virtual devices."""
PAIRS = ("H200 to an unnamed board", "a virtual device to another")


def seed_results(quick: bool, seed: int) -> list[Row]:
    """Both ways on one draw of the measured layers, for each pair of devices that there are data of."""
    path, rows = public_data(), []
    if path is not None:
        rows += _curve(PAIRS[0], layers(path), store.load("h200-cudnn"), seed)
    if not quick:
        rows += _curve(PAIRS[1], Device.drawn(TO, quick=False).exact, _virtual(), seed)
    return rows


@lru_cache(maxsize=1)
def _virtual() -> SixModels:
    """The models of the virtual device to start from."""
    return SixModels(folds=2).fit(Device.drawn(FROM, quick=False).exact)


def _curve(pair: str, dataset: Dataset, start: SixModels, seed: int) -> list[Row]:
    found: list[Row] = []
    fresh = SixModels()
    for kind in KINDS:
        folds = KindFolds.of(dataset, kind, TARGETS, 5, seed)
        different = np.unique(folds.configuration[folds.fold >= 0])
        order = np.random.default_rng((seed, 31)).permutation(different)
        for measured in MEASURED:
            if len(different) < measured + LEFT or (kind, "runtime") not in start.models_:
                continue
            train = (folds.fold >= 0) & np.isin(folds.configuration, order[:measured])
            for how, estimator in (("started", started(fresh, start)), ("afresh", fresh.estimator)):
                for target, model in fit_together(folds, kind, train, estimator).items():
                    rows = folds.rows[target].where(~train[folds.rows[target].index])
                    predicted = model.predict(rows.x)
                    found.append({
                        "table": "transfer", "pair": pair, "layer_type": kind, "target": target, "model": how, "measured": measured, "seed": seed,
                        "geometric": geometric_error(predicted, rows.y), "rmspe": rmspe(predicted, rows.y),
                        "sum_bias": sum_bias(predicted, rows.y), "unit": "1",
                    })  # fmt: skip
    return found


def summary(rows: Iterable[Row]) -> list[Row]:
    """Medians over the draws."""
    alike: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for each in rows:
        alike[tuple(each[key] for key in ("pair", "layer_type", "target", "model", "measured"))].append(each)
    medians = ("geometric", "rmspe", "sum_bias")
    return [
        {**members[0], **{key: float(np.median([each[key] for each in members])) for key in medians}}
        for members in alike.values()
    ]


def show(rows: Iterable[Row]) -> None:
    """Print the geometric errors, a line for each curve."""
    listed = list(rows)
    for pair in PAIRS:
        lines: dict[tuple[str, ...], list[console.Cell]] = {}
        for each in listed:
            if each["pair"] == pair:
                key = (each["layer_type"], each["target"], each["model"])
                line = lines.setdefault(key, [*key, *[None] * len(MEASURED)])
                line[3 + MEASURED.index(each["measured"])] = f"{100 * each['geometric']:.1f} %"
        if lines:
            title = f"From {pair}: geometric error on layers not measured, against how many different ones were"
            columns = ["type", "target", "fit", *map(str, MEASURED)]
            console.table(title, columns, list(lines.values()), simulated=pair == PAIRS[1])
            print()
