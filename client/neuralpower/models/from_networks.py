"""Layer models from whole networks alone, where no layer was measured by itself: T = Σ T_n is linear in what a launch, an operation and a byte cost.

    T = a + Σ_k (launches of kind k, and their operations and bytes over rates) + c · (other layers) + d · (bytes of these)
    P = p + e · (operations in a second) + g · (bytes in a second)

Each kind of layer then has the law of its launches and rates, and every one draws by the same law of what it works off (:mod:`.regression.law`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.dataset_networks import WholeNetwork, whole_networks
from neuralpower.models.joint import alike
from neuralpower.models.others import means
from neuralpower.models.regression.design import KINDS, dictionary_of
from neuralpower.models.regression.folds import assign
from neuralpower.models.regression.law import Law
from neuralpower.models.regression.polynomial import Interval, Polynomial, PredictionBounds
from neuralpower.models.regression.quantities import measure
from neuralpower.models.regression.terms import Term, plain, step
from neuralpower.models.validation.held_out import WORST, CrossValidation
from neuralpower.models.validation.score import Score, rmspe, without_worst
from neuralpower.models.whole import FittedRemainder, HeldOutNetwork, WholeModel, factors_of, moved_bytes, student

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST = 12
"""Different networks that tell what launches, operations and bytes cost: a dozen numbers at most."""
LEAST = 1e-9, 1e-3
"""s and W: nothing measured bounds a single layer from below, but a prediction is a positive number."""
GROUPED = step("groups", ">", 1)


@dataclass(frozen=True)
class Networks:
    """What is known of networks (n,) each: `work`, amounts by name; `runtime`, s; `energy`, J, nan where not known; `group`, the same for one at
    another batch size. `x`: kind -> quantities of its layers (layers, columns); `layers`: modelled layers in the mean network."""

    names: tuple[str, ...]
    work: Mapping[str, Floats]
    runtime: Floats
    energy: Floats
    group: Ints
    x: Mapping[str, Floats]
    layers: float


@dataclass(frozen=True)
class FittedNetworks:
    """(kind, target) -> polynomial and its errors, those of whole networks; and the whole inference, None where no energy was measured."""

    models: Mapping[tuple[str, str], tuple[Polynomial, CrossValidation]]
    whole: WholeModel | None


def fit_networks(dataset: Dataset, folds: int, seed: int) -> FittedNetworks | None:
    """The models of a dataset in which networks were measured and none of their layers; None where there are too few."""
    found = [each for each in whole_networks(dataset) if np.isfinite(each.runtime_s) and each.runtime_s > 0]
    known = _known(dataset, found) if found else None
    if known is None or len(np.unique(known.group)) < FEWEST:
        return None
    fold = assign(known.group, folds, seed)
    seconds, powered = _runtime(known, np.ones(len(fold), dtype=bool)), np.isfinite(known.energy)
    said = {name: np.empty(len(fold)) for name in ("runtime", "power")}
    enough = len(np.unique(known.group[powered])) >= FEWEST
    for number in np.unique(fold):
        out = fold == number
        said["runtime"][out] = _runtime(known, ~out).at(known.work)[out]
        if enough:
            said["power"][out] = _power(known, ~out & powered).at(_rates(known, said["runtime"]))[out]
    runtime_cv = _errors(said["runtime"], known.runtime, fold)
    models: dict[tuple[str, str], tuple[Polynomial, CrossValidation]] = {}
    watts = _power(known, powered) if enough else None
    power = known.energy / known.runtime
    for kind in known.x:
        law = _law_of(seconds, kind)
        if law is None:
            continue
        shape = _polynomial(known, kind, law, LEAST[0], None, said["runtime"] / known.runtime)
        models[kind, "runtime"] = shape, runtime_cv
        if watts is not None:
            cv = _errors(said["power"][powered], power[powered], fold[powered])
            drawn = _polynomial(known, kind, watts, LEAST[1], shape, (said["power"] / power)[powered])
            models[kind, "power"] = drawn, cv
    whole = _whole(known, seconds, watts, said, powered) if watts is not None else None
    return FittedNetworks(models, whole) if models else None


def _known(dataset: Dataset, found: list[WholeNetwork]) -> Networks | None:
    """The work of each network, summed over its layers."""
    number = {each.engine: at for at, each in enumerate(found)}
    network = np.array([number.get(engine, -1) for engine in dataset["engine"].tolist()])
    work: dict[str, Floats] = {}
    quantities: dict[str, Floats] = {}

    def summed(name: str, rows: NDArray[np.intp], values: Floats) -> None:
        work[name] = np.bincount(network[rows], values, len(found))

    for kind in KINDS:
        rows = np.flatnonzero((dataset["kind"] == kind) & (network >= 0))
        if not len(rows):
            continue
        columns = dictionary_of(kind, "runtime").columns
        x = measure(dataset.take(rows).layers(), columns)
        quantities[kind] = x
        named = dict(zip(columns, x.T, strict=True))
        summed(f"{kind}_layers", rows, np.ones(len(rows)))
        for amount in ("operations", "bytes"):
            summed(f"{kind}_{amount}", rows, named[amount])
        if kind == "conv":
            summed("conv_grouped", rows, named["bytes"] * (named["groups"] > 1))
    beside = np.flatnonzero(means(dataset) & (network >= 0))
    summed("other_layers", beside, np.ones(len(beside)))
    summed("other_bytes", beside, np.array([moved_bytes(layer) for layer in dataset.take(beside).layers()]))
    if not quantities:
        return None
    shapes: list[list[object]] = [[] for _ in found]
    mine = np.flatnonzero(network >= 0)
    for at, layer in zip(network[mine].tolist(), dataset.take(mine).layers(), strict=True):
        shapes[at].append((layer.kind, *layer.shape[2:-4]))
    return Networks(
        tuple(each.network for each in found), work, np.array([each.runtime_s for each in found]),
        np.array([each.energy_j for each in found]), alike([tuple(shape) for shape in shapes]), quantities,
        sum(map(len, quantities.values())) / len(found),
    )  # fmt: skip


def _runtime(known: Networks, train: NDArray[np.bool_]) -> Law:
    """What a network's launches, operations and bytes cost, s."""
    column = {name: values[train] for name, values in known.work.items()}
    y = known.runtime[train]
    return Law.of(column, [plain(name) for name in column], y, np.ones(len(y)), y)


