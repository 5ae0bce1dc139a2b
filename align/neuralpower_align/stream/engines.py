"""Engines that come and go: usual durations that stalls are told against, and classes that get other numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Classes
from neuralpower_align.activity.layout import COMMON, OWN
from neuralpower_align.activity.schedule import LEAST_STALL, MOST_STALL, Schedule
from neuralpower_align.model.nuisance import Model
from neuralpower_align.stream.packed import packed, unpacked
from neuralpower_align.stream.rail import LAID_CHUNKS, Rail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _spent(plan: Schedule, engine: int) -> tuple[Ints, Floats]:
    """The edges of one engine's layer stretches (m, s), and how long each lasted, ns."""
    moves = np.flatnonzero(plan.moves >= 0)
    mine = moves[plan.engine[plan.moves[moves]] == engine]
    count = int(np.count_nonzero(plan.engine == engine))
    edges = mine.reshape(count, -1) if count else np.zeros((0, 1), np.int64)
    # The last of them is the end of the last layer.
    return edges[:, :-1], np.diff(plan.laid_ns[edges], axis=1).astype(np.float64)


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


def rearranged(rail: Rail, classes: Classes, new_of: Mapping[int, int], engines: Mapping[int, int]) -> Rail:
    """The rail with other classes and engines: those that go are eliminated, those that come begin at the mean of the layers.

    `new_of`, `engines`: the new number of each class and of each engine that stays.
    """
    ref, count, layout = rail.ref, rail.ref.power_w.size, rail.ref.layout
    gone = set(range(count)) - set(new_of)
    own = {engine: ref.index.layout.start + COMMON + OWN * engine for engine in range(layout.engines)}
    values, known, off = packed(ref), rail.known, rail.off
    left = [at + k for engine, at in own.items() if engine not in engines for k in range(OWN)]
    # What an engine could differ by was not known before it was measured; that is no part of the sums.
    known.gram[left, left] += 1 / layout.deviation[np.array(left, np.int64) - ref.index.layout.start] ** 2
    known.slope[left] -= values[left] / layout.deviation[np.array(left, np.int64) - ref.index.layout.start] ** 2
    lost = sorted([*gone, *(ref.index.stall_of.start + c for c in gone if ref.stalls), *left], reverse=True)
    for number in lost:
        # A class that nothing ever touched has no row to eliminate.
        known = known.without(number)
    fresh = _fresh(ref, classes)
    wide, place = fresh.index, {}
    for name in ("power", "stall_of"):
        old, new = getattr(ref.index, name).start, getattr(wide, name).start
        if name == "power" or ref.stalls:
            place.update({old + c: new + new_of[c] for c in new_of})
    first = ref.index.stall.start
    place.update({n: wide.stall.start + n - first for n in range(first, ref.index.layout.start + COMMON)})
    for engine, number in engines.items():
        place.update({own[engine] + k: wide.layout.start + COMMON + OWN * number + k for k in range(OWN)})
    behind = ref.index.layout.stop
    place.update({n: wide.layout.stop + n - behind for n in range(behind, values.size)})
    kept = np.array(sorted(place), np.int64)
    where = np.array([place[n] for n in kept.tolist()], np.int64)
    all_values, all_off = packed(fresh), np.zeros(wide.size)
    all_values[where], all_off[where] = values[kept], off[kept]

    def renumbered(old: Floats, new: float) -> Floats:
        """What is said of the parameters of the layout, `new` of those of engines that come."""
        found = np.full(wide.layout.stop - wide.layout.start, new)
        found[:COMMON] = old[:COMMON]
        for engine, number in engines.items():
            at, to = COMMON + OWN * engine, COMMON + OWN * number
            found[to : to + OWN] = old[at : at + OWN]
        return found

    if ref.pull is not None:
        fresh = replace(fresh, pull=replace(ref.pull, layout=renumbered(ref.pull.layout, 0.0)))
    rivals = None
    if rail.rivals is not None:
        rivals = np.zeros((len(rail.rivals), wide.size))
        rivals[:, where] = rail.rivals[:, kept]
    spent = np.zeros((classes.count, rail.spent.shape[1]))
    spent[list(new_of.values())] = rail.spent[list(new_of)]
    return replace(
        rail,
        ref=replace(unpacked(fresh, all_values), likely_w=None),
        known=known.placed(where, wide.size),
        off=all_off,
        spent=spent,
        rivals=rivals,
        laid=renumbered(rail.laid, np.nan),
        laid_after=rail.chunks + LAID_CHUNKS,
    )


def _fresh(ref: Model, classes: Classes) -> Model:
    mean = float(np.mean(ref.power_w[ref.layer])) if np.any(ref.layer) else 1.0
    return replace(
        ref,
        power_w=np.full(classes.count, mean),
        layer=classes.is_layer(),
        stall_of=np.zeros(classes.count),
        layout=replace(classes.layout, apart=classes.layout.apart or ref.layout.apart),
    )
