"""Which network to deploy: networks × batch sizes × precisions × models (devices, power modes), ordered by what they cost.

The energy-precision ratio is NeuralPower's (Cai et al., 2017, arXiv:1710.05420): M = Error^α · EPI, with the share of wrong
answers and the energy for one item; a smaller one is better, a larger α weighs the answers more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from neuralpower.errors import InputError
from neuralpower.models.network import NetworkPrediction, Prediction

CRITERIA = ("energy", "runtime", "epr")


@dataclass(frozen=True)
class PredictedValue:
    """A predicted value and the ends of its interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> PredictedValue:
        return PredictedValue(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Candidate:
    """One way to deploy a network. `runtime_s` and `energy_j` are of one inference, that is of the whole batch.

    `energy_j` is None where no layer has a power model. `error` is the share of wrong answers, None where nobody told.
    `not_covered`: why layers are not in the sum of energy -> how many; `runtime_least`, `energy_least`: layers are missing
    in the sum, which is then a lower bound. `outside` counts layers that lie outside what the models were fitted to;
    `no_support`: layers that nothing measured is like, and their shares of the layers' runtime and energy.
    """

    network: str
    model: str
    precision: str
    batch: int
    runtime_s: PredictedValue
    energy_j: PredictedValue | None
    layers: int
    covered: int
    not_covered: Mapping[str, int]
    outside: int
    error: float | None = None
    simulated: bool = False
    runtime_least: bool = False
    energy_least: bool = False
    no_support: tuple[int, float, float] = (0, 0.0, 0.0)
    timed_without_energy: tuple[str, ...] = ()
    """Of the reasons in `not_covered`, those of layers that are in the sum of runtime."""

    @property
    def item_energy_j(self) -> PredictedValue | None:
        """Energy for one item of the batch; None where no power is predicted."""
        return None if self.energy_j is None else self.energy_j.scaled(1 / self.batch)

    @property
    def item_runtime_s(self) -> PredictedValue:
        """Time for one item of the batch."""
        return self.runtime_s.scaled(1 / self.batch)

    def epr(self, alpha: float) -> PredictedValue | None:
        """Energy-precision ratio, J; None where the error or the energy is not known."""
        energy = self.item_energy_j
        return None if self.error is None or energy is None else energy.scaled(self.error**alpha)

    def cost(self, criterion: str, alpha: float) -> PredictedValue | None:
        """What the candidates are ordered by: energy or time for one item, or the ratio."""
        if criterion == "epr":
            return self.epr(alpha)
        return self.item_energy_j if criterion == "energy" else self.item_runtime_s

    def least(self, criterion: str) -> bool:
        """Whether what it is ordered by is a lower bound, since layers are missing."""
        return self.runtime_least if criterion == "runtime" else self.energy_least


@dataclass(frozen=True)
class Limits:
    """What may not be exceeded: the time of one inference with its whole batch, s, and the energy for one item, J."""

    runtime_s: float | None = None
    energy_j: float | None = None

    def met(self, candidate: Candidate) -> str:
        """ "yes" where the whole interval is within the limits, "perhaps" where the prediction is, otherwise "no".

        A sum in which layers are missing is never surely within.
        """
        pairs = [
            (candidate.runtime_s, candidate.runtime_least, self.runtime_s),
            (candidate.item_energy_j, candidate.energy_least, self.energy_j),
        ]
        asked = [(estimate, least, limit) for estimate, least, limit in pairs if limit is not None]
        if any(estimate is not None and estimate.value > limit for estimate, _, limit in asked):
            return "no"
        unsure = any(estimate is None or least or estimate.high > limit for estimate, least, limit in asked)
        return "perhaps" if unsure else "yes"


def candidate(predicted: NetworkPrediction, model: str, error: float | None, simulated: bool) -> Candidate:
    """A predicted network as a candidate: the whole inference, or its layers where the models know no whole ones. InputError where no layer has a runtime."""
    timed = predicted.timed
    if not timed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in predicted.missing.items())
        raise InputError(f"{predicted.name}: no layer of it can be predicted ({reasons or 'it has none'})")
    precisions = dict.fromkeys(p.layer.precision or "unknown" for p in timed)
    whole = predicted.whole
    runtime, energy = (PredictedValue(*whole.runtime_s), PredictedValue(*whole.energy_j)) if whole else sums(predicted)
    assert runtime is not None  # there are timed layers
    return Candidate(
        predicted.name, model, "+".join(precisions), timed[0].layer.batch,
        runtime, energy, len(predicted.layers), len(timed if energy is None else predicted.covered), predicted.missing,
        sum(bool(p.outside) for p in timed), error, simulated,
        predicted.whole_least if whole else predicted.runtime_least,
        predicted.whole_least if whole else predicted.energy_least,
        predicted.unsupported,
        tuple(dict.fromkeys(p.reason for p in timed if p.energy_j is None)),
    )  # fmt: skip


