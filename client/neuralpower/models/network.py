"""What a network will take, from the models of its layers: T = ΣT_n, E = ΣP_n·T_n, P = E/T."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuralpower.features.layers import BESIDE, Layer
from neuralpower.models.others import multiplies
from neuralpower.models.six import Remainder, SixModels
from neuralpower.models.whole import FittedRemainder, WholeModel, concatenations, moved_bytes, student


@dataclass(frozen=True)
class Prediction:
    """One layer: its runtime, power and energy, or the reason why there is none.

    The intervals hold a share ``polynomial.LEVEL`` of layers like those in training. `outside` names what of the layer lies
    outside the training data; the prediction is then an extrapolation, and the intervals are wider by a convention. `as_mean`: it has no
    model, and the mean layer of kind ``other`` stands for it. `unsupported`: what of it no measured layer is like (a batch, a
    precision, a kind of convolution never seen).
    """

    layer: Layer
    runtime_s: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    outside: tuple[str, ...] = ()
    reason: str = ""
    runtime_interval_s: tuple[float, float] | None = None
    power_interval_w: tuple[float, float] | None = None
    as_mean: bool = False
    unsupported: tuple[str, ...] = ()


Ends = tuple[float, float, float]
"""A value and the ends of its interval."""


@dataclass(frozen=True)
class WholePrediction:
    """A whole inference, from anchor to anchor: s, J and W with intervals that hold ``polynomial.LEVEL`` of networks like those in training.

    `remainder_s`, `remainder_j`: what of it is no modelled layer. `unprofiled`: it runs without the profiler.
    """

    runtime_s: Ends
    energy_j: Ends
    power_w: Ends
    remainder_s: Ends
    remainder_j: Ends
    unprofiled: bool


@dataclass(frozen=True)
class NetworkPrediction:
    """All layers of a network in order, and sums over those that are covered: of runtime where a layer has a runtime, of energy where it has both.

    `remainder` is the mean layer that stands for each of the `remainder_layers` layers marked `as_mean`, which the sums include.
    `whole` has the fitted remainder instead; None where the models know no whole inferences or nothing is covered.
    A sum of nothing is None: the mean other layer alone is no prediction of a network.
    """

    name: str
    layers: tuple[Prediction, ...]
    remainder: Remainder | None
    remainder_layers: int
    whole: WholePrediction | None = None

    @property
    def timed(self) -> tuple[Prediction, ...]:
        """The layers that have a runtime model."""
        return tuple(layer for layer in self.layers if layer.runtime_s is not None)

    @property
    def covered(self) -> tuple[Prediction, ...]:
        """The layers that have a model of both runtime and power."""
        return tuple(layer for layer in self.layers if layer.energy_j is not None)

    @property
    def missing(self) -> dict[str, int]:
        """Why layers are not in the sum of energy -> how many; those that have no runtime either are not in that of runtime."""
        return dict(Counter(p.reason for p in self.layers if p.energy_j is None and not p.as_mean))

    @property
    def runtime_least(self) -> bool:
        """Whether layers are missing in the sum of runtime, which is then a lower bound."""
        return any(p.runtime_s is None and not p.as_mean for p in self.layers)

    @property
    def energy_least(self) -> bool:
        """Whether layers are missing in the sum of energy, which is then a lower bound."""
        return any(p.energy_j is None and not (p.as_mean and self.mean_has_power) for p in self.layers)

    @property
    def whole_least(self) -> bool:
        """Whether layers are missing in the whole inference: any but those that its fitted remainder holds."""
        return any(p.energy_j is None and not in_remainder(p.layer) for p in self.layers)

    @property
    def unsupported(self) -> tuple[int, float, float]:
        """How many layers in the sums no measured layer is like, and their shares of the sums of runtime and energy."""
        leaning = [p for p in self.timed if p.unsupported]
        seconds, joules = (sum(getattr(p, name) or 0.0 for p in leaning) for name in ("runtime_s", "energy_j"))
        return len(leaning), seconds / (self.runtime_s or 1.0), joules / (self.energy_j or 1.0)

    @property
    def mean_has_power(self) -> bool:
        """Whether the mean other layer has a power, and so an energy."""
        return self.remainder is not None and self.remainder.power_w is not None

    @property
    def remainder_runtime_s(self) -> float:
        return self.remainder.runtime_s * self.remainder_layers if self.remainder else 0.0

    @property
    def remainder_energy_j(self) -> float:
        """Of the mean layers; 0 where no power of theirs is known."""
        return self.remainder_runtime_s * (self.remainder.power_w or 0.0) if self.remainder else 0.0

    @property
    def runtime_s(self) -> float | None:
        """Sum over the layers that have a runtime, and the mean other ones."""
        timed = self.timed
        return sum((p.runtime_s or 0.0 for p in timed), self.remainder_runtime_s) if timed else None

    @property
    def energy_j(self) -> float | None:
        """Sum over the layers that have both models, and the mean other ones."""
        covered = self.covered
        return sum((p.energy_j or 0.0 for p in covered), self.remainder_energy_j) if covered else None

    @property
    def power_w(self) -> float | None:
        """Mean power while those layers run whose power is known; None where nothing is covered."""
        if self.energy_j is None:
            return None
        beside = self.remainder_runtime_s if self.mean_has_power else 0.0
        return self.energy_j / sum((p.runtime_s or 0.0 for p in self.covered), beside)


def predict_network(models: SixModels, name: str, layers: Sequence[Layer]) -> NetworkPrediction:
    """Predict each layer and the network. Nothing is dropped: a layer without a model says so."""
    found: dict[int, Prediction] = {}
    for kind in dict.fromkeys(layer.kind for layer in layers):
        places = [place for place, layer in enumerate(layers) if layer.kind == kind]
        chosen = [layers[place] for place in places]
        found.update(zip(places, _of_kind(models, kind, chosen), strict=True))
    listed = tuple(found[place] for place in range(len(layers)))
    others = [layer for layer in layers if in_remainder(layer)]
    covered = [p for p in listed if p.energy_j is not None]
    whole = _whole(models.whole_, covered, others) if models.whole_ and covered else None
    return NetworkPrediction(name, listed, models.remainder_, sum(p.as_mean for p in listed), whole)


def in_remainder(layer: Layer) -> bool:
    """Whether a remainder, the mean layer's or the fitted one, holds a layer: it is of kind ``other`` or ``reformat``, and no product."""
    return layer.kind in BESIDE and not multiplies(layer.layer_type)


