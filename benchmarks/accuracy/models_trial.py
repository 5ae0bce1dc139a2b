"""One way to predict layers on one set of folds: its errors and how many terms it took; and medians of such results over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from neuralpower.models.judging.baselines import BaselineModel
from neuralpower.models.judging.evaluation import held_out_baseline
from neuralpower.models.six import Estimator, fit_together
from neuralpower.models.validation.held_out import CrossValidation, HeldOut, KindFolds

Row = dict[str, Any]


def ours(folds: KindFolds, kind: str, estimator: Estimator, table: str, seed: int) -> list[Row]:
    """The models of a layer type on its folds, and energy both ways."""
    found = {target: HeldOut(folds, target) for target in folds.rows}
    terms: dict[str, list[int]] = defaultdict(list)
    product = HeldOut(folds, "energy") if "energy" in folds.rows else None
    for train, test in folds.parts():
        fitted = fit_together(folds, kind, train, estimator)
        for target, model in fitted.items():
            rows = folds.rows[target]
            x = rows.x[test[rows.index]]
            found[target].add(test, model.predict(x), model.predict_interval(x))
            terms[target].append(len(model.polynomial_.terms))
        if product is not None:
            x = folds.rows["energy"].x[test[folds.rows["energy"].index]]
            product.add(test, fitted["runtime"].predict(x) * fitted["power"].predict(x))
    results = []
    for target, each in found.items():
        name = "energy itself" if target == "energy" else "ours"
        results += of_score(table, kind, target, name, seed, each.score(), terms[target])
    if product is not None:
        results += of_score(table, kind, "energy", "ours, runtime × power", seed, product.score(), [])
    return results


def baseline(
    folds: KindFolds, kind: str, target: str, name: str, make: Callable[[], BaselineModel], table: str, seed: int
) -> list[Row]:
    """A baseline on the same folds."""
    made: list[BaselineModel] = []

    def noted() -> BaselineModel:
        made.append(make())
        return made[-1]

    score = held_out_baseline(folds, target, noted)
    terms = [int(each.terms) for each in made if hasattr(each, "terms")]
    return of_score(table, kind, target, name, seed, score, terms)


def of_score(
    table: str, kind: str, target: str, model: str, seed: int, score: CrossValidation | None, terms: list[int]
) -> list[Row]:
    """A row of the table; none where nothing was held out."""
    if score is None:
        return []
    found = asdict(score)
    errors = found.pop("score")
    count = float(np.median(terms)) if terms else None
    known = {"without_worst": found["without_worst"], "coverage": found["coverage"], "grouped_by": found["grouped_by"]}
    named = {"table": table, "layer_type": kind, "target": target, "model": model, "seed": seed, "terms": count}
    return [{**named, **errors, **known}]


def over_seeds(rows: Iterable[Row], value: str = "rmspe", unit: str = "1") -> list[Row]:
    """One row for each table, layer type, target and model: medians over the seeds, and the least and greatest RMSPE."""
    groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["table"], row["layer_type"], row["target"], row["model"]].append(row)
    summary = []
    for (table, kind, target, model), members in groups.items():
        errors = [row[value] for row in members]
        summary.append(
            {"table": table, "layer_type": kind, "target": target, "model": model, "rmspe": float(np.median(errors)),
             "rmspe_low": min(errors), "rmspe_high": max(errors), "median_ape": _median(members, "median_ape"),
             "terms": _median(members, "terms"), "unit": unit, "without_worst": _median(members, "without_worst"),
             "coverage": _median(members, "coverage"), "sum_bias": _median(members, "sum_bias"),
             "geometric": _median(members, "geometric"), "seeds": len(members), "rows": members[0]["rows"]}
        )  # fmt: skip
    return summary


def _median(rows: list[Row], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(np.median(values)) if values else None
