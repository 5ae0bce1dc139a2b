"""The simulated networks of the accuracy case: is their truth true?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.worlds.attribution.case import CASE_FILE, Case, RunCase, load
from tests.worlds.attribution.conversions import shunt_ends
from tests.worlds.attribution.network import draw_network, draw_run
from tests.worlds.attribution.power import draw_power, laid_power_w, wandering
from tests.worlds.attribution.world import Recording, World, chip_of, draw

from neuralpower_sampler import SimChip, simulate
from neuralpower_sampler.sim import RECORD

WHOLE = load()


def some(name: str, inferences: int = 400, **changes: object) -> Case:
    """A case with fewer inferences and other changes to its run."""
    case = WHOLE.case(name)
    run: RunCase = replace(case.run, inferences=inferences, **changes)  # type: ignore[arg-type]  # of its fields
    return replace(case, run=run)


@pytest.fixture(scope="module")
def fast() -> World:
    """Three thousand inferences at 140 µs."""
    return draw(some("fast", 3000), 1)


def arrays(recording: Recording) -> list[np.ndarray]:
    """All that was measured."""
    bus, shunt = recording.bus, recording.shunt
    anchors = [recording.begin_ns, recording.end_ns, recording.durations_ns]
    return [recording.t_ns, bus.value_uv, bus.end_ns, shunt.value_uv, shunt.end_ns, *anchors]


def test_a_seed_draws_the_same_world_again_and_another_another() -> None:
    """Everything follows from the case and the seed."""
    first, again, other = (draw(some("fast"), seed) for seed in (3, 3, 4))
    for one, two in zip(arrays(first.recording), arrays(again.recording), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(first.truth.power_w, again.truth.power_w)
    assert first.truth.power_w.size != other.truth.power_w.size


@pytest.mark.parametrize("case", WHOLE.cases, ids=lambda case: case.name)
def test_every_case_can_be_drawn(case: Case) -> None:
    """And has readings of all of its time, with a layer's power where it was drawn."""
    world = draw(replace(case, run=replace(case.run, inferences=150)), 2)
    low, high = case.network.dynamic_w
    assert np.all(world.truth.power_w > 0.8 * (case.network.context_idle_w + low))
    assert np.all(world.truth.power_w < 1.2 * (case.network.context_idle_w + high))
    assert world.recording.t_ns[0] < world.recording.baselines[0].end_ns
    assert world.recording.t_ns[-1] > world.recording.baselines[-1].begin_ns


def test_anchors_contain_the_layers_and_inferences_follow_each_other() -> None:
    """For every kind of gap; gaps are at least as long as they were meant to be."""
    for name in ("fast", "gap-none", "gap-fixed", "gap-scheduler", "slack-100", "permuted"):
        case = some(name, 2000)
        run = draw_run(case, draw_network(case, np.random.default_rng(1), None), 840e3, None, np.random.default_rng(2))
        assert np.all(run.begin_ns <= run.edges_ns[:, 0])
        assert np.all(run.edges_ns[:, -1] <= run.end_ns)
        assert np.all(np.diff(run.edges_ns, axis=1) > 0)
        gaps = run.begin_ns[1:] - run.end_ns[:-1]
        assert gaps.min() >= {"gap-none": 0, "gap-fixed": 2_000_000, "gap-scheduler": 2_000_000}.get(name, 100_000)
        if name == "fast":  # over a scan and twice the longest lag, uniformly
            assert gaps.max() == pytest.approx(100e3 + 840e3 + 4e6, rel=0.01)
            assert np.std(gaps) == pytest.approx((840e3 + 4e6) / np.sqrt(12), rel=0.05)


