"""What a sensor of one pole would have read, for many places in time at once: the workhorse of the search for the sensor.

With powers known, the lagged power y(t) and the integral X(t) of the power are known in closed form between edges, and the
integral of y is X(t) - L y(t) + const, so that a conversion over [a - W, a] costs two look-ups. With powers unknown, each
class's share in a conversion is a difference of the tabulated answer to a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.activity import Activity
from neuralpower_align.sensor.kernel import Kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FORGOTTEN = 1e-7
"""Tuning: what is left of a state when doubling may stop."""
REACH_LAGS = 8.0
"""Tuning: the search looks back so many lags: exp(-8) is below what readings tell; less makes lags look short."""
TABLE_STEP_NS, CELL_NS, LAG_STEP_NS = 5e3, 1e3, 2e3
"""Tuning: steps in which the answer is worked out, of the table that is looked up, and of the difference in the lag: all far below a conversion."""
BLURS = 3.0
"""Tuning: so many deviations to either side are blurred."""
SHORTEST_LAG_NS = 1e3
"""Tuning: a shorter lag is taken for one of this length: no reading tells them apart."""


@dataclass(frozen=True)
class Course:
    """An activity in floats, ns from a common origin: class `classes[j]` (of `count`) from `edges_ns[j]` on. `turns_ns`: first layers of inferences."""

    edges_ns: Floats
    classes: Ints
    count: int
    turns_ns: Floats = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, activity: Activity, origin_ns: int, alone: Sequence[int] = ()) -> Course:
        """The activity, counted from `origin_ns`; inferences begin after the classes `alone`."""
        edges = (activity.edges_ns - origin_ns).astype(np.float64)
        aside = np.zeros(activity.count, bool)
        aside[list(alone)] = True
        off = aside[activity.classes]
        return cls(edges, activity.classes, activity.count, edges[1:][off[:-1] & ~off[1:]])

    def first_of_each(self, t_ns: Floats) -> Ints:
        """Of rising times, the first of each inference; every one where no inferences are known."""
        if self.turns_ns.size < 2:
            return np.arange(t_ns.size)
        return np.flatnonzero(np.diff(np.searchsorted(self.turns_ns, t_ns), prepend=-1))

    def near(self, t_ns: Floats, reach_ns: float) -> Course:
        """The part that ran up to `reach_ns` before rising times; between these parts the last class goes on."""
        first = np.searchsorted(self.edges_ns, t_ns - reach_ns, side="right") - 1
        last = np.searchsorted(self.edges_ns, t_ns, side="right")
        change = np.bincount(np.maximum(first, 0), minlength=self.edges_ns.size + 1)
        change -= np.bincount(last, minlength=self.edges_ns.size + 1)
        kept = np.cumsum(change)[:-1] > 0
        return replace(self, edges_ns=self.edges_ns[kept], classes=self.classes[kept])

    def regrouped(self, group_of: Ints) -> Course:
        """The same in coarser classes: class c becomes `group_of[c]`."""
        classes = group_of[self.classes]
        keep = np.concatenate([[True], classes[1:] != classes[:-1]])
        return Course(self.edges_ns[keep], classes[keep], int(np.max(group_of)) + 1, self.turns_ns)


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


@dataclass(frozen=True)
class Answers:
    """What steps of power at edges do to rows: entry by entry of `Rows`, stretch by stretch that it may have seen.

    `row`, `group` (e,): which row, which class; `share` (e,): of the stretch in the row, `later` and `longer` (e,): its change per
    ns of time and of lag, empty if not asked for.
    """

    row: Ints
    group: Ints
    share: Floats
    later: Floats
    longer: Floats
    size: int
    count: int

    @classmethod
    def of(cls, course: Course, rows: Rows, kernel: Kernel, slopes: bool = False) -> Answers:
        """The rows' answers under a kernel; with `slopes` these besides."""
        ahead, tables = _tables(kernel, slopes)
        edges, last_cell = course.edges_ns, len(tables[0]) - 1
        reach = last_cell * CELL_NS - ahead
        first = np.maximum(np.searchsorted(edges, rows.at_ns - reach, side="right") - 1, 0)
        last = np.maximum(np.searchsorted(edges, rows.at_ns + ahead, side="right") - 1, first)
        count = last - first + 1
        ends = np.cumsum(count)
        starts = ends - count
        stretch = np.arange(ends[-1] if ends.size else 0) + np.repeat(first - starts, count)
        place = (np.repeat(rows.at_ns + ahead, count) - edges[stretch]) * (1 / CELL_NS)
        place[starts] = last_cell
        cell = np.clip(place.astype(np.int64), 0, last_cell)
        row, weight = rows.row, None
        if rows.row.size != rows.value_w.size or np.any(rows.weight != 1.0):
            weight = np.repeat(rows.weight, count)
        found: list[Floats] = []
        for table in tables:
            on = table[cell]
            share = on.copy()
            share[:-1] -= on[1:]
            share[ends - 1] = on[ends - 1]
            found.append(share if weight is None else share * weight)
        none = np.zeros(0)
        later, longer = (found[1], found[2]) if slopes else (none, none)
        return cls(
            np.repeat(row, count), course.classes[stretch], found[0], later, longer, rows.value_w.size, course.count
        )

    def shares(self) -> Floats:
        """Share of each class in each row, (k, count)."""
        flat = np.bincount(self.row * self.count + self.group, self.share, self.size * self.count)
        return np.asarray(flat.reshape(self.size, self.count), np.float64)

    def slopes(self, power_w: Floats) -> tuple[Floats, Floats]:
        """Change of each row (k,), W a ns, with its place in time and with the lag."""
        level = power_w[self.group]
        later = np.bincount(self.row, self.later * level, self.size)
        longer = np.bincount(self.row, self.longer * level, self.size)
        return np.asarray(later, np.float64), np.asarray(longer, np.float64)


