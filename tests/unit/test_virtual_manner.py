"""The manner of the virtual device: what it was by default it still is, and each effect does what it says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower.errors import InputError
from neuralpower.virtual.device.device import VirtualDevice
from neuralpower.virtual.device.hardware import Hardware
from neuralpower.virtual.device.held_timeline import HeldTimeline
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.device.manner import Manner
from neuralpower.virtual.device.plan import COLD, STEPPED, BoardState, Chunk, DevicePlanner
from neuralpower.virtual.device.truth import EngineTruth, Totals, Truth
from neuralpower.virtual.device.wander import Governor
from neuralpower.virtual.networks.known import build

IDLE_UW = (3_000_000, 600_000, 900_000)
TIMES = ("begin_ns", "end_ns", "enter_ns", "leave_ns", "reported_ns", "start_ns", "stop_ns", "power_uw")


def planned(seed: int, name: str, manner: Manner | None = None, count: int = 7, turns: int = 3) -> list[Chunk]:
    """Some inferences of a device with pauses drawn, then with pauses and profiler as asked, and rests between."""
    hardware = Hardware.drawn(seed)
    load, planner, at = Load.of(name, build(name), hardware), DevicePlanner(hardware, IDLE_UW, seed, manner), 10**9
    rng, chunks = np.random.default_rng(seed), []
    for turn in range(turns):
        asked: Any = (
            {"pauses_ns": rng.integers(0, 5_000_000, count), "profiled": rng.random(count) < 0.5} if turn else {}
        )
        chunks.append(planner.inferences(load, count, at, None if turn else 300_000_000, **asked))
        at = int(chunks[-1].end_ns[-1])
        planner.rest(BoardState.CONTEXT_IDLE, at, 10**8)
        at += 10**8
    return chunks


@pytest.mark.parametrize(
    ("seed", "name", "digest"),
    [(1, "lenet5", "fa35abd6a560ef7f"), (7, "mobilenet_v2", "d097e13d8d6c4b6b"), (11, "resnet18", "e9be2701b542982a")],
)
def test_a_device_as_it_was_is_as_it_was(seed: int, name: str, digest: str) -> None:
    """Every planned nanosecond and microwatt is what the planner made of it before it had parameters."""
    seen = hashlib.sha256()
    for chunk in planned(seed, name):
        for each in TIMES:
            seen.update(np.ascontiguousarray(getattr(chunk, each), "<i8").tobytes())
    assert seen.hexdigest()[:16] == digest


def test_effects_that_are_off_leave_the_others_draws_alone() -> None:
    """A longer waking up moves what comes after it in time and nothing else."""
    usual, later = (
        planned(3, "resnet18", each, turns=1)[0] for each in (None, Manner(wake_median_ns=5e4, wake_sigma=0.5))
    )
    np.testing.assert_array_equal(usual.end_ns - usual.begin_ns, later.end_ns - later.begin_ns)
    np.testing.assert_array_equal(usual.begin_ns - usual.enter_ns, later.begin_ns - later.enter_ns)
    more = (later.leave_ns - later.end_ns) - (usual.leave_ns - usual.end_ns)
    assert np.all(more > 0) and np.ptp(more) > 1000


def test_waking_up_has_the_tail_that_is_asked_for() -> None:
    """An exponential in a share of the inferences, a lognormal in all."""
    rare = planned(4, "lenet5", Manner(wake_spread_ns=0, wake_rare_share=0.1, wake_rare_ns=3e5), 4000, 1)[0]
    late = rare.leave_ns - rare.end_ns
    assert np.mean(late > 0) == pytest.approx(0.1, abs=0.02) and late[late > 0].mean() == pytest.approx(3e5, rel=0.15)
    long = planned(4, "lenet5", Manner(wake_spread_ns=0, wake_median_ns=4e4, wake_sigma=0.8), 4000, 1)[0]
    late = np.log(long.leave_ns - long.end_ns)
    assert np.median(late) == pytest.approx(np.log(4e4), abs=0.05) and late.std() == pytest.approx(0.8, rel=0.05)


def test_durations_with_their_gaps_fill_the_inference() -> None:
    """From event to event nothing is left over; the layer's truth then has the gap's time and energy."""
    alone, within = (
        planned(5, "mobilenet_v2", Manner(gap_s=3e-6, gap_in_duration=held), turns=1)[0] for held in (False, True)
    )
    np.testing.assert_array_equal(alone.end_ns, within.end_ns)
    spent, step = within.end_ns - within.begin_ns, 1024
    assert np.all(np.abs(within.reported_ns.sum(axis=1) - spent) <= step)
    assert np.all(spent - alone.reported_ns.sum(axis=1) > 100_000)
    gap_s = within.duration_s - alone.duration_s
    assert gap_s[0] == 0 and gap_s.sum() * 1e9 == pytest.approx((spent - alone.reported_ns.sum(axis=1)).sum(), rel=0.01)
    gap_w = (within.energy_j - alone.energy_j).sum(axis=0) / gap_s.sum()
    assert within.rests[-1].joules / within.rests[-1].seconds == pytest.approx(gap_w, rel=1e-6)
    assert within.energy_j.sum(axis=0) == pytest.approx(within.inference_j.sum(axis=0), rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_layer_that_stalls_keeps_its_energy(share: float) -> None:
    """With a share of 1 what an execution adds to idling does not depend on how long it takes; with 0 it grows with that."""
    hardware, manner = Hardware(), Manner(stall=(share, share), jitter_own=0.1, clock_wander=0.0, warmth=0.0, gap_s=0.0)
    load, planner = Load.of("alexnet", build("alexnet"), hardware), DevicePlanner(hardware, IDLE_UW, 6, manner)
    idle_w, dynamic_j, spent_s = planner.level_uw(BoardState.CONTEXT_IDLE, 0)[0] * 1e-6, [], []
    for turn in range(60):
        chunk = planner.inferences(load, 1, turn * 10**9)
        spent_s.append(chunk.duration_s)
        dynamic_j.append(chunk.energy_j[:, 0] - chunk.duration_s * idle_w)
        np.testing.assert_allclose(chunk.inference_j[0, 0], chunk.energy_j[:, 0].sum(), rtol=1e-5)
    scatter = np.std(dynamic_j, axis=0) / np.mean(dynamic_j, axis=0)
    assert np.all(scatter < 1e-9) if share else np.allclose(scatter, np.std(spent_s, axis=0) / np.mean(spent_s, axis=0))


def test_an_engine_is_cold_at_first_and_counted_apart() -> None:
    """The first inference is slower by what is asked, those behind the last cold one not at all; the truth has both kinds."""
    timeline = HeldTimeline(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), IDLE_UW)
    now = [10**12]

    def sleep(seconds: float) -> None:
        now[0] += int(seconds * 1e9) + 1

    manner = Manner(cold_runs=10, cold_slower=0.3, jitter_own=0.0, jitter_common=0.0, clock_wander=0.0)
    device = VirtualDevice(timeline, 1, clock_ns=lambda: now[0], sleep=sleep, manner=manner)
    context = device.load(Load.of("alexnet", build("alexnet"), device.hardware), 50)
    while context.remaining:
        context.execute_async_v3(0)
        device.stream.synchronize()
    (truth,) = device.close().engines.values()
    spent = np.array(truth.end_ns) - np.array(truth.begin_ns)
    assert spent[0] / spent[20:].mean() == pytest.approx(1.3, abs=0.01) and spent[10:].std() / spent[10:].mean() < 0.002
    assert np.all(np.diff(spent[:10]) < 0) and truth.runs == 50 and truth.apart[COLD].runs == 10
    warm_s = (np.array(truth.total_s) - truth.apart[COLD].total_s) / 40
    assert warm_s.sum() * 1e9 == pytest.approx(spent[10:].mean(), rel=0.01)


def test_a_governor_steps_down_for_some_seconds() -> None:
    """As often and as long as asked; never where nothing is asked."""
    governor = Governor(20.0, (2.0, 8.0), np.random.default_rng(1))
    down = np.array([governor.at(t) for t in range(0, 20_000 * 10**9, 10**8)])
    assert down.mean() == pytest.approx(5 / 25, rel=0.15)
    begins = np.flatnonzero(np.diff(down.astype(int)) == 1)
    ends = np.flatnonzero(np.diff(down.astype(int)) == -1)[: begins.size]
    stay_s = (ends - begins[: ends.size]) / 10
    assert stay_s.min() >= 1.9 and np.mean(stay_s > 8.1) < 0.02, "two steps may follow one another at once"
    assert not any(Governor(0.0, (2.0, 8.0), np.random.default_rng(1)).at(t) for t in range(0, 10**12, 10**9))


def test_at_a_stepped_clock_all_takes_longer_and_is_marked() -> None:
    """Arithmetic by the clock's ratio, at a lower power."""
    usual, slow = (
        planned(8, "vgg11", Manner(step=step, step_every_s=1e-9, step_s=(1e6, 1e6)), turns=2)[1] for step in (0.0, 0.1)
    )
    assert 1.03 < slow.duration_s.sum() / usual.duration_s.sum() < 1 / 0.9 + 1e-3
    assert usual.apart == slow.apart == STEPPED
    power_w = [chunk.energy_j[:, 0].sum() / chunk.duration_s.sum() for chunk in (usual, slow)]
    assert power_w[1] < power_w[0]


