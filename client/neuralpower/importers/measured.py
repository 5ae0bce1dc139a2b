"""Single layers and whole networks measured in CUDA graphs, as one JSON document: ``layers`` and ``networks``, ms and W.

A layer is ``conv``, ``pool`` or ``fc`` with ``n ci h w co k s p g`` and ``dtype``; ``k``, ``s`` and ``p`` are one number or [h, w]. A
network lists every operation in order, unmeasured, and has a runtime and a power of the whole. ``"simulated": true`` marks all rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod, sqrt
from pathlib import Path
from typing import Any

from neuralpower.dataset import dataset_of, row, why_implausible
from neuralpower.dataset_networks import KEY, measured_whole
from neuralpower.documents import read_json
from neuralpower.errors import InputError
from neuralpower.features.classify import Operation, Sliding, convolution, fully_connected, not_modelled, pooling
from neuralpower.features.layers import Layer
from neuralpower.importers.imported import Imported

_PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "fp8": "FP8", "int8": "INT8"}
_DOES = {
    **dict.fromkeys(("add", "mul", "relu", "relu6", "silu", "sigmoid", "hardswish", "gelu", "tanh"), "elementwise"),
    "batchnorm": "scale",
    "concat": "concatenation",
    "softmax": "softmax",
    "copy": "copy",
}
"""What an operation is called as a layer that has no model (features/inspector/engine.py has the same words)."""


def read(path: Path) -> Imported:
    """A row for each single layer, measured, and for each operation of each network, unmeasured; the networks in the provenance.

    What cannot be read or cannot be is left out with its reason. Raises InputError where the document is no such one, or nothing is left.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("layers"), list):
        raise InputError(f"{path}: not measured layers: a JSON object with layers and networks is needed")
    device = document.get("device")
    simulated = document.get("simulated") is True
    about = {"origin": "import", "device": device if isinstance(device, str) else "", "simulated": simulated}
    rows: list[dict[str, object]] = []
    skipped: list[str] = []
    for at, entry in enumerate(document["layers"]):
        try:
            rows.append(_single(entry, len(rows), about))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, IndexError, ZeroDivisionError) as error:
            skipped.append(f"{path}: layers, entry {at}: {_why(error)}: left out")
    singles = len(rows)
    networks: list[dict[str, Any]] = []
    listed = document.get("networks")
    for at, entry in enumerate(listed if isinstance(listed, list) else []):
        try:
            whole, layers = _network(entry)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, IndexError, ZeroDivisionError) as error:
            skipped.append(f"{path}: networks, entry {at}: {_why(error)}: left out")
            continue
        networks.append(whole)
        known = {**about, "network": whole["network"], "engine": whole["engine"], "method": "whole network"}
        rows += [row(layer, position=place, **known) for place, layer in enumerate(layers)]
    if not rows:
        raise InputError(
            f"{path}: nothing in it can be used{': ' + skipped[0].removeprefix(f'{path}: ') if skipped else ''}"
        )
    seen = [
        f"{path}: {singles} measured layers, {len(networks)} whole inferences with {len(rows) - singles} operations"
    ]
    provenance = {"importer": "measured", "path": str(path), KEY: networks}
    return Imported(dataset_of(rows, provenance), seen, skipped)


def _single(entry: Mapping[str, Any], position: int, about: Mapping[str, Any]) -> dict[str, object]:
    layer = _layer(entry, None)
    runtime, power = _measured("runtime_s", entry["ms"] * 1e-3), _measured("power_w", entry["watts"])
    power_se = (
        entry["watts_sd"] / sqrt(entry["readings"]) if entry.get("readings") and "watts_sd" in entry else float("nan")
    )
    return row(
        layer, network=layer.name, position=position, **about, method="graph-replay", runtime_s=runtime, power_w=power,
        power_se_w=power_se, energy_j=runtime * power, energy_se_j=runtime * power_se, count=_count(entry.get("repeats", 0)),
    )  # fmt: skip


