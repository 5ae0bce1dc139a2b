"""What models were measured under and what a network is priced in: precision, batch size, clock. What was never measured is refused where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.features.network import Network
from neuralpower.models.six import SixModels

PRECISIONS = ("FP32", "FP16", "BF16", "FP8", "INT8", "INT4")


def with_precision(layers: Sequence[Layer], precision: str) -> list[Layer]:
    """The layers as if they computed in this precision."""
    return [replace(layer, precision=precision) if layer.modelled else layer for layer in layers]


def as_priced(models: SixModels, network: Network, precision: str = "", gpu_mhz: int | None = None) -> Network:
    """The network in the precision and at the clock in which `models` are to price it, with a note on each that was assumed.

    precision: as asked for; "" leaves it to what the models were fitted to: an engine for layers with FP32 weights would be built in the precision in which
    most of the training data ran. Layers with other weights, and an engine, keep their own. gpu_mhz: as asked for; None: that of most training data.

    Raises InputError, which says what would have to be measured, where the training data have nothing at the batch size, the precision asked for or the clock.
    """
    layers, notes = network.layers, list(network.notes)
    if precision:
        layers = with_precision(layers, precision)
    elif network.source != "engine":
        layers, note = _in_training(models, layers)
        notes += [note] if note else []
    mhz = _clock(models, network.name, gpu_mhz)
    if mhz:
        layers = [replace(layer, gpu_mhz=mhz) if layer.modelled else layer for layer in layers]
    if mhz and gpu_mhz is None:
        notes.append(f"at {mhz} MHz, as most of the training data; --gpu-mhz says otherwise")
    if network.source != "engine":
        _check(models, network.name, layers, precision)
    return replace(network, layers=layers, notes=tuple(notes))


def _in_training(models: SixModels, layers: Sequence[Layer]) -> tuple[list[Layer], str]:
    """The layers with FP32 weights in the precision of most training data; and a line that says so, "" where nothing was assumed."""
    wide = [layer.modelled and layer.precision in ("FP32", "") for layer in layers]
    if not any(wide):
        return list(layers), ""
    if not models.precisions_:
        return (
            list(layers),
            "priced in FP32, as its weights are: the models do not know the precision of their layers; --precision says otherwise",
        )
    most, count = max(models.precisions_.items(), key=lambda item: item[1])
    if most == "FP32":
        return list(layers), ""
    changed = [replace(layer, precision=most) if each else layer for each, layer in zip(wide, layers, strict=True)]
    total = sum(models.precisions_.values())
    return (
        changed,
        f"priced in {most}, as {count} of {total} layers in training ran, though its weights are FP32; --precision says otherwise",
    )


def _clock(models: SixModels, name: str, asked: int | None) -> int | None:
    """The clock to price at, MHz; None where the models know none and none is asked for."""
    if not models.clocks_:
        if asked is None:
            return None
        raise InputError(
            f"--gpu-mhz {asked}: the layers in training do not vary the clock; measure them at two clocks or more, with the column gpu_mhz"
        )
    mhz = asked or max(models.clocks_, key=lambda each: models.clocks_[each])
    low, high = min(models.clocks_), max(models.clocks_)
    if not low <= mhz <= high:
        raise InputError(
            f"--gpu-mhz {mhz}: measured from {low} to {high} MHz; to predict {name} there, measure layers at {mhz} MHz or beyond"
        )
    return mhz


def _check(models: SixModels, name: str, layers: Sequence[Layer], precision: str) -> None:
    """InputError where no layer of the network was measured at its batch size, or in the precision asked for."""
    known = [layer for layer in layers if (layer.kind, "runtime") in models.models_]
    if not known:
        return
    if precision and models.precisions_ and precision not in models.precisions_:
        told = ", ".join(f"{each} ({count} layers)" for each, count in models.precisions_.items())
        raise InputError(
            f"--precision {precision}: measured in {told}; to predict {name} in it, measure layers in {precision} (neuralpower plan-sweep names them)"
        )
    _in_range(models, known, "batch", lambda layer: layer.batch, name)


def _in_range(models: SixModels, layers: Sequence[Layer], quantity: str, of: Callable[[Layer], int], name: str) -> None:
    """InputError where the quantity is outside of what was measured for all layers."""
    ranges = {
        kind: models.models_[kind, "runtime"].polynomial.domain.get(quantity)
        for kind in {layer.kind for layer in layers}
    }
    told = [(of(layer), ranges[layer.kind]) for layer in layers]
    if all(span is not None and not span[0] <= value <= span[1] for value, span in told):
        value, span = told[0]
        assert span is not None
        low, high = span
        seen = f"at {low:g} only" if low == high else f"from {low:g} to {high:g}"
        raise InputError(
            f"{name}: {quantity} {value}: measured {seen}; to predict it, measure layers at {quantity} {value} or beyond (neuralpower plan-sweep names them)"
        )
