"""(4) Models fitted to the repeated layers, and two networks predicted that were measured whole."""

from __future__ import annotations

import json
import math
from typing import Any

from bed import OUT, Bed, Row
from networks import NAMES

PREDICTED = NAMES[:2]


def run(bed: Bed) -> None:
    """Import, fit, predict: the commands that a user has."""
    dataset, model = OUT / "layers.parquet", OUT / "model.json"
    bed.command("import", "measured", str(OUT / "layers.json"), "-o", str(dataset), seconds=bed.clock.left_s)
    bed.command("fit", str(dataset), "-o", str(model), seconds=bed.clock.left_s)
    wholes = {each["name"]: each for each in json.loads((OUT / "networks.json").read_text())["networks"]}
    found: dict[str, Any] = {}
    for name in PREDICTED:
        if name not in wholes:
            bed.add(Row(f"{name}: predicted", math.nan, note="it was not measured"))
            continue
        told = json.loads(
            bed.command("predict", str(model), str(OUT / f"{name}.engine.json"), "--json", seconds=bed.clock.left_s)
        )
        found[name] = told
        runtime_s, energy_j = float(told["runtime_s"] or 0.0), float(told["energy_j"] or 0.0)
        measured = wholes[name]
        bed.add(
            Row(
                f"{name}: predicted runtime",
                runtime_s * 1e3,
                "ms",
                measured["ms"],
                "layers with a model, without the rest",
            ),
            Row(f"{name}: predicted power", energy_j / runtime_s if runtime_s else math.nan, "W", measured["watts"]),
        )
    bed.keep("predicted", {"networks": found})
