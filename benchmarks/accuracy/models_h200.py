"""Layers measured one by one on an NVIDIA H200 under PyTorch and cuDNN: real hardware whose library chooses algorithms by rules of its own."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower import console
from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.features.classify import Operation, Sliding, convolution, fully_connected, pooling
from neuralpower.features.layers import Layer
from neuralpower.models.judging.baselines import LogTrees
from neuralpower.models.regression.design import KINDS, TARGETS
from neuralpower.models.six import SixModels, held_out
from neuralpower.models.validation.held_out import HeldOut, KindFolds

from .models_trial import baseline, of_score, over_seeds

Row = dict[str, Any]
Bools = npt.NDArray[np.bool_]

FOLDS = 5
FEWEST = 10
"""Rows of a group whose share of held intervals is told; of fewer it is luck."""
LAYER_TYPES = {"max": "MaxPool", "avg": "AveragePool", "gap": "GlobalAveragePool"}


def h200_data() -> Path | None:
    """measured.json in the folder that NEURALPOWER_DATA names, or beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("NEURALPOWER_DATA", str(beside))) / "h200" / "measured.json"
    return path if path.is_file() else None


@lru_cache(maxsize=1)
def h200_layers(path: Path) -> Dataset:
    """The single layers, a network of its own each: runtime, s, power, W, and energy, J, of one call."""
    measured = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for place, each in enumerate(measured["layers"]):
        seconds, watts = 1e-3 * each["ms"], each["watts"]
        known = {"runtime_s": seconds, "power_w": watts, "energy_j": seconds * watts, "count": each["repeats"]}
        rows.append(row(h200_layer(each, f"{each['kind']}{place}"), network=f"single/{place}", origin="sweep",
                        method="alone in a CUDA graph", device=measured["device"], **known))  # fmt: skip
    return dataset_of(rows, {})


def h200_layer(entry: Mapping[str, Any], name: str) -> Layer:
    """A conv, pool or fc entry of the file as a layer; sides are one number or a pair (h, w)."""
    kind, precision = entry["kind"], entry["dtype"].upper()
    if kind == "fc":
        return fully_connected(Operation(name, "Gemm", precision), entry["n"], entry["ci"], entry["co"])
    data = (entry["n"], entry["ci"], entry["h"], entry["w"])
    kernel, stride, pad = (_pair(entry[key]) for key in ("k", "s", "p"))
    sides = [(data[2 + i] + 2 * pad[i] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
    window = Sliding(kernel, stride, pad)
    if kind == "pool":
        operation = Operation(name, LAYER_TYPES[entry["pool"]], precision)
        return pooling(operation, data, (data[0], data[1], *sides), window)
    layer = convolution(Operation(name, "Conv", precision), data, (data[0], entry["co"], *sides), window, entry["g"])
    return replace(layer, fused=2 if entry["relu"] else 0)


def _pair(side: int | Iterable[int]) -> tuple[int, int]:
    h, w = (side, side) if isinstance(side, int) else side
    return h, w


def seed_results(path: Path, loss: str, seed: int) -> list[Row]:
    """The models and boosted trees on logarithms, by layer type on one fold seed; and how often intervals held in each group of layers."""
    dataset, results = h200_layers(path), []
    for kind in KINDS:
        folds = KindFolds.of(dataset, kind, TARGETS, FOLDS, seed)
        found = held_out(folds, kind, SixModels(FOLDS, seed, loss).estimator)
        for target in TARGETS:
            results += of_score("h200", kind, target, "ours", seed, found[target].score(), [])
            results += baseline(folds, kind, target, "log trees", lambda: LogTrees(seed), "h200", seed)
            results += _held(found[target], kind, target, seed)
    return results


def groups(layers: list[Layer]) -> dict[str, Bools]:
    """Name -> which layers, (rows,): kinds of convolutions and pools, one image and more, octaves of work."""
    kind = np.array([_kind(layer) for layer in layers])
    batch = np.array([layer.batch for layer in layers])
    octave = np.log2([layer.flops() for layer in layers]).astype(int)
    found = {name: kind == name for name in dict.fromkeys(kind.tolist())}
    found |= {"batch 1": batch == 1, "batch 2 and more": batch > 1}
    found |= {
        f"2^{two} to 2^{two + 2} operations": octave // 2 * 2 == two for two in sorted(set((octave // 2 * 2).tolist()))
    }
    return {name: inside for name, inside in found.items() if inside.sum() >= FEWEST}


def _kind(layer: Layer) -> str:
    if layer.kind == "pool":
        return layer.layer_type
    if layer.kind == "fc" or layer.groups == 1:
        return "dense"
    return "depthwise" if layer.groups == layer.out_c else "grouped"


def _held(found: HeldOut, kind: str, target: str, seed: int) -> list[Row]:
    """The share of a group's held-out layers within their intervals."""
    rows = found.folds.rows[target]
    inside = (rows.y >= found.low) & (rows.y <= found.high)
    return [
        {"table": "h200, groups", "layer_type": kind, "target": target, "model": name, "seed": seed, "rows": int(mine.sum()),
         "coverage": float(inside[mine].mean())}
        for name, mine in groups(rows.layers).items()
    ]  # fmt: skip


def summary(rows: Iterable[Row]) -> list[Row]:
    """Medians over the fold seeds of the errors; means of how often intervals held."""
    listed = list(rows)
    by_group: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for each in listed:
        if each["table"] == "h200, groups":
            by_group[each["layer_type"], each["target"], each["model"]].append(each)
    held = [
        {**members[0], "coverage": float(np.mean([each["coverage"] for each in members]))}
        for members in by_group.values()
    ]
    return over_seeds(each for each in listed if each["table"] == "h200") + held


def show_groups(rows: Iterable[Row]) -> None:
    """Print how often intervals held, one line a group."""
    held = [each for each in rows if each["table"] == "h200, groups"]
    lines: dict[tuple[str, str], list[console.Cell]] = {}
    for each in held:
        line = lines.setdefault(
            (each["layer_type"], each["model"]), [each["layer_type"], each["model"], each["rows"], None, None]
        )
        line[3 + TARGETS.index(each["target"])] = f"{100 * each['coverage']:.0f} %"
    console.table(
        "Share of held-out layers within their interval of 90 %, by group",
        ["type", "group", "rows", *TARGETS],
        list(lines.values()),
    )
    print()
