"""When the conversions of a channel end, on the host's clock, and the sensor that goes with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


LONGEST_HOLE_NS, HOLE_SPACINGS = 50_000_000, 4.0
"""Rule: energy is summed over no longer hole in the readings than this, or so many times their usual spacing."""


@dataclass(frozen=True)
class ChannelReadings:
    """One unbroken stretch of one channel (of one chip, under one configuration), in the order of time.

    `read_ns` (k,): when the register was read (see `latched_ns`); `power_w` (k,), no nan: what is missing is left out.
    `register` (k,): the shunt register, needed where power has the voltage of the moment in it, whose changes are no
    changes of the current. `window_ns`: the conversion that counts (the shunt's), `scan_ns`: nominal time from one to the
    next (0: unknown), `averaging`: N of the chip's recursive filter over scans. `scan` (k,): number of the scan that was read
    where the source counted them, known but for the last `span` (k,): it is one of scan - span .. scan. `step_w`: the
    register's step. `waits_ns` (w, 2): times in which a driver waited for the end of a scan and saw it (see `waits`), with
    `place`: where in the scan the conversion ends, as a share of it. `stamped`: `read_ns` are the readings' own times, which the driver
    told, and each is a conversion of its own; how long it looked back is then not known, and `window_ns` 0 until it is found.
    """

    read_ns: Ints
    power_w: Floats
    window_ns: float
    scan_ns: float
    averaging: int = 1
    scan: Ints | None = None
    span: Ints | None = None
    step_w: float = 0.0
    register: Ints | None = None
    waits_ns: Floats | None = None
    place: float = 1.0
    stamped: bool = False

    @property
    def hole_ns(self) -> int:
        """Readings further apart leave a hole in which nothing was measured; those with stamps are as far apart as their driver has them."""
        usual = float(np.median(np.diff(self.read_ns))) if self.stamped and self.read_ns.size > 1 else 0.0
        return max(LONGEST_HOLE_NS, round(HOLE_SPACINGS * usual))

    def take(self, keep: Bools | Ints | slice) -> ChannelReadings:
        """The readings chosen by a mask, by indices, or by a slice."""
        scan = None if self.scan is None else self.scan[keep]
        span = None if self.span is None else self.span[keep]
        register = None if self.register is None else self.register[keep]
        return replace(
            self, read_ns=self.read_ns[keep], power_w=self.power_w[keep], scan=scan, span=span, register=register
        )


TRANSFER_BITS, HANDED_OVER = 48, 30
"""Chip: a register read takes so many bits on the wire; the chip hands the register over after so many of them."""
SHORTEST_SLEEP_NS = 1e5
"""Board: a read that took less, or less than three transfers, did not wait for the chip."""


def transfer_ns(begin_ns: Ints, end_ns: Ints, wait_ns: float = 0.0) -> float:
    """How long one register read lasts, from the shortest of all reads of a chip, ns; a driver's own time counts with it.

    `wait_ns`: what a driver computes as the time for all conversions if it waits for them, 0 if it does not. Such a read
    looks at the flag; if that is not set, sleeps for a quarter to the whole of that time and looks again; then it reads the
    register. If every read slept, nothing is known and the answer is 0.
    """
    shortest = float(np.min(end_ns - begin_ns, initial=10**15))
    if wait_ns <= 0:
        return shortest
    return shortest / 2 if shortest < wait_ns / 4 else 0.0


def latched_ns(end_ns: Ints, transfer: float) -> Ints:
    """When reads (k,) that ended at `end_ns` found their register, ns: the chip hands it over before its transfer ends."""
    return np.asarray(end_ns - round(transfer * (1 - HANDED_OVER / TRANSFER_BITS)), np.int64)


def waits(begin_ns: Ints, end_ns: Ints, transfer: float) -> Floats:
    """Windows (w, 2) ns in each of which a scan ended, from the reads (k,) of all files of a chip under a driver that waits.

    A read that lasts longer than looking at the flag and reading found the flag not set at its first look, and set at its last.
    """
    slept = end_ns - begin_ns > max(3 * transfer, SHORTEST_SLEEP_NS)
    look = transfer * HANDED_OVER / TRANSFER_BITS
    return np.stack([begin_ns[slept] + look, end_ns[slept] - 2 * transfer + look], axis=1)


@dataclass(frozen=True)
class ScanClock:
    """Conversion `number[i]` ends at `end_ns[i]`, (k,) knots rising, k >= 2; between knots linear, beyond them by the nearest slope."""

    number: Ints
    end_ns: Floats

    def __post_init__(self) -> None:
        if self.number.shape != self.end_ns.shape or self.number.size < 2:
            raise ValueError("scan clock: two knots or more, each with a number and a time")
        if np.any(np.diff(self.number) < 1) or np.any(np.diff(self.end_ns) <= 0):
            raise ValueError("scan clock: knots must rise")

    @property
    def period_ns(self) -> float:
        """Mean time from one conversion to the next."""
        return float((self.end_ns[-1] - self.end_ns[0]) / (self.number[-1] - self.number[0]))

    def end(self, number: npt.ArrayLike) -> Floats:
        """When conversions end, ns; any shape."""
        return _along(np.asarray(number, np.float64), self.number.astype(np.float64), self.end_ns)

    def last_before(self, t_ns: npt.ArrayLike) -> Ints:
        """Number of the last conversion that ended at or before each time; any shape."""
        number = np.floor(self.place(t_ns)).astype(np.int64)
        # Rounding in `place` must not contradict `end`.
        number = number + (self.end(number + 1) <= np.asarray(t_ns, np.float64))
        return np.asarray(number - (self.end(number) > np.asarray(t_ns, np.float64)), np.int64)

    def place(self, t_ns: npt.ArrayLike) -> Floats:
        """Number and fraction: where times lie between the ends of conversions."""
        return _along(np.asarray(t_ns, np.float64), self.end_ns, self.number.astype(np.float64))

    def moved(self, shift_ns: Callable[[Floats], npt.ArrayLike] | npt.ArrayLike) -> ScanClock:
        """The clock with ends later by `shift_ns`: a number, one per knot, or a function of the knots' ends."""
        shift = shift_ns(self.end_ns) if callable(shift_ns) else shift_ns
        return ScanClock(self.number, self.end_ns + np.asarray(shift, np.float64))


def _along(x: Floats, knots: Floats, values: Floats) -> Floats:
    """Linear interpolation that goes on with the outer slopes."""
    i = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, knots.size - 2)
    slope = np.diff(values) / np.diff(knots)
    return np.asarray(values[i] + (x - knots[i]) * slope[i], np.float64)


@dataclass(frozen=True)
class Sensor:
    """What lies between the power and the readings, found from the readings.

    A reading at t holds conversion n = clock.last_before(t): the mean over [end(n) - window, end(n)], moved earlier by
    `delay_ns`, of the power after one pole of time constant `lag_ns`. One clock per stretch of readings, None where none was found.

    `found` says per stretch from what: "edges" (when the register changed), "counted" (the source's scan numbers), "fit"
    (the powers alone), "" (nothing). `delay_se_ns`: standard error of the delay, inf if the data do not tell it from the
    clocks' phase. `ambiguous`: why the clocks were not believed, "" if they were.
    """

    delay_ns: float
    lag_ns: float
    clocks: tuple[ScanClock | None, ...]
    delay_se_ns: float = float("inf")
    found: tuple[str, ...] = field(default=())
    ambiguous: str = ""
