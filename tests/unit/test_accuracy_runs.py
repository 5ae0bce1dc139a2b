"""The accuracy case `run`: what is drawn, what virtual time makes of it, how it is scored."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.accuracy.runs import ablation, command
from benchmarks.accuracy.runs.estimate import Streamed, by_stream
from benchmarks.accuracy.runs.judge import before, judged, moved
from benchmarks.accuracy.runs.report import document, line, shares, table
from benchmarks.accuracy.runs.score import RunScore, Share, Told, figures, pooled, score, usual
from tests.worlds.runs.draw import DEVELOPMENT, FAST, RESET, ROWS, draw, row_named
from tests.worlds.runs.make import Made, UserRun, make, write

from neuralpower.errors import InputError
from neuralpower.profiler.marks import spans
from neuralpower.recordings.recording import Recording
from neuralpower.virtual.device.manner import Manner
from neuralpower.virtual.device.plan import COLD, STEPPED
from neuralpower.virtual.device.truth import EngineTruth, Totals
from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Kind

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

SHORT = UserRun(5, ("alexnet", "lenet5"), 2.0, idle_s=3.0)


@pytest.fixture(scope="module")
def made() -> Made:
    """Two networks, two seconds each."""
    return make(SHORT)


# ---- what is drawn ---------------------------------------------------------------------------------


def test_a_draw_follows_from_its_seed() -> None:
    """Drawn again it is the same; rows of one seed share device and sensor; another seed is another run."""
    for row in ROWS:
        assert draw(row, 7003) == draw(row, 7003) != draw(row, 7004)
    run, reset, stream = (draw(row_named(name), 7003) for name in ("run", "run-reset", "stream"))
    assert replace(reset, config=FAST) == run and reset.config == RESET
    assert (stream.manner, stream.sensor) == (run.manner, run.sensor)
    assert len(stream.networks) == 1 and 200 <= stream.seconds <= 240
    with pytest.raises(KeyError, match="run-reset"):
        row_named("runs")


def test_draws_are_as_wide_as_was_decided() -> None:
    """Of 600 seeds: counts and seconds, lags, gaps, enqueue and which effects are there at all."""
    runs = [draw(ROWS[0], seed) for seed in range(600)]
    assert {len(run.networks) for run in runs} == {1, 4, 10} and {run.seconds for run in runs} == {5.0, 10.0, 30.0}
    assert all(len(set(run.networks)) == len(run.networks) for run in runs)
    lag_us = np.array([run.sensor["lag_ns"] for run in runs]) * 1e-3
    assert np.mean(lag_us < 50) == pytest.approx(1 / 3, abs=0.06) and 1900 < lag_us.max() <= 2000
    delay_us = np.array([run.sensor["delay_ns"] for run in runs]) * 1e-3
    assert delay_us.min() < 20 and 980 < delay_us.max() <= 1000
    manners = [run.manner for run in runs]
    gap_us = np.array([manner.gap_s for manner in manners], float) * 1e6
    assert 0.2 <= gap_us.min() < 0.25 and 4.5 < gap_us.max() <= 5.0 and np.median(gap_us) == pytest.approx(1, rel=0.2)
    enqueue_us = np.array([manner.enqueue_ns for manner in manners]) * 1e-3
    assert 10 <= enqueue_us.min() < 12 and 180 < enqueue_us.max() <= 200
    shares = {
        "gap in duration": np.mean([manner.gap_in_duration for manner in manners]) / 0.5,
        "stalls": np.mean([manner.stall[1] > 0 for manner in manners]) / 0.5,
        "lognormal": np.mean([manner.wake_median_ns > 0 for manner in manners]) / 0.5,
        "rare": np.mean([manner.wake_rare_share > 0 for manner in manners]) / 0.5,
        "steps": np.mean([manner.step_every_s > 0 for manner in manners]) / 0.25,
    }
    assert all(share == pytest.approx(1, abs=0.2) for share in shares.values()), shares
    assert {manner.cold_runs for manner in manners} == set(range(5, 21))


# ---- virtual time ----------------------------------------------------------------------------------


def test_a_run_made_again_is_the_same(made: Made) -> None:
    """Ticks, anchors, durations and marks to the byte; only the names of sessions differ."""
    again = make(SHORT)
    np.testing.assert_array_equal(made.ticks, again.ticks)
    assert len(made.records) == len(again.records)
    for one, other in zip(made.records, again.records, strict=True):
        assert (one.kind, one.t_ns) == (other.kind, other.t_ns)
        for name in one.body.keys() - {"session"}:
            np.testing.assert_array_equal(one.body[name], other.body[name])
    assert made.truth == again.truth


def test_a_recording_has_what_was_made(made: Made, tmp_path: Path) -> None:
    """Every tick and record, one epoch, all marks of an experiment, nothing lost, marked as simulated."""
    write(made, tmp_path / "recording")
    with pytest.raises(InputError, match="another folder"):
        write(made, tmp_path / "recording")
    recording = Recording(tmp_path / "recording")
    np.testing.assert_array_equal(recording.ticks()["readings"]["value"], made.ticks["readings"]["value"])
    assert recording.simulated and not recording.losses().holes and recording.epochs() == [made.epoch]
    kinds = Counter(record.kind for record in recording.records())
    assert kinds == Counter(record.kind for record in made.records)
    assert kinds[Kind.EPOCH] == 1 and kinds[Kind.ENGINE] == 4 and kinds[Kind.CLOCK] == kinds[Kind.CONDITION] > 8
    assert kinds[Kind.INFERENCE] == sum(engine.runs for engine in made.truth.engines.values())
    names = {(span.kind, span.name) for span in spans(recording.records())}
    assert names == {
        *(("baseline", name) for name in ("device idle", "context idle", "gap")),
        *(("aside", name) for name in ("between rounds", "loading alexnet", "loading lenet5")),
        *(("block", name) for name in ("profiled", "profiled, gaps", "unprofiled", "unprofiled, gaps")),
    }


def test_ticks_and_anchors_belong_to_the_truth(made: Made) -> None:
    """Anchors enclose the kernels by what host and profiler take; readings show the load; ticks lie on their grid, late."""
    anchors: dict[str, list[tuple[int, int]]] = {}
    for record in made.records:
        if record.kind is Kind.INFERENCE:
            anchors.setdefault(record.body["engine"], []).append((record.body["begin_ns"], record.body["end_ns"]))
    for name, engine in made.truth.engines.items():
        both = np.array(sorted(pair for pairs in anchors.values() for pair in pairs))
        at = np.searchsorted(both[:, 0], np.array(engine.begin_ns)) - 1
        lead, slack = engine.begin_ns - both[at, 0], both[at, 1] - engine.end_ns
        assert lead.mean() == pytest.approx(40e3 + 15e3 * math.sqrt(2 / math.pi), rel=0.05), name
        assert slack.min() >= 0 and slack.mean() == pytest.approx(30e3 * math.sqrt(2 / math.pi), rel=0.1)
    names = {record.body["hash"]: record.body["name"] for record in made.records if record.kind is Kind.ENGINE}
    counts = Counter({names[engine]: len(pairs) for engine, pairs in anchors.items()})
    for engine in made.truth.engines.values():
        assert counts[f"{engine.name} unprofiled"] == len(engine.unprofiled) > 0
        assert counts[engine.name] == engine.runs - len(engine.unprofiled)
    late = made.ticks["t_ns"].astype(np.int64) - (made.epoch.t0_ns + made.ticks["slot"].astype(np.int64) * 1_000_000)
    assert late.min() >= 15_000 and np.median(late) == pytest.approx(15e3 + 50e3 * math.log(2), rel=0.05)
    power_w = made.ticks["readings"]["value"][:, 1] / 5000 * 5
    idle = made.ticks["t_ns"] > made.ended_ns + 10**9
    assert idle.any() and power_w[idle].mean() == pytest.approx(3.0, abs=0.04) and power_w[~idle].max() > 7


def test_the_daemon_checks_what_is_run_in_virtual_time() -> None:
    """An inference whose layers last longer than it did is refused, and the run does not go on as if nothing were."""
    with pytest.raises(RuntimeError, match="refused"):
        make(UserRun(1, ("mobilenet_v2",), 0.5, manner=Manner(event_step_ns=5_000_000)))


def test_a_recorder_that_stopped_has_nothing_of_later(made: Made) -> None:
    """Ticks and records of the idling behind the run are not in it."""
    short = before(made, made.ended_ns)
    assert 0 < made.ended_ns - int(short.ticks["t_ns"][-1]) < 2_000_000 and len(short.ticks) < len(made.ticks) - 2900
    assert max(record.t_ns for record in short.records) <= made.ended_ns


def test_a_stream_waits_for_its_window(made: Made) -> None:
    """Ten seconds are not the window of the daemon: nothing is told, and why is said; nothing moves either."""
    found = by_stream(made)
    assert set(found.engines) == set(made.truth.engines) and math.isnan(found.told_after_s)
    assert all("more of readings" in told.withheld for told in found.engines.values())
    assert moved(found) == 0.0 and found.state.startswith("waiting")


# ---- scores ----------------------------------------------------------------------------------------


def told(**more: Any) -> Told:
    """Three units that ran, and a layer that took no time."""
    values = Told(
        "net",
        np.array([0, 1, 2, 2, 3]),
        np.array([True, True, False, False, False]),
        np.array([8.3, 5.91, 7.0, 99.0]),
        np.array([0.1, 0.05, 0.2, 1.0]),
        0.00345,
        0.00002,
    )
    return replace(values, **more)


def truth(**more: Any) -> EngineTruth:
    """What they drew; the second rail is not asked for."""
    joules = [[0.008, 1.0], [0.012, 1.0], [0.003, 1.0], [0.0114, 1.0], [0.0, 0.0]]
    seconds = [0.001, 0.002, 0.0005, 0.0015, 0.0]
    return EngineTruth("net", list("abcde"), ["VDD_IN", "VDD_SOC"], runs=10, total_s=seconds, total_j=joules, **more)


def test_scores_are_those_reckoned_by_hand() -> None:
    """Errors in standard errors as told (by hand) and less gain and offset (by an independent program), energy, time, RMSPE."""
    scored = score(told(), truth(), 0)
    np.testing.assert_allclose(scored.units.true_w, [8.0, 6.0, 7.2])
    np.testing.assert_allclose(scored.units.z, [3.0, -1.8, -1.0])
    np.testing.assert_allclose(scored.units.rest, [3.0940745, -1.61060404, -0.95283805])
    assert scored.energy_z == pytest.approx(0.5) and scored.energy_error == pytest.approx(0.01 / 3.44)
    run = RunScore(1, "run", "batch", 5.0, ("net",), (scored,))
    numbers = figures([run])
    assert numbers["rmspe"] == pytest.approx(math.sqrt((0.0375**2 + 0.015**2) / 2))
    assert numbers["resolved_time_share"] == pytest.approx(0.6) and numbers["resolved"] == 2
    assert numbers["rest_rms"] == pytest.approx(math.sqrt((3.0940745**2 + 1.61060404**2 + 0.95283805**2) / 3))
    assert [share.share for share in shares([run])] == pytest.approx([2 / 3, 2 / 3]) and numbers["far"] == 0


def test_the_truth_is_of_warm_inferences_at_the_usual_clock() -> None:
    """Cold ones never count; of two clocks the one that most inferences had."""
    cold, down = Totals(2, [0.4] * 5, [[0.1, 0.0]] * 5), Totals(5, [1.0] * 5, [[2.0, 0.0]] * 5)
    whole = truth(apart={COLD: cold})
    seconds, joules, runs = usual(whole, 0)
    np.testing.assert_allclose(seconds, np.array(whole.total_s) - 0.4)
    np.testing.assert_allclose(joules, np.array(whole.total_j)[:, 0] - 0.1)
    assert runs == 8
    assert usual(truth(apart={COLD: cold, STEPPED: down}), 0)[2] == 5, "of 10: 2 cold, 5 stepped, 3 usual"
    assert usual(truth(apart={COLD: cold, STEPPED: replace(down, runs=4)}), 0)[2] == 4


def test_a_resolved_unit_that_is_far_off_is_counted() -> None:
    """By five standard errors or half of its power; one that is not resolved does not count."""
    assert score(told(power_w=np.array([8.9, 6.0, 7.2, 99.0])), truth(), 0).far == 1
    wide = told(power_w=np.array([12.8, 6.0, 7.2, 99.0]), se_w=np.array([9.0, 0.05, 0.2, 1.0]))
    assert score(wide, truth(), 0).far == 1
    assert score(told(power_w=np.array([8.0, 6.0, 11.0, 99.0])), truth(), 0).far == 0


def test_what_is_withheld_is_counted_and_not_scored() -> None:
    """Its units hold nothing; its time counts as unresolved; a run of such engines alone has not settled."""
    nothing = score(
        told(power_w=np.full(4, np.nan), se_w=np.full(4, np.nan), withheld="too little", energy_j=np.nan), truth(), 0
    )
    good = score(told(), truth(), 0)
    mixed = RunScore(1, "run", "batch", 5.0, ("a", "b"), (good, nothing))
    lost = RunScore(2, "run", "batch", 5.0, ("a",), (), error="ValueError: no")
    numbers = figures([mixed, lost, RunScore(3, "run", "batch", 5.0, ("a",), (nothing,))])
    assert (numbers["withheld"], numbers["not_settled"], numbers["engines"]) == (2, 2, 3)
    assert numbers["resolved_time_share"] == pytest.approx(0.2)
    assert shares([mixed, lost])[0].count == 3
    text = table("run", [mixed, lost], "batch")
    assert "too little" in text and "ValueError: no" in text and "simulated" in text
    assert "1 of 2 told" in line(mixed) and "NOT ATTRIBUTED" in line(lost)
    json.dumps(document("run", "batch", [mixed, lost]), allow_nan=False)


def test_units_of_a_run_count_together() -> None:
    """Runs that each hold all or nothing make the share's interval as wide as so few runs; alike ones leave chance."""
    apart = pooled([np.full(50, turn % 2 == 0) for turn in range(8)])
    assert apart.share == 0.5 and apart.high - apart.low > 0.6 and apart.design_effect == pytest.approx(50, rel=0.3)
    alike = pooled([np.arange(50) % 2 == 0] * 8)
    assert alike.low == alike.high == 0.5 and alike.design_effect == 1.0
    assert pooled([]).count == 0


