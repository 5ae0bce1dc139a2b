"""Virtual devices: families of networks held out whole, models trained on true labels and on attributed ones. All simulated.

A device is `Hardware.drawn(seed)`, whose formulas the models neither import nor imitate. What it makes of a layer is scattered,
one factor for each layer and device, by as much as repeats of one layer in the measured convolutions: luck with kernels and
placement that no geometry tells. The score of a model is its RMSPE over that of the one who knows the device's formulas but not
the luck.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.models.judging.baselines import Mean, Trees
from neuralpower.models.regression.design import KINDS, TARGETS
from neuralpower.models.six import SixModels, fit_together
from neuralpower.models.validation.held_out import KindFolds
from neuralpower.models.validation.score import median_ape, rmspe, without_worst
from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.networks.known import NETWORKS, build
from neuralpower.virtual.sweep import sweep

from .models_labels import attributed
from .models_trial import over_seeds

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FAMILIES = {
    "ResNet": ("resnet18", "resnet34", "resnet50", "resnext50"),
    "VGG, AlexNet": ("vgg11", "vgg13", "vgg16", "alexnet"),
    "MobileNet, ShuffleNet": ("mobilenet_v1", "mobilenet_v2", "shufflenet_v2"),
    "SqueezeNet, GoogLeNet, NiN, LeNet": ("squeezenet1.0", "squeezenet1.1", "googlenet", "nin", "lenet5"),
    "DenseNet": ("densenet121",),
}
"""Networks of one fold: what is derived from a network is held out with it."""
SWEEP, QUICK_SWEEP = (1000, 200, 200), (150, 50, 50)
"""Convolutions, pools and fully connected layers; at 0.45 s each the larger takes a device ten minutes."""
SWEEP_SEED = 4711
SCATTER = {"runtime": 0.07, "power": 0.046}
"""Standard deviation of the logarithm of a layer's luck: repeats of a layer in the measured convolutions."""
IDLE_W, IDLE_SPREAD = 4.5, 0.1
TRAINING = ("true labels", "attributed labels")


@dataclass(frozen=True)
class Device:
    """The layers of all networks and the sweep on one device: the truth, what the formulas alone give, and the true labels.

    `known` and `truth`: target -> (rows,). `idle_w`: what the device draws when it only waits.
    """

    seed: int
    idle_w: float
    known: dict[str, Floats]
    truth: dict[str, Floats]
    exact: Dataset

    @classmethod
    def drawn(cls, seed: int, quick: bool) -> Device:
        """Everything follows from the seed."""
        hardware, random = Hardware.drawn(seed), np.random.default_rng((seed, 5))
        idle_w = IDLE_W * float(np.exp(random.normal(0, IDLE_SPREAD)))
        named = workload(quick)
        costs = {layer.shape: hardware.cost(layer) for _, layer in named}
        luck = {shape: np.exp(random.normal(0, [SCATTER[t] for t in TARGETS])) for shape in costs}
        seconds = np.array([costs[layer.shape].duration_s for _, layer in named])
        watts = idle_w + np.array([costs[layer.shape].power_w[0] for _, layer in named])
        lucky = np.array([luck[layer.shape] for _, layer in named])
        known = {"runtime": seconds, "power": watts, "energy": seconds * watts}
        truth = {"runtime": seconds * lucky[:, 0], "power": watts * lucky[:, 1]}
        truth["energy"] = truth["runtime"] * truth["power"]
        return cls(seed, idle_w, known, truth, _dataset(named, truth["runtime"], truth["power"]))

    def labels(self) -> dict[str, Dataset]:
        """How trained -> the dataset, whose rows are the same."""
        return {"true labels": self.exact, "attributed labels": attributed(self.exact, self.idle_w, self.seed)}


@lru_cache(maxsize=2)
def workload(quick: bool) -> tuple[tuple[str, Layer], ...]:
    """(network, layer) of all layers that take time; a sweep's layer has a name of its own."""
    named = [(name, layer) for name in NETWORKS for layer in layers_from_engine(build(name), name)]
    for probe in sweep(SWEEP_SEED, *(QUICK_SWEEP if quick else SWEEP)):
        named.append((f"sweep/{probe.name}", layers_from_engine(probe.engine(1), probe.name)[0]))
    return tuple((name, layer) for name, layer in named if layer.layer_type != "NoOp")