def test_parameters_by_name_are_checked() -> None:
    """As a command's --set gives them."""
    assert Manner.of({"gap_s": 1e-6, "stall": [0, 1], "cold_runs": 3}) == Manner(gap_s=1e-6, stall=(0, 1), cold_runs=3)
    assert Manner.of({"gap_s": None}) == Manner()
    with pytest.raises(InputError, match="no parameter 'gaps'"):
        Manner.of({"gaps": 1})
    for name, wrong in {"gap_s": "much", "stall": 1.0, "cold_runs": [1, 2], "jitter_own": None}.items():
        with pytest.raises(InputError, match=f"{name}: .* cannot be"):
            Manner.of({name: wrong})


def test_a_truth_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With what is counted apart; and a file from before there was such a thing has nothing apart."""
    engine = EngineTruth("net", ["a"], ["VDD_IN"], runs=3, apart={COLD: Totals(2, [0.1], [[0.5]])})
    truth = Truth(1, ["VDD_IN"], "VDD_IN", [3.0], 1000.0, engines={"hash": engine})
    truth.write(tmp_path / "truth.json")
    assert Truth.read(tmp_path / "truth.json") == truth
    document = json.loads((tmp_path / "truth.json").read_text())
    del document["engines"]["hash"]["apart"]
    (tmp_path / "older.json").write_text(json.dumps(document))
    assert Truth.read(tmp_path / "older.json").engines["hash"].apart == {}
