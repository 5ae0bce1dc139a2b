"""A table of one's own: layers with their sizes and measurements, CSV or Parquet, under the names of docs/dataset.md."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path

from neuralpower.dataset import dataset_of, row
from neuralpower.errors import InputError
from neuralpower.features.layers import KINDS, ImpossibleLayer, Layer
from neuralpower.importers.columns import CONTRADICTED, ColumnTable, contradicts, read_columns
from neuralpower.importers.imported import Imported

NEEDED = {
    "conv": ("in_c", "in_h", "in_w", "out_c", "kernel_h", "kernel_w"),
    "pool": ("in_c", "in_h", "in_w", "kernel_h", "kernel_w"),
    "fc": ("in_c", "out_c"),
}
"""What a kind cannot do without; the rest has a default (docs/dataset.md)."""
PAIRS = ("kernel", "stride", "pad", "dilation")
"""One column may stand for height and width."""
ALIASES = {
    "conv2d": "conv", "convolution": "conv", "maxpool": "pool", "avgpool": "pool", "maxpool2d": "pool", "avgpool2d": "pool", "pooling": "pool",
    "linear": "fc", "dense": "fc", "gemm": "fc", "fully_connected": "fc",
}  # fmt: skip

COLUMNS = {
    **dict.fromkeys(
        (
            "network",
            "layer",
            "kind",
            "precision",
            "layer_type",
            "note",
            "device",
            "method",
            "engine",
            "withheld",
            "simulated",
        ),
        "text",
    ),
    **dict.fromkeys(
        ("position", "batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w", "groups", "count", "fused", "gpu_mhz"),
        "whole",
    ),
    **dict.fromkeys([*PAIRS, *(f"{name}_{side}" for name in PAIRS for side in "hw")], "whole"),
    **dict.fromkeys(("runtime_s", "power_w", "energy_j", "runtime_se_s", "power_se_w", "energy_se_j"), "measured"),
}
MEASURED = ("runtime_s", "power_w", "energy_j")


def read(path: Path, mapping: Mapping[str, str] | None = None) -> Imported:
    """A row for each row of the table that says its kind and has what that kind needs, and something measured.

    ``mapping``: their columns -> ours, with the unit in our name (``{"latency": "runtime_ms"}``). A row that lacks something is left out
    and counted by the column that it lacks. Raises InputError where the table is broken, or no row can be used.
    """
    table = read_columns(path, COLUMNS, mapping or {})
    rows = [made for at in range(table.rows) if (made := _row(table, at)) is not None]
    skipped = table.reasons()
    if not rows:
        raise InputError(
            f"{path}: no row can be used: {'; '.join(each.removeprefix(f'{path}: ') for each in skipped) or 'it has none'}"
        )
    seen = [f"{path}: {len(rows)} of {table.rows} rows"]
    return Imported(dataset_of(rows, {"importer": "table", "path": str(path)}), seen, skipped)


def _row(table: ColumnTable, at: int) -> dict[str, object] | None:
    kind = _kind(table, at)
    if kind is None:
        return None
    layer = _layer(table, at, kind)
    if layer is None:
        return None
    found = {name: table.measured(name, at) for name in MEASURED}
    found |= {name: table.measured(name, at) for name in ("runtime_se_s", "power_se_w", "energy_se_j")}
    if all(isnan(found[name]) for name in MEASURED):
        table.lack("runtime, power or energy", "row(s) have none of the three that can be: left out")
        return None
    if contradicts(*(found[name] for name in MEASURED)):
        table.lack("energy_j", CONTRADICTED)
        return None
    if isnan(found["power_w"]) and found["runtime_s"] > 0:
        found["power_w"] = found["energy_j"] / found["runtime_s"]
    if isnan(found["energy_j"]):
        found["energy_j"] = found["power_w"] * found["runtime_s"]
    return row(
        layer,
        network=table.text("network", at) or layer.name,
        position=table.integer("position", at, at) or 0,
        origin="import",
        count=table.integer("count", at, 0),
        method=table.text("method", at) or "table",
        device=table.text("device", at),
        engine=table.text("engine", at),
        withheld=table.text("withheld", at),
        simulated=table.text("simulated", at).lower() in ("true", "1", "yes"),
        **found,
    )


def _kind(table: ColumnTable, at: int) -> str | None:
    """One of KINDS; None, counted, where the row does not say it."""
    told = table.text("kind", at).lower()
    kind = ALIASES.get(told, told)
    if kind in KINDS:
        return kind
    if told:
        table.lack("kind", f"row(s) hold {told[:40]!r}, which is none of {', '.join(KINDS)}: left out")
        return None
    table.lack("kind", "row(s) do not say it: left out")
    return None


def _layer(table: ColumnTable, at: int, kind: str) -> Layer | None:
    """The layer; None where a size that its kind needs is missing, which is counted."""

    def size(name: str, default: int | None) -> int | None:
        stem, _, side = name.rpartition("_")
        single = table.integer(stem, at, None) if stem in PAIRS and side in "hw" else None
        return table.integer(name, at, default if single is None else single)

    def place(name: str) -> str:
        """The column that lacks it: the one for both sides where there is no other."""
        stem = name.rpartition("_")[0]
        return stem if stem in PAIRS and stem in table.columns and name not in table.columns else name

    missing = [name for name in NEEDED.get(kind, ()) if size(name, None) is None]
    for name in dict.fromkeys(map(place, missing)):
        table.lack(name, f"row(s) of kind {kind} lack it: left out")
    if missing:
        return None
    told = {axis: size(axis, None) for axis in ("batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w")}
    sizes = {axis: value for axis, value in told.items() if value is not None}
    name = table.text("layer", at) or f"row {table.numbers[at]}"
    for side in "hw":
        for stem, default in (("kernel", 1), ("pad", 0), ("dilation", 1)):
            sizes[f"{stem}_{side}"] = size(f"{stem}_{side}", default) or 0
        stride = sizes[f"kernel_{side}"] if kind == "pool" else 1
        sizes[f"stride_{side}"] = size(f"stride_{side}", stride) or 0
        if kind in NEEDED:
            sizes.setdefault(f"in_{side}", 1)
            sizes.setdefault(f"out_{side}", 1 if kind == "fc" else _slid(sizes, side))
    if kind in NEEDED:
        sizes.setdefault("out_c", sizes["in_c"])
    sizes.setdefault("batch", 1)
    groups = size("groups", 1) or 1
    if kind == "conv" and (sizes["in_c"] % groups or sizes["out_c"] % groups):
        table.left_out.append(f"{table.place(at)}: {groups} groups do not divide its channels: left out")
        return None
    padded = [side for side in "hw" if kind in ("conv", "pool") and size(f"pad_{side}", None) is not None]
    wrong = [side for side in padded if abs(sizes[f"out_{side}"] - _slid(sizes, side)) > 1]
    if wrong and all(sizes[f"stride_{side}"] for side in wrong):
        table.left_out.append(
            f"{table.place(at)}: its window does not make {', '.join(f'out_{side}' for side in wrong)} of its input: left out"
        )
        return None
    words = {name: table.text(name, at) for name in ("layer_type", "note")}
    try:
        precision = _precision(table.text("precision", at))
        sizes |= {name: size(name, 0) or 0 for name in ("fused", "gpu_mhz")}
        return Layer(name, kind, groups=groups, precision=precision, **words, **sizes)  # type: ignore[arg-type]  # words and sizes
    except ImpossibleLayer as error:
        table.left_out.append(f"{table.place(at)}: {error.reason}: left out")
        return None


def _precision(told: str) -> str:
    """FP16 of fp16, half, float16 or torch.float16, and so on; as it is where it is none that is known."""
    told = told.lower().removeprefix("torch.").upper()
    return {"HALF": "FP16", "FLOAT16": "FP16", "FLOAT": "FP32", "FLOAT32": "FP32", "BFLOAT16": "BF16"}.get(told, told)


def _slid(sizes: Mapping[str, int], side: str) -> int:
    """Output size of a window: floor((in + 2·pad - dilation·(k - 1) - 1) / stride) + 1."""
    n, k, stride, pad, dilation = (sizes[f"{name}_{side}"] for name in ("in", "kernel", "stride", "pad", "dilation"))
    return (n + 2 * pad - dilation * (k - 1) - 1) // stride + 1 if stride else 0
