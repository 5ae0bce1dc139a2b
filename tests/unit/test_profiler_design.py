"""The experiment's design, its balance of energy, and its rules for the end."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower.experiment import balance, stopping
from neuralpower.experiment.balance import Block, BlockMean, estimate, ratio
from neuralpower.experiment.design import (
    LONGEST_GAP_S,
    PLAIN_GAPS,
    PLAIN_RUN,
    PROFILED_GAPS,
    PROFILED_RUN,
    ExperimentDesign,
    SensorTiming,
)
from neuralpower.interval import Z95

RESET = SensorTiming(0.0066, 0.002)


def test_the_sensor_comes_from_epoch_and_status() -> None:
    """The longest scan of the chips; the filter's time constant on top of the lag that is expected of a board."""
    chips = [SimpleNamespace(scan_ns=840_000), SimpleNamespace(scan_ns=6_600_000)]
    sensor = SensorTiming.of(chips, 0.0134)
    assert sensor.scan_s == pytest.approx(0.0066) and sensor.lag_s == pytest.approx(0.0154)
    assert SensorTiming.of([], None) == SensorTiming(0.0, 0.002)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-4, 0.02), st.floats(0, 0.01), st.integers(0, 1000))
def test_gaps_are_even_over_a_scan_and_twice_the_lag(scan_s: float, lag_s: float, seed: int) -> None:
    """No gap is longer, and over some rounds they fill the range evenly."""
    design = ExperimentDesign(SensorTiming(scan_s, lag_s), 0.002, seed)
    reach = scan_s + 2 * lag_s
    gaps = []
    for _ in range(6):
        course = design.round()
        for number, kind in enumerate(course.kinds):
            pauses = course.pause_ns[course.block == number][1:]
            if kind in (PROFILED_GAPS, PLAIN_GAPS):
                gaps.append(pauses * 1e-9)
            else:
                assert not pauses.any()
    drawn = np.concatenate(gaps)
    assert drawn.min() >= 0 and drawn.max() <= min(reach, LONGEST_GAP_S) + 1e-9
    shares = np.histogram(drawn, 4, (0, reach))[0] / len(drawn)
    assert np.all(np.abs(shares - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(drawn)))


def test_a_round_has_every_kind_with_rests_between() -> None:
    """Blocks of all four kinds, a rest before each, profiled where the kind says so."""
    course = ExperimentDesign(RESET, 0.002, 1).round()
    assert sorted(set(course.kinds)) == sorted([PROFILED_GAPS, PROFILED_RUN, PLAIN_GAPS, PLAIN_RUN])
    for number, kind in enumerate(course.kinds):
        mine = course.block == number
        assert course.pause_ns[mine][0] == round(RESET.rest_s * 1e9)
        assert np.all(course.profiled[mine] == (kind in (PROFILED_GAPS, PROFILED_RUN)))
        assert mine.sum() * (0.002 + (RESET.gap_s / 2 if "gaps" in kind else 0)) >= 0.3


def test_the_same_seed_draws_the_same_rounds() -> None:
    """An experiment can be repeated; the next round is another one."""
    one, two = ExperimentDesign(RESET, 0.002, 7), ExperimentDesign(RESET, 0.002, 7)
    first = one.round()
    np.testing.assert_array_equal(first.pause_ns, two.round().pause_ns)
    assert first.kinds != one.round().kinds or not np.array_equal(first.pause_ns, two.round().pause_ns)


@pytest.mark.parametrize("most", [1, 5, 17, 10**6])
def test_no_round_has_more_profiled_inferences_than_are_left(most: int) -> None:
    """Few are spread over the kinds, and unprofiled ones go down with them."""
    design = ExperimentDesign(RESET, 0.002, 3)
    course = design.round(most)
    assert 0 < course.profiled.sum() <= most
    if most < 100:
        assert course.profiled.sum() == most and (~course.profiled).sum() <= most + 2


def test_without_unprofiled_all_are_profiled() -> None:
    """The share can be left out."""
    assert ExperimentDesign(RESET, 0.002, 3, unprofiled=False).round().profiled.all()


def test_what_a_design_cannot_do_is_said() -> None:
    """A sensor slower than the longest gap, and one that is not known."""
    (slow,) = ExperimentDesign(SensorTiming(0.0066, 0.4), 0.002, 1).warnings()
    assert "807 ms; gaps stay below 100 ms" in slow
    assert "not known" in ExperimentDesign(SensorTiming(0, 0.002), 0.002, 1).warnings()[0]
    assert ExperimentDesign(RESET, 0.002, 1).warnings() == []


