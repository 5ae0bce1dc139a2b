"""Fresh rates of simulated chips whose true clock is known: counted, estimated, or not told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuralpower_align.readings.freshness import (
    ENOUGH_CHANGES,
    Changes,
    FreshRate,
    changes_of,
    estimated,
    filter_time_constant_s,
    nominal,
    scan_period,
)
from neuralpower_sampler import AVAILABLE, SimChip, simulate
from neuralpower_wire import Channel, Chip, Epoch, ReadingState
from neuralpower_wire.tick import Flag
from neuralpowerd.sources.chiptimes import CONVERSION_US, averaging_of_config, scan_of_config
from neuralpowerd.watch.fresh import FreshWatch

TICK_NS = 1_000_000
RAILS = ("A", "B", "C")
CHANNELS = [(0, channel, quantity) for channel in (1, 2, 3) for quantity in ("bus_uv", "shunt_uv")]
simulated = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")


def ticks_of(
    seed: int, code: int, seconds: float, averaging: int = 0, stalls: int = 0, **settings: Any
) -> tuple[Any, float]:
    """Ticks of an idling chip of three channels and the true period of its scan in ns; its clock is off by about 2 %.

    `stalls` times up to 60 ticks are missed.
    """
    random = np.random.default_rng(seed)
    ppm = float(random.normal(0, 20_000))
    config = 0x7007 | averaging << 9 | code << 6 | code << 3
    count = round(seconds * 1e9 / TICK_NS)
    times = 1_000_000_000 + np.arange(count) * TICK_NS + random.integers(10_000, 60_000, count)
    held_up = np.zeros(count, bool)
    for first in random.integers(0, count, stalls):
        held_up[first : first + random.integers(2, 60)] = True
    times = times[~held_up]
    none = np.zeros(0, [("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", (3,))])
    chip = SimChip("c", RAILS, [5_000_000] * 3, [5000] * 3, config)
    idle = dict.fromkeys(RAILS, 3_000_000)
    options: Any = {"noise_uv": 20.0, "clock_ppm": ppm, "seed": seed, **settings}
    ticks = simulate(none, idle, [chip], CHANNELS, times, **options)
    return ticks, 6000 * CONVERSION_US[code] * (1 + ppm * 1e-6)


def registers_of(ticks: Any, most: int = 10**9) -> list[Changes]:
    """The changes of every register, up to the `most`-th of them all."""
    number = ticks["slot"].astype("i8")
    found = []
    for at in range(ticks["readings"].shape[1]):
        reading = ticks["readings"][:, at]
        times = ticks["t_ns"] + reading["begin_ns"], ticks["t_ns"] + reading["end_ns"]
        found.append(changes_of(number, reading["value"], reading["state"] != ReadingState.MISSING, *times))
    ends = np.sort(np.concatenate([each.until_ns for each in found]))
    last = ends[min(most, len(ends)) - 1] if len(ends) else 0
    return [Changes(*(part[each.until_ns <= last] for part in vars(each).values())) for each in found]


@simulated
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("driver", ["continuous", "iio"])
def test_five_hundred_changes_give_the_rate(code: int, driver: str) -> None:
    """From the first 500 changes of any seed the rate is within 1 %, mostly far less, and inside its interval."""
    inside = 0
    for seed in range(8):
        ticks, true_ns = ticks_of(seed, code, 3 + code * code / 2, driver=driver)
        rate = estimated(scan_period(registers_of(ticks, ENOUGH_CHANGES), TICK_NS))
        assert rate.kind == "estimated" and rate.rate_hz == pytest.approx(1e9 / true_ns, rel=0.01)
        assert rate.low_hz is not None and rate.high_hz is not None and rate.high_hz / rate.low_hz < 1.01
        inside += rate.low_hz <= 1e9 / true_ns <= rate.high_hz
    assert inside == 8


@simulated
@pytest.mark.parametrize(("averaging", "code"), [(1, 1), (1, 2), (1, 3), (1, 4), (2, 2), (2, 3)])
def test_under_averaging_it_is_right_or_not_told(averaging: int, code: int) -> None:
    """The recursive filter makes changes rare and bunched: what is estimated is still within 1 %."""
    told = 0
    for seed in range(6):
        ticks, true_ns = ticks_of(seed, code, 4 * code + 8, averaging, swing_ppm=50.0)
        found = scan_period(registers_of(ticks), TICK_NS)
        if found:
            told += 1
            assert found.period_ns == pytest.approx(true_ns, rel=0.01)
            assert found.low_ns * 0.9999 <= true_ns <= found.high_ns * 1.0001
    assert told >= (1 if averaging == 1 else 0)


@simulated
def test_a_scan_within_a_tick_leaves_no_lattice() -> None:
    """At 140 µs every 1 ms tick is fresh: nothing is estimated, and the nominal rate is one a tick."""
    for seed in range(4):
        ticks, _ = ticks_of(seed, 0, 4)
        assert scan_period(registers_of(ticks), TICK_NS) is None
    rate = nominal(840_000, TICK_NS)
    assert (rate.kind, rate.rate_hz, rate.high_hz) == ("nominal", 1000.0, 1000.0)


@simulated
@pytest.mark.parametrize(("code", "swing_ppm"), [(1, 50.0), (2, 0.0), (2, 50.0)])
def test_the_interval_is_honest(code: int, swing_ppm: float) -> None:
    """The interval is a bound for clocks that wander 50 ppm: over many seeds none lies outside, and it is not idly wide."""
    shares = []
    for seed in range(1000, 1070):
        ticks, true_ns = ticks_of(seed, code, 3 + code * code / 2, swing_ppm=swing_ppm, walk_ppm=swing_ppm / 50)
        found = scan_period(registers_of(ticks, ENOUGH_CHANGES), TICK_NS)
        if found is None:
            continue
        assert found.period_ns == pytest.approx(true_ns, rel=0.01)
        shares.append((true_ns - found.period_ns) / (found.high_ns - found.low_ns) * 2)
    assert len(shares) >= 65 and np.mean(np.abs(shares) <= 1) >= 0.99
    assert np.quantile(np.abs(shares), 0.95) > 0.2


def watched(ticks: Any, config: int) -> FreshRate:
    """What the daemon would print of these ticks after their last second, and each second's part of them at a time."""
    channels = tuple(
        Channel(RAILS[channel - 1], quantity, "c", channel, 5000 if quantity == "shunt_uv" else 0)
        for _, channel, quantity in CHANNELS
    )
    chip = Chip("c", 0, 0, averaging_of_config(config), scan_of_config(config).ns, "nominal")
    watch = FreshWatch(Epoch(1, 0, TICK_NS, 10**9, "sim", True, "board", channels, (chip,)))
    for second in np.split(ticks, np.flatnonzero(np.diff((ticks["t_ns"] - 10**9) // 10**9)) + 1):
        watch.see(second)
        watch.update()
    return watch.rate


def ramp_of(seed: int, driver: str, config: int, seconds: int) -> Any:
    """Ticks of rails that rise by more than the chip's step with each scan, so that every new value is another one."""
    random = np.random.default_rng(seed)
    steps = np.arange(seconds * 4000)
    ramp = np.zeros(len(steps), [("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", (3,))])
    ramp["start_ns"] = 10**9 + steps * 250_000
    ramp["end_ns"] = ramp["start_ns"] + 250_000
    ramp["power_uw"] = (1_000_000 + steps * (160_000_000 // len(steps)))[:, None]
    times = 10**9 + np.arange(seconds * 1000) * TICK_NS + random.integers(10_000, 60_000, seconds * 1000)
    chip = SimChip("c", RAILS, [5_000_000] * 3, [5000] * 3, config)
    settings: Any = {"driver": driver, "bus_hz": 400_000, "noise_uv": 0.0, "seed": seed, "swing_ppm": 50.0}
    clock_ppm = float(random.normal(0, 20_000))
    return simulate(ramp, dict.fromkeys(RAILS, 0), [chip], CHANNELS, times, clock_ppm=clock_ppm, **settings)


@simulated
@pytest.mark.parametrize("averaging", [0, 1])
@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize("driver", ["waiting", "single-shot", "i2c"])
def test_a_known_rate_is_that_of_new_values(driver: str, code: int, averaging: int) -> None:
    """On a ramp every new value differs: what is told as known is the rate of those, within 1 %, over seeds."""
    if driver == "i2c" and code == 1:
        code = 2  # 204 µs leave no time to count scans beside six registers
    for seed in range(4):
        config = 0x7007 | averaging << 9 | code << 6 | code << 3
        ticks = ramp_of(seed, driver, config, 4 if driver == "i2c" else 8)
        rate = watched(ticks, config)
        later = ticks[ticks["t_ns"] >= 2 * 10**9]  # the first second is not counted
        values = later["readings"]["value"][:, 1]
        new = np.count_nonzero(np.diff(values)) * 1e9 / float(later["t_ns"][-1] - later["t_ns"][0])
        assert rate.kind == "known" and rate.rate_hz == pytest.approx(new, rel=0.01)
        assert rate.low_hz is not None and rate.high_hz is not None and rate.low_hz <= new <= rate.high_hz


@simulated
@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_scans_are_counted_across_ticks_that_were_held_up(code: int) -> None:
    """A machine that stalls 20 times a second for up to 60 ms, from the first tick on: the count goes on, within 1 %."""
    for seed in range(6):
        ticks, true_ns = ticks_of(seed, code, 5, driver="i2c", bus_hz=400_000, stalls=100)
        rate = watched(ticks, 0x7007 | code << 6 | code << 3)
        assert rate.kind == "known" and rate.rate_hz == pytest.approx(1e9 / true_ns, rel=0.01)
        reading = ticks["readings"][:, 1]
        scans = int(reading["scan"][-1]) - int(reading["scan"][0])
        span_s = float(ticks["t_ns"][-1] - ticks["t_ns"][0])
        assert abs(scans - span_s / true_ns) <= 2 + int(reading["span"][-1]) and reading["span"][-1] <= 4


@simulated
def test_no_more_new_values_than_ticks() -> None:
    """At 140 µs more scans end than ticks come: the rate is one a tick, and known."""
    for seed in range(3):
        ticks, _ = ticks_of(seed, 0, 5, driver="i2c", bus_hz=400_000)
        rate = watched(ticks, 0x7007)
        assert rate.kind == "known" and rate.rate_hz == pytest.approx(1000, rel=0.01)


@simulated
@pytest.mark.parametrize("code", [0, 2, 4])
def test_a_waiting_driver_is_counted(code: int) -> None:
    """Where each read waits for a scan, readings are known to be fresh: six scans a tick, within 1 %."""
    for seed in range(4):
        ticks, true_ns = ticks_of(seed, code, 12, driver="waiting")
        fresh = ticks["readings"]["state"] == ReadingState.FRESH
        assert fresh.mean() > 0.99
        rate_hz = 1e9 * np.count_nonzero(fresh[1:, 1]) / float(ticks["t_ns"][-1] - ticks["t_ns"][0])
        assert rate_hz == pytest.approx(1e9 / np.diff(ticks["t_ns"]).mean(), rel=0.01)
        assert rate_hz <= 1e9 / (5 * true_ns)


@simulated
@pytest.mark.parametrize("code", [2, 3, 4])
def test_registers_are_counted(code: int) -> None:
    """With the ready flag read over I2C each scan is known: its rate is counted within 1 %."""
    for seed in range(4):
        ticks, true_ns = ticks_of(seed, code, 12, driver="i2c", bus_hz=400_000)
        reading = ticks["readings"][:, 1]
        assert np.all(reading["flags"] & Flag.SCAN)
        scans = (int(reading["scan"][-1]) - int(reading["scan"][0])) % 2**32
        assert 1e9 * scans / float(ticks["t_ns"][-1] - ticks["t_ns"][0]) == pytest.approx(1e9 / true_ns, rel=0.01)


def test_too_little_is_unknown() -> None:
    """No changes, few changes, or no time give no number."""
    none = Changes(*(np.zeros(0, np.int64) for _ in range(3)))
    assert scan_period([none], TICK_NS) is None
    few = np.arange(400)
    assert scan_period([Changes(few * 7, few * 7 * TICK_NS, (few * 7 + 1) * TICK_NS)], TICK_NS) is None
    assert estimated(None).kind == "unknown" and nominal(0, TICK_NS).rate_hz is None


def test_changes_at_random_are_no_lattice() -> None:
    """Changes that follow no clock are not explained by one."""
    random = np.random.default_rng(3)
    for _ in range(5):
        number = np.flatnonzero(random.random(5000) < 0.3)
        assert scan_period([Changes(number, number * TICK_NS, (number + 1) * TICK_NS)], TICK_NS) is None


def test_missed_ticks_are_no_change() -> None:
    """A change across a missed slot or a missing reading says nothing exact and is left out."""
    number = np.array([0, 1, 3, 4, 5])
    value = np.array([1, 2, 3, 3, 4])
    valid = np.array([True, True, True, True, True])
    found = changes_of(number, value, valid, number * 10, number * 10 + 2)
    assert (
        found.number.tolist() == [1, 5] and found.after_ns.tolist() == [0, 40] and found.until_ns.tolist() == [12, 52]
    )


def test_filter_time_constant() -> None:
    """A step is followed to 1 - 1/e within the time constant, by the recursion itself."""
    assert filter_time_constant_s(6_600_000, 1) == 0.0
    for averaging in (4, 64):
        constant = filter_time_constant_s(1_000_000, averaging) / 1e-3
        assert 1 - (1 - 1 / averaging) ** constant == pytest.approx(1 - np.exp(-1))
        assert constant == pytest.approx(averaging, rel=0.15)
