"""One drawn run, made, estimated and scored."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.worlds.runs.draw import Row, draw
from tests.worlds.runs.make import BEHIND_S, Made, UserRun, make, write

from .estimate import Batch, Streamed, by_batch, by_stream
from .score import RunScore, Scored, Told, score

METHODS = BATCH, STREAM = "batch", "stream"


def judge(row: Row, seed: int, keep: Path | None = None, methods: Sequence[str] = METHODS) -> list[RunScore]:
    """The run of this seed under each of some estimators that the row has; whatever goes wrong is a score, too. `keep`: where the batch's
    folder stays."""
    begin = time.perf_counter()
    run = draw(row, seed)
    try:
        made = make(run)
    except Exception as error:  # whatever it is, the other runs go on
        return [_failed(row, run, methods[0], error)]
    scores = []
    if BATCH in methods:
        scores.append(judged(row.name, made, time.perf_counter() - begin, keep))
    if row.streamed and STREAM in methods:
        scores.append(_judged_stream(row, made))
    return scores


def judged(row: str, made: Made, make_s: float = 0.0, keep: Path | None = None) -> RunScore:
    """The batch's score of a run that was made."""
    run, begin = made.run, time.perf_counter()
    blank = _blank(row, run, BATCH)
    try:
        with _folder(row, run, keep) as folder:
            write(before(made, made.ended_ns + round(BEHIND_S * 1e9)), folder / "recording")
            made.truth.write(folder / "truth.json")
            found = by_batch(folder / "recording")
    except Exception as error:
        return replace(blank, error=told_error(error))
    return replace(scored(blank, made, found), took_s=(make_s, time.perf_counter() - begin))


def scored(blank: RunScore, made: Made, found: Batch) -> RunScore:
    """With what the batch found."""
    engines = _engines(found.engines, made)
    return replace(blank, engines=engines, found_us=(found.delay_us, found.lag_us), notes=found.notes)


def _judged_stream(row: Row, made: Made) -> RunScore:
    begin, blank = time.perf_counter(), _blank(row.name, made.run, STREAM)
    try:
        found = by_stream(made)
    except Exception as error:
        return replace(blank, error=told_error(error))
    return replace(
        blank,
        engines=_engines(found.engines, made),
        took_s=(0.0, time.perf_counter() - begin),
        told_after_s=found.told_after_s,
        moved_se=moved(found),
        notes=(found.state,),
    )


def moved(found: Streamed) -> float:
    """How far at most the power of a layer moved behind the run, in standard errors; infinite where units or what is told changed."""
    most = 0.0
    for engine, told in found.engines.items():
        later = found.later[engine]
        if told.withheld and later.withheld:
            continue
        if bool(told.withheld) != bool(later.withheld) or not np.array_equal(told.unit, later.unit):
            return float("inf")
        known = np.isfinite(told.power_w)
        if not np.array_equal(known, np.isfinite(later.power_w)):
            return float("inf")
        off = np.abs(later.power_w - told.power_w)[known] / told.se_w[known]
        most = max(most, float(off.max(initial=0.0)))
    return most


def _engines(found: dict[str, Told], made: Made) -> tuple[Scored, ...]:
    truth = made.truth
    rail = truth.rails.index(truth.total)
    return tuple(score(told, truth.engines[engine], rail) for engine, told in found.items())


def before(made: Made, t_ns: int) -> Made:
    """What a recorder had that stopped then."""
    kept = made.ticks[made.ticks["t_ns"] <= t_ns]
    return replace(made, ticks=kept, records=[each for each in made.records if each.t_ns <= t_ns])


@contextmanager
def _folder(row: str, run: UserRun, keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        folder = keep / f"{row}-{run.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="neuralpower-run-") as name:
        yield Path(name)


def _blank(row: str, run: UserRun, method: str) -> RunScore:
    true_us = run.sensor.get("delay_ns", 0) * 1e-3, run.sensor.get("lag_ns", 0) * 1e-3
    return RunScore(run.seed, row, method, run.seconds, run.networks, (), true_us=true_us)


def _failed(row: Row, run: UserRun, method: str, error: Exception) -> RunScore:
    return replace(_blank(row.name, run, method), error=told_error(error))


def told_error(error: Exception) -> str:
    """The error and where it arose."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {error}{where}"