def _whole(model: WholeModel, covered: Sequence[Prediction], others: Sequence[Layer]) -> WholePrediction:
    wide = student(len(model.networks) - 1)
    moved, joins = sum(map(moved_bytes, others)), concatenations(others)

    def total(values: Sequence[float], fitted: FittedRemainder, factors: tuple[float, float]) -> tuple[Ends, Ends]:
        layers, kinds = sum(values), dict.fromkeys((p.layer.kind for p in covered), 0.0)
        for p, value in zip(covered, values, strict=True):
            kinds[p.layer.kind] += value
        beside = fitted.beside(layers, len(covered), len(others), moved, kinds, joins)
        sum_ = layers + beside
        half = wide * fitted.relative_error * sum_
        low = max(beside - half, fitted.least(layers))
        return _around(sum_, factors), (beside, low, beside + half)

    time, beside_s = total([p.runtime_s or 0.0 for p in covered], model.runtime, model.factors["runtime"])
    energy, beside_j = total([p.energy_j or 0.0 for p in covered], model.energy, model.factors["energy"])
    power = _around(energy[0] / time[0], model.factors["power"])
    return WholePrediction(time, energy, power, beside_s, beside_j, model.unprofiled)


def _around(value: float, factors: tuple[float, float]) -> Ends:
    return value, value * factors[0], value * factors[1]


def _of_kind(models: SixModels, kind: str, layers: Sequence[Layer]) -> list[Prediction]:
    runtime, power = models.models_.get((kind, "runtime")), models.models_.get((kind, "power"))
    if kind in BESIDE:
        return [_other(layer, models.remainder_ is not None) for layer in layers]
    if kind == "unclassified":
        return [Prediction(layer, reason="unclassified") for layer in layers]
    nothing: list[Any] = [None] * len(layers)
    seconds = runtime.predict(layers).tolist() if runtime else nothing
    watts = power.predict(layers).tolist() if power else nothing
    model = runtime or power
    none: list[list[str]] = [[] for _ in layers]
    outside, unsupported = (model.outside(layers), model.unsupported(layers)) if model else (none, none)
    missing = [target for target, model in (("runtime", runtime), ("power", power)) if model is None]
    reason = f"no {kind} {' or '.join(missing)} model" if missing else ""
    ends = [list(zip(*(e.tolist() for e in m.predict_interval(layers)), strict=True)) if m else nothing
            for m in (runtime, power)]  # fmt: skip
    return [
        Prediction(
            layer, t, p, None if missing else t * p, tuple(strange), reason, of_t, of_p, unsupported=tuple(never)
        )
        for layer, t, p, strange, never, of_t, of_p in zip(
            layers, seconds, watts, outside, unsupported, *ends, strict=True
        )
    ]


def _other(layer: Layer, measured: bool) -> Prediction:
    """A layer of kind ``other`` or ``reformat``: the mean one stands for it where such were measured and it is no product."""
    if not in_remainder(layer):
        return Prediction(layer, reason=f"no model of {layer.layer_type}")
    return Prediction(layer, reason=f"{layer.kind}, not modelled", as_mean=measured)