@pytest.mark.parametrize(("count", "effect"), [(20, 1.0), (181, 1.0), (400, 10.0)])
def test_chance_falls_below_the_least_share_in_five_of_a_hundred(count: int, effect: float) -> None:
    """By drawing: fewer than the least share hold in at most 5 %, and with the least share itself it is more."""
    least = command.least_share(Share(0.9, 0.0, 1.0, count, effect))
    independent = round(count / effect)
    held = np.random.default_rng(1).binomial(independent, command.LEVEL, 200_000) / independent
    assert np.mean(held < least - 1e-9) < 0.052
    assert np.mean(held < least + 1e-9) > 0.048


def test_the_short_form_fails_where_a_resolved_unit_is_far_off(capsys: pytest.CaptureFixture[str]) -> None:
    """However many others hold: one number that a user would believe and that is wrong by half is one too many."""
    right = [score(told(se_w=np.full(4, 0.5)), truth(), 0) for _ in range(100)]
    good = [RunScore(n, "run", "batch", 5.0, ("a",), (each,)) for n, each in enumerate(right)]
    assert command._passed(good)
    far = score(told(power_w=2 * told().power_w), truth(), 0)
    assert far.far and not command._passed([*good, RunScore(9, "run", "batch", 5.0, ("a",), (far,))])
    printed = capsys.readouterr().out
    assert "passed" in printed and "FAILED" in printed and f": {far.far}, and none may be" in printed