def _tables(kernel: Kernel, slopes: bool) -> tuple[float, list[Floats]]:
    """How far before a step its answer begins, ns, and the answer in cells from there on, or with its slopes in time and lag.

    In the last cell the answer is 1 and does not change.
    """
    wide = int(np.ceil(BLURS * kernel.blur_ns / TABLE_STEP_NS))
    reach = kernel.window_ns + kernel.smear_ns + REACH_LAGS * (kernel.lag_ns + kernel.second_ns)
    steps = np.arange(-2 * wide, int(reach / TABLE_STEP_NS) + 3 + 2 * wide)
    tau = np.asarray(TABLE_STEP_NS * steps, np.float64)
    columns = [kernel.step(tau)]
    if slopes:
        longer = 1 + LAG_STEP_NS / max(kernel.lag_ns + kernel.second_ns, SHORTEST_LAG_NS)
        other = kernel.with_lags(max(kernel.lag_ns, SHORTEST_LAG_NS) * longer, kernel.second_ns * longer)
        columns += [np.gradient(columns[0], TABLE_STEP_NS), (other.step(tau) - columns[0]) / LAG_STEP_NS]
    if wide:
        weight = np.exp(-((TABLE_STEP_NS * np.arange(-wide, wide + 1) / kernel.blur_ns) ** 2) / 2)
        columns = [np.convolve(column, weight / weight.sum(), mode="valid") for column in columns]
    knots = np.arange(columns[0].size) * TABLE_STEP_NS
    cells = (np.arange(int(knots[-1] / CELL_NS)) + 0.5) * CELL_NS
    tables = [np.append(np.interp(cells, knots, column), 0.0) for column in columns]
    tables[0][-1] = 1.0
    return wide * TABLE_STEP_NS, tables


def design(course: Course, rows: Rows, kernel: Kernel) -> Floats:
    """Share of each class in each row, (k, count)."""
    return Answers.of(course, rows, kernel).shares()


def solved(matrix: Floats, value: Floats, ridge: float = 1e-9) -> tuple[Floats, float]:
    """Least squares with a slight ridge: the solution, and the sum of squared residuals."""
    gram, moment = matrix.T @ matrix, matrix.T @ value
    gram[np.diag_indices_from(gram)] += ridge * max(float(np.trace(gram)) / max(len(gram), 1), 1e-12)
    found = np.linalg.solve(gram, moment)
    left = value - matrix @ found
    return np.asarray(found, np.float64), float(left @ left)