def _dataset(named: Iterable[tuple[str, Layer]], seconds: Floats, watts: Floats) -> Dataset:
    rows = [
        row(
            layer, network=name, position=place, origin="sweep" if name.startswith("sweep/") else "network",
            runtime_s=float(t), power_w=float(p), energy_j=float(t * p), method="direct", engine=name, simulated=True,
        )
        for place, ((name, layer), t, p) in enumerate(zip(named, seconds, watts, strict=True))
    ]  # fmt: skip
    return dataset_of(rows, {})


def device_results(seed: int, quick: bool) -> list[Row]:
    """All models on one device."""
    device = Device.drawn(seed, quick)
    labels = device.labels()
    return [result for kind in KINDS for result in _of_kind(device, labels, kind, seed)]


def _of_kind(device: Device, labels: Mapping[str, Dataset], kind: str, seed: int) -> list[Row]:
    exact = device.exact
    network, mine = exact["network"], exact["kind"] == kind
    predicted: dict[tuple[str, str], Floats] = defaultdict(lambda: np.full(len(exact), np.nan))
    terms: dict[tuple[str, str], list[int]] = defaultdict(list)
    inside: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for training, dataset in labels.items():
        folds = KindFolds.of(dataset, kind, TARGETS, 5, seed)
        same = KindFolds.of(exact, kind, TARGETS, 5, seed)
        for members in FAMILIES.values():
            test = mine & np.isin(network, members)
            if not test.any():
                continue
            train = mine & ~test & ~np.isin(same.configuration, same.configuration[test])
            fitted = fit_together(folds, kind, train, SixModels(5, 0).estimator)
            for target, model in fitted.items():
                x = same.rows[target].x[test[same.rows[target].index]]
                key = (target, f"ours, {training}")
                predicted[key][test] = model.predict(x)
                terms[key].append(len(model.polynomial_.terms))
                low, high = model.predict_interval(x)
                held = float(np.mean((device.truth[target][test] >= low) & (device.truth[target][test] <= high)))
                inside[key].append((held, int(test.sum())))
            product = predicted["runtime", f"ours, {training}"][test] * predicted["power", f"ours, {training}"][test]
            predicted["energy", f"ours, {training}"][test] = product
            if training == "true labels":
                _references(device, same, train, test, predicted, seed)
    return [
        _result(kind, target, model, values, device, terms[target, model], inside[target, model], seed)
        for (target, model), values in predicted.items()
    ]


def _references(
    device: Device, folds: KindFolds, train: Bools, test: Bools, predicted: dict[tuple[str, str], Floats], seed: int
) -> None:
    """Trees and the mean, trained on true labels."""
    for target in TARGETS:
        rows = folds.rows[target]
        chosen, asked = rows.where(train[rows.index]), rows.where(test[rows.index])
        for name, made in (("trees", Trees(seed)), ("mean", Mean())):
            predicted[target, name][test] = made.fit(chosen.layers, chosen.y).predict(asked.layers)


def _result(
    kind: str, target: str, model: str, values: Floats, device: Device, terms: list[int],
    inside: list[tuple[float, int]], seed: int,
) -> Row:  # fmt: skip
    asked = np.isfinite(values)
    truth, known = device.truth[target][asked], device.known[target][asked]
    error, floor = rmspe(values[asked], truth), rmspe(known, truth)
    coverage = None
    if inside:
        shares, counts = zip(*inside, strict=True)
        coverage = float(np.average(shares, weights=counts))
    return {
        "table": "devices", "layer_type": kind, "target": target, "model": model, "seed": seed, "rmspe": error, "floor": floor,
        "score": error / floor, "median_ape": median_ape(values[asked], truth), "terms": float(np.median(terms)) if terms else None,
        "without_worst": without_worst(values[asked], truth, 10), "coverage": coverage, "rows": int(asked.sum()),
    }  # fmt: skip


def summary(rows: Iterable[Row]) -> list[Row]:
    """The scores' medians over the devices, and with them the plain RMSPE."""
    results = list(rows)
    scores = over_seeds(results, "score", "noise floor")
    plain = over_seeds(results)
    return [{**score, "rmspe_plain": each["rmspe"]} for score, each in zip(scores, plain, strict=True)]
