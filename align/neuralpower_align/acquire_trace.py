"""What a sensor of one pole would have read, for many places in time at once: the workhorse of the search for the sensor.

With powers known, the lagged power y(t) and the integral X(t) of the power are known in closed form between edges, and the
integral of y is X(t) - L y(t) + const, so that a conversion over [a - W, a] costs two look-ups. With powers unknown, each
class's share in a conversion is a difference of the tabulated answer to a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity import Activity
from neuralpower_align.response import Response

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FORGOTTEN = 1e-7
"""What is left of a state when doubling may stop."""
REACH_LAGS = 6.0
"""The search looks back so many lags: exp(-6) is a quarter percent."""
TABLE_STEP_NS = 5e3
SHORTEST_LAG_NS = 1e3


@dataclass(frozen=True)
class Course:
    """An activity in floats, ns from a common origin: class `classes[j]` (of `count`) from `edges_ns[j]` on."""

    edges_ns: Floats
    classes: Ints
    count: int

    @classmethod
    def of(cls, activity: Activity, origin_ns: int) -> Course:
        """The activity, counted from `origin_ns`."""
        return cls((activity.edges_ns - origin_ns).astype(np.float64), activity.classes, activity.count)

    def near(self, t_ns: Floats, reach_ns: float) -> Course:
        """The part that ran up to `reach_ns` before rising times; between these parts the last class goes on."""
        first = np.searchsorted(self.edges_ns, t_ns - reach_ns, side="right") - 1
        last = np.searchsorted(self.edges_ns, t_ns, side="right")
        change = np.bincount(np.maximum(first, 0), minlength=self.edges_ns.size + 1)
        change -= np.bincount(last, minlength=self.edges_ns.size + 1)
        kept = np.cumsum(change)[:-1] > 0
        return Course(self.edges_ns[kept], self.classes[kept], self.count)


@dataclass(frozen=True)
class Trace:
    """Power with its lag along a course; `level`, `area` and `lagged` (E,) belong to the edges."""

    course: Course
    level_w: Floats
    area: Floats
    lagged_w: Floats
    lag_ns: float

    @classmethod
    def of(cls, course: Course, power_w: Floats, lag_ns: float) -> Trace:
        """The trace of a course whose classes draw `power_w` (count,)."""
        lag = max(lag_ns, SHORTEST_LAG_NS)
        level = power_w[course.classes]
        width = np.diff(course.edges_ns)
        area = np.concatenate([[0.0], np.cumsum(level[:-1] * width)])
        keep = np.concatenate([[0.0], np.exp(-width / lag)])
        given = np.concatenate([[level[0]], level[:-1] * (1 - keep[1:])])
        reach = 1
        # Each round lets every edge see twice as many edges before it.
        while reach < keep.size and float(keep[reach:].max()) > FORGOTTEN:
            given[reach:] = given[reach:] + keep[reach:] * given[:-reach]
            keep[reach:] = keep[reach:] * keep[:-reach]
            reach *= 2
        return cls(course, level, area, given, lag)

    def integral(self, t_ns: Floats) -> Floats:
        """Integral of the lagged power up to times, W ns, but for a constant; any shape."""
        edges = self.course.edges_ns
        j = np.maximum(np.searchsorted(edges, t_ns, side="right") - 1, 0)
        since = t_ns - edges[j]
        level = self.level_w[j]
        lagged = level + (self.lagged_w[j] - level) * np.exp(-np.maximum(since, 0.0) / self.lag_ns)
        return np.asarray(self.area[j] + level * since - self.lag_ns * lagged, np.float64)

    def converted(self, at_ns: Floats, window_ns: float) -> Floats:
        """Mean over [at - window, at] of the lagged power, W; any shape."""
        return (self.integral(at_ns) - self.integral(at_ns - window_ns)) / window_ns


@dataclass(frozen=True)
class Rows:
    """Rows of a regression: row i is the sum over its entries of weight x the conversion that ended (delay taken off) at `at_ns`.

    `row`, `at_ns`, `weight` (e,) are the entries; `value_w` (k,) what was read.
    """

    row: Ints
    at_ns: Floats
    weight: Floats
    value_w: Floats

    def shifted(self, by_ns: Floats | float) -> Rows:
        """The same rows with conversions later by `by_ns`, a number or one per entry."""
        return Rows(self.row, self.at_ns + by_ns, self.weight, self.value_w)

    def predicted(self, trace: Trace, window_ns: float) -> Floats:
        """What the rows would hold, (k,) W."""
        weighted = self.weight * trace.converted(self.at_ns, window_ns)
        return np.asarray(np.bincount(self.row, weighted, self.value_w.size), np.float64)


def design(course: Course, rows: Rows, response: Response) -> Floats:
    """Share of each class in each row, (k, count)."""
    reach = response.window_ns + response.smear_ns + REACH_LAGS * response.lag_ns
    table = response.step(np.arange(0.0, reach + 2 * TABLE_STEP_NS, TABLE_STEP_NS))
    edges = course.edges_ns
    first = np.maximum(np.searchsorted(edges, rows.at_ns - reach, side="right") - 1, 0)
    last = np.maximum(np.searchsorted(edges, rows.at_ns, side="right") - 1, first)
    count = last - first + 1
    starts = np.cumsum(count) - count
    entry = np.repeat(np.arange(rows.row.size), count)
    stretch = np.arange(entry.size) + (first - starts)[entry]
    place = np.maximum(rows.at_ns[entry] - edges[stretch], 0.0) / TABLE_STEP_NS
    cell = np.minimum(place.astype(np.int64), table.size - 2)
    on = table[cell] + (place - cell) * (table[cell + 1] - table[cell])
    on[starts] = 1.0
    share = on.copy()
    share[:-1] -= on[1:]
    ends = starts + count - 1
    share[ends] = on[ends]
    share *= rows.weight[entry]
    columns = course.count
    flat = np.bincount(rows.row[entry] * columns + course.classes[stretch], share, rows.value_w.size * columns)
    return np.asarray(flat.reshape(rows.value_w.size, columns), np.float64)


def solved(matrix: Floats, value: Floats, ridge: float = 1e-9) -> tuple[Floats, float]:
    """Least squares with a slight ridge: the solution, and the sum of squared residuals."""
    gram, moment = matrix.T @ matrix, matrix.T @ value
    gram[np.diag_indices_from(gram)] += ridge * max(float(np.trace(gram)) / max(len(gram), 1), 1e-12)
    found = np.linalg.solve(gram, moment)
    left = value - matrix @ found
    return np.asarray(found, np.float64), float(left @ left)
