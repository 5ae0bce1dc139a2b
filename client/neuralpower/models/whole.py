"""Whole inferences: the layers' sum and a remainder fitted to what measured networks took beside their modelled layers.

An inference takes more than its modelled layers: reformats and elementwise layers, gaps between kernels, enqueue and wake-up; and less
where the layers were measured with a profiler that slows them and the inference without. So

    T = Σ T_n + a + b · (modelled layers) + c · (other layers)

and likewise for the energy, by least squares of the error relative to the whole. Where the networks' layers were not measured, layers and remainder
are fitted together (:mod:`.joint`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.dataset_networks import WholeNetwork, whole_networks
from neuralpower.features.layers import Layer
from neuralpower.models.joint import PARTS, JointStart, alike, by_others, fit_joint
from neuralpower.models.others import means
from neuralpower.models.regression.design import KINDS
from neuralpower.models.regression.law import Law
from neuralpower.models.regression.polynomial import LEVEL
from neuralpower.models.regression.quantities import element_bytes, measure
from neuralpower.models.regression.terms import plain

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST = 6
"""Networks to fit a remainder of three numbers and its error to."""
NEARLY = 1e-3
"""A count that differs from what the others make of it by less than this share tells nothing of its own."""
SMALLEST_WHOLE = 0.3
"""No whole is predicted to be a smaller share of its layers where those were not measured in it: with warm caches they are shorter, but run."""
QUANTITIES = ("runtime", "energy", "power")


@dataclass(frozen=True)
class FittedRemainder:
    """a, b and c above, s or J, and what a byte of another layer costs; by how much layers of a kind count, where that is not once; what a
    concatenation, and a byte of it, costs beside that; its standard error in a new network as a share of the whole, from networks left out one by one; and
    the least share that a whole inference was of its modelled layers, below which none is predicted."""

    inference: float
    modelled_layer: float
    other_layer: float
    relative_error: float
    least_share: float
    other_byte: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)
    concatenation: float = 0.0
    concatenated_byte: float = 0.0

    def beside(
        self,
        layers: float,
        modelled: int,
        other: int,
        bytes_: float = 0.0,
        kinds: Mapping[str, float] | None = None,
        concatenations: tuple[int, float] = (0, 0.0),
    ) -> float:
        """What comes to the sum over `modelled` layers, s or J, of which `layers` is the sum (`kinds`: by kind), and `other` ones, which
        move `bytes_`; `concatenations` of these, and their bytes."""
        more = sum((factor - 1) * (kinds or {}).get(kind, 0.0) for kind, factor in self.factors.items())
        fitted = self.inference + self.modelled_layer * modelled + self.other_layer * other + self.other_byte * bytes_
        fitted += self.concatenation * concatenations[0] + self.concatenated_byte * concatenations[1]
        return max(more + fitted, self.least(layers))

    def least(self, layers: float) -> float:
        """The least that comes to a sum, s or J: no whole was a smaller share of its layers. Below 0 where the profiler slows layers."""
        return (self.least_share - 1) * layers


@dataclass(frozen=True)
class HeldOutNetwork:
    """A network in the training data as it is predicted by folds that did not hold its layers, and a remainder fitted to the others.

    (predicted, measured) runtime s, energy J and power W.
    """

    network: str
    runtime: tuple[float, float]
    energy: tuple[float, float]

    @property
    def power(self) -> tuple[float, float]:
        return self.energy[0] / self.runtime[0], self.energy[1] / self.runtime[1]


@dataclass(frozen=True)
class WholeModel:
    """What layers leave of a whole inference, and factors around the prediction that hold LEVEL of new networks.

    `unprofiled`: the networks were measured without the profiler. `factors`: runtime, energy, power -> (low, high).
    """

    unprofiled: bool
    runtime: FittedRemainder
    energy: FittedRemainder
    factors: Mapping[str, tuple[float, float]]
    networks: tuple[HeldOutNetwork, ...]


def fit_whole(dataset: Dataset, kinds: tuple[str, ...], held_out: Mapping[str, Floats]) -> WholeModel | None:
    """The model of whole inferences; None where too few networks were measured whole.

    kinds: layer types that have both models. held_out: runtime and power predicted for each row of the dataset by models that
    were not fitted to its network, (rows,). A network of which a modelled layer has no measured power is left out.
    """
    found = whole_networks(dataset)
    unprofiled = sum(each.unprofiled for each in found) >= FEWEST
    lines = [_line(dataset, each, kinds, held_out) for each in found if each.unprofiled or not unprofiled]
    known = [line for line in lines if line is not None]
    if len(known) < FEWEST:
        return _joint(dataset, found, kinds, held_out)
    names = [name for name, _ in known]
    table = np.array([values for _, values in known])
    whole, measured, predicted, counts = table[:, 0:2], table[:, 2:4], table[:, 4:6], table[:, 6:]
    remainders, expected = [], []
    for column in range(2):
        fitted, left_out = _remainder(measured[:, column], whole[:, column], counts)
        remainders.append(fitted)
        expected.append(predicted[:, column] + left_out)
    networks = tuple(
        HeldOutNetwork(name, (float(t), float(w[0])), (float(e), float(w[1])))
        for name, t, e, w in zip(names, *expected, whole, strict=True)
    )
    return WholeModel(unprofiled, remainders[0], remainders[1], factors_of(networks), networks)


def _joint(
    dataset: Dataset, found: Sequence[WholeNetwork], kinds: tuple[str, ...], held_out: Mapping[str, Floats]
) -> WholeModel | None:
    """Layers and remainder together, from networks without measured layers; None where too few are known."""
    starts = _starts(dataset, kinds)
    wholes = [each for each in found if each.unprofiled and np.isfinite([each.runtime_s, each.energy_j]).all()]
    counts = [_counts(dataset, each, kinds, held_out) for each in wholes]
    used = [(whole, *count) for whole, count in zip(wholes, counts, strict=True) if count is not None]
    groups = alike([shape for *_, shape in used])
    if starts is None or len(used) < FEWEST or groups.max() + 1 < FEWEST:
        return None
    fitted, expected = [], []
    for column, start in enumerate(starts):
        whole = np.array([(each.runtime_s, each.energy_j)[column] for each, *_ in used])
        table = np.array([count[column] for _, count, _ in used])
        numbers = fit_joint(table, whole, start)
        said = np.maximum(by_others(table, whole, start, groups), SMALLEST_WHOLE * table[:, :PARTS].sum(axis=1))
        error = float(np.sqrt(np.mean((said / whole - 1) ** 2)))
        factors = dict(zip(KINDS, numbers[:PARTS].tolist(), strict=True))
        a, b, c, d, e, g = numbers[PARTS:].tolist()
        fitted.append(FittedRemainder(a, b, c, error, SMALLEST_WHOLE, d, factors, e, g))
        expected.append((said, whole))
    (time, measured_s), (energy, measured_j) = expected
    networks = tuple(
        HeldOutNetwork(each.network, (float(t), float(m)), (float(e), float(j)))
        for (each, *_), t, m, e, j in zip(used, time, measured_s, energy, measured_j, strict=True)
    )
    return WholeModel(True, fitted[0], fitted[1], factors_of(networks), networks)


def _starts(dataset: Dataset, kinds: tuple[str, ...]) -> tuple[JointStart, JointStart] | None:
    """Of runtime and energy: the shortest layer measured, and the bytes of the fastest; what pools move if there are any, since they
    compute as little as other layers."""
    for chosen in (("pool",), kinds):
        mine = dataset.take(np.isin(dataset["kind"], chosen) & (dataset["runtime_s"] > 0) & (dataset["power_w"] > 0))
        if len(mine) >= FEWEST:
            seconds, watts = (mine[name].astype(np.float64) for name in ("runtime_s", "power_w"))
            column = {"bytes": measure(mine.layers(), ("bytes",))[:, 0]}
            rate = float((column["bytes"] / seconds).max())
            # What they take as they move next to nothing: where none so small was measured, the shortest of them is no launch.
            law = Law.of(column, [plain("bytes")], seconds, np.ones(len(mine)), seconds)
            launch = min(law.constant or np.inf, float(seconds.min()))
            return JointStart(launch, 1 / rate), JointStart(launch * float(watts.min()), float(watts.max()) / rate)
    return None


def _counts(
    dataset: Dataset, whole: WholeNetwork, kinds: tuple[str, ...], held_out: Mapping[str, Floats]
) -> tuple[tuple[list[float], list[float]], tuple[object, ...]] | None:
    """What :mod:`.joint` counts of a network, of runtime and energy, and its layers' shapes but for the batch; None where a layer of a modelled kind has no prediction."""
    rows = np.flatnonzero(dataset["engine"] == whole.engine)
    layers = dataset.take(rows).layers()
    others = means(dataset)[rows]
    covered = np.isin(dataset["kind"][rows], kinds)
    t, p = held_out["runtime"][rows], held_out["power"][rows]
    if not covered.any() or not np.isfinite(t[covered] * p[covered]).all():
        return None
    beside = [layer for layer, other in zip(layers, others.tolist(), strict=True) if other]
    joins, joined = concatenations(beside)
    counted = [1.0, float(covered.sum()), float(others.sum()), sum(map(moved_bytes, beside)), float(joins), joined]
    parts = [
        [float(each[dataset["kind"][rows] == kind].sum()) if kind in kinds else 0.0 for kind in KINDS]
        for each in (t, t * p)
    ]
    shape = tuple((layer.kind, *layer.shape[2:-4]) for layer in layers)
    return ([*parts[0], *counted], [*parts[1], *counted]), shape


