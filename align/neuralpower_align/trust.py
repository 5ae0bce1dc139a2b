"""Whether a fit can be believed, and by how much its errors are wider than its model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuralpower_align.classes import Classes, Engine
from neuralpower_align.estimate import Estimate
from neuralpower_align.excitation import Excitation, excitation
from neuralpower_align.results import Fitted

MOST_SLACK, LEAST_ROOM_NS = 0.6, 20e3
"""Inferences that scatter by more than this share of the room between their anchors, and this, contradict the fit."""
FEWEST_CLUSTERS = 30
"""Of fewer seconds the scatter says nothing."""


def inflation_of(found: Estimate, classes: Classes) -> float:
    """By how much the scatter of clusters exceeds what the model says, in the mean over layers; 1 where it does not."""
    if found.clusters < FEWEST_CLUSTERS:
        return 1.0
    layers = np.concatenate(classes.layers)
    model, scattered = np.diag(found.covariance)[layers], np.diag(found.scattered)[layers]
    ratio = float(np.mean(scattered / np.maximum(model, 1e-30))) if layers.size else 1.0
    return max(ratio, 1.0)


def contradiction(engines: Sequence[Engine], fitted: Sequence[Fitted]) -> str:
    """Why the fit cannot be believed, "" if it can.

    No inference runs outside its anchors. Where readings scatter as if they did, something is wrong with the sensor, or with what
    ran when, that the scatter has to make up for.
    """
    told = [e for e in engines if not e.whole]
    if not told:
        return ""
    room = np.concatenate([(e.end_ns - e.begin_ns - e.durations_ns.sum(axis=1)) / 2 for e in told])
    most = MOST_SLACK * float(np.median(room)) + LEAST_ROOM_NS
    worst = max(float(np.sqrt(rail.found.noise.slack)) for rail in fitted)
    if worst <= most:
        return ""
    return (
        f"readings scatter as if inferences ran {worst / 1e3:.0f} us rms from where they were laid, and between their anchors there "
        f"are {float(np.median(room)) / 1e3:.0f} us to either side: sensor or layers are not what they are taken for"
    )


def seen_by(engine: Engine, fitted: Sequence[Fitted]) -> list[Excitation]:
    """How each rail's windows lay in the inferences."""
    return [
        excitation(piece.at_ns, piece.window_ns, engine.begin_ns, engine.end_ns)
        for rail in fitted
        for piece in [max(rail.found.pieces, key=lambda each: each.number.size)]
        if not piece.unplaced_ns
    ]