def test_what_moves_behind_a_run_is_seen() -> None:
    """In standard errors; other units, or something told that was not, are no small thing."""
    one = told()
    later = told(power_w=one.power_w + np.array([0.02, 0.0, 0.1, 0.0]))
    assert moved(Streamed({"e": one}, {"e": later}, 1.0, "running")) == pytest.approx(0.5)
    other = told(unit=np.array([0, 1, 2, 3, 3]))
    assert moved(Streamed({"e": one}, {"e": other}, 1.0, "")) == math.inf
    assert moved(Streamed({"e": one}, {"e": told(withheld="lost")}, 1.0, "")) == math.inf


# ---- commands --------------------------------------------------------------------------------------


def test_the_short_form_has_fixed_seeds_of_short_runs() -> None:
    """By a rule that nothing of the outcome enters."""
    seeds = list(islice(command.quick_seeds(ROWS[0], DEVELOPMENT), command.QUICK_RUNS))
    runs = [draw(ROWS[0], seed) for seed in seeds]
    assert all(len(run.networks) == 1 and run.seconds <= 10 for run in runs) and seeds == sorted(set(seeds))
    passed = [draw(ROWS[0], seed) for seed in range(DEVELOPMENT, seeds[-1]) if seed not in seeds]
    assert all(len(run.networks) > 1 or run.seconds > 10 for run in passed)


