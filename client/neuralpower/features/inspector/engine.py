"""Layers from TensorRT's engine inspector JSON, versions 8.x to 11.x (profiling verbosity DETAILED).

The keys differ between versions and layer types: docs/features.md lists them. A layer's kind comes from its geometry,
never from its type alone: a ``CaskGemmConvolution`` is as often a 1×1 convolution as a fully connected layer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neuralpower.documents import json_of
from neuralpower.errors import InputError
from neuralpower.features.classify import (
    Operation,
    Sliding,
    attention,
    convolution,
    global_pooling,
    normalisation,
    not_modelled,
    pooling,
    transposed,
)
from neuralpower.features.inspector import myelin
from neuralpower.features.inspector.entry import Entry
from neuralpower.features.inspector.told import IDLE_NOTE, told_layer
from neuralpower.features.layers import ImpossibleLayer, Layer, Unreadable

DETAILED = "build it with profiling verbosity DETAILED (trtexec --profilingVerbosity=detailed)"
SHAPES = "inspect the engine with an execution context whose input shapes are set"

_REGIONS = {
    "myelin": "a fused region of several layers, of which the engine tells nothing; the network's ONNX file does",
    "foreignnode": "a fused region of several layers, of which the engine tells nothing; the network's ONNX file does",
    "dla": "a region of several layers on the DLA",
    "plugin": "a plugin: what it computes is not in the engine's information",
}
"""Part of a layer type -> why such a layer cannot be told."""

_FUSED_ATTENTION = re.compile(r"(?:^|_)f?mha(?:_|$)")
"""Within the name that Myelin gives to a kernel of attention: ``_gemm_mha_v2_myl0_9``."""

_BUILDERS = {"reformat": "reformat", "noop": "no operation", "idle": IDLE_NOTE}
"""Part of the type of a layer that the builder put between those of the network -> what it does."""

_OTHERS = {
    "pointwise": "elementwise",
    "elementwise": "elementwise",
    "unary": "elementwise",
    "activation": "elementwise",
    "scale": "scale",
    "softmax": "softmax",
    "quantize": "quantise",
    "shuffle": "shuffle",
    "concat": "concatenation",
    "slice": "slice",
    "gather": "gather",
    "resize": "resize",
    "reduce": "reduction",
    "topk": "top k",
    "cast": "cast",
    "copy": "copy",
    "identity": "copy",
    "constant": "constant",
    "select": "select",
    "fill": "fill",
    "padding": "padding",
    "shape": "shape computation",
    "signal": "synchronisation",
    "wait": "synchronisation",
    "trainstation": "synchronisation",
}
"""Part of a layer type -> what such a layer does; known, and not modelled."""


def layers_from_engine(inspector: object, name: str = "engine", batch: int | None = None) -> list[Layer]:
    """Every layer of an engine, in execution order.

    Args:
        inspector: the parsed JSON document; ``name`` is what errors call it.
        batch: takes the place of a dynamic (-1) or implicit batch; None refuses the one and takes the other as 1.

    Raises InputError when the document is no engine information, was made without DETAILED verbosity, holds no
    static shape at all, or has its batch fixed at another number than ``batch`` where that is not 1. Entries that differ in names alone are read once; only a generated kernel (``kgen``) is told by its
    name too. One layer that cannot be read does not fail the rest: it is ``unclassified`` and its note
    says why.
    """
    layers: list[Layer] = []
    alike: dict[str, tuple[Layer, bool]] = {}
    dynamic = False
    taken: set[int] = set()
    computed = _tensors_of_network(inspector)
    for index, fields in enumerate(_entries(inspector, name)):
        entry = Entry(fields, index, batch, computed)
        if entry.layer_type != "Constant":
            computed |= entry.outputs()
        told = entry.nameless() + (entry.name if "kgen" in entry.layer_type.lower() else "")
        if told not in alike:
            alike[told] = _layer(entry)
            taken |= entry.batches()
        layer, of_dynamic_shape = alike[told]
        layers.append(layer.renamed(entry.name))
        dynamic |= of_dynamic_shape
    if dynamic and not any(layer.modelled for layer in layers):
        raise InputError(f"{name}: the engine's dimensions are dynamic (-1); {SHAPES}")
    if batch not in (None, 1) and taken and batch not in taken:
        fixed = ", ".join(map(str, sorted(taken)[:3]))
        raise InputError(f"{name}: the engine's batch is fixed at {fixed}, not {batch}; build one for {batch}")
    return layers


def _entries(inspector: object, name: str) -> list[dict[str, Any]]:
    entries = inspector.get("Layers") if isinstance(inspector, dict) else None
    if isinstance(inspector, list) and any(
        isinstance(_unwrapped(each), dict) and "LayerType" in each for each in inspector
    ):
        entries = inspector  # the layers alone, as tools write them that ask for one after the other
    if isinstance(inspector, dict) and entries is None and "LayerType" in inspector:
        raise InputError(f"{name}: information of one layer; give the whole engine's (get_engine_information)")
    if entries == []:
        raise InputError(f"{name}: TensorRT engine information with an empty list of Layers; build the engine again")
    if not isinstance(entries, list):
        raise InputError(f"{name}: not TensorRT engine information: it has no list of Layers{_times(inspector)}")
    entries = [_unwrapped(entry) for entry in entries]
    if any(isinstance(entry, str) for entry in entries):
        raise InputError(f"{name}: the engine lists only its layers' names; {DETAILED}")
    if not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{name}: not TensorRT engine information: a layer is not an object")
    return entries


def _unwrapped(entry: object) -> object:
    """A layer that stands in a string of JSON, as an inspector asked for one layer answers; anything else as it is."""
    if not isinstance(entry, str) or not entry.lstrip().startswith("{"):
        return entry
    try:
        held = json_of(Path(), entry)
    except InputError:  # a name such as {ForeignNode[a...b]}
        return entry
    return held if isinstance(held, dict) else entry


def _times(document: object) -> str:
    """What a list of times is, which trtexec writes beside the layers; "" of anything else."""
    entries = [each for each in document if isinstance(each, dict)] if isinstance(document, list) else []
    if any("averageMs" in each or "timeMs" in each for each in entries):
        return "; these are its layers' times (--exportProfile): give what --exportLayerInfo writes"
    if any("latencyMs" in each for each in entries):
        return "; these are times of inferences (--exportTimes): give what --exportLayerInfo writes"
    return ""


def _tensors_of_network(inspector: object) -> set[str]:
    """Names of the tensors that enter or leave an engine."""
    bindings = inspector.get("Bindings") if isinstance(inspector, dict) else None
    listed = bindings if isinstance(bindings, list) else []
    return {name for name in listed if isinstance(name, str)}


def _layer(entry: Entry) -> tuple[Layer, bool]:
    """The layer, and whether it could not be read for a shape that is not static."""
    dynamic = False
    try:
        told = told_layer(entry.fields, entry.name)
        return (_classify(entry) if told is None else told), False
    except Unreadable as reason:
        dynamic, note = reason.dynamic, f"{reason}; {SHAPES}" if reason.dynamic else str(reason)
    except ImpossibleLayer as error:
        note = error.reason
    return not_modelled("unclassified", Operation(entry.name, entry.layer_type, note=note)), dynamic


def _classify(entry: Entry) -> Layer:
    kind = f"{entry.layer_type} {entry.text('ParameterType')}".lower()
    for part, why in _REGIONS.items():
        if part in kind:
            return _not_modelled("unclassified", entry, why)
    if "conv" in kind:
        return _convolution(entry, "deconv" in kind)
    if "pool" in kind:
        return _pooling(entry)
    if "mha" in kind or "attention" in kind or ("kgen" in kind and _FUSED_ATTENTION.search(entry.name)):
        return _attention(entry)
    if any(part in kind for part in ("gemm", "matrixmultiply", "matmul", "fullyconnected")):
        return myelin.product(entry)
    if "kgen" in kind:
        return myelin.generated_kernel(entry)
    data, output = entry.shapes("Inputs"), entry.shapes("Outputs")
    if "reduce" in kind and data and output and myelin.is_global_pooling(data[0], output[0]):
        return global_pooling(entry.operation("a reduction over height and width"), data[0])
    if "normalization" in kind or "lrn" in kind:
        return normalisation(entry.operation(), entry.static_shape("Inputs"), 0)
    for of_kind, parts in (("reformat", _BUILDERS), ("other", _OTHERS)):
        for part, what in parts.items():
            if part in kind:
                return _not_modelled(of_kind, entry, what)
    return _not_modelled("unclassified", entry, f"unknown layer type {entry.layer_type!r}")


def _convolution(entry: Entry, backwards: bool) -> Layer:
    """A convolution, or a transposed one, with or without a pooling fused behind it (``ConvActPool`` prefixes its keys)."""
    kernel = _one_dimension(entry, entry.window("Kernel", "ConvKernel"), "Kernel", "ConvKernel")
    rank = len(kernel)
    data, batch_note = _maps(entry, "Inputs", rank)
    output, _ = _maps(entry, "Outputs", rank)
    window = Sliding(
        kernel,
        entry.window("ConvStride", "Stride", default=(1,) * rank),
        entry.window("ConvPrePadding", "PrePadding", default=(0,) * rank),
        entry.window("ConvDilation", "Dilation", default=(1,) * rank),
    )
    depthwise = "depthwise" in entry.layer_type.lower()
    groups = entry.integer("ConvGroups", "Groups", default=data[1] if depthwise else 1)
    channels = entry.integer("ConvOutMaps", "OutMaps", default=output[1])
    if backwards:
        return transposed(entry.operation(batch_note), data, (output[0], channels, *output[2:]), window, groups)
    notes = [batch_note]
    convolved = _slid(data, window, entry.window("ConvPostPadding", "PostPadding", default=window.pad))
    if entry.has("PoolingWindowSize"):
        pool = entry.window("PoolingWindowSize")
        output = (output[0], channels, *convolved)
        notes.append(f"with a fused {'x'.join(map(str, pool))} pooling, whose work is not counted")
    elif channels != output[1]:
        raise Unreadable(f"{channels} output maps (OutMaps) of an output with {output[1]} channels")
    else:
        _check(entry, data, convolved, output)
    note = "; ".join(filter(None, notes))
    return convolution(entry.operation(note), data, (output[0], channels, *output[2:]), window, groups)


def _one_dimension(entry: Entry, kernel: tuple[int, ...], *keys: str) -> tuple[int, ...]:
    """A window of one number is one of one dimension where data and output are N, C and a length; else both sides have that size."""
    sides = [entry.shapes(side)[:1] for side in ("Inputs", "Outputs")]
    lines = all(len(shape) == 3 for side in sides for shape in side) and all(sides)
    same_channels = lines and entry.integer("ConvOutMaps", "OutMaps", default=sides[0][0][1]) == sides[1][0][1]
    return kernel[:1] if entry.single(*keys) and same_channels else kernel


def _pooling(entry: Entry) -> Layer:
    keys = ("WindowSize", "PoolingWindowSize", "Kernel")
    kernel = _one_dimension(entry, entry.window(*keys), *keys)
    data, note = _maps(entry, "Inputs", len(kernel))
    output, _ = _maps(entry, "Outputs", len(kernel))
    window = Sliding(
        kernel,
        entry.window("Stride", "PoolingStride", default=kernel),
        entry.window("PrePadding", "PoolingPrePadding", default=(0,) * len(kernel)),
    )
    slid = _slid(data, window, entry.window("PostPadding", "PoolingPostPadding", default=window.pad))
    _check(entry, data, slid, output)
    return pooling(entry.operation(note), data, output, window)


def _attention(entry: Entry) -> Layer:
    """Fused attention: its first three tensors are queries, keys and values, [batch, heads, length, width] each."""
    shapes = entry.shapes("Inputs")[:3]
    if len(shapes) < 3 or any(len(shape) != 4 or min(shape) < 1 for shape in shapes):
        raise Unreadable("fused attention whose queries, keys and values are not apart in the engine's information")
    return attention(entry.operation(), *shapes)


def _maps(entry: Entry, side: str, rank: int) -> tuple[tuple[int, ...], str]:
    """The first tensor's shape of N, C and ``rank`` dimensions of data, and a note when the batch had to be assumed."""
    shape = entry.static_shape(side)
    if len(shape) == rank + 1:
        return (entry.batch, *shape), f"implicit batch, taken as {entry.batch}"
    if len(shape) != rank + 2:
        raise Unreadable(f"{len(shape)} dimensions, where N, C and {rank} more are known")
    return shape, ""


