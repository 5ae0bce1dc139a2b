"""Which conversion a reading near the end of one held, told by the readings themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock
from neuralpower_align.model.nuisance import Model, Spline, said
from neuralpower_align.model.piece import Late, Piece
from neuralpower_align.model.rows import blocks_of, designs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

END_REACH, END_REACH_NS = 0.3, 250e3
"""Tuning: readings are looked at so far from the end of a conversion, as a share of the scan and at most."""
END_READS, FEWEST_ENDS, OUTLIER = 6000, 30, 4.0
"""Tuning: so many readings are looked at, and fewest that tell; deviations by which one of them counts at most."""
END_NS, TELLING, MEDIAN_SQUARE = 5e9, 2.0, 0.455
"""Chip: each so long has an offset of its own; a reading tells something where its squared residuals in variances differ by so much; the median of the
square of a normal number."""
EVENED_NS = 250e6
"""Chip: knots of a clock that is a spline: straight lines between them are off by less than a microsecond where rates change by 10 ppm in a second."""


def ends_late(plan: Schedule, number: int, piece: Piece, readings: ChannelReadings, model: Model) -> Late | None:
    """By how much later than the clock has it the conversions end by which readings change over; None where readings do not tell.

    Of a reading near the end of a conversion it is told from what either conversion would have given (`model`). The end is where most readings
    lie on the right side, each counted by how much better one conversion explains it than the other, at most OUTLIER deviations. Where
    readings of some seconds tell nothing the others' offset counts. `plan`: what ran, of which only what these readings saw is placed.
    """
    assert piece.clock is not None
    clock, reach = piece.clock, min(END_REACH * piece.clock.period_ns, END_REACH_NS)
    later = clock.last_before(readings.read_ns + reach)
    off = readings.read_ns - clock.end(later)
    near = np.flatnonzero(np.abs(off) < reach)
    if near.size > END_READS:
        near = near[np.unique(np.linspace(0, near.size - 1, END_READS).astype(np.int64))]
    if near.size < FEWEST_ENDS:
        return None
    kernel = replace(model.kernel, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
    numbers = (later[near] - 1, later[near])
    ends = [clock.end(which) - piece.delay_ns for which in numbers]
    plan = plan.around(ends[0] - kernel.reach_ns, ends[1] + kernel.ahead_ns).plan.placed(model.layout)
    square = []
    for which, at_ns in zip(numbers, ends, strict=True):
        seen = replace(piece, number=which, at_ns=at_ns, value_w=readings.power_w[near])
        left = [
            (design.value_w - said(model, design)).ravel()
            for design in designs(
                plan, number, seen, kernel, model.slope_w, blocks_of(near.size), model.stall_shares, scatter=False
            )
        ]
        square.append(np.concatenate(left) ** 2)
    before, after = square
    usual = float(np.median(np.minimum(before, after))) / MEDIAN_SQUARE + 1e-12
    gain = np.clip((before - after) / usual, -(OUTLIER**2), OUTLIER**2)
    at = readings.read_ns[near].astype(np.float64)
    turn = ((at - at[0]) // END_NS).astype(np.int64)
    telling = [
        mine for mine in (np.flatnonzero(turn == each) for each in np.unique(turn))
        if np.count_nonzero(np.abs(gain[mine]) > TELLING) >= FEWEST_ENDS
    ]  # fmt: skip
    if not telling:
        return None
    return Late(
        np.array([at[mine].mean() for mine in telling]),
        np.array([_changeover(off[near][mine], gain[mine]) for mine in telling]),
    )


def _changeover(off: Floats, gain: Floats) -> float:
    """Where readings (k,) change over from one conversion to the next: those before hold the former, by which `gain` is below 0."""
    order = np.argsort(off, kind="stable")
    at, score = off[order], np.append(0.0, np.cumsum(-gain[order]))
    best = int(np.argmax(score))
    ends = np.concatenate([[at[0]], (at[1:] + at[:-1]) / 2, [at[-1]]])
    return float(ends[best])


def evened(clock: ScanClock, readings: ChannelReadings) -> ScanClock:
    """A clock that was found from powers alone, as the nearest spline like those that are fitted (`Model.splines`).

    Its path has the errors of the search in it, from one second to the next tens of microseconds, which the regression could not mend; an oscillator
    has none of the kind.
    """
    begin_ns, end_ns = float(readings.read_ns[0]), float(readings.read_ns[-1])
    at_ns = np.arange(begin_ns, end_ns, EVENED_NS)
    if at_ns.size < 2:
        return clock
    number = np.unique(clock.last_before(at_ns))
    off = clock.end(number) - (begin_ns + (number - number[0]) * clock.period_ns)
    spline = Spline.over(begin_ns, end_ns)
    first, weights = spline.basis(clock.end(number))
    dense = np.zeros((number.size, spline.columns))
    np.put_along_axis(dense, first[:, None] + np.arange(4), weights, axis=1)
    smooth = dense @ np.linalg.lstsq(dense, off, rcond=None)[0]
    return ScanClock(number, clock.end(number) + smooth - off)
