"""What a person reads of the runs, and the same as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .score import Bools, RunScore, Scored, Share, figures, pooled


def line(run: RunScore) -> str:
    """A run on one line, and one more for each engine of several or withheld."""
    networks = run.networks[0] if len(run.networks) == 1 else f"{len(run.networks)} networks"
    head = f"{run.row} {run.seed} {run.method}: {networks}, {run.seconds:.0f} s each"
    if run.error:
        return f"{head}: NOT ATTRIBUTED: {run.error}"
    parts = [head, _state(run), _units(run.told), _energies(run.told)]
    if run.method == "batch":
        found, true = run.found_us, run.true_us
        parts.append(f"delay {found[0]:.0f} µs found, {true[0]:.0f} true, lag {found[1]:.0f}, {true[1]:.0f}")
    else:
        parts.append(f"first told after {run.told_after_s:.0f} s; moved {run.moved_se:.2f} se while nothing ran")
    made, took = run.took_s
    parts.append(f"{made:.1f} + {took:.1f} s")
    reasons = Counter(each.withheld for each in run.engines if each.withheld)
    return "\n".join(
        ["; ".join(part for part in parts if part), *(f"    {count} withheld: {why}" for why, count in reasons.items())]
    )


def _state(run: RunScore) -> str:
    told = len(run.told)
    return "told" if told == len(run.engines) else "withheld" if not told else f"{told} of {len(run.engines)} told"


def _units(told: Sequence[Scored]) -> str:
    if not told:
        return ""
    plain, rest = ([getattr(each, name) for each in told] for name in ("held", "held_rest"))
    errors = np.concatenate([each.units.rest[each.units.known] for each in told])
    numbers = figures([_as_run(told)])
    return (
        f"{errors.size} units, within 2 se {_percent(_mean(plain))}, less gain and offset {_percent(_mean(rest))}, rms {numbers['rest_rms']:.2f} se, "
        f"worst {numbers['rest_worst']:.1f}; resolved {_percent(numbers['resolved_time_share'])} of the time, RMSPE {_percent(numbers['rmspe'], 1)}"
        + (f", {numbers['far']:.0f} FAR OFF" if numbers["far"] else "")
    )


def _energies(told: Sequence[Scored]) -> str:
    errors = [f"{each.energy_z:+.1f} se ({100 * each.energy_error:+.2f} %)" for each in told]
    return f"energy {', '.join(errors)}" if errors else ""


def _as_run(told: Sequence[Scored]) -> RunScore:
    return RunScore(0, "", "", 0.0, (), tuple(told))


def table(row: str, runs: Sequence[RunScore], method: str) -> str:
    """All runs of a row under one estimator."""
    numbers = figures(runs)
    plain, rest = shares(runs)
    lines = [
        f"{row}, {method} (simulated): {numbers['runs']:.0f} runs, {numbers['engines']:.0f} engines; not settled: {numbers['not_settled']:.0f} runs, withheld: {numbers['withheld']:.0f} engines",
        f"  within 2 standard errors, as told           {_share(plain)}",
        f"  within 2 standard errors, less gain, offset {_share(rest)}; rms {numbers['rest_rms']:.2f}, worst {numbers['rest_worst']:.1f} se",
        f"  resolved {_percent(numbers['resolved_time_share'])} of the layers' time; RMSPE of {numbers['resolved']:.0f} resolved units {_percent(numbers['rmspe'], 1)}",
        f"  energy of an inference off by {numbers['energy_z_rms']:.2f} se rms, {_percent(numbers['energy_error'], 2)} rms; within 2 se in {_percent(numbers['energy_held'])}",
        f"  resolved units off by more than 5 se or 50 %: {numbers['far']:.0f}",
    ]
    if method == "stream":
        after = np.array([run.told_after_s for run in runs])
        known = after[np.isfinite(after)]
        text = f"{known.min():.0f} to {known.max():.0f} s" if known.size else "never"
        most = max((run.moved_se for run in runs if np.isfinite(run.moved_se)), default=float("nan"))
        changed = sum(run.moved_se == np.inf for run in runs)
        lines.append(
            f"  first told after {text}; moved at most {most:.2f} se while nothing ran; told other units then: {changed} runs"
        )
    reasons = Counter(each.withheld for run in runs for each in run.engines if each.withheld)
    lines += [f"  withheld, {count} engines: {why}" for why, count in reasons.most_common()]
    lines += [f"  NOT ATTRIBUTED, seed {run.seed}: {run.error}" for run in runs if run.error]
    return "\n".join(lines)


def shares(runs: Sequence[RunScore]) -> tuple[Share, Share]:
    """Of units told: within two standard errors as told, and less gain and offset; runs are drawn."""

    def of(name: str) -> list[Bools]:
        return [np.concatenate([getattr(each, name) for each in run.told]) for run in runs if run.told]

    return pooled(of("held")), pooled(of("held_rest"))


def document(row: str, method: str, runs: Sequence[RunScore]) -> dict[str, Any]:
    """The same for machines: shares of 1, times in s, delays in µs; null where nothing tells."""
    plain, rest = shares(runs)
    found: dict[str, Any] = plain_values(
        {
            "row": row, "method": method, "simulated": True, **figures(runs),
            "within_2_se": vars(plain), "within_2_se_rest": vars(rest),
            "each": [_document(run) for run in runs],
        }
    )  # fmt: skip
    return found


def _document(run: RunScore) -> dict[str, Any]:
    engines = [
        {
            "network": each.network, "withheld": each.withheld, "energy_z": each.energy_z, "energy_error": each.energy_error,
            "far": each.far, "z": each.units.z, "rest": each.units.rest, "resolved": each.units.resolved,
            "told_w": each.units.told_w, "true_w": each.units.true_w, "se_w": each.units.se_w, "time_s": each.units.time_s,
        }
        for each in run.engines
    ]  # fmt: skip
    return {**vars(run), "settled": run.settled, "engines": engines}


def plain_values(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, dict):
        return {name: plain_values(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain_values(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_values(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def _mean(parts: Sequence[Bools]) -> float:
    joined = np.concatenate(parts)
    return float(joined.mean()) if joined.size else float("nan")


def _percent(share: float, digits: int = 0) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.{digits}f} %"


def _share(share: Share) -> str:
    if not share.count:
        return "-"
    return f"{_percent(share.share, 1)} ({100 * share.low:.1f} to {100 * share.high:.1f}) of {share.count} units"


def table_cells(name: str, run: RunScore | None) -> str:
    """A row of the table of ablation, or its heading."""
    if run is None:
        return f"  {name:42} {'state':9} {'units':>5} {'2 se':>6} {'less':>6} {'rms z':>6} {'worst':>6} {'delay µs':>13} {'lag µs':>13} {'energy z':>8}"
    delay, lag = (f"{run.found_us[i]:.0f} / {run.true_us[i]:.0f}" for i in (0, 1))
    if run.error or not any(each.units.known.any() for each in run.engines):
        return f"  {name:42} {run.error or 'nothing told'}"
    errors = np.concatenate([each.units.rest[each.units.known] for each in run.engines])
    rms, worst = float(np.sqrt(np.mean(errors**2))), float(np.abs(errors).max())
    plain, rest = (_percent(_mean([getattr(each, of) for each in run.engines])) for of in ("held", "held_rest"))
    energy = ", ".join(f"{each.energy_z:+.1f}" for each in run.engines)
    return (
        f"  {name:42} {_state(run):9} {errors.size:5} {plain:>6} {rest:>6} {rms:6.2f} {worst:6.1f} "
        f"{delay:>13} {lag:>13} {energy:>8}"
    )
