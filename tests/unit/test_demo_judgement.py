"""The demo's judgement counts what is told, units, and says plainly when intervals do not hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from neuralpower.attribution import Attribution, EngineAttribution
from neuralpower.attribution.results import LayerPower
from neuralpower.demo.judgement import CHANCE, UNUSUAL, document, judge, most_missed, show
from neuralpower.virtual.device.truth import EngineTruth, Truth

RUNS = 50
RAILS = ["VDD_IN", "VDD_SOC"]


def engine(name: str, told_w: list[float], se_w: list[float], unit: list[int]) -> EngineAttribution:
    """Layers of 1 ms each in units; members of a group tell its power with an error of 4 W of their own."""
    layers = tuple(
        LayerPower(
            f"layer {at}",
            "conv",
            number,
            unit.count(number),
            RUNS,
            1,
            1e-3,
            1e-6,
            told_w[number],
            se_w[number] if unit.count(number) == 1 else 4.0,
        )
        for at, number in enumerate(unit)
    )
    return EngineAttribution(
        name, name, "least-squares", layers, RUNS, 0.1, 3.0, 1.0, 0.02, True, 1e-4,
        unit_power_w=tuple(told_w), unit_se_w=tuple(se_w),
    )  # fmt: skip


def real(name: str, true_w: list[float], repeats: int = 1) -> EngineTruth:
    """The truth of layers of 1 ms, of which one of 0 W never runs."""
    seconds = [RUNS * repeats * 1e-3 if power else 0.0 for power in true_w]
    joules = [[power * ran, 0.1 * ran] for power, ran in zip(true_w, seconds, strict=True)]
    return EngineTruth(name, [f"layer {at}" for at in range(len(true_w))], RAILS, repeats, RUNS, seconds, joules)


def judged_of(told: list[EngineAttribution], truth: list[EngineTruth]):  # type: ignore[no-untyped-def]
    found = Attribution(
        "least-squares", {each.name: each for each in told}, 0.0, 0.0, None, 0.0, 3.0, 0.0, None, "b", True, ()
    )
    return judge(found, Truth(1, RAILS, "VDD_IN", [3.0, 1.0], 1000.0, engines={each.name: each for each in truth}))


def test_a_group_is_one_unit_with_its_own_error() -> None:
    """Five layers of which four are a group are two units; the group's mean power is judged by the group's error."""
    judged = judged_of([engine("a", [7.0, 9.5], [0.1, 0.1], [0, 0, 0, 0, 1])], [real("a", [5.0, 6.0, 7.0, 8.0, 8.0])])
    networks = judged["networks"]
    assert [(unit.layers, unit.true_w) for unit in networks.units] == [(4, pytest.approx(6.5)), (1, pytest.approx(8.0))]
    assert networks.off == pytest.approx([5.0, 15.0]) and networks.missed == 2 and not networks.holds


def test_layers_that_take_no_time_are_no_unit() -> None:
    """A unit that never ran has no power; in a group only what ran counts."""
    judged = judged_of([engine("a", [6.0, 5.0], [0.1, 0.1], [0, 0, 1])], [real("a", [6.0, 0.0, 0.0])])
    assert [(unit.layers, unit.true_w) for unit in judged["networks"].units] == [(2, pytest.approx(6.0))]


def test_what_the_chip_explains_is_left_out() -> None:
    """A gain and an offset common to all units, as a chip has them, are no misses; what one unit has alone is."""
    true = np.linspace(4.0, 12.0, 40)
    told = 1.001 * true + 0.03
    told[7] += 0.05
    ran = engine("a", told.tolist(), [0.004] * 40, list(range(40)))
    networks = judged_of([ran], [real("a", true.tolist())])["networks"]
    assert np.sum(np.abs(networks.off) > 2) == 40
    assert networks.missed == 1 and networks.holds and int(np.argmax(np.abs(networks.rest))) == 7
    assert networks.rest[7] == pytest.approx(0.05 / 0.004, rel=0.1)


def test_what_is_not_told_is_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Withheld engines and such as were not attributed have no units, whatever powers they carry."""
    withheld = replace(engine("b", [1.0], [0.1], [0]), withheld="the readings contradict the sensor")
    told = [engine("a", [6.0], [0.1], [0]), withheld, engine("r", [5.0], [0.1], [0])]
    judged = judged_of(told, [real("a", [6.0]), real("b", [6.0]), real("c", [6.0]), real("r", [5.0], 30)])
    networks = judged["networks"]
    assert (networks.told, len(networks.units), networks.missing) == (1, 1, ["c"]) and list(networks.withheld) == ["b"]
    assert judged["repeated layers"].told == 1
    show(judged)
    printed = capsys.readouterr().out
    assert "withheld: b: the readings contradict the sensor" in printed and "not attributed: c" in printed


def test_intervals_that_do_not_hold_are_said_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    """How many of how many units, what chance allows, and the worst one; and the same as values."""
    true = np.linspace(4.0, 12.0, 20)
    told = true + 0.03 * np.where(np.arange(20) % 2, 1, -1)
    told[3] -= 0.1
    judged = judged_of([engine("net", told.tolist(), [0.005] * 20, list(range(20)))], [real("net", true.tolist())])
    show(judged)
    printed = capsys.readouterr().out
    assert "0, 0.0 %" in printed and "simulated" in printed
    assert "intervals of networks do not hold: 20 of 20 units miss" in printed and "by chance up to 3 would" in printed
    assert "farthest off: net, layer 3: told" in printed and "standard errors below" in printed
    values = document(judged)["networks"]
    assert (values["units"], values["within_two_se"], values["intervals_hold"]) == (20, 0, False)


@pytest.mark.parametrize("count", [0, 1, 20, 93, 500, 20_000])
def test_chance_is_the_binomial_distributions(count: int) -> None:
    """No more misses than in 39 of 40 cases of right intervals, however many there are."""
    assert most_missed(count) == binom.ppf(1 - UNUSUAL, count, CHANCE) if count else most_missed(0) == 0


def test_a_run_of_which_nothing_is_told_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """No engine at all is a table without figures."""
    show(judged_of([], [real("a", [6.0])]))
    assert "not attributed: a" in capsys.readouterr().out
