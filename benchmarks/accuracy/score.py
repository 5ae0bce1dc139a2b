"""What an estimate is worth beside the truth: of one network, and of all networks of a case (attribution.toml, [score])."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tests.worlds.attribution.case import Case, Score
from tests.worlds.attribution.world import World

from .estimated import Estimated

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BOOTSTRAP = 2000
FEWEST = 60
"""Of so many independent intervals of 95 % all may still hold the truth by chance (0.95^60 = 5 %)."""
Z95 = 1.959963984540054
CHI95 = 5.991464547107979
"""Of two degrees of freedom."""


@dataclass(frozen=True)
class Table:
    """Things told apart, units or layers: true and estimated power and standard error, W, and mean time, s, (k,) each."""

    truth_w: Floats
    power_w: Floats
    se_w: Floats
    time_s: Floats
    single: Bools

    @property
    def known(self) -> Bools:
        """Which are not withheld."""
        return np.isfinite(self.power_w)

    def take(self, keep: Bools) -> Table:
        """Some of them."""
        return Table(self.truth_w[keep], self.power_w[keep], self.se_w[keep], self.time_s[keep], self.single[keep])


@dataclass(frozen=True)
class Outcome:
    """One network under one method. `error`: why there is nothing else. Delays in ns; nan where the method does not say.

    `named_z`: of permuted labels, whether they still tell their layers' powers, standard normal if not. `energy_z`: the error in standard errors, infinite for an energy that has none.
    """

    seed: int
    method: str
    error: str = ""
    seconds: float = 0.0
    units: Table | None = None
    layers: Table | None = None
    delay_error_ns: float = float("nan")
    lag_error_ns: float = float("nan")
    sensor_distance: float = float("nan")
    energy_error: float = float("nan")
    energy_z: float = float("nan")
    unattributed_share: float = float("nan")
    undeclared_share: float = float("nan")
    named_z: float = float("nan")
    mismatch: bool = False
    withheld: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def judge(world: World, method: str, found: Estimated, seconds: float) -> Outcome:
    """Hold an estimate of one network against its truth."""
    truth = world.truth
    count = int(found.unit.max()) + 1
    if found.unit.shape != truth.power_w.shape or found.unit_power_w.shape != (count,):
        raise ValueError(f"{method}: units of {found.unit.size} layers, of which there are {truth.power_w.size}")
    time = np.asarray(np.bincount(found.unit, truth.time_s, count), np.float64)
    power = np.asarray(np.bincount(found.unit, truth.time_s * truth.power_w, count) / time, np.float64)
    single = np.bincount(found.unit, minlength=count) == 1
    units = Table(power, found.unit_power_w, found.unit_se_w, time, single)
    layers = Table(truth.power_w, found.power_w, found.se_w, truth.time_s, single[found.unit])
    delay, lag = found.delay_ns - truth.delay_ns, found.lag_ns - truth.lag_ns
    energy_error = found.energy_j - truth.energy_j
    return Outcome(
        world.seed,
        method,
        "",
        seconds,
        units,
        layers,
        delay,
        lag,
        _distance(delay, lag, found.sensor_covariance),
        energy_error / truth.energy_j,
        energy_error / found.energy_se_j if found.energy_se_j > 0 else np.inf * energy_error,
        found.unattributed_share,
        truth.undeclared_j / truth.total_j,
        _named_z(truth.named_w, found.power_w) if world.case.run.permuted else float("nan"),
        found.mismatch,
        tuple(reason for _, reason in found.withheld),
        found.notes,
    )


def one_mean(world: World) -> Outcome:
    """The network's true mean power said of every layer."""
    truth = world.truth
    power = np.full(truth.power_w.size, truth.energy_j / truth.time_s.sum())
    nothing = np.full(power.size, np.nan)
    table = Table(truth.power_w, power, nothing, truth.time_s, np.ones(power.size, bool))
    return Outcome(world.seed, "one-mean", units=table, layers=table)


def _distance(delay: float, lag: float, covariance: Floats | None) -> float:
    """Squared Mahalanobis distance of delay and lag from the truth."""
    if covariance is None:
        return float("nan")
    off = np.array([delay, lag])
    return float(off @ np.linalg.pinv(covariance) @ off)