def _rates(known: Networks, seconds: Floats) -> dict[str, Floats]:
    def total(amount: str) -> Floats:
        return np.asarray(sum(values for name, values in known.work.items() if name.endswith(amount)))

    return {"operation_rate": total("_operations") / seconds, "byte_rate": total("_bytes") / seconds}


def _power(known: Networks, train: NDArray[np.bool_]) -> Law:
    """What is drawn without work, W, and by each operation and byte a second, J."""
    column = {name: values[train] for name, values in _rates(known, known.runtime).items()}
    y = (known.energy / known.runtime)[train]
    return Law.of(column, [plain(name) for name in column], y, np.ones(len(y)), y)


def _law_of(networks: Law, kind: str) -> Law | None:
    """The law of one layer of a kind, of that of whole networks; None where they say that it takes nothing."""
    cost = {term.name: slope for term, slope in zip(networks.amounts, networks.slopes, strict=True)}
    amounts = {plain(amount): cost.get(f"{kind}_{amount}", 0.0) for amount in ("operations", "bytes")}
    if kind == "conv":
        amounts[Term(((GROUPED, 1), ("bytes", 1)))] = cost.get("conv_grouped", 0.0)
    used = {term: slope for term, slope in amounts.items() if slope > 0}
    constant = cost.get(f"{kind}_layers", 0.0)
    return Law(constant, tuple(used), tuple(used.values())) if constant or used else None


def _polynomial(
    known: Networks, kind: str, law: Law, least: float, runtime: Polynomial | None, ratios: Floats
) -> Polynomial:
    """A law without a sum. A layer is farther off than its network, in which errors of layers cancel: as many times as independent ones would be."""
    columns = dictionary_of(kind, "runtime").columns
    spread = float(np.log(ratios).std() * np.sqrt(known.layers) * student(len(ratios) - 1))
    x = known.x[kind]
    return Polynomial(
        columns=columns,
        degree=1,
        intercept=0.0,
        terms=(),
        coefficients=(),
        scales=(),
        bounds=PredictionBounds(least, None, {}),
        interval=Interval(float(np.exp(-spread)), float(np.exp(spread))),
        domain={name: (float(values.min()), float(values.max())) for name, values in zip(columns, x.T, strict=True)},
        runtime=runtime,
        law=law,
        proportional=True,
    )


def _errors(predicted: Floats, measured: Floats, fold: Ints) -> CrossValidation:
    """Of whole networks that were held out: layers have none."""
    numbers = np.unique(fold)
    each = [rmspe(predicted[fold == number], measured[fold == number]) for number in numbers]
    worst = without_worst(predicted, measured, WORST)
    return CrossValidation(
        Score.of(predicted, measured), min(each), max(each), worst, len(numbers), "network, whole", 0
    )


def _whole(
    known: Networks, seconds: Law, watts: Law, said: Mapping[str, Floats], powered: NDArray[np.bool_]
) -> WholeModel:
    """What is beside the layers, as the same laws have it."""
    cost = {term.name: slope for term, slope in zip(seconds.amounts, seconds.slopes, strict=True)}
    each, byte = cost.get("other_layers", 0.0), cost.get("other_bytes", 0.0)
    draws = dict(zip((term.name for term in watts.amounts), watts.slopes, strict=True))
    time, energy = said["runtime"][powered], (said["runtime"] * said["power"])[powered]
    pairs = zip(
        time.tolist(), known.runtime[powered].tolist(), energy.tolist(), known.energy[powered].tolist(), strict=True
    )
    named = [name for name, has in zip(known.names, powered.tolist(), strict=True) if has]
    networks = tuple(HeldOutNetwork(name, (t, m), (e, j)) for name, (t, m, e, j) in zip(named, pairs, strict=True))
    off = [rmspe(time, known.runtime[powered]), rmspe(energy, known.energy[powered])]
    runtime = FittedRemainder(seconds.constant, 0.0, each, off[0], 1.0, byte)
    p = watts.constant
    joules = FittedRemainder(p * seconds.constant, 0.0, p * each, off[1], 1.0, p * byte + draws.get("byte_rate", 0.0))
    return WholeModel(True, runtime, joules, factors_of(networks), networks)
