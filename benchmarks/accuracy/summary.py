"""All networks of a case in figures: the row of the table, and what of the requirements it misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tests.worlds.attribution.case import AccuracyCase, Case

from .score import (
    CHI95,
    Z95,
    Coverage,
    Outcome,
    Table,
    classes,
    coverage,
    far_off,
    first_order,
    resolved_time_share,
    rmspe,
    within,
)


@dataclass(frozen=True)
class Group:
    """One duration class: RMSPE over units and over layers, coverage of the units."""

    name: str
    rmspe: float
    layers_rmspe: float
    layers: int
    coverage: Coverage


@dataclass(frozen=True)
class Summary:
    """One case under one method. Shares are of 1; times in µs."""

    case: str
    method: str
    networks: int
    failed: tuple[tuple[int, str], ...]
    units: int
    withheld: int
    rmspe: float
    layers_rmspe: float
    median_unit_us: float
    resolved_time_share: float
    coverage: Coverage
    layers_coverage: Coverage
    far_off: float
    groups: tuple[Group, ...]
    total_delay_us: tuple[float, ...]
    delay_us: tuple[float, ...]
    lag_us: tuple[float, ...]
    sensor_coverage: Coverage
    energy_coverage: Coverage
    energy_error: float
    unattributed_share: float
    worst_unattributed_share: float
    undeclared_share: float
    named_z: float
    noticed: float
    seconds: float
    reasons: Mapping[str, int]
    missed: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """For build/accuracy/attribution.json: the named figures in %, then everything beside them in units of its name."""

        def percent(share: float) -> float | None:
            return None if np.isnan(share) else round(100 * share, 3)

        def plain(value: Any) -> Any:
            if isinstance(value, Coverage):
                return {
                    "share": plain(value.share),
                    "low": plain(value.low),
                    "high": plain(value.high),
                    "of": value.count,
                }
            if isinstance(value, Group):
                return {name: plain(getattr(value, name)) for name in Group.__dataclass_fields__}
            if isinstance(value, tuple):
                return [plain(each) for each in value]
            if isinstance(value, float):
                return None if not np.isfinite(value) else float(f"{value:.6g}")
            return dict(value) if isinstance(value, Mapping) else value

        head = {
            "case": self.case,
            "method": self.method,
            "rmspe": percent(self.rmspe),
            "median_unit_us": plain(self.median_unit_us),
            "resolved_time_share": percent(self.resolved_time_share),
            "coverage": percent(self.coverage.share),
            "coverage_low": percent(self.coverage.low),
            "coverage_high": percent(self.coverage.high),
            "unit": "%",
            "simulated": True,
        }
        own = {"coverage": "unit_coverage"}
        beside = {own.get(name, name): plain(getattr(self, name)) for name in Summary.__dataclass_fields__}
        return {**{f"{name}": value for name, value in beside.items() if name not in head}, **head}


def summarise(whole: AccuracyCase, case: Case, method: str, outcomes: Sequence[Outcome]) -> Summary:
    """All networks of one method."""
    good = [each for each in outcomes if each.units is not None and each.layers is not None]
    units = [each.units for each in good if each.units is not None]
    layers = [each.layers for each in good if each.layers is not None]
    times = np.concatenate([table.time_s for table in units]) if units else np.zeros(0)
    half_width = whole.score.resolved_half_width
    summary = Summary(
        case=case.name,
        method=method,
        networks=len(outcomes),
        failed=tuple((each.seed, each.error) for each in outcomes if each.error),
        units=times.size,
        withheld=sum(int(np.sum(~table.known)) for table in units),
        rmspe=rmspe(units),
        layers_rmspe=rmspe(layers),
        median_unit_us=float(np.median(times)) * 1e6 if times.size else float("nan"),
        resolved_time_share=resolved_time_share(units, half_width) if units else float("nan"),
        coverage=coverage(units),
        layers_coverage=coverage(layers),
        far_off=far_off(units),
        groups=tuple(_group(name, low, high, units, layers) for name, low, high in classes(whole.score)),
        total_delay_us=_finite((each.delay_error_ns + each.lag_error_ns) * 1e-3 for each in good),
        delay_us=_finite(each.delay_error_ns * 1e-3 for each in good),
        lag_us=_finite(each.lag_error_ns * 1e-3 for each in good),
        sensor_coverage=_share([each.sensor_distance <= CHI95 for each in good if np.isfinite(each.sensor_distance)]),
        energy_coverage=_share([abs(each.energy_z) <= Z95 for each in good if not np.isnan(each.energy_z)]),
        energy_error=_rms(each.energy_error for each in good),
        unattributed_share=_mean(each.unattributed_share for each in good),
        worst_unattributed_share=max(_finite(abs(each.unattributed_share) for each in good), default=float("nan")),
        undeclared_share=_mean(each.undeclared_share for each in good),
        named_z=_joint_z(each.named_z for each in good),
        noticed=_mean(float(each.mismatch) for each in good),
        seconds=_mean(each.seconds for each in good),
        reasons=_reasons(good),
    )
    open_ = _open(whole, summary)
    return replace(summary, missed=_missed(whole, case, summary), open=open_)


def _group(name: str, low: float, high: float, units: Sequence[Table], layers: Sequence[Table]) -> Group:
    mine, theirs = ([within(table, low, high) for table in tables] for tables in (units, layers))
    return Group(name, rmspe(mine), rmspe(theirs), sum(table.time_s.size for table in theirs), coverage(mine))


def _finite(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values if np.isfinite(value))


def _mean(values: Any) -> float:
    finite = _finite(values)
    return float(np.mean(finite)) if finite else float("nan")


def _rms(values: Any) -> float:
    finite = _finite(values)
    return float(np.sqrt(np.mean(np.square(finite)))) if finite else float("nan")


def _joint_z(values: Any) -> float:
    """Of independent standard normal numbers, their sum in its deviation."""
    finite = _finite(values)
    return float(np.sum(finite) / np.sqrt(len(finite))) if finite else float("nan")


def _share(held: Sequence[bool]) -> Coverage:
    """Of networks, each once, with Wilson's interval: that of a bootstrap has no width where all of them hold."""
    count = len(held)
    if not count:
        return Coverage(float("nan"), float("nan"), float("nan"), 0)
    share, weight = float(np.mean(held)), Z95**2 / count
    middle = (share + weight / 2) / (1 + weight)
    reach = Z95 * float(np.sqrt(share * (1 - share) / count + weight / (4 * count))) / (1 + weight)
    return Coverage(share, middle - reach, middle + reach, count)