def _named_z(named_w: Floats, power_w: Floats) -> float:
    """Rank correlation of estimates with the powers of the layers whose names they bear, in its deviation without any relation."""
    known = np.isfinite(power_w)
    ranks = [np.argsort(np.argsort(values[known])).astype(np.float64) for values in (named_w, power_w)]
    if known.sum() < 3 or np.ptp(power_w[known]) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1] * np.sqrt(known.sum() - 1))


@dataclass(frozen=True)
class Coverage:
    """Share of intervals that hold the truth, with the interval of that share over networks, and of how many."""

    share: float
    low: float
    high: float
    count: int

    def excludes(self, level: float) -> bool:
        """Whether the interval leaves the level out; of too few intervals that all hold the truth nothing can be said."""
        if self.count < FEWEST and self.share == 1:
            return False
        return not (self.low <= level <= self.high or self.count == 0)

    def is_narrow(self, width: float) -> bool:
        """Whether the interval is narrow enough to mean it."""
        return self.count >= FEWEST and max(self.high - self.share, self.share - self.low) <= width


def rmspe(tables: Sequence[Table]) -> float:
    """Over all rows that are not withheld; nan without any."""
    errors = [(table.power_w / table.truth_w - 1)[table.known] for table in tables]
    joined = np.concatenate(errors) if errors else np.zeros(0)
    return float(np.sqrt(np.mean(joined**2))) if joined.size else float("nan")


def coverage(tables: Sequence[Table]) -> Coverage:
    """Of the 95 % intervals; bootstrap over the tables."""
    held, count = np.zeros(len(tables)), np.zeros(len(tables))
    for i, table in enumerate(tables):
        told = table.known & np.isfinite(table.se_w)
        off = np.abs(table.power_w - table.truth_w)[told]
        held[i], count[i] = np.sum(off <= Z95 * table.se_w[told]), off.size
    return bootstrapped(held, count)


def bootstrapped(held: Floats, count: Floats) -> Coverage:
    """sum(held) / sum(count) with its 95 % interval, networks drawn with replacement."""
    total = float(count.sum())
    if not total:
        return Coverage(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(0).integers(0, held.size, (BOOTSTRAP, held.size))
    sizes = count[drawn].sum(axis=1)
    shares = held[drawn].sum(axis=1)[sizes > 0] / sizes[sizes > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    return Coverage(float(held.sum()) / total, float(low), float(high), int(total))


def far_off(tables: Sequence[Table], errors: float = 4.0) -> float:
    """Share of rows more than so many standard errors from the truth."""
    off = [(np.abs(t.power_w - t.truth_w) / t.se_w)[t.known & np.isfinite(t.se_w)] for t in tables]
    joined = np.concatenate(off) if off else np.zeros(0)
    return float(np.mean(joined > errors)) if joined.size else float("nan")


def resolved(table: Table, half_width: float) -> Bools:
    """Which rows are resolved layers."""
    return table.single & table.known & (Z95 * table.se_w <= half_width * np.abs(table.power_w))


def resolved_time_share(tables: Sequence[Table], half_width: float) -> float:
    """Time in resolved layers over all time; nan where no intervals are given at all."""
    if not any(np.isfinite(table.se_w).any() for table in tables):
        return float("nan")
    single = sum(float(table.time_s[resolved(table, half_width)].sum()) for table in tables)
    return single / sum(float(table.time_s.sum()) for table in tables)


def classes(rules: Score) -> list[tuple[str, float, float]]:
    """Duration classes: name, above, up to, in s."""
    edges = [0.0, *rules.duration_classes_us, np.inf]
    pairs = list(itertools.pairwise(edges))
    names = [f"<= {pairs[0][1]:g} us", *(f"{low:g}-{high:g} us" for low, high in pairs[1:-1]), f"> {pairs[-1][0]:g} us"]
    return [(name, low * 1e-6, high * 1e-6) for name, (low, high) in zip(names, pairs, strict=True)]


def within(table: Table, low_s: float, high_s: float) -> Table:
    """The rows of one duration class."""
    return table.take((table.time_s > low_s) & (table.time_s <= high_s))


def first_order(case: Case) -> bool:
    """Whether the sensor has one pole, and delay and lag must be told apart."""
    return case.sensor.second_lag_ms == 0 and case.expects == ""
