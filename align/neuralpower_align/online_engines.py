"""Engines that come and go: usual durations that stalls are told against, and classes that get other numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.classes import Classes
from neuralpower_align.nuisance import Model
from neuralpower_align.online_packed import packed, unpacked
from neuralpower_align.online_rail import Rail
from neuralpower_align.schedule import Schedule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_STALL, MOST_STALL = -0.5, 1.0
"""As in a schedule of the whole."""


def _spent(plan: Schedule, engine: int) -> tuple[Ints, Floats]:
    """The edges of one engine's layer stretches (m, s), and how long each lasted, ns."""
    moves = np.flatnonzero(plan.moves >= 0)
    mine = moves[plan.engine[plan.moves[moves]] == engine]
    count = int(np.count_nonzero(plan.engine == engine))
    edges = mine.reshape(count, -1) if count else np.zeros((0, 1), np.int64)
    # The last of them is the end of the last layer.
    return edges[:, :-1], np.diff(plan.edges_ns[edges], axis=1).astype(np.float64)


def usual(plan: Schedule, names: Sequence[str]) -> dict[str, Floats]:
    """Mean durations of each engine's stretches (s,), ns."""
    found = {name: _spent(plan, number)[1] for number, name in enumerate(names)}
    return {name: spent.mean(axis=0) for name, spent in found.items() if len(spent)}


def referred(plan: Schedule, names: Sequence[str], means: Mapping[str, Floats]) -> Schedule:
    """The schedule with stalls told against the usual durations rather than those of the few inferences that it has."""
    stall = plan.stall.copy()
    for number, name in enumerate(names):
        edges, spent = _spent(plan, number)
        if name in means and len(edges):
            share = np.where(spent > 0, means[name] / np.maximum(spent, 1.0) - 1, 0.0)
            stall[edges] = np.clip(share, LEAST_STALL, MOST_STALL)
    return replace(plan, stall=stall)


def moves(old: Classes, names: Sequence[str], new: Classes, wanted: Sequence[str]) -> dict[int, int]:
    """The new number of each class that stays."""
    found = {
        old.idle: new.idle, old.device_idle: new.device_idle, old.context_idle: new.context_idle, old.aside: new.aside
    }  # fmt: skip
    for number, name in enumerate(names):
        if name not in wanted:
            continue
        other = list(wanted).index(name)
        found.update(zip(old.layers[number].tolist(), new.layers[other].tolist(), strict=True))
        for kind in ("launch", "tail", "gap", "gap_alone"):
            found[int(getattr(old, kind)[number])] = int(getattr(new, kind)[other])
    return found


def rearranged(rail: Rail, classes: Classes, new_of: Mapping[int, int]) -> Rail:
    """The rail with other classes: those that go are eliminated, those that come begin at the mean of the layers."""
    ref, count = rail.ref, rail.ref.power_w.size
    gone = sorted(set(range(count)) - set(new_of), reverse=True)
    values, known, off = packed(ref), rail.known, rail.off
    index = ref.index
    lost = sorted([*gone, *(index.stall_of.start + c for c in gone if ref.stalls)], reverse=True)
    for number in lost:
        # A class that nothing ever touched has no row to eliminate.
        known = known.without(number)
    values, off = np.delete(values, lost), np.delete(off, lost)
    kept = [c for c in range(count) if c in new_of]
    fresh = _fresh(ref, classes)
    place = np.array([new_of[c] for c in kept], np.int64)
    wide = fresh.index
    parts = [place, *([wide.stall_of.start + place] if ref.stalls else [])]
    where = np.concatenate([*parts, np.arange(wide.stall_of.stop, wide.size)])
    all_values, all_off = packed(fresh), np.zeros(wide.size)
    all_values[where], all_off[where] = values, off
    return replace(
        rail, ref=replace(unpacked(fresh, all_values), likely_w=None), known=known.placed(where, wide.size), off=all_off
    )


def _fresh(ref: Model, classes: Classes) -> Model:
    mean = float(np.mean(ref.power_w[ref.layer])) if np.any(ref.layer) else 1.0
    return replace(
        ref, power_w=np.full(classes.count, mean), layer=classes.is_layer(), stall_of=np.zeros(classes.count)
    )
