"""Stretches of readings as rows of the regression: one for each conversion, with the time at which what it saw ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Late:
    """By how much later than a clock has it conversions end: `by_ns` at `at_ns` (k,), and between in straight lines. When they saw the power
    is not touched by it."""

    at_ns: Floats
    by_ns: Floats

    def of(self, times_ns: npt.NDArray[np.generic]) -> Floats:
        """At some times, ns."""
        return np.interp(times_ns.astype(np.float64), self.at_ns, self.by_ns)


@dataclass(frozen=True)
class Piece:
    """Rows of one stretch of readings: conversion numbers (k,), ends less delay (k,) ns, values (k,) W.

    `clock` is None where readings are taken as conversions of their own; numbers then count readings. `unplaced_ns` is the
    scan where the place of a reading in it is unknown.
    """

    number: Ints
    at_ns: Floats
    value_w: Floats
    window_ns: float
    averaging: int
    clock: ScanClock | None
    delay_ns: float
    step_w: float = 0.0
    unplaced_ns: float = 0.0
    late: Late | None = None

    @property
    def late_ns(self) -> float:
        """By how much later than the clock has it conversions end, in the mean."""
        return 0.0 if self.late is None else float(np.mean(self.late.by_ns))

    @property
    def filter_ns(self) -> float:
        """Time constant of the chip's recursive filter."""
        if self.averaging == 1 or self.clock is None:
            return 0.0
        return float(-self.clock.period_ns / np.log1p(-1 / self.averaging))

    def at(self, number: Ints) -> Floats:
        """When conversions saw the power, ns: their ends less the delay."""
        if self.clock is None:
            return np.interp(number, self.number, self.at_ns)
        return self.clock.end(number) - self.delay_ns

    def taken(self, rows: Ints) -> Piece:
        """Some of its rows."""
        return replace(self, number=self.number[rows], at_ns=self.at_ns[rows], value_w=self.value_w[rows])

    def shifted(self, shift_ns: Floats) -> Piece:
        """The piece with row i seen later by shift_ns[i]."""
        if self.clock is None or self.number.size < 2:
            return replace(self, at_ns=self.at_ns + shift_ns)
        moved = self.clock.moved(lambda ends: np.interp(ends, self.at_ns + self.delay_ns, shift_ns))
        # The clock is straight between its points, which the shift need not be. What filters needs all conversions, and has them from the clock.
        at_ns = self.at_ns + shift_ns if self.averaging == 1 else moved.end(self.number) - self.delay_ns
        return replace(self, clock=moved, at_ns=at_ns)


def piece_of(
    readings: ChannelReadings, clock: ScanClock | None, delay_ns: float, margin_ns: float, late: Late | None = None
) -> Piece:
    """The rows of a stretch: one per conversion; readings within `margin_ns` of the end of a conversion are left out. `late`: by how
    much later than the clock has it these end."""
    if clock is None:
        unplaced = readings.scan_ns if readings.scan_ns > readings.window_ns else 0.0
        number = np.arange(readings.read_ns.size)
        at = np.asarray(readings.read_ns - delay_ns, np.float64)
        return Piece(number, at, readings.power_w, readings.window_ns, 1, None, delay_ns, readings.step_w, unplaced)
    read_ns = readings.read_ns if late is None else readings.read_ns - late.of(readings.read_ns)
    number = clock.last_before(read_ns - margin_ns)
    clear = number == clock.last_before(read_ns + margin_ns)
    number, first = np.unique(number[clear], return_index=True)
    value = readings.power_w[clear][first]
    stretched = readings.window_ns * (clock.period_ns / readings.scan_ns if readings.scan_ns else 1.0)
    at = clock.end(number) - delay_ns
    return Piece(number, at, value, stretched, max(readings.averaging, 1), clock, delay_ns, readings.step_w, late=late)
