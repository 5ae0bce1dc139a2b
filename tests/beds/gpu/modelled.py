"""(4) Models fitted to the repeated layers, two networks predicted that were measured whole, and the kept recording read by every command."""

from __future__ import annotations

import json
import math
from typing import Any

from bed import OUT, Bed, Row
from networks import NAMES
from square_wave import energies

PREDICTED = NAMES[:2]
DATASET, MODEL = OUT / "layers.parquet", OUT / "model.json"
RECORDING, OWN = OUT / f"recording-{NAMES[0]}", OUT / "recording.parquet"


def run(bed: Bed) -> None:
    """Import, fit, predict, and what reads a recording: the commands that a user has."""
    bed.attempt("energy", energies, bed)
    if bed.attempt("models: fitted", fit, bed):
        bed.attempt("models: networks predicted", predict, bed)
    bed.attempt("the recording, read", read, bed)


def fit(bed: Bed) -> bool:
    """Of the repeated layers."""
    bed.command("import", "measured", str(OUT / "layers.json"), "-o", str(DATASET))
    bed.command("fit", str(DATASET), "-o", str(MODEL))
    score = json.loads(bed.command("info", str(MODEL), "--json"))
    bed.add(Row("models: fitted", len(score["models"]), "", 6))
    return True


def predict(bed: Bed) -> None:
    """Networks that took no part."""
    wholes = {each["name"]: each for each in json.loads((OUT / "networks.json").read_text())["networks"]}
    found: dict[str, Any] = {}
    for name in PREDICTED:
        if name not in wholes:
            bed.add(Row(f"{name}: predicted", math.nan, note="it was not measured"))
            continue
        told = json.loads(bed.command("predict", str(MODEL), str(OUT / f"{name}.engine.json"), "--json"))
        found[name] = told
        runtime_s, energy_j = float(told["runtime_s"] or 0.0), float(told["energy_j"] or 0.0)
        measured, note = wholes[name], "layers with a model, without the rest"
        power_w = energy_j / runtime_s if runtime_s else math.nan
        bed.add(
            Row(f"{name}: predicted runtime", runtime_s * 1e3, "ms", measured["ms"], note),
            Row(f"{name}: predicted power", power_w, "W", measured["watts"]),
        )
    bed.keep("predicted", {"networks": found})


def read(bed: Bed) -> None:
    """By `attribute`, `dataset`, `fit` and `report`: each says that it is simulated where that is so, and nowhere else."""
    page = OUT / "report.html"
    said = {
        "attribute": bed.attempt("the recording: attribute", bed.command, "attribute", str(RECORDING)),
        "dataset": bed.attempt("the recording: dataset", bed.command, "dataset", str(RECORDING), "-o", str(OWN)),
        "fit": bed.attempt(
            "the recording: fit", bed.command, "fit", str(DATASET), str(OWN), "-o", str(OUT / "both.json")
        ),
        "report": bed.attempt("the recording: report", bed.command, "report", str(RECORDING), "-o", str(page)),
    }
    if said["report"] is not None:
        said["report"] += page.read_text()
    read = {name: text for name, text in said.items() if text is not None}
    marked = [name for name, text in read.items() if "simulated" in text.lower()]
    wrong = [name for name in read if (name in marked) != bed.simulated]
    note = (
        f"FAILED: not so of {', '.join(wrong)}" if wrong else "beside: " + ("all are" if bed.simulated else "none is")
    )
    bed.add(Row("commands whose words are 'simulated'", len(marked), "", len(read) if bed.simulated else 0, note))
