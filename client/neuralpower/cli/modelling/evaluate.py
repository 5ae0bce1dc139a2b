"""``neuralpower evaluate``: how wrong models are on a dataset, beside simpler ways."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.errors import InputError
from neuralpower.interval import MEANING, Z95, half
from neuralpower.show.dataset import with_power
from neuralpower.show.models import BOTH_WAYS, PER_UNIT, both_ways, percent, print_models

if TYPE_CHECKING:
    from neuralpower.models.judging.evaluation import NetworkError, WholeError
    from neuralpower.models.six import Key, SixModels
    from neuralpower.models.validation.held_out import CrossValidation
    from neuralpower.models.validation.score import Score

HELP = """Errors of fitted models by layer type and by network, beside the baselines.

On the data that the models were fitted to, their cross-validation is computed again from the stored folds and seed and must
give the stored table. On other data their predictions are simply compared with it.

example:
  neuralpower evaluate model.json layers.parquet"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.json", type=Path, help="what neuralpower fit wrote")
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="datasets (Parquet); rows of all are joined"
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL.json",
        type=Path,
        help="what the models were started from, to compute their errors again",
    )
    parser.add_argument("--json", action="store_true", help="print the errors as JSON")


def run(args: argparse.Namespace) -> int:
    from neuralpower.dataset import concat, read_dataset
    from neuralpower.models import store
    from neuralpower.models.judging import evaluation
    from neuralpower.models.rows import fingerprint
    from neuralpower.models.six import SixModels

    models = store.load(args.model)
    dataset = concat([read_dataset(path) for path in args.files])
    trained_on = fingerprint(dataset) == models.sha256_
    again = simpler = None
    start = store.load(args.start) if args.start else None
    if (start.sha256_ if start else "") != models.started_from_ and (start or trained_on):
        started = (
            "were not started from that model" if start else "were started from another model: name it with --from"
        )
        raise InputError(f"{args.model}: these models {started}")
    if trained_on:
        with console.progress("cross-validating again", 6) as advance:
            again = SixModels(models.folds, models.seed, models.loss).fit(dataset, advance=advance, start=start)
            simpler = evaluation.simpler_ways(models, dataset)
    scores = evaluation.scores(models, dataset)
    networks = evaluation.network_errors(models, dataset)
    wholes = evaluation.whole_errors(models, dataset)
    if not (scores or networks or wholes):
        raise InputError(
            f"{', '.join(map(str, args.files))}: no measured layer of a type that {args.model} has a model of"
        )
    simulated = models.simulated_ or dataset.simulated
    if args.json:
        console.print_json(_document(models, again, scores, networks, wholes, simpler, simulated))
        return 0 if again is None or agree(models, again) else 1
    if again is not None:
        print_models(again, "Computed again")
        same = agree(models, again)
        print("equal to the table stored with the models" if same else "NOT equal to the table stored with the models")
        print()
    title = "On the rows the models were fitted to" if trained_on else "On data the models were not fitted to"
    _print_scores(title, scores, simulated)
    if dataset.withheld:
        print(f"rows {with_power(dataset)}\n")
    _print_networks(networks, simulated)
    _print_wholes(wholes, simulated)
    if simpler is not None:
        _print_baselines(models, simpler)
    return 0 if again is None or agree(models, again) else 1


def agree(stored: SixModels, computed: SixModels) -> bool:
    """Whether two tables are the same, to a millionth of each error."""
    from math import isclose

    if stored.models_.keys() != computed.models_.keys():
        return False
    pairs = [(stored.models_[key], computed.models_[key]) for key in stored.models_]
    return all(
        len(a.polynomial.terms) == len(b.polynomial.terms)
        and a.cross_validation.score.rows == b.cross_validation.score.rows
        and isclose(a.cross_validation.score.rmspe, b.cross_validation.score.rmspe, rel_tol=1e-6)
        and isclose(a.cross_validation.score.rmse, b.cross_validation.score.rmse, rel_tol=1e-6)
        for a, b in pairs
    )


def _print_scores(title: str, scores: dict[Key, Score], simulated: bool) -> None:
    rows: list[list[console.Cell]] = [
        [kind, target, s.rows, percent(s.rmspe), _in_unit(s.rmse, target), *both_ways(s)]
        for (kind, target), s in scores.items()
    ]
    console.table(title, ["type", "target", "rows", "RMSPE", "RMSE", *BOTH_WAYS], rows, simulated=simulated)


