"""What a person reads of a case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.worlds.attribution.case import Case

from .score import Coverage
from .summary import Summary

NAMES = {"least-squares": "least-squares", "window-mean": "window-mean", "one-mean": "one mean for all"}


def show(case: Case, summaries: Sequence[Summary]) -> None:
    """Print the table of a case: a line for each method, what lies beside it, and the verdict."""
    print(f"\n{case.name}: {case.says} (simulated, {max(each.networks for each in summaries)} networks)")
    print(f"  {'method':17} {'RMSPE':>7} {'layers':>7} {'unit':>8} {'resolved':>8}  coverage of 95 % intervals")
    for summary in summaries:
        figures = f"{_percent(summary.rmspe):>7} {_percent(summary.layers_rmspe):>7} {summary.median_unit_us:5.0f} µs"
        told = f"{_percent(summary.resolved_time_share, 0):>8}  {_coverage(summary.coverage)}"
        print(f"  {NAMES.get(summary.method, summary.method):17} {figures} {told}")
    for summary in summaries:
        if summary.method not in ("one-mean", "window-mean"):
            _beside(case, summary)


def _beside(case: Case, summary: Summary) -> None:
    for group in summary.groups:
        figures = f"RMSPE {_percent(group.rmspe):>6}, {group.layers} layers {_percent(group.layers_rmspe):>6}"
        print(f"    {group.name:10} {figures}, coverage {_coverage(group.coverage)}")
    print(
        f"    layers one by one: coverage {_coverage(summary.layers_coverage)}; far off {_percent(summary.far_off, 2)} of units"
    )
    delays = [("total delay", summary.total_delay_us), ("delay", summary.delay_us), ("lag", summary.lag_us)]
    print(f"    off by: {'; '.join(f'{name} {_spread(values)}' for name, values in delays)}")
    energy = f"energy per inference off by {_percent(summary.energy_error, 2)} rms, coverage {_coverage(summary.energy_coverage)}"
    unattributed = (
        f"unattributed {_percent(summary.unattributed_share, 2)}, up to {_percent(summary.worst_unattributed_share, 2)}"
    )
    print(f"    {energy}; {unattributed}")
    if summary.undeclared_share:
        print(f"    undeclared, of all energy: {_percent(summary.undeclared_share, 2)}")
    if case.expects == "nothing":
        print(f"    labels tell the powers of the layers they name by {summary.named_z:.1f} deviations of chance")
    if summary.noticed or case.expects == "noticed":
        print(f"    a response outside the model noticed in {_percent(summary.noticed, 0)} of networks")
    for reason, count in summary.reasons.items():
        print(f"    withheld, {count} units: {reason}")
    for seed, error in summary.failed:
        print(f"    FAILED, seed {seed}: {error}")
    print(f"    {summary.seconds:.2f} s per network")
    for text in summary.open:
        print(f"    open: {text}")
    for text in summary.missed:
        print(f"    MISSED: {text}")
    if not summary.missed and not summary.open:
        print("    all shown")


def _percent(share: float, digits: int = 1) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.{digits}f} %"


def _coverage(found: Coverage) -> str:
    if not found.count:
        return "-"
    return f"{100 * found.share:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f}, of {found.count})"


def _spread(errors_us: Sequence[float]) -> str:
    """Median and most of the amounts."""
    if not errors_us:
        return "-"
    amounts = np.abs(errors_us)
    return f"{np.median(amounts):.0f} µs (median), {amounts.max():.0f} (most)"