def sums(predicted: NetworkPrediction) -> tuple[PredictedValue | None, PredictedValue | None]:
    """Runtime, s, and energy, J, of the layers of a network with intervals; None where no layer is in the sum.

    Layers of one model err alike in one network more often than not, so their ends are added as if they always did: the
    intervals are too wide rather than too narrow. Runtime and power of a layer are taken as independent.
    """
    times = [_ends(p.runtime_s or 0.0, p.runtime_interval_s) for p in predicted.timed]
    energies = [_energy(p) for p in predicted.covered]
    fixed_s, fixed_j = predicted.remainder_runtime_s, predicted.remainder_energy_j
    return _summed(times, fixed_s) if times else None, _summed(energies, fixed_j) if energies else None


def ranked(
    candidates: Sequence[Candidate], criterion: str, limits: Limits | None = None, alpha: float = 1.0
) -> list[tuple[Candidate, str]]:
    """All candidates, the cheapest that meet the limits first, each with whether it does; behind them those in whose sum layers
    are missing, by what is known of them; last those that do not meet the limits.

    InputError where an accuracy is asked for and not given, or where no candidate has an energy to order by.
    """
    judged = [(each, (limits or Limits()).met(each)) for each in candidates]
    missing = sorted({each.network for each in candidates if each.error is None}) if criterion == "epr" else []
    if missing:
        raise InputError(f"no accuracy is given for {', '.join(missing)}; the energy-precision ratio needs one")
    if criterion != "runtime" and all(each.energy_j is None for each in candidates):
        raise InputError("no power model for any layer of these networks, so no energy; order by time: --by runtime")
    return sorted(judged, key=lambda p: (p[1] == "no", p[0].least(criterion), _order(p[0], criterion, alpha)))


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other one beats in both energy for one item and error (where errors are known) or time for one item.

    Those of which layers are missing take no part: a lower bound beats nobody.
    """
    whole = [each for each in candidates if not (each.energy_least or each.runtime_least)]
    points = [(each.item_energy_j.value, _other(each, whole), each) for each in whole if each.item_energy_j]
    kept = [
        (x, y, each) for x, y, each in points if not any((a <= x and b < y) or (a < x and b <= y) for a, b, _ in points)
    ]
    return [each for _, _, each in sorted(kept, key=lambda point: point[:2])]


def _other(each: Candidate, candidates: Iterable[Candidate]) -> float:
    known = all(other.error is not None for other in candidates)
    return each.error if known and each.error is not None else each.item_runtime_s.value


def _order(each: Candidate, criterion: str, alpha: float) -> tuple[float, str, str]:
    cost = each.cost(criterion, alpha)
    return (cost.value if cost else float("inf"), each.network, each.model)


def _ends(value: float, interval: tuple[float, float] | None) -> PredictedValue:
    low, high = interval or (value, value)
    return PredictedValue(value, low, high)


def _energy(p: Prediction) -> PredictedValue:
    """Energy of one layer: relative half-widths of runtime and power combine as independent errors do, the lower ones as quotients, so that
    no energy comes out at nothing."""
    time, power = _ends(p.runtime_s or 0.0, p.runtime_interval_s), _ends(p.power_w or 0.0, p.power_interval_w)
    value = p.energy_j or 0.0
    if not time.value or not power.value:
        return PredictedValue(value, value, value)
    below = hypot(time.value / time.low - 1, power.value / power.low - 1)
    above = hypot(time.high / time.value - 1, power.high / power.value - 1)
    return PredictedValue(value, value / (1 + below), value * (1 + above))


def _summed(estimates: Sequence[PredictedValue], fixed: float) -> PredictedValue:
    return PredictedValue(
        sum((e.value for e in estimates), fixed),
        sum((e.low for e in estimates), fixed),
        sum((e.high for e in estimates), fixed),
    )
