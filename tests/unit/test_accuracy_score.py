"""How estimates of the accuracy case are scored: scores of estimates whose worth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.accuracy import attribution, estimate
from benchmarks.accuracy.estimated import Estimated
from benchmarks.accuracy.score import Coverage, Outcome, bootstrapped, coverage, judge, one_mean
from benchmarks.accuracy.summary import Summary, summarise
from tests.worlds.attribution.case import Case, load
from tests.worlds.attribution.world import Recording, Truth, World, draw

WHOLE = load()


def truth_of(seed: int, layers: int = 40) -> Truth:
    """A network's truth without a simulation."""
    random = np.random.default_rng(seed)
    power = random.uniform(3, 12, layers)
    time_s = np.exp(random.uniform(np.log(10e-6), np.log(400e-6), layers))
    energy = float(power @ time_s)
    nothing = np.zeros(layers)
    return Truth(power, power, time_s, nothing, 1e5, (8e5,), 840e3, 0.0, energy, 3.8, 3.4, 3.1, 2.5, 0.0, 1e3)


def world_of(seed: int, case: Case | None = None) -> World:
    """Truth alone: scores look at nothing else."""
    return World(case or WHOLE.case("fast"), seed, None, truth_of(seed), {}, 0)  # type: ignore[arg-type]  # no recording


def noisy(world: World, relative: float, claimed: float) -> Estimated:
    """Layers each with a normal error of `relative` of its power and an interval that claims another; delays off by 10 µs."""
    random = np.random.default_rng(world.seed + 2000)
    truth = world.truth
    power = truth.power_w * (1 + relative * random.standard_normal(truth.power_w.size))
    se = claimed * truth.power_w
    unit = np.arange(power.size)
    energy_se = float(np.sqrt(np.sum((se * truth.time_s) ** 2)))
    covariance = np.diag([1e4, 1e4]) ** 2
    return Estimated(
        unit, power, se, power, se, 1.1e5, 7.9e5, covariance, float(power @ truth.time_s), energy_se, 0.001
    )


def summary_of(relative: float, claimed: float, networks: int = 100, name: str = "fast") -> Summary:
    """The same of many networks."""
    case = WHOLE.case(name)
    worlds = [world_of(seed, case) for seed in range(networks)]
    outcomes = [judge(world, "least-squares", noisy(world, relative, claimed), 1.0) for world in worlds]
    return summarise(WHOLE, case, "least-squares", outcomes)


def test_honest_intervals_pass_and_short_ones_are_told() -> None:
    """Errors of 5 % with intervals of 5 % show everything; with intervals of 4 % coverage is missed."""
    honest = summary_of(0.05, 0.05)
    assert honest.missed == ()
    assert honest.rmspe == pytest.approx(0.05, rel=0.05)
    assert honest.coverage.low <= 0.95 <= honest.coverage.high
    assert honest.resolved_time_share == 1
    assert honest.energy_coverage.count == 100
    assert honest.sensor_coverage.share == 1
    short = summary_of(0.05, 0.04)
    assert any(text.startswith("coverage ") for text in short.missed)
    assert short.coverage.share == pytest.approx(
        0.883, abs=0.02
    )  # of a normal error within 0.8 * 1.96 of its deviation


def test_a_target_that_is_not_reached_is_told() -> None:
    """An error of 7 % where 6 % are asked for; layers whose intervals are too wide are not resolved."""
    summary = summary_of(0.07, 0.14)
    assert any(text.startswith("RMSPE 7") for text in summary.missed)
    assert any(text.startswith("resolved time 0%") for text in summary.missed)


def test_few_networks_leave_coverage_open() -> None:
    """Neither shown nor missed."""
    summary = summary_of(0.05, 0.05, networks=3)
    assert any(text.startswith("coverage") for text in summary.open)


def test_a_unit_is_scored_by_energy_over_time() -> None:
    """Two layers in one unit: their common power is right although neither layer's is."""
    world = world_of(1)
    truth = replace(
        world.truth, power_w=np.array([4.0, 10.0, 6.0]), time_s=np.array([1e-4, 2e-4, 3e-4]), energy_j=4.2e-3
    )
    world = replace(world, truth=truth)
    unit = np.array([0, 0, 1])
    found = Estimated(unit, np.array([8.0, 8.0, 6.0]), np.ones(3), np.array([8.0, 6.0]), np.array([0.1, 0.1]))
    outcome = judge(world, "least-squares", found, 0.0)
    assert outcome.units is not None and outcome.layers is not None
    np.testing.assert_allclose(outcome.units.truth_w, [8.0, 6.0])
    np.testing.assert_allclose(outcome.units.time_s, [3e-4, 3e-4])
    summary = summarise(WHOLE, WHOLE.case("fast"), "least-squares", [outcome])
    assert summary.rmspe == pytest.approx(0, abs=1e-12)
    assert summary.layers_rmspe == pytest.approx(np.sqrt((1 + 0.04) / 3))
    assert summary.resolved_time_share == pytest.approx(0.5)


def test_withheld_units_are_counted_and_not_scored() -> None:
    """A unit without a power has no error, and its reason is told."""
    world = world_of(2)
    found = noisy(world, 0.05, 0.05)
    power = found.unit_power_w.copy()
    power[:5] = np.nan
    found = replace(found, unit_power_w=power, withheld=tuple((unit, "locked") for unit in range(5)))
    summary = summarise(WHOLE, WHOLE.case("fast"), "least-squares", [judge(world, "least-squares", found, 0.0)])
    assert summary.withheld == 5
    assert summary.reasons == {"locked": 5}
    assert np.isfinite(summary.rmspe)
    assert summary.resolved_time_share < 1