def moved_bytes(layer: Layer) -> float:
    """Bytes that a layer of kind ``other`` reads and writes, as far as its tensors are known."""
    return float(layer.memory_accesses() * element_bytes(layer))


def concatenations(layers: Sequence[Layer]) -> tuple[int, float]:
    """How many of the layers concatenate tensors, and the bytes that they read and write."""
    mine = [layer for layer in layers if "concat" in layer.layer_type.lower() or layer.layer_type.lower() == "cat"]
    return len(mine), float(sum(map(moved_bytes, mine)))


def student(freedom: int) -> float:
    """Of Student's distribution: so many standard errors to either side hold LEVEL."""
    from scipy.stats import t  # type: ignore[import-untyped]  # it has no stubs

    return float(t.ppf(0.5 + LEVEL / 2, freedom))


def _line(
    dataset: Dataset, whole: WholeNetwork, kinds: tuple[str, ...], held_out: Mapping[str, Floats]
) -> tuple[str, list[float]] | None:
    """Whole, measured layers, predicted layers (runtime and energy each), and counts [1, modelled, other]; None where one is not known."""
    mine = dataset["engine"] == whole.engine
    covered = mine & np.isin(dataset["kind"], kinds)
    seconds, watts = (dataset[name][covered].astype(np.float64) for name in ("runtime_s", "power_w"))
    t, p = held_out["runtime"][covered], held_out["power"][covered]
    other = int((mine & means(dataset)).sum())
    values = [whole.runtime_s, whole.energy_j, seconds.sum(), seconds @ watts, t.sum(), t @ p, 1.0, len(seconds), other]
    return (whole.network, values) if len(seconds) and np.isfinite(values).all() else None


