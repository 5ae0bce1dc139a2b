"""Where the measured energy went, and what of it nobody declared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Classes
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.result.energy import energy_between
from neuralpower_align.result.results import Balance

Floats = npt.NDArray[np.float64]

UNDECLARED = 3.0
"""Rule: gaps of a run that differ by more standard errors from gaps measured alone hold something that nobody declared."""


def declared_gaps(
    power_w: Floats,
    covariances: Sequence[Floats],
    classes: Classes,
    seconds: Floats,
    wander_j2_s: float = 0.0,
) -> tuple[Floats, list[str]]:
    """What gaps draw as far as somebody declared it (c,), W: as measured alone where those of the run differ from that.

    covariances (c, c), W^2: of which the larger counts. seconds (c,): how long each class ran. `wander_j2_s`: slow power's variance
    times twice its correlation time, W^2 s: over so short a stretch as that of a gap alone its mean is not 0.
    """
    declared, notes = np.array(power_w), []
    for number, (run, alone) in enumerate(zip(classes.gap.tolist(), classes.gap_alone.tolist(), strict=True)):
        if not seconds[alone]:
            continue
        known = max(float(each[run, run] + each[alone, alone] - 2 * each[run, alone]) for each in covariances)
        error = np.sqrt(max(known, 0.0) + wander_j2_s / float(seconds[alone]))
        more = power_w[run] - power_w[alone]
        if error < 0.5 * power_w[alone] and abs(more) > UNDECLARED * error:
            declared[run] = power_w[alone]
            notes.append(
                f"gaps of engine {number + 1} draw {more:+.2g} W beside what a gap measured alone draws: it counts as unattributed"
            )
    return declared, notes


def balance_of(
    plan: Schedule,
    rails: Sequence[Sequence[ChannelReadings]],
    classes: Classes,
    declared_w: Floats,
) -> Balance:
    """Energy measured over all unbroken readings, and what the classes' powers make of the same time."""
    activity, measured, seconds = plan.activity, 0.0, np.zeros(plan.count)
    for number, readings in enumerate(rails):
        for piece in readings:
            breaks = np.flatnonzero(np.diff(piece.read_ns) > piece.hole_ns)
            lows, highs = np.append(0, breaks + 1), np.append(breaks, piece.read_ns.size - 1)
            for low, high in zip(lows, highs, strict=True):
                begin, end = int(piece.read_ns[low]), int(piece.read_ns[high])
                part = slice(low, high + 1)
                measured += float(energy_between(piece.read_ns[part], piece.power_w[part], begin, end))
                if number == 0:
                    seconds += activity.occupied_s(begin, end)
    energy = declared_w * seconds
    idle = np.array([classes.idle, classes.device_idle, classes.context_idle, classes.aside])
    layers_j, idle_j = float(energy[classes.is_layer()].sum()), float(energy[idle].sum())
    return Balance(measured, layers_j, float(energy.sum()) - layers_j - idle_j, idle_j)
