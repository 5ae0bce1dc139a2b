"""What is told of a run beside what happened: docs/decisions/0008 says how. Nothing here estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower.virtual.device.plan import PLAIN, STEPPED
from neuralpower.virtual.device.truth import EngineTruth, Totals

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OFFSET_W, GAIN = 0.04, 0.00125
"""What the chip may be off by, rms: common to all powers that are told with it."""
HELD = 2.0
"""Standard errors."""
FAR_SE, FAR_SHARE = 5.0, 0.5


@dataclass(frozen=True)
class Told:
    """What is told of an engine with n layers in u units: `unit` (n,), `resolved` (n,); `power_w` and `se_w` (u,).

    `withheld`: why nothing is, "" if it is. Energies are of the layers of a mean inference, J; nan where they are not told.
    """

    name: str
    unit: npt.NDArray[np.int64]
    resolved: Bools
    power_w: Floats
    se_w: Floats
    energy_j: float
    energy_se_j: float
    withheld: str = ""
    time_s: float = np.nan
    """Of a mean inference's layers, at the clock that powers are told of."""


@dataclass(frozen=True)
class Units:
    """Rows of an engine's units that ran (u,): told and true power and standard error, W, true time in an inference, s, and whether
    they are resolved; `rest` is the error in standard errors less gain and offset. nan where a unit is not told."""

    told_w: Floats
    true_w: Floats
    se_w: Floats
    time_s: Floats
    resolved: Bools
    rest: Floats

    @property
    def known(self) -> Bools:
        """Which are told."""
        return np.isfinite(self.told_w)

    @property
    def z(self) -> Floats:
        """The error as told, in standard errors."""
        return np.asarray((self.told_w - self.true_w) / self.se_w, np.float64)


@dataclass(frozen=True)
class Scored:
    """One engine of one run. `energy_z` in standard errors, `energy_error` a share of the truth."""

    network: str
    withheld: str
    units: Units
    energy_z: float
    energy_error: float

    @property
    def held(self) -> Bools:
        """Units whose interval holds the truth, as told."""
        return np.asarray(np.abs(self.units.z[self.units.known]) < HELD, np.bool_)

    @property
    def held_rest(self) -> Bools:
        """The same less gain and offset."""
        return np.asarray(np.abs(self.units.rest[self.units.known]) < HELD, np.bool_)

    @property
    def far(self) -> int:
        """Resolved units that are off by more than five standard errors, or by half of their power."""
        units = self.units
        off = np.abs(units.told_w / units.true_w - 1)
        return int(np.sum(units.resolved & ((np.abs(units.rest) > FAR_SE) | (off > FAR_SHARE))))


def score(told: Told, truth: EngineTruth, rail: int) -> Scored:
    """Hold an engine against its truth on rail number `rail`."""
    seconds, joules, runs = usual(truth, rail, told.time_s)
    count = int(told.unit.max()) + 1
    ran = np.bincount(told.unit, seconds, count)
    true_w = np.bincount(told.unit, joules, count) / np.where(ran > 0, ran, np.nan)
    resolved = np.bincount(told.unit, ~told.resolved, count) == 0
    kept = ran > 0
    se_w = np.where(np.isfinite(told.se_w), told.se_w, np.inf)[kept]
    rest = less_gain_and_offset(told.power_w[kept], true_w[kept], se_w)
    units = Units(told.power_w[kept], true_w[kept], se_w, ran[kept] / runs, resolved[kept], rest)
    energy_j = float(joules.sum()) / runs
    off = told.energy_j - energy_j
    return Scored(told.name, told.withheld, units, off / told.energy_se_j, off / energy_j)


def usual(truth: EngineTruth, rail: int, time_s: float = np.nan) -> tuple[Floats, Floats, int]:
    """Seconds and joules of each layer in all profiled inferences that were not cold, at the clock that is told of, and how many those are.

    That is the one at which layers take `time_s` in a mean inference; where that is not told, the one that most of all inferences had.
    """
    seconds, joules, runs = np.array(truth.total_s), np.array(truth.total_j)[:, rail], truth.runs
    for each in truth.apart.values():
        seconds, joules, runs = seconds - each.total_s, joules - np.array(each.total_j)[:, rail], runs - each.runs
    none = Totals(0)
    stepped, plain, both = (truth.apart.get(name, none) for name in (STEPPED, PLAIN, f"{PLAIN} {STEPPED}"))
    down = stepped.runs + both.runs > runs + plain.runs if stepped.runs and runs else stepped.runs > runs
    if np.isfinite(time_s) and stepped.runs and runs:
        down = abs(sum(stepped.total_s) / stepped.runs - time_s) < abs(float(seconds.sum()) / runs - time_s)
    if down:
        return np.array(stepped.total_s), np.array(stepped.total_j)[:, rail], stepped.runs
    return seconds, joules, runs