def _remainder(layers: Floats, whole: Floats, counts: Floats) -> tuple[FittedRemainder, Floats]:
    """The fit of what the layers (n,) leave of the whole (n,), and what is said of each network by the others (n,)."""
    scaled, left = counts / whole[:, None], whole - layers
    used = _independent(scaled)
    inverse = np.zeros(scaled.T.shape)
    inverse[used] = np.linalg.pinv(scaled[:, used])
    a, b, c = inverse @ (left / whole)
    share = np.minimum(np.einsum("ij,ji->i", scaled, inverse), 0.999)
    off = (left / whole - scaled @ np.array([a, b, c])) / (1 - share)
    error = float(np.sqrt(np.mean(off**2)))
    least = float((whole / layers).min())
    return FittedRemainder(float(a), float(b), float(c), error, least), np.maximum(
        left - off * whole, (least - 1) * layers
    )


def _independent(columns: Floats) -> list[int]:
    """The columns that say more than the ones before: networks with as many layers each tell no price of a layer."""
    used: list[int] = []
    for number, column in enumerate(columns.T):
        before = columns[:, used]
        left = column - before @ np.linalg.lstsq(before, column, rcond=None)[0] if used else column
        if np.linalg.norm(left) > NEARLY * np.linalg.norm(column):
            used.append(number)
    return used


def factors_of(networks: tuple[HeldOutNetwork, ...]) -> dict[str, tuple[float, float]]:
    """Of measured over predicted, from its logarithm's mean and scatter: Student's interval for one network more."""
    found = {}
    for name in QUANTITIES:
        predicted, measured = np.array([getattr(each, name) for each in networks]).T
        ratio = np.log(measured / np.maximum(predicted, 1e-300))
        half = student(len(ratio) - 1) * ratio.std(ddof=1) * np.sqrt(1 + 1 / len(ratio))
        found[name] = float(np.exp(ratio.mean() - half)), float(np.exp(ratio.mean() + half))
    return found


def accuracy(pairs: list[tuple[float, float]]) -> float:
    """1 less the mean of |predicted - measured| / measured, as NeuralPower tells it of networks."""
    predicted, measured = np.array(pairs).T
    return float(1 - np.mean(np.abs(predicted / measured - 1)))