def test_the_slack_is_as_large_as_the_case_says() -> None:
    """Windows laid in the middle between the anchors are off by 30 µs rms, and in the mean by nothing."""
    case = some("fast", 20000)
    run = draw_run(case, draw_network(case, np.random.default_rng(1), None), 840e3, None, np.random.default_rng(2))
    middle = (run.begin_ns + run.end_ns - (run.edges_ns[:, -1] - run.edges_ns[:, 0])) / 2
    off = middle - run.edges_ns[:, 0]
    assert np.std(off) == pytest.approx(30e3, rel=0.03)
    assert abs(np.mean(off)) < 1e3


def test_durations_jitter_and_are_reported_in_steps_that_do_not_add_up() -> None:
    """1 % own and 1 % common; each reported in steps of 1.024 µs, their sum within one step of the truth."""
    case = some("fast", 20000)
    network = draw_network(case, np.random.default_rng(1), None)
    run = draw_run(case, network, 840e3, None, np.random.default_rng(2))
    true = np.diff(run.edges_ns, axis=1)
    relative = true / network.duration_ns - 1
    assert np.std(relative) == pytest.approx(np.sqrt(2) * 0.01, rel=0.02)
    assert np.corrcoef(relative[:, 0], relative[:, 1])[0, 1] == pytest.approx(0.5, abs=0.03)
    assert np.all(run.reported_ns % 1024 == 0)
    assert np.all(np.abs(run.reported_ns - true) < 1024)
    assert np.all(np.abs(run.reported_ns.sum(axis=1) - true.sum(axis=1)) < 1024)


def test_permuted_layers_are_reported_under_their_own_numbers() -> None:
    """What ran third in an inference may be any layer, and its duration is that layer's."""
    case = some("permuted", 2000)
    network = draw_network(case, np.random.default_rng(1), None)
    run = draw_run(case, network, 840e3, None, np.random.default_rng(2))
    assert run.order is not None
    np.testing.assert_allclose(run.reported_ns.mean(axis=0), network.duration_ns, rtol=0.01, atol=100)
    assert np.unique(run.order[:, 2]).size == network.duration_ns.size


