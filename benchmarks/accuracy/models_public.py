"""The 999 measured convolutions of NeurstrucEnergy: nested selection, all baselines, and folds by octave of size and channels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower.dataset import Dataset
from neuralpower.importers.neurstrucenergy import read
from neuralpower.models.judging.baselines import baselines
from neuralpower.models.six import SixModels
from neuralpower.models.validation.held_out import KindFolds

from .models_trial import baseline, ours, over_seeds

Row = dict[str, Any]

TARGETS = ("runtime", "power", "energy")
FOLDS = 5
OCTAVE_SEEDS = 1
"""Octaves make few groups, which hardly fall differently with another seed: only the first seeds run them."""


def public_data() -> Path | None:
    """conv2d.txt in the folder that NEURALPOWER_DATA names, or beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("NEURALPOWER_DATA", str(beside))) / "neurstrucenergy" / "conv2d.txt"
    return path if path.is_file() else None


@lru_cache(maxsize=1)
def layers(path: Path) -> Dataset:
    """The measured rows."""
    return read(path).dataset


def seed_results(path: Path, loss: str, seed: int) -> list[Row]:
    """All models and baselines on one fold seed; on the first ones also by octaves."""
    rows = _on(layers(path), "public", loss, seed)
    return rows + (
        _on(by_octave(layers(path)), "public, octaves held out", loss, seed) if seed % 10 < OCTAVE_SEEDS else []
    )


def _on(dataset: Dataset, table: str, loss: str, seed: int) -> list[Row]:
    folds = KindFolds.of(dataset, "conv", TARGETS, FOLDS, seed)
    rows = ours(folds, "conv", SixModels(FOLDS, seed, loss).estimator, table, seed)
    for target in TARGETS:
        for name, make in baselines("conv", target, seed).items():
            rows += baseline(folds, "conv", target, name, make, table, seed)
    return rows


def by_octave(dataset: Dataset) -> Dataset:
    """The rows, named by the octave of their input's side and of their input's channels: folds keep an octave whole."""
    octaves = [(int(np.log2(layer.in_h)), int(np.log2(layer.in_c))) for layer in dataset.layers()]
    names = np.array([f"{2**side} pixels, {2**channels} channels" for side, channels in octaves], dtype=np.object_)
    return Dataset({**dataset.table, "network": names}, dataset.provenance)


def noise_floor(path: Path) -> dict[str, tuple[float, float]]:
    """Target -> root mean square of how far repeats of a layer are from their own mean, as a share of it; and the standard
    deviation of a single one that follows, with which no model of the geometry can do better.
    """
    dataset = layers(path)
    names = dataset["layer"].tolist()
    repeats = [np.flatnonzero(dataset["layer"] == name) for name in dict.fromkeys(names) if names.count(name) > 1]
    floor = {}
    for target, column in (("runtime", "runtime_s"), ("power", "power_w"), ("energy", "energy_j")):
        values = [dataset[column][rows].astype(np.float64) for rows in repeats]
        squares = sum(float(((each / each.mean() - 1) ** 2).sum()) for each in values)
        rows = sum(len(each) for each in values)
        floor[target] = float(np.sqrt(squares / rows)), float(np.sqrt(squares / (rows - len(values))))
    return floor


def summary(rows: Iterable[Row]) -> list[Row]:
    """Medians over the fold seeds."""
    return over_seeds(rows)