def _check(entry: Entry, data: tuple[int, ...], slid: tuple[int, ...], output: tuple[int, ...]) -> None:
    """Whether a window makes the output that is told; one more or less is a matter of how it rounds. SAME padding need not be told."""
    if data[0] != output[0]:
        raise Unreadable(f"a batch of {output[0]} from one of {data[0]}")
    if "SAME" not in entry.text("PaddingMode") and any(
        abs(made - told) > 1 for made, told in zip(slid, output[2:], strict=True)
    ):
        made, told = ("x".join(map(str, sizes)) for sizes in (slid, output[2:]))
        raise Unreadable(f"its window makes {made} of its input, and its output is {told}")


def _slid(data: tuple[int, ...], window: Sliding, post: tuple[int, ...]) -> tuple[int, ...]:
    """Output sizes of a window: floor((in + pre + post - dilation·(k - 1) - 1) / stride) + 1."""
    if 0 in window.stride:
        raise Unreadable("a stride of 0")
    dilation = window.dilation or (1,) * len(window.kernel)
    sizes = zip(data[2:], window.kernel, window.stride, window.pad, post, dilation, strict=True)
    return tuple((n + pre + end - dilation * (k - 1) - 1) // stride + 1 for n, k, stride, pre, end, dilation in sizes)


def _not_modelled(kind: str, entry: Entry, note: str) -> Layer:
    data, output = entry.shapes("Inputs"), entry.shapes("Outputs")
    return not_modelled(kind, entry.operation(note), data[0] if data else (), output[0] if output else ())