def test_what_ran_under_a_permuted_label_is_the_mean_but_for_the_ends() -> None:
    """In the windows of a label any layer may have run; without permutation it is the label's own, but for the slack."""
    truth = draw(some("permuted", 4000), 8).truth
    inside = slice(truth.power_w.size // 4, -truth.power_w.size // 4)
    mean = truth.energy_j / truth.time_s.sum()
    np.testing.assert_allclose(truth.power_w[inside], mean, rtol=0.05)
    assert np.std(truth.named_w / mean) > 0.2
    case = some("fast", 500, slack_us=0)
    network = draw_network(case, np.random.default_rng(1), None)
    run = draw_run(case, network, 840e3, None, np.random.default_rng(2))
    power = draw_power(case, network, run, np.random.default_rng(3))
    long = network.duration_ns > 1e5
    ran = laid_power_w(run, power.records)
    np.testing.assert_allclose(ran[long], (power.layer_j / power.layer_s)[long], rtol=0.01)


def test_a_locked_run_keeps_its_period() -> None:
    """Begin anchors at multiples of a third of the chip's scan, within 10 ppm."""
    world = draw(some("locked-3", 3000), 5)
    periods = np.diff(world.recording.begin_ns) / (world.truth.scan_ns / 3)
    assert np.mean(periods) == pytest.approx(1, abs=11e-6)
    # The few that follow an inference which was longer than the period begin late, and the next is back on the grid.
    assert np.mean(np.abs(periods - np.median(periods)) < 2e-6) > 0.97


def test_the_energy_of_the_timeline_is_the_sum_of_its_parts() -> None:
    """Layers, launches, tails, gaps and baselines; records leave no hole."""
    case = some("undeclared-gap")
    random = np.random.default_rng(1)
    network = draw_network(case, random, None)
    run = draw_run(case, network, 840e3, None, random)
    power = draw_power(case, network, run, random)
    start, end = power.records["start_ns"], power.records["end_ns"]
    np.testing.assert_array_equal(start[1:], end[:-1])
    joule = (end - start) * 1e-9 * power.records["power_uw"][:, 0] * 1e-6
    idle = (start < run.baselines[2][2]) | (start >= run.baselines[3][1])
    launch = (run.edges_ns[:, 0] - run.begin_ns).sum() * 1e-9
    tail = (run.end_ns - run.edges_ns[:, -1]).sum() * 1e-9
    gap = (run.begin_ns[0] - run.baselines[2][2] + (run.begin_ns[1:] - run.end_ns[:-1]).sum()) * 1e-9
    between = power.launch_w * launch + power.tail_w * tail + power.gap_w * gap
    assert power.total_j == pytest.approx(joule.sum(), rel=1e-9)
    assert power.layer_j.sum() + between + joule[idle].sum() == pytest.approx(power.total_j, rel=1e-6)
    assert power.layer_s.sum() == pytest.approx(np.diff(run.edges_ns, axis=1).sum() * 1e-9, rel=1e-9)
    # about half of the gaps have half a watt more
    assert power.undeclared_j == pytest.approx(0.25 * gap, rel=0.6)
    assert power.undeclared_j > 0


def test_a_layer_that_stalls_keeps_its_energy_and_one_that_does_not_its_power() -> None:
    """With share 1 the energy of an execution does not depend on its duration, with 0 it is in proportion."""
    for share in (0.0, 1.0):
        case = some("jitter-3", stall_share=(share, share))
        case = replace(case, power=replace(case.power, slow_noise_w=0.0, drift=0.0))
        network = draw_network(case, np.random.default_rng(1), None)
        run = draw_run(case, network, 840e3, None, np.random.default_rng(2))
        power = draw_power(case, network, run, np.random.default_rng(3))
        table = power.records["power_uw"][:, 0][1200:-400].reshape(400, -1)[:, 2:-1] * 1e-6
        durations = np.diff(run.edges_ns, axis=1)
        kept = table * durations / network.duration_ns if share else table
        np.testing.assert_allclose(kept, np.broadcast_to(network.power_w, kept.shape), rtol=1e-5)


def test_the_slow_noise_has_its_size_and_its_memory() -> None:
    """Deviation 1, correlation exp(-1) after one correlation time."""
    noise = wandering(400_000, float(np.exp(-0.01)), np.random.default_rng(1))
    assert np.std(noise) == pytest.approx(1, abs=0.06)
    assert np.corrcoef(noise[:-100], noise[100:])[0, 1] == pytest.approx(np.exp(-1), abs=0.06)


def test_one_mean_for_all_layers_is_off_by_what_a_board_showed() -> None:
    """About 42 %."""
    errors = []
    for seed in range(300):
        network = draw_network(WHOLE.case("fast"), np.random.default_rng(seed), None)
        errors.append(network.mean_power_w / network.power_w - 1)
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) == pytest.approx(0.42, abs=0.03)


def test_the_readings_have_the_mean_power_of_the_timeline(fast: World) -> None:
    """Over a minute of random gaps: noise, steps, lag and droop bring no bias. A reading is of I times V, from moments of their own."""
    recording = fast.recording
    seconds = (recording.baselines[-1].end_ns - recording.baselines[0].begin_ns) * 1e-9
    assert recording.power_w.mean() == pytest.approx(fast.truth.total_j / seconds, rel=0.01)


def test_idle_readings_scatter_by_noise_and_steps(fast: World) -> None:
    """60 mW rms at the shunt and as much in the bus's steps; 40 mW a step."""
    idle = fast.recording.baselines[0]
    mine = (fast.recording.t_ns > idle.begin_ns + 10**8) & (fast.recording.t_ns < idle.end_ns)
    current = fast.recording.shunt.value_uv[mine] / fast.recording.chip.shunt_uohm
    assert np.all(fast.recording.shunt.value_uv % 40 == 0)
    # Differences of neighbours, so that the slow noise does not count.
    assert 5 * np.std(np.diff(current)) / np.sqrt(2) == pytest.approx(np.hypot(0.060, 0.040 / np.sqrt(12)), rel=0.06)


