"""Where the measured energy went, and what of it nobody declared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.classes import Classes
from neuralpower_align.energy import energy_between
from neuralpower_align.results import Balance
from neuralpower_align.scan_clock import ChannelReadings
from neuralpower_align.schedule import Schedule

Floats = npt.NDArray[np.float64]

LONGEST_HOLE_NS = 50_000_000
"""Energy is summed over no longer hole in the readings than this."""
UNDECLARED = 3.0
"""Gaps of a run that differ by more standard errors from gaps measured alone hold something that nobody declared."""


def declared_gaps(power_w: Floats, covariance: Floats, classes: Classes) -> tuple[Floats, list[str]]:
    """What gaps draw as far as somebody declared it (c,), W: as measured alone where those of the run differ from that."""
    declared, notes = np.array(power_w), []
    for number, (run, alone) in enumerate(zip(classes.gap.tolist(), classes.gap_alone.tolist(), strict=True)):
        variance = covariance[run, run] + covariance[alone, alone] - 2 * covariance[run, alone]
        more = power_w[run] - power_w[alone]
        if variance < 0.25 * max(power_w[alone], 0.0) ** 2 and abs(more) > UNDECLARED * np.sqrt(max(variance, 0.0)):
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
            breaks = np.flatnonzero(np.diff(piece.read_ns) > LONGEST_HOLE_NS)
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