def test_intervals_cover_at_their_rate() -> None:
    """Student's interval of few normal values contains the mean in 95 of 100 cases."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(4000):
        found = estimate(rng.normal(3.0, 0.5, 5))
        hits += abs(found.value - 3.0) <= found.half_width
    assert 0.94 < hits / 4000 < 0.96


def test_estimates_say_what_they_cannot() -> None:
    """Nothing measured, one value, and values that are not numbers."""
    assert math.isnan(estimate([math.nan]).value)
    one = estimate([2.0, math.nan])
    assert one.value == 2.0 and math.isnan(one.half_width) and one.count == 1


def test_a_ratio_carries_both_intervals() -> None:
    """Relative errors add in square; an unknown denominator gives nothing."""
    found = ratio(BlockMean(3.0, 0.3, 5), BlockMean(2.0, 0.1, 4))
    assert found.value == 1.5 and found.half_width == pytest.approx(1.5 * math.hypot(0.1, 0.05)) and found.count == 4
    assert math.isnan(ratio(BlockMean(3.0, 0.3, 5), BlockMean(math.nan, math.nan, 0)).value)


def test_blocks_are_summed_by_kind() -> None:
    """Time and energy of one kind, not of the others."""
    blocks = [
        Block(PROFILED_RUN, 10, 0.002, 0.01),
        Block(PROFILED_RUN, 10, 0.004, math.nan),
        Block(PLAIN_RUN, 10, 9.0, 9.0),
    ]
    assert balance.seconds_of(blocks, PROFILED_RUN).value == pytest.approx(0.003)
    assert balance.joules_of(blocks, PROFILED_RUN).count == 1


def progress(inferences: int = 0, seconds: float = 0.0, rounds: int = 9, half: float = 0.1) -> stopping.Progress:
    return stopping.Progress(inferences, seconds, rounds, BlockMean(2.0, half, rounds))


def test_rules_for_the_end() -> None:
    """After so many, after so long, and once the interval is narrow enough over enough rounds."""
    assert stopping.Runs(10).enough(progress(9)) == "" and stopping.Runs(10).enough(progress(10)) == "10 inferences"
    assert stopping.Seconds(5).enough(progress(seconds=4.9)) == "" and stopping.Seconds(5).enough(progress(seconds=5))
    rule = stopping.EnergyInterval(2.0, longest_s=60)
    assert rule.enough(progress(half=0.05)) == "" and "±2.0 %" in rule.enough(progress(half=0.04))
    assert rule.enough(progress(half=0.01, rounds=3)) == ""
    assert "known to ±5.0 % only" in rule.enough(progress(seconds=61, half=0.1))
    assert "cannot be told" in rule.enough(progress(seconds=61, half=math.nan))


def test_the_interval_that_most_time_is_known_to() -> None:
    """Groups count with their unit's interval, however little is known of their members; what is not told counts as unknown."""
    layer = SimpleNamespace
    layers = [
        layer(runtime_s=3.0, repeats=1, power_w=2.0, power_se_w=0.02, unit=0),
        layer(runtime_s=0.5, repeats=1, power_w=2.0, power_se_w=0.9, unit=1),
        layer(runtime_s=0.5, repeats=1, power_w=2.0, power_se_w=0.9, unit=1),
        layer(runtime_s=1.0, repeats=1, power_w=math.nan, power_se_w=math.nan, unit=2),
    ]
    engine = layer(layers=layers, runtime_s=5.0, unit_power_w=(2.0, 2.0, math.nan), unit_se_w=(0.02, 0.05, math.nan))
    assert stopping.width_known(engine, 0.6) == pytest.approx(Z95)
    assert stopping.width_known(engine, 0.8) == pytest.approx(2.5 * Z95)
    assert math.isnan(stopping.width_known(engine, 0.81)) and math.isnan(stopping.width_known(None))
    one = layer(layers=layers[:1], runtime_s=3.0, unit_power_w=(), unit_se_w=())
    assert stopping.width_known(one) == pytest.approx(Z95)


def test_a_recording_is_looked_at_when_it_may_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attribution costs seconds, so the rule waits until intervals may have shrunk so far; the longest time ends it anyway."""
    looks: list[int] = []
    rule = stopping.LayerIntervals("nowhere", "hash", 10.0, longest_s=60)
    found = iter([math.nan, 15.0, 9.0])

    def look() -> float:
        looks.append(count)
        return next(found)

    monkeypatch.setattr(rule, "_look", look)
    said = {}
    for count in (50, 100, 150, 199, 200, 399, 400):
        said[count] = rule.enough(progress(count, rounds=3 if count == 50 else 9))
    assert (
        looks == [100, 200, 400] and said.pop(400) == "power in 80% of the layers' time is known to ±9.0 % in 0 units"
    )
    assert not any(said.values())
    late = stopping.LayerIntervals("nowhere", "hash", 10.0, longest_s=60)
    monkeypatch.setattr(late, "_look", lambda: 30.0)
    assert late.enough(progress(10, seconds=61)).endswith(
        "60 s are over; power in 80% of the layers' time is known to ±30 % in 0 units"
    )


def test_a_recording_of_nothing_yet_ends_nothing(tmp_path: Path) -> None:
    """The recorder may not have written anything when it is first looked at."""
    rule = stopping.LayerIntervals(tmp_path / "none", "hash", 10.0)
    assert rule.enough(progress(100)) == ""