def test_the_ends_of_conversions_are_those_of_the_chip() -> None:
    """A register changes only where a conversion ended between two reads, and never without one; nanoseconds later that fails."""
    world = draw(some("reset", 3000), 6)
    reading = world.recording.shunt
    read_ns = reading.begin_ns + 30 * 10**9 // world.case.sensor.bus_hz  # the chip answers after 30 bits
    changed = np.diff(reading.value_uv) != 0
    ends = shunt_ends(world)
    number = np.searchsorted(ends, read_ns, side="right")
    assert changed.sum() > 1000
    assert np.all(number[1:][changed] > number[:-1][changed])
    for shift in (-20e3, 20e3):
        number = np.searchsorted(ends + shift, read_ns, side="right")
        assert not np.all(number[1:][changed] > number[:-1][changed])


def two_poles(t: np.ndarray, first: float, second: float) -> np.ndarray:
    """Response at t to a step at 0 after two poles, in closed form."""
    t = np.maximum(t, 0)
    if first == second:
        return np.asarray(1 - (1 + t / first) * np.exp(-t / first))
    return np.asarray(1 - (first * np.exp(-t / first) - second * np.exp(-t / second)) / (first - second))


@pytest.mark.parametrize(("first_us", "second_us"), [(700, 300), (300, 700), (500, 500), (1, 999)])
def test_a_step_passes_two_poles_as_in_closed_form(first_us: int, second_us: int) -> None:
    """The chip's readings are means of the response over its conversions, whichever pole comes first."""
    records = np.zeros(1, RECORD)
    records["start_ns"], records["end_ns"] = 10**9, 2 * 10**9
    records["power_uw"][:, 0] = 80_000_000
    chip = SimChip("chip", ["rail"], [5_000_000], [5000], 0x4005)  # the shunt alone, 140 µs
    ticks = 10**9 - 10**6 + 25_000 * np.arange(300)
    lags = {"lag_ns": first_us * 1000, "second_lag_ns": second_us * 1000}
    read = simulate(records, {"rail": 0}, [chip], [(0, 1, "shunt_uv")], ticks, noise_uv=0.0, seed=1, **lags)
    value = read["readings"]["value"][:, 0]
    change = np.flatnonzero(np.diff(value) != 0)
    assert change.size >= 20
    fine = 10**9 + np.arange(-(10**6), 10**7, 100)
    area = np.concatenate([[0], np.cumsum(two_poles((fine - 10**9) * 1.0, first_us * 1e3, second_us * 1e3))]) * 100
    step_uv = 80.0 / 5 * 5000
    # A conversion ended in the 25 µs before a change was seen: the mean over its window lies between those of the two ends.
    for i in change:
        low, high = (
            step_uv * (np.interp(end, fine, area[:-1]) - np.interp(end - 140e3, fine, area[:-1])) / 140e3
            for end in (ticks[i], ticks[i + 1])
        )
        assert low - 21 <= value[i + 1] <= high + 21


def test_the_case_file_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """A misspelt parameter would leave a case at its base."""
    text = CASE_FILE.read_text(encoding="utf-8").replace("run.slack_us = 100", "run.slak_us = 100")
    path = tmp_path / "case.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="slak_us"):
        load(path)


def test_the_config_register_is_read_as_the_chip_reads_it() -> None:
    """Averaging and conversion times of the three configurations."""
    chips = {name: chip_of(WHOLE.case(name)) for name in ("reset", "fast", "averaging-16")}
    assert {name: (chip.averaging, chip.conversion_ns) for name, chip in chips.items()} == {
        "reset": (1, 1.1e6),
        "fast": (1, 140e3),
        "averaging-16": (16, 140e3),
    }
    assert chips["reset"].scan_ns == pytest.approx(6.6e6)