def _reasons(good: Sequence[Outcome]) -> dict[str, int]:
    """Why things were withheld: reason -> units."""
    reasons: dict[str, int] = {}
    for outcome in good:
        for reason in outcome.withheld:
            reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def _missed(whole: AccuracyCase, case: Case, summary: Summary) -> tuple[str, ...]:
    """What of the requirements the figures contradict."""
    parts = _targets(case, summary), _calibration(whole, summary), _sensor(whole, case, summary)
    return tuple(text for part in (*parts, _expected(whole, case, summary)) for text in part)


def _coverages(summary: Summary) -> list[tuple[str, Coverage]]:
    """Of all units and of each duration class."""
    return [("", summary.coverage), *((f" {group.name}", group.coverage) for group in summary.groups)]


def _open(whole: AccuracyCase, summary: Summary) -> tuple[str, ...]:
    """What they neither show nor contradict: too few units or networks."""
    level, width = whole.score.level, whole.required["coverage_width"]
    return tuple(
        f"coverage{name}: {found.low:.1%} to {found.high:.1%}, {found.count} units"
        for name, found in _coverages(summary)
        if found.count and not found.excludes(level) and not found.is_narrow(width)
    )


def _targets(case: Case, summary: Summary) -> list[str]:
    target = case.target
    if target is None:
        return []
    failed = []
    if not summary.rmspe <= target.rmspe:
        failed.append(f"RMSPE {summary.rmspe:.1%} > {target.rmspe:.0%}")
    if not summary.median_unit_us <= target.median_unit_us:
        failed.append(f"median unit {summary.median_unit_us:.0f} > {target.median_unit_us:g} us")
    if not summary.resolved_time_share >= target.resolved_time_share:
        failed.append(f"resolved time {summary.resolved_time_share:.0%} < {target.resolved_time_share:.0%}")
    return failed


def _calibration(whole: AccuracyCase, summary: Summary) -> list[str]:
    """Coverage, of all units and of each duration class, and of energies; outliers; crashes."""
    level = whole.score.level
    failed = [
        f"coverage{name} {found.share:.1%} ({found.low:.1%} to {found.high:.1%}, {found.count} units)"
        for name, found in _coverages(summary)
        if found.excludes(level)
    ]
    if summary.far_off > whole.required["far_off"]:
        failed.append(f"{summary.far_off:.2%} of units beyond 4 SE")
    energy = summary.energy_coverage
    if energy.excludes(level):
        failed.append(f"energy coverage {energy.share:.0%} ({energy.low:.0%} to {energy.high:.0%})")
    if summary.failed:
        failed.append(f"{len(summary.failed)} networks crashed")
    return failed


def _sensor(whole: AccuracyCase, case: Case, summary: Summary) -> list[str]:
    limits = [("total delay", summary.total_delay_us)]
    if first_order(case):
        limits += [("delay", summary.delay_us), ("lag", summary.lag_us)]
    failed = [text for what, errors_us in limits for text in _beyond(whole, what, errors_us)]
    if case.expects == "" and len(summary.total_delay_us) < summary.networks - len(summary.failed):
        failed.append(f"total delay told in {len(summary.total_delay_us)} of {summary.networks} networks only")
    if not first_order(case) and summary.sensor_coverage.excludes(whole.score.level):
        failed.append(f"joint interval of delay and lag {summary.sensor_coverage.share:.0%}")
    return failed


def _beyond(whole: AccuracyCase, what: str, errors_us: Sequence[float]) -> list[str]:
    most_us = whole.required[f"{what.replace(' ', '_')}_us"]
    beyond = sum(abs(error) > most_us for error in errors_us)
    return [f"{what} off by more than {most_us:g} us in {beyond} of {len(errors_us)}"] if beyond else []


def _expected(whole: AccuracyCase, case: Case, summary: Summary) -> list[str]:
    failed = []
    if case.expects == "noticed" and summary.noticed != 1:
        failed.append(f"noticed in {summary.noticed:.0%} of the networks")
    if case.expects == "nothing" and summary.named_z > Z95:
        failed.append(f"permuted labels tell their layers' powers ({summary.named_z:.1f} deviations)")
    if case.expects == "unattributed" and not summary.unattributed_share > summary.undeclared_share / 2:
        failed.append(f"unattributed {summary.unattributed_share:.2%}, undeclared {summary.undeclared_share:.2%}")
    if case.expects == "" and summary.worst_unattributed_share > whole.required["unattributed"]:
        failed.append(f"unattributed up to {summary.worst_unattributed_share:.2%}")
    return failed