def test_each_effect_is_off_in_its_turn() -> None:
    """The first world has all of them and the last none, and anchors that do not scatter stay where they are in the mean."""
    run = draw(ROWS[0], 7003)
    found = dict(ablation.worlds(run))
    assert found["as it is"] == run and len(found) == 2 * len(ablation.EFFECTS)
    for effect in ablation.EFFECTS:
        alone = found[f"without {effect.name}"]
        assert effect.without(alone) == alone
    last = found[ablation.EVERY]
    assert all(effect.without(last) == last for effect in ablation.EFFECTS if effect.name != "skew of anchors")
    assert (last.manner.gap_s, last.manner.jitter_own, last.sensor["lag_ns"], last.manner.step_every_s) == (0, 0, 0, 0)
    base = UserRun(3, ("lenet5",), 0.5, manner=run.manner)
    still = replace(base, manner=ablation.EFFECTS[2].without(base).manner)
    leads = [_lead_and_slack(make(each)) for each in (base, still)]
    for usual_ns, still_ns in zip(*leads, strict=True):
        assert still_ns.std() < 1 and still_ns.mean() == pytest.approx(usual_ns.mean(), rel=0.1)


def _lead_and_slack(made: Made) -> tuple[np.ndarray, np.ndarray]:
    (engine,) = made.truth.engines.values()
    bodies = [record.body for record in made.records if record.kind is Kind.INFERENCE]
    begin, end = (np.array([body[name] for body in bodies]) for name in ("begin_ns", "end_ns"))
    return np.array(engine.begin_ns) - begin, end - np.array(engine.end_ns)


def test_a_run_is_judged_from_its_files(tmp_path: Path) -> None:
    """Kept where that is wanted; the engine has a score or a reason."""
    found = judged("run", make(UserRun(5, ("vgg11",), 1.0)), 1.0, tmp_path)
    assert not found.error and [each.network for each in found.engines] == ["vgg11"]
    assert (tmp_path / "run-5" / "recording" / "recording.json").exists()
    assert (tmp_path / "run-5" / "truth.json").exists()
    assert all(each.withheld or each.held.size for each in found.engines)