def test_the_bootstrap_is_over_networks() -> None:
    """Units that err together in their network make the interval as wide as that of so many networks."""
    random = np.random.default_rng(1)
    held = 50.0 * (random.random(100) < 0.9)
    found = bootstrapped(held, np.full(100, 50.0))
    binomial = np.sqrt(0.9 * 0.1 / 100) * 1.96
    assert (found.high - found.low) / 2 == pytest.approx(binomial, rel=0.3)


def test_coverage_of_nothing_is_nothing() -> None:
    """No intervals: neither missed nor shown."""
    found = coverage([])
    assert found.count == 0
    assert not found.excludes(0.95)
    assert Coverage(0.5, 0.4, 0.6, 100).excludes(0.95)
    assert not Coverage(1.0, 1.0, 1.0, 10).excludes(0.95)
    assert Coverage(1.0, 1.0, 1.0, 1000).excludes(0.95)


def test_permuted_labels_that_still_tell_powers_are_missed() -> None:
    """An estimate that follows the named layers cannot come from the readings; one that scatters about the mean is right."""
    case = WHOLE.case("permuted")

    def of(follows: float) -> Summary:
        outcomes = []
        for seed in range(40):
            world, random = world_of(seed, case), np.random.default_rng(seed)
            named = world.truth.power_w
            ran = np.full(named.size, 7.0)
            world = replace(world, truth=replace(world.truth, power_w=ran, named_w=named))
            power = ran * (1 + 0.05 * random.standard_normal(ran.size)) + follows * (named - 7)
            found = Estimated(np.arange(ran.size), power, 0.05 * ran, power, 0.05 * ran)
            outcomes.append(judge(world, "least-squares", found, 0.0))
        return summarise(WHOLE, case, "least-squares", outcomes)

    assert any("labels tell" in text for text in of(0.1).missed)
    right = of(0.0)
    assert not any("labels tell" in text or text.startswith("coverage") for text in right.missed)


def test_a_delay_that_is_off_is_missed() -> None:
    """Within 50 µs in every network."""
    case = WHOLE.case("fast")
    outcomes = [judge(world_of(0), "least-squares", replace(noisy(world_of(0), 0.05, 0.05), delay_ns=2e5), 0.0)]
    summary = summarise(WHOLE, case, "least-squares", outcomes)
    assert any(text.startswith("total delay off") for text in summary.missed)
    assert any(text.startswith("delay off") for text in summary.missed)


def test_one_mean_says_the_same_of_every_layer() -> None:
    """Its error is that of the spread of powers."""
    outcome = one_mean(world_of(1))
    assert outcome.layers is not None
    assert np.ptp(outcome.layers.power_w) == 0
    assert outcome.layers.power_w @ outcome.layers.time_s == pytest.approx(world_of(1).truth.energy_j)


def test_a_crash_is_told_with_its_seed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, the seed, and figures of the rest; the file has the rows that were promised."""

    def crashing(recording: Recording) -> Estimated:
        if recording.durations_ns.shape[1] == sizes[0]:
            raise ZeroDivisionError("no such power")
        return estimate.by_window_mean(recording)

    case = WHOLE.case("fast")
    case = replace(case, run=replace(case.run, inferences=200))
    sizes = [draw(case, seed).recording.durations_ns.shape[1] for seed in (3, 4)]
    assert sizes[0] != sizes[1]
    monkeypatch.setattr(estimate, "METHODS", {"least-squares": crashing, "window-mean": estimate.by_window_mean})
    monkeypatch.setattr(attribution, "load", lambda: replace(WHOLE, cases=(case,)))
    monkeypatch.chdir(tmp_path)
    assert attribution.run(["fast"], 2, 3, 1) == 1
    printed = capsys.readouterr().out
    assert "FAILED, seed 3: ZeroDivisionError: no such power" in printed
    assert "simulated" in printed
    rows = json.loads((tmp_path / attribution.OUT).read_text(encoding="utf-8"))
    assert {row["method"] for row in rows} == {"one-mean", "least-squares", "window-mean"}
    promised = "case method rmspe median_unit_us resolved_time_share coverage coverage_low coverage_high unit"
    assert all(set(promised.split()) <= row.keys() for row in rows)
    assert next(row["failed"] for row in rows if row["method"] == "least-squares")[0][0] == 3


def test_an_unknown_case_is_refused() -> None:
    """With the names of those that there are."""
    with pytest.raises(KeyError, match="averaging-16"):
        attribution.run(["fastest"], 1, 1, 1)


def test_estimates_of_other_layers_are_refused() -> None:
    """An estimate must name every layer."""
    one = np.ones(3)
    with pytest.raises(ValueError, match="3 layers"):
        judge(world_of(1), "least-squares", Estimated(np.arange(3), one, one, one, one), 0.0)


def test_a_failed_outcome_has_no_score() -> None:
    """It is counted."""
    summary = summarise(WHOLE, WHOLE.case("fast"), "least-squares", [Outcome(7, "least-squares", error="died")])
    assert summary.failed == ((7, "died"),)
    assert np.isnan(summary.rmspe)
    assert "1 networks crashed" in summary.missed
