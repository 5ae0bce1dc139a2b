"""Which layers to measure next: those of which the measured ones say least, by the leverage of a small model of their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset
from neuralpower.features.layers import Layer
from neuralpower.models.regression.design import KINDS, dictionary_of
from neuralpower.models.regression.quantities import measure, measure_rows

Floats = NDArray[np.float64]

SPREAD = 8.0
"""Octaves in which a size is taken to lie where nothing is measured yet; a measured layer counts as one, this as the prior's deviation."""


@dataclass(frozen=True)
class Planned:
    """A layer to measure. `leverage`: its variance under what is measured and planned before it, in variances of one measured layer: below 1
    the data say more of it than measuring it once would. `times`: how often it stands in the networks.
    """

    layer: Layer
    leverage: float
    times: int


def plan(measured: Dataset | None, candidates: Sequence[Layer], count: int) -> list[Planned]:
    """The `count` layers of the candidates to measure next, the most telling first.

    Each is the candidate of most leverage φᵀ(Λ + Σ φφᵀ)⁻¹φ, where φ holds a constant, the octaves of a layer's quantities, and a mark for each precision and for
    grouped and depthwise convolutions, and the sum goes over the layers measured and chosen so far (the greedy D-optimal design, Fedorov 1972).
    Λ is a prior of SPREAD octaves. Layer types are planned apart and merged by leverage; layers that are equal are one.
    """
    shapes: dict[tuple[str | int, ...], list[Layer]] = {}
    for layer in candidates:
        if layer.modelled:
            shapes.setdefault(layer.shape, []).append(layer)
    found: list[Planned] = []
    for kind in KINDS:
        mine = [layers for layers in shapes.values() if layers[0].kind == kind]
        if mine:
            found += _plan_kind(measured, kind, mine, count)
    return sorted(found, key=lambda each: -each.leverage)[:count]


def _plan_kind(measured: Dataset | None, kind: str, shapes: list[list[Layer]], count: int) -> list[Planned]:
    names = dictionary_of(kind, "runtime").columns
    layers = [each[0] for each in shapes]
    precisions = sorted({layer.precision for layer in layers})
    known = np.zeros((0, len(names)))
    told: list[str] = []
    if measured is not None:
        timed = np.isfinite(measured["runtime_s"].astype(np.float64))
        rows = np.flatnonzero((measured["kind"] == kind) & timed)
        known, told = measure_rows(measured.table, rows, kind, names), measured["precision"][rows].tolist()
    x = measure(layers, names)
    asked = _features(x, [layer.precision for layer in layers], precisions, names)
    seen = _features(known, told, precisions, names)
    information = np.eye(asked.shape[1]) / SPREAD**2 + seen.T @ seen
    inverse = np.linalg.inv(information)
    left, chosen = np.ones(len(layers), dtype=bool), []
    for _ in range(min(count, len(layers))):
        leverage = np.where(left, np.einsum("ij,jk,ik->i", asked, inverse, asked), -1.0)
        best = int(np.argmax(leverage))
        chosen.append(Planned(layers[best], float(leverage[best]), len(shapes[best])))
        left[best] = False
        # One row more in the information (Sherman and Morrison 1950).
        moved = inverse @ asked[best]
        inverse -= np.outer(moved, moved) / (1 + leverage[best])
    return chosen


def _features(x: Floats, told: Sequence[str], precisions: Sequence[str], names: Sequence[str]) -> Floats:
    """A constant, octaves, and marks, (rows, features)."""
    column = {name: x[:, place] for place, name in enumerate(names)}
    marks = [np.array([each == precision for each in told], dtype=bool) for precision in precisions]
    if "groups" in column:
        grouped = column["groups"] > 1
        marks += [grouped, grouped & (column["filters"] <= 1)]
    return np.column_stack([np.ones(len(x)), np.log2(x), *marks])
