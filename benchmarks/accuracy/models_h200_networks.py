"""Whole networks of an H200, predicted by models that saw nothing of their families: neither the networks nor their layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower import console
from neuralpower.dataset import Dataset
from neuralpower.dataset_networks import KEY, whole_networks
from neuralpower.importers.measured import read
from neuralpower.models.network import predict_network
from neuralpower.models.six import SixModels
from neuralpower.models.whole import QUANTITIES, accuracy

Row = dict[str, Any]

FOLDS = 5


@lru_cache(maxsize=1)
def measured(path: Path) -> Dataset:
    """Single layers, and the networks' operations with the wholes in the provenance, as ``neuralpower import`` reads them."""
    return read(path).dataset


def family(network: str) -> str:
    """The letters a name begins with: all ResNets are one family."""
    found = re.match("[a-z]+", network.lower())
    return found[0] if found else network


def without(dataset: Dataset, name: str) -> Dataset:
    """The dataset less a family's networks and every layer that is like one of theirs."""
    families = np.array([family(network) for network in dataset["network"].tolist()], dtype=np.object_)
    mine = (dataset["engine"] != "") & (families == name)
    layers = dataset.layers()
    theirs = {layers[at].shape for at in np.flatnonzero(mine)}
    single = dataset["engine"] == ""
    alike = np.array([layer.shape in theirs for layer in layers], dtype=bool)
    kept = dataset.take(~mine & ~(single & alike))
    networks = [entry for entry in dataset.provenance[KEY] if family(entry["network"]) != name]
    return Dataset(kept.table, {**dataset.provenance, KEY: networks})


def seed_results(path: Path, loss: str, seed: int, folds: int = FOLDS) -> list[Row]:
    """One row for each network: (predicted, measured) runtime, energy and power, and their sums over the layers alone; and whether
    the intervals held."""
    dataset, rows = measured(path), []
    for name in dict.fromkeys(family(each.network) for each in whole_networks(dataset)):
        models = SixModels(folds, seed, loss).fit(without(dataset, name))
        for each in whole_networks(dataset):
            if family(each.network) == name:
                layers = dataset.take(np.flatnonzero(dataset["engine"] == each.engine)).layers()
                rows.append(_row(models, each.network, layers, (each.runtime_s, each.energy_j), seed))
    return rows


def _row(models: SixModels, name: str, layers: list[Any], known: tuple[float, float], seed: int) -> Row:
    predicted = predict_network(models, name, layers)
    found: Row = {"table": "h200, networks", "network": name, "seed": seed, "layers_runtime": predicted.runtime_s,
                  "layers_energy": predicted.energy_j}  # fmt: skip
    truth = {"runtime": known[0], "energy": known[1], "power": known[1] / known[0]}
    for quantity in QUANTITIES:
        ends = (
            getattr(predicted.whole, f"{quantity}_{ {'runtime': 's', 'energy': 'j', 'power': 'w'}[quantity] }")
            if predicted.whole
            else None
        )
        found[quantity] = (ends[0] if ends else float("nan"), truth[quantity])
        found[f"{quantity}_held"] = bool(ends and ends[1] <= truth[quantity] <= ends[2])
    return found


def summary(rows: Iterable[Row]) -> list[Row]:
    """Medians over the seeds of the accuracies, and of how often the intervals held."""
    listed = [each for each in rows if each["table"] == "h200, networks"]
    seeds = sorted({each["seed"] for each in listed})
    found: list[Row] = []
    for quantity in QUANTITIES:
        of_seed = [[each for each in listed if each["seed"] == seed] for seed in seeds]
        accuracies = [accuracy([each[quantity] for each in mine]) for mine in of_seed]
        held = [float(np.mean([each[f"{quantity}_held"] for each in mine])) for mine in of_seed]
        found.append({"table": "h200, networks, summary", "target": quantity, "accuracy": float(np.median(accuracies)),
                      "accuracy_low": min(accuracies), "accuracy_high": max(accuracies), "coverage": float(np.median(held)),
                      "seeds": len(seeds), "networks": len(of_seed[0])})  # fmt: skip
    return found


def show(rows: Iterable[Row]) -> None:
    """Print accuracies over all networks, then each network at the first seed."""
    listed = list(rows)
    lines: list[list[console.Cell]] = [
        [each["target"], f"{100 * each['accuracy']:.1f} %", f"{100 * each['accuracy_low']:.1f} to {100 * each['accuracy_high']:.1f} %",
         f"{100 * each['coverage']:.0f} %", each["networks"], each["seeds"]]
        for each in listed
        if each["table"] == "h200, networks, summary"
    ]  # fmt: skip
    console.table(
        "Whole networks of an H200, families held out whole with their layers; accuracy is 1 less the mean relative error",
        ["what", "median accuracy", "over seeds", "interval of 90 % holds", "networks", "seeds"],
        lines,
    )
    first = [each for each in listed if each["table"] == "h200, networks"]
    seeds = [each["seed"] for each in first]
    errors: list[list[console.Cell]] = [
        [each["network"], *(f"{100 * (each[name][0] / each[name][1] - 1):+.1f} %" for name in QUANTITIES),
         f"{100 * ((each['layers_runtime'] or 0.0) / each['runtime'][1] - 1):+.1f} %"]
        for each in first
        if each["seed"] == seeds[0]
    ]  # fmt: skip
    console.table("Errors of each network, first seed", ["network", *QUANTITIES, "runtime, layers alone"], errors)
    print()
