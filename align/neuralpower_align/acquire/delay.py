"""The delay where only the fit gives the clock: which of two conversions the reads near the end of one hold.

The powers fix the ends of conversions less the delay; that lattice stays, and the delay alone decides how old the newest
conversion is that a read can hold. So each reading is predicted for all conversions it may hold, and the delays are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.rows import Series
from neuralpower_align.acquire.trace import Course, Trace
from neuralpower_align.clock.scan_clock import ScanClock

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Delays on a grid (d,) ns and the sum of squared errors that each leaves (d,), in units of the noise."""

    delay_ns: Floats
    cost: Floats

    def best(self) -> float:
        """The delay of least cost: the middle of what is nearly as good."""
        good = self.cost <= self.cost.min() + 1.0
        return float(self.delay_ns[good].mean())


def profile(
    course: Course, power_w: Floats, lag_ns: float, series: Series, clock: ScanClock, delay_ns: float, delays_ns: Floats
) -> Profile:
    """What each of `delays_ns` leaves; the clock's ends less `delay_ns` stay as they are, the powers too."""
    trace = Trace.of(course, np.maximum(power_w, 0.0), lag_ns)
    lattice = clock.moved(-delay_ns)
    period = clock.period_ns
    place, past = lattice.place(series.t_ns), lattice.place(series.before_ns)
    deep = 1 if not series.forget else 4
    newest, oldest = np.floor(place - delays_ns.min() / period), np.floor(place - delays_ns.max() / period) - deep
    width = int(np.max(newest - oldest)) + 1
    numbers = newest[:, None] - np.arange(width)[None, :]
    converted = trace.converted(lattice.end(numbers), series.window_ns)
    row = np.arange(series.t_ns.size)
    cost = np.zeros(delays_ns.size)
    for i, delay in enumerate(delays_ns):
        number = np.floor(place - delay / period)
        at = (newest - number).astype(np.int64)
        if not series.forget:
            left = series.value_w - converted[row, at]
        else:
            apart = np.clip(number - np.floor(past - delay / period), 0, deep).astype(np.int64)
            left = series.value_w - series.forget**apart * series.before_w
            for older in range(deep):
                weight = (1 - series.forget) * series.forget**older
                left = left - np.where(apart > older, weight * converted[row, np.minimum(at + older, width - 1)], 0.0)
        cost[i] = float(left @ left)
    noise = float(cost.min()) / max(row.size, 1)
    return Profile(delays_ns, cost / max(noise, 1e-30))
