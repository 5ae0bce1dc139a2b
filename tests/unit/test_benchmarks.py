"""How benchmarks decide: ratios, controls, percentiles and the search for a rate. No test here measures time."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack
import numpy as np
import pytest
from benchmarks.delivery import published_ticks
from benchmarks.sampling.fastest import _search
from benchmarks.statistics import Bar, Rounds, compare, interleave, interval, quantile

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import decode, ticks_to_frames
from neuralpower_wire.ticks import batch_to_columns


def rounds_of(ours: list[float], control: list[float]) -> Rounds:
    rounds = Rounds()
    for mine, again in zip(ours, control, strict=True):
        for side, value in (("ours", mine), ("reference", 1.0), ("control", again)):
            rounds.add(side, {"cpu": value})
    return rounds


@pytest.mark.parametrize(
    ("ours", "control", "verdict"),
    [
        ([1.05] * 9, [1.01] * 9, "met"),
        ([1.20] * 9, [1.01] * 9, "not met"),
        ([1.05] * 9, [1.30] * 9, "not resolved"),
        ([1.05] * 9, [0.80] * 9, "not resolved"),
        ([1.20] * 9, [0.80, 1.3] * 4 + [1.0], "not resolved"),
    ],
)
def test_a_bar_is_decided_only_inside_a_quiet_control(ours: list[float], control: list[float], verdict: str) -> None:
    """A ratio decides a bar only where two equal runs differ by less than the bar, in either direction."""
    row, check = rounds_of(ours, control).row("x", "cpu", "µs", bar=Bar(1.10))
    assert row.verdict == verdict
    assert check.verdict == "" and check.name == "x (control)"


def test_a_bar_from_below_wants_at_least_its_ratio() -> None:
    """A rate must reach its bar, and its control is judged by the same distance from 1."""
    assert compare("rate", [95.0], [100.0], "Hz", Bar(0.9, at_least=True)).verdict == "met"
    assert compare("rate", [85.0], [100.0], "Hz", Bar(0.9, at_least=True)).verdict == "not met"
    assert Bar(0.9, at_least=True).resolves(0.95, 1.05) and not Bar(0.9, at_least=True).resolves(0.95, 1.2)


def test_ratios_are_paired_by_round() -> None:
    """Drift that both sides of a round share leaves the ratio alone."""
    drift = np.geomspace(1, 100, 11)
    row = compare("x", list(1.5 * drift), list(drift), "µs")
    assert row.ratio == pytest.approx(1.5) and row.low == pytest.approx(1.5) and row.high == pytest.approx(1.5)


def test_the_interval_covers_the_median() -> None:
    """Of many draws of 30 rounds, about 95 % have the true median in their interval."""
    draw = np.random.default_rng(3)
    inside = [low <= 1 <= high for low, high in (interval(draw.lognormal(0, 0.2, 30)) for _ in range(200))]
    assert 0.90 <= np.mean(inside) <= 0.99


def test_quantiles_spread_counts_within_their_bin() -> None:
    """Percentiles of binned lateness do not depend on the order of bins and interpolate inside one."""
    assert quantile([[10, 20, 50], [0, 10, 50]], 0.25) == 5
    assert quantile([[10, 20, 50], [0, 10, 50]], 0.75) == 15
    assert quantile([[0, 10, 99], [1000, 1010, 1]], 1.0) == 1010
    assert np.isnan(quantile([], 0.5))


def test_every_side_runs_once_a_round() -> None:
    """Sides alternate: none gets ahead of another by more than a round."""
    seen: list[str] = []

    def side(name: str) -> dict[str, float]:
        seen.append(name)
        return {"cpu": 1.0}

    interleave({name: lambda name=name: side(name) for name in "abc"}, 6, lambda done, note: None)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    blocks = ["".join(sorted(seen[at : at + 3])) for at in range(0, len(seen), 3)]
    assert blocks == ["abc"] * 6 and len({tuple(seen[at : at + 3]) for at in range(0, 18, 3)}) > 1


@pytest.mark.parametrize(("short_limit", "long_limit"), [(7, 7), (9, 4), (0, 0), (10, 10)])
def test_the_search_returns_a_rate_that_a_long_trial_kept(short_limit: int, long_limit: int) -> None:
    """Short trials only suggest a rate: the answer is the highest below it that a long trial kept, or 0."""
    search = _search(range(1, 11), 1.0, 30.0)
    wanted = next(search)
    while True:
        rate, seconds = wanted
        try:
            wanted = search.send(rate <= (short_limit if seconds == 1.0 else long_limit))
        except StopIteration as end:
            assert end.value == min(short_limit, long_limit)
            return


def test_the_budget_of_instructions_adds_up() -> None:
    """The whole tick's budget is the sum of its stages', so that none can hide behind another."""
    budget = json.loads((Path(__file__).parents[2] / "benchmarks" / "budget.json").read_text())
    counted = [allowed for section, allowed in budget.items() if section.startswith("instructions_")]
    assert counted
    for allowed in counted:
        assert allowed["all"] == sum(count for name, count in allowed.items() if name != "all")


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_maps_and_columns_of_ticks_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps that columns are held against leave nothing out and add nothing, whatever is put in one message."""
    monkeypatch.setattr(published_ticks, "HELD", 250)
    with published_ticks.filled(tmp_path / "ticks.ring") as reader:
        ticks = reader.read(0, 250).ticks
        for per_message in (1, 100):
            messages = list(published_ticks.maps(ticks, per_message))
            assert sum(count for _, count in messages) == len(ticks)
            found = [msgpack.unpackb(frames[1]) for frames, _ in messages]
            maps = found if per_message == 1 else [each for part in found for each in part]
            for word in ("index", "slot", "t_ns", "epoch"):
                assert [each[word] for each in maps] == ticks[word].tolist()
            for word in ("value", "begin_ns", "end_ns", "state", "error"):
                assert [each[word] for each in maps] == ticks["readings"][word].tolist()
        _, columns = batch_to_columns(decode(ticks_to_frames(reader.stream, ticks)))
        assert columns.readings.keys() == {"value", "begin_ns", "end_ns", "state", "error"}