def _network(entry: Mapping[str, Any]) -> tuple[dict[str, Any], list[Layer]]:
    operations: Sequence[Mapping[str, Any]] = entry["layers"]
    follows = [*operations[1:], None]
    layers = [
        _layer(each, after).renamed(f"{at} {each['kind']}")
        for at, (each, after) in enumerate(zip(operations, follows, strict=True))
    ]
    runtime, power = _measured("runtime_s", entry["ms"] * 1e-3), _measured("power_w", entry["watts"])
    power_se = (
        entry["watts_sd"] / sqrt(entry["readings"]) if entry.get("readings") and "watts_sd" in entry else float("nan")
    )
    name = f"{entry['name']} batch {entry['batch']}"
    engine = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
    whole = measured_whole(
        name, engine, _count(entry.get("repeats", 0)), runtime, runtime * power, energy_se_j=runtime * power_se
    )
    return whole, layers


def _layer(entry: Mapping[str, Any], after: Mapping[str, Any] | None) -> Layer:
    """The layer of an entry; ``after`` is the operation behind it, whose input tells whether a pooling rounds its size up."""
    kind, precision = entry["kind"], _PRECISIONS.get(entry.get("dtype", ""), "")
    if kind not in ("conv", "pool", "fc"):
        data, output = entry["inputs"][0] if entry["inputs"] else [], entry["output"]
        note = _DOES.get(kind, str(kind))
        layer = not_modelled("other", Operation(str(kind), str(kind), precision, note), _sizes(data), _sizes(output))
        # A concatenation or a sum reads more than its first input.
        return replace(layer, told_accesses=sum(prod(_sizes(each)) for each in [*entry["inputs"], output]))
    n, inputs = _sizes([entry["n"], entry["ci"]])
    if kind == "fc":
        (outputs,) = _sizes([entry["co"]])
        return fully_connected(
            Operation(f"fc {inputs} to {outputs} n{n} {precision}", "fc", precision), n, inputs, outputs
        )
    h, w = _sizes([entry["h"], entry["w"]])
    kernel, stride, pad = _pair(entry["k"]), _pair(entry["s"]), _pair(entry["p"])
    window = Sliding(kernel, stride, pad)
    out = [(size + 2 * p - k) // s + 1 for size, k, s, p in zip((h, w), kernel, stride, pad, strict=True)]
    shape = f"{inputs}x{h}x{w}"
    how = f"k{kernel[0]}x{kernel[1]} s{stride[0]}x{stride[1]} p{pad[0]}x{pad[1]} n{n} {precision}"
    if kind == "pool":
        word = str(entry.get("pool", "pool"))
        up = [-(-(size + 2 * p - k) // s) + 1 for size, k, s, p in zip((h, w), kernel, stride, pad, strict=True)]
        if after is not None and _data(after) == up:
            out = up
        return pooling(
            Operation(f"{word} {shape} {how}", word, precision), (n, inputs, h, w), (n, inputs, *out), window
        )
    outputs, groups = _sizes([entry["co"], entry["g"]])
    fused = entry.get("relu", False)
    note = "" if fused else "with a kernel of its own for the bias"
    name = f"conv {shape} to {outputs} g{groups} {how}{'' if fused else ' bias apart'}"
    operation = Operation(name, "conv+relu" if fused else "conv", precision, note)
    return replace(
        convolution(operation, (n, inputs, h, w), (n, outputs, *out), window, groups), fused=2 if fused else 0
    )


def _data(operation: Mapping[str, Any]) -> list[int] | None:
    """Height and width of an operation's first input."""
    if "h" in operation:
        return [operation["h"], operation["w"]]
    inputs = operation.get("inputs") or [[]]
    return list(inputs[0][2:]) if len(inputs[0]) == 4 else None


def _count(value: Any) -> int:
    if not 0 <= value < 1 << 62:
        raise ValueError("repeats that nothing runs")
    return int(value)


def _measured(column: str, value: float) -> float:
    if why := why_implausible(column, value):
        raise ValueError(f"{column} is {value:g}, {why}")
    return float(value)


def _sizes(values: Sequence[Any]) -> list[int]:
    if (
        not all(isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 for value in values)
        or prod(values) >= 1 << 60
    ):
        raise ValueError(f"sizes {str(values)[:60]} that nothing has")
    return list(values)


def _pair(value: Any) -> tuple[int, int]:
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2 or not all(isinstance(each, int) and 0 <= each < 1 << 31 for each in pair):
        raise ValueError(f"{str(value)[:60]} is neither a number nor [h, w]")
    return pair[0], pair[1]


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]}"
    return (
        str(error).splitlines()[0][:200]
        if isinstance(error, ValueError) and str(error)
        else "not as a measured layer is written"
    )