def _print_networks(networks: list[NetworkError], simulated: bool) -> None:
    if not networks:
        return
    rows: list[list[console.Cell]] = [
        [
            n.network,
            n.layers,
            f"{100 * n.runtime:+.1f} %",
            f"{100 * n.energy:+.1f} %",
            f"± {half(100 * Z95 * n.energy_se)} %" if isfinite(n.energy_se) else None,
            "yes" if n.trained_on else "no",
        ]
        for n in networks
    ]
    columns = ["network", "layers compared", "runtime", "energy", "measured energy is known to", "trained on"]
    console.table("By network, sums over the compared layers", columns, rows, simulated=simulated)
    if any(isfinite(n.energy_se) for n in networks):
        print(f"{MEANING}\n")


def _print_wholes(wholes: list[WholeError], simulated: bool) -> None:
    """Whole inferences, and over those that the models were not fitted to NeuralPower's accuracy and how often intervals held."""
    from neuralpower.models.whole import QUANTITIES, accuracy

    if not wholes:
        return
    rows: list[list[console.Cell]] = []
    for each in wholes:
        cells: list[console.Cell] = [each.network, "no" if each.unprofiled else "yes"]
        for name in QUANTITIES:
            value, _, _, measured = getattr(each, name)
            cells += [f"{100 * (value / measured - 1):+.1f} %", "holds" if each.holds(name) else "misses"]
        rows.append([*cells, "yes" if each.trained_on else "no"])
    fresh = [each for each in wholes if not each.trained_on]
    if fresh:
        cells = ["accuracy, mean, of those not trained on", None]
        for name in QUANTITIES:
            pairs = [(getattr(each, name)[0], getattr(each, name)[3]) for each in fresh]
            cells += [percent(accuracy(pairs)), f"{sum(each.holds(name) for each in fresh)} of {len(fresh)}"]
        rows.append([*cells, None])
    columns = [
        "network",
        "profiled",
        *(f"{name}{what}" for name in QUANTITIES for what in ("", ": interval")),
        "trained on",
    ]
    console.table("Whole inferences, predicted less measured", columns, rows, simulated=simulated)


def _print_baselines(models: SixModels, simpler: dict[Key, dict[str, CrossValidation]]) -> None:
    names = {
        "mean": "mean of the training rows",
        "original": "NeuralPower's matrix, squared error",
        "EdgeProfiler": "EdgeProfiler's pipeline",
        "Paleo": "Paleo: roofline, share of peak",
        "trees": "boosted trees, relative error",
        "log trees": "boosted trees, logarithms",
        "model": "these models",
    }
    rows: list[list[console.Cell]] = []
    for (kind, target), ways in simpler.items():
        model = models.models_[kind, target].cross_validation
        for name, cv in [*ways.items(), ("model", model)]:
            score = cv.score
            rows.append(
                [
                    kind,
                    target,
                    names[name],
                    percent(score.rmspe),
                    _in_unit(score.rmse, target),
                    *both_ways(score),
                ]
            )
    columns = ["type", "target", "way", "RMSPE", "RMSE", *BOTH_WAYS]
    console.table("Beside simpler ways, on the same folds", columns, rows, simulated=models.simulated_)


def _in_unit(value: float, target: str) -> str:
    scale, unit = PER_UNIT[target]
    return f"{value * scale:.4g} {unit}"


def _document(
    models: SixModels,
    again: SixModels | None,
    scores: dict[Key, Score],
    networks: list[NetworkError],
    wholes: list[WholeError],
    simpler: dict[Key, dict[str, CrossValidation]] | None,
    simulated: bool,
) -> dict[str, Any]:
    def listed(found: dict[Key, Any]) -> list[dict[str, Any]]:
        return [{"kind": kind, "target": target, **value} for (kind, target), value in found.items()]

    fitted = {} if again is None else {key: asdict(model.cross_validation) for key, model in again.models_.items()}
    ways = {key: {name: asdict(cv) for name, cv in found.items()} for key, found in (simpler or {}).items()}
    return {
        "simulated": simulated,
        "trained_on_this": again is not None,
        "reproduced": None if again is None else agree(models, again),
        "cross_validation": listed(fitted),
        "errors": listed({key: asdict(score) for key, score in scores.items()}),
        "networks": [asdict(network) for network in networks],
        "whole_networks": [asdict(whole) for whole in wholes],
        "baselines": listed(ways),
    }
