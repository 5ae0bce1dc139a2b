"""Whether a fit can be believed, and by how much its errors are wider than its model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Classes, EngineRuns
from neuralpower_align.clock.scan_clock import Sensor
from neuralpower_align.result.resolution import Z95
from neuralpower_align.result.results import Fitted
from neuralpower_align.sensor.excitation import Excitation, excitation

Floats = npt.NDArray[np.float64]

MOST_SLACK, LEAST_ROOM_NS = 0.6, 20e3
"""Rule: inferences that scatter by more than this share of the room between their anchors, and this, contradict the fit."""
LESS_THAN_NOTHING = 5.0
"""Rule: standard errors below 0 W, where no layer can be: by chance one in three million is."""
FEWEST_CLUSTERS = 8
"""Rule: of fewer seconds the scatter says nothing, though it is taken in the mean over all layers."""


def inflation_of(clusters: float, covariance: Floats, scattered: Floats, classes: Classes) -> float:
    """By how much variances are wider than the model's covariance (q, q) says, powers first: what clusters scatter by over it, in the mean over layers
    and 1 at the least, times what few clusters ask for (Student's t of one less than them, as is usual with variances from clusters)."""
    if clusters < FEWEST_CLUSTERS:
        return 1.0
    layers = np.concatenate(classes.layers)
    model, seen = np.diag(covariance)[layers], np.diag(scattered)[layers]
    ratio = float(np.mean(seen / np.maximum(model, 1e-30))) if layers.size else 1.0
    return max(ratio, 1.0) * _few(clusters)


def _few(clusters: float) -> float:
    """Squared 97.5 % point of Student's t over that of the normal law (Cornish and Fisher's series; Abramowitz and Stegun 26.7.5)."""
    z, free = Z95, clusters - 1
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    t = z + first / free + second / free**2 + third / free**3
    return (t / z) ** 2


def contradiction(engines: Sequence[EngineRuns], fitted: Sequence[Fitted]) -> str:
    """Why the fit cannot be believed, "" if it can: sensor or layers are not what they are taken for."""
    doubts = [unsure(rail.sensor) for rail in fitted]
    return next(
        filter(
            None,
            (*doubts, *map(_unsettled, fitted), _outside_anchors(engines, fitted), *map(_less_than_nothing, fitted)),
        ),
        "",
    )


def unsure(sensor: Sensor) -> str:
    """Why another sensor would do as well, "" if none would: it would put layers elsewhere, and errors about this one know nothing of it."""
    return f"the run does not tell what the sensor is: {sensor.ambiguous}" if sensor.ambiguous else ""


def _unsettled(rail: Fitted) -> str:
    """Where the search ended before it came to rest, what it has is no estimate, and its errors are none."""
    return (
        ""
        if rail.found.settled
        else "the fit did not settle: record longer, with random gaps (neuralpower profile runs so)"
    )


def _outside_anchors(engines: Sequence[EngineRuns], fitted: Sequence[Fitted]) -> str:
    """No inference runs outside its anchors. Where readings scatter as if they did, the scatter makes up for something that is wrong."""
    told = [e for e in engines if not e.whole]
    if not told:
        return ""
    room = np.concatenate([(e.end_ns - e.begin_ns - e.durations_ns.sum(axis=1)) / 2 for e in told])
    most = MOST_SLACK * float(np.median(room)) + LEAST_ROOM_NS
    worst = max(float(np.sqrt(rail.found.noise.place)) for rail in fitted)
    if worst <= most:
        return ""
    return (
        f"readings scatter as if inferences ran {worst / 1e3:.0f} us rms from where they were laid, and between their anchors there "
        f"are {float(np.median(room)) / 1e3:.0f} us to either side: sensor or layers are not what they are taken for"
    )


def _less_than_nothing(rail: Fitted) -> str:
    """No layer gives power back. Where an estimate is that far below 0, its error is not what the fit takes it for."""
    found = rail.found
    errors = np.sqrt(np.maximum(np.diag(found.power_covariance) * rail.inflation, 1e-30))
    least = float(np.min((found.power_w / errors)[found.model.layer], initial=0.0))
    if least > -LESS_THAN_NOTHING:
        return ""
    return f"a layer would draw less than nothing by {-least:.0f} standard errors: sensor or layers are not what they are taken for"


def seen_by(engine: EngineRuns, fitted: Sequence[Fitted]) -> list[Excitation]:
    """How each rail's windows lay in the inferences."""
    return [
        excitation(piece.at_ns, piece.window_ns, engine.begin_ns, engine.end_ns)
        for rail in fitted
        for piece in [max(rail.found.pieces, key=lambda each: each.number.size)]
        if not piece.unplaced_ns
    ]