def less_gain_and_offset(told_w: Floats, true_w: Floats, se_w: Floats) -> Floats:
    """Errors in standard errors (u,) beside a line offset + gain * truth: least squares, both held to 0 by what the chip allows."""
    known = np.isfinite(told_w)
    rest = np.full(told_w.size, np.nan)
    told_w, true_w, se_w = told_w[known], true_w[known], se_w[known]
    off = told_w - true_w
    rows = np.c_[np.ones(off.size), true_w] / se_w[:, None]
    design = np.vstack([rows, np.diag([1 / OFFSET_W, 1 / GAIN])])
    offset, gain = np.linalg.lstsq(design, np.r_[off / se_w, 0, 0], rcond=None)[0]
    rest[known] = (off - offset - gain * true_w) / se_w
    return rest


@dataclass(frozen=True)
class RunScore:
    """One run under one method. `error`: why it could not be attributed at all, "" if it was. Delay and lag in µs, found and true.

    Of a stream: `told_after_s` from the first inference until anything was told (nan: never), `moved_se`: how far at most a
    unit's power moved while nothing ran, in standard errors.
    """

    seed: int
    row: str
    method: str
    seconds: float
    networks: tuple[str, ...]
    engines: tuple[Scored, ...]
    error: str = ""
    found_us: tuple[float, float] = (float("nan"), float("nan"))
    true_us: tuple[float, float] = (float("nan"), float("nan"))
    took_s: tuple[float, float] = (0.0, 0.0)
    told_after_s: float = float("nan")
    moved_se: float = float("nan")
    notes: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether anything of it was told."""
        return not self.error and any(not each.withheld for each in self.engines)

    @property
    def told(self) -> list[Scored]:
        """Engines that are not withheld."""
        return [each for each in self.engines if not each.withheld]


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval over whole runs, and of how many."""

    share: float
    low: float
    high: float
    count: int
    design_effect: float = float("nan")


def pooled(held: Sequence[Bools], samples: int = 2000) -> Share:
    """Share of all, runs drawn with replacement; `held`: of each run.

    The design effect is the variance of the share over the drawn sets beside that of as many independent units, at least 1.
    """
    count = np.array([each.size for each in held], np.float64)
    good = np.array([each.sum() for each in held], np.float64)
    total = count.sum()
    if not total:
        return Share(float("nan"), float("nan"), float("nan"), 0)
    share = float(good.sum() / total)
    drawn = np.random.default_rng(0).integers(0, count.size, (samples, count.size))
    sizes = count[drawn].sum(axis=1)
    shares = good[drawn].sum(axis=1)[sizes > 0] / sizes[sizes > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    alone = share * (1 - share) / total
    return Share(share, float(low), float(high), int(total), max(1.0, float(np.var(shares)) / alone) if alone else 1.0)


def figures(runs: Sequence[RunScore]) -> Mapping[str, float]:
    """The plain figures of a row's runs: shares of 1."""
    told = [each for run in runs for each in run.told]
    engines = [each for run in runs for each in run.engines]
    resolved = [each.units.resolved for each in told]
    errors = [(each.units.told_w / each.units.true_w - 1)[good] for each, good in zip(told, resolved, strict=True)]
    rest = np.concatenate([each.units.rest[each.units.known] for each in told]) if told else np.zeros(0)
    time_s = sum(float(each.units.time_s.sum()) for each in engines)
    inside_s = sum(float(each.units.time_s[good].sum()) for each, good in zip(told, resolved, strict=True))
    joined = np.concatenate(errors) if errors else np.zeros(0)
    energies = np.array([each.energy_z for each in told])
    return {
        "runs": len(runs),
        "not_settled": sum(not run.settled for run in runs),
        "engines": len(engines),
        "withheld": sum(bool(each.withheld) for each in engines),
        "rest_rms": _rms(rest),
        "rest_worst": float(np.abs(rest).max()) if rest.size else float("nan"),
        "rmspe": _rms(joined),
        "resolved_time_share": inside_s / time_s if time_s else float("nan"),
        "far": sum(each.far for each in told),
        "resolved": int(joined.size),
        "energy_z_rms": _rms(energies),
        "energy_held": float(np.mean(np.abs(energies) < HELD)) if energies.size else float("nan"),
        "energy_error": _rms(np.array([each.energy_error for each in told])),
    }


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")
