"""What experiments showed, as tables for people and as plain values for machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..console import Cell, table
from ..interval import cells
from .balance import BlockMean, joules_of, ratio, seconds_of
from .design import PLAIN_GAPS, PLAIN_RUN, PROFILED_GAPS, PROFILED_RUN
from .experiment import BASELINES, Outcome

KINDS = (PROFILED_RUN, PLAIN_RUN, PROFILED_GAPS, PLAIN_GAPS)
MEANING = "± is the half-width of the 95 % interval (Student's, from the scatter of blocks)"
PAIRS = (("back to back", PROFILED_RUN, PLAIN_RUN), ("with gaps", PROFILED_GAPS, PLAIN_GAPS))


def document(outcome: Outcome) -> dict[str, Any]:
    """Everything of an outcome; intervals are 95 % half-widths, null where nothing tells."""
    return {
        "name": outcome.name,
        "layers": outcome.layers,
        "inferences": outcome.inferences,
        "unprofiled": outcome.unprofiled,
        "acknowledged": outcome.acknowledged,
        "rounds": outcome.rounds,
        "seconds": outcome.seconds,
        "ended": outcome.reason,
        "anchors": outcome.anchors,
        "simulated": outcome.simulated,
        "baselines_w": {name: plain(outcome.baselines[name]) for name in BASELINES if name in outcome.baselines},
        "inference_s": {kind: plain(seconds_of(outcome.blocks, kind)) for kind in KINDS},
        "inference_j": {kind: plain(joules_of(outcome.blocks, kind)) for kind in KINDS},
        "profiled_over_unprofiled": {
            name: {"time": plain(time_ratio(outcome, *pair)), "energy": plain(energy_ratio(outcome, *pair))}
            for name, *pair in PAIRS
        },
        "notes": outcome.notes,
    }


def plain(estimate: BlockMean) -> dict[str, float | int]:
    """An estimate as a map."""
    return {"value": estimate.value, "half_width": estimate.half_width, "blocks": estimate.count}


def time_ratio(outcome: Outcome, profiled: str, unprofiled: str) -> BlockMean:
    """How much longer an inference takes with the profiler."""
    return ratio(seconds_of(outcome.blocks, profiled), seconds_of(outcome.blocks, unprofiled))


def energy_ratio(outcome: Outcome, profiled: str, unprofiled: str) -> BlockMean:
    """How much more energy it takes."""
    return ratio(joules_of(outcome.blocks, profiled), joules_of(outcome.blocks, unprofiled))


def show(outcomes: Sequence[Outcome], simulated: bool) -> None:
    """Print the tables."""
    rows: list[list[Cell]] = [
        [o.name, o.layers, o.inferences, o.unprofiled, o.acknowledged, o.rounds, o.reason] for o in outcomes
    ]
    heads = ["engine", "layers", "profiled", "unprofiled", "acknowledged", "rounds", "ended after"]
    table("Networks run", heads, rows, simulated=simulated)
    told = [o for o in outcomes if o.blocks]
    if told:
        heads = ["engine", "kind of block", "ms an inference", "±", "mJ an inference", "±", "blocks"]
        table("Inferences, whole board", heads, [r for o in told for r in _kinds(o)], simulated=simulated)
        if ratios := [row for o in told for row in _ratios(o)]:
            heads = ["engine", "pace", "time ratio", "±", "energy ratio", "±"]
            table("Profiled over unprofiled", heads, ratios, simulated=simulated)
        heads = ["engine", "state", "W", "±"]
        table("Baselines, whole board", heads, [r for o in told for r in _baselines(o)], simulated=simulated)
        print(MEANING)
    for note in dict.fromkeys(note for o in outcomes for note in o.notes):
        print(f"note: {note}")


def _kinds(o: Outcome) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for kind in KINDS:
        seconds, joules = seconds_of(o.blocks, kind), joules_of(o.blocks, kind)
        if seconds.count:
            figures = [cell for each in (seconds, joules) for cell in cells(1e3 * each.value, 1e3 * each.half_width)]
            rows.append([o.name, kind, *figures, seconds.count])
    return rows


def _ratios(o: Outcome) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for name, *pair in PAIRS:
        spent, drawn = time_ratio(o, *pair), energy_ratio(o, *pair)
        if math.isfinite(spent.value):
            figures = [cell for each in (spent, drawn) for cell in cells(each.value, each.half_width)]
            rows.append([o.name, name, *figures])
    return rows


def _baselines(o: Outcome) -> list[list[Cell]]:
    found = [(name, o.baselines[name]) for name in BASELINES if name in o.baselines]
    return [[o.name, name, *cells(each.value, each.half_width)] for name, each in found]
