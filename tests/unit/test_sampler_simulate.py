"""The simulated chip in virtual time, through the Python face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_sampler import AVAILABLE, SamplerError, SimChip, simulate
from neuralpower_wire.tick import ReadingState
from neuralpower_wire.timeline import RECORD, make_records

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

RESET = 0x7127
THREE = [(0, channel, quantity) for channel in (1, 2, 3) for quantity in ("bus_uv", "shunt_uv")]
IDLE = {"A": 1_000_000, "B": 2_000_000, "C": 3_000_000}


def chip(config: int = 0x7007, rails: tuple[str, ...] = ("A", "B", "C")) -> SimChip:
    return SimChip("ina", rails, [5_000_000] * len(rails), [10_000] * len(rails), config)


def varied(seconds: float, piece_ns: int = 1_000_000) -> np.ndarray:
    """Random power in pieces on three rails."""
    count = int(seconds * 1e9 / piece_ns)
    start = np.arange(count) * piece_ns
    power = np.random.default_rng(1).integers(0, 40_000_000, (count, 3))
    return make_records(0, start, start + piece_ns, power)


def test_the_reset_setting_shows_1515_values_in_10_s() -> None:
    """6.6 ms a scan: reading each millisecond gives a new value in every sixth or seventh tick."""
    t_ns = 1_000_000_000 + np.arange(10_000) * 1_000_000
    ticks = simulate(varied(12), IDLE, [chip(RESET)], THREE, t_ns, noise_uv=0.0)
    for reading in (1, 3, 5):
        fresh = int(np.sum(ticks["readings"]["state"][:, reading] == ReadingState.FRESH))
        assert 1510 <= fresh <= 1516
    assert set(ticks["readings"]["state"][:, 0]) == {ReadingState.UNKNOWN}


def test_ticks_say_what_they_are() -> None:
    """Index, slot, time, epoch and the 40 µV and 8 mV steps."""
    t_ns = 10**9 + np.arange(100) * 333_333
    ticks = simulate(varied(2), IDLE, [chip()], THREE, t_ns, epoch=7)
    assert np.array_equal(ticks["index"], np.arange(100)) and np.array_equal(ticks["commit"], np.arange(1, 101))
    assert np.array_equal(ticks["slot"], np.arange(100)) and np.array_equal(ticks["t_ns"], t_ns)
    assert set(ticks["epoch"]) == {7} and set(ticks["n"]) == {6}
    values = ticks["readings"]["value"]
    assert not np.any(values[:, 1::2] % 40) and not np.any(values[:, 0::2] % 8000)


def test_nothing_recorded_is_idle() -> None:
    """Without records the rails draw their idle power, each over its own shunt."""
    ticks = simulate(np.zeros(0, RECORD), IDLE, [chip()], THREE, np.array([10**9, 2 * 10**9]), noise_uv=0.0)
    assert ticks["readings"]["value"][1].tolist() == [5_000_000, 2000, 5_000_000, 4000, 5_000_000, 6000]


def test_a_channel_switched_off_has_no_value() -> None:
    """An unnamed rail, a disabled channel and a powered-down chip give ENODATA, as the driver does."""
    channels = [(0, 1, "shunt_uv"), (0, 2, "shunt_uv"), (0, 3, "shunt_uv")]
    t_ns = np.array([10**9])
    for tested, missing in (
        (chip(rails=("A", "", "C")), [False, True, False]),
        (chip(config=0x6007), [False, False, True]),
        (chip(config=0x7006), [True, True, True]),
        (chip(config=0x7000), [True, True, True]),
    ):
        readings = simulate(varied(2), IDLE, [tested], channels, t_ns)["readings"][0]
        assert (readings["state"] == ReadingState.MISSING).tolist() == missing
        assert (readings["error"] == 61).tolist() == missing


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    delay_ns=st.integers(0, 3_000_000),
    lag_ns=st.integers(0, 3_000_000),
    clock_ppm=st.floats(-30_000, 30_000),
)
def test_energy_is_kept(seed: int, delay_ns: int, lag_ns: int, clock_ppm: float) -> None:
    """Whatever the sensor's delay, lag and clock, the mean of its readings is the mean of its input, and repeats."""
    records = varied(1.0, 41_000)
    t_ns = np.arange(0, 10**9, 70_000)
    settings_ = {"delay_ns": delay_ns, "lag_ns": lag_ns, "clock_ppm": clock_ppm, "seed": seed, "noise_uv": 60.0}
    shunt_only = chip(0x4005, ("A",))
    runs = [
        simulate(records, {"A": 0, "B": 0, "C": 0}, [shunt_only], [(0, 1, "shunt_uv")], t_ns, **settings_)
        for _ in range(2)
    ]
    assert np.array_equal(runs[0], runs[1])
    mean_w = runs[0]["readings"]["value"][:, 0].mean() / 10_000 * 5.0
    assert mean_w == pytest.approx(records["power_uw"][:, 0].mean() * 1e-6, rel=0.015)


def test_what_cannot_be_simulated_is_refused() -> None:
    """Unknown rails, channels, falling times, impossible sensors."""
    t_ns = np.array([0, 1])
    for attempt, says in (
        (lambda: simulate(varied(0.01), {"A": 1}, [chip()], THREE, t_ns), "no rail called B"),
        (lambda: simulate(varied(0.01), IDLE, [chip()], [(1, 1, "bus_uv")], t_ns), "simulated chip 1"),
        (lambda: simulate(varied(0.01), IDLE, [chip()], [(0, 4, "bus_uv")], t_ns), "no channel 4"),
        (lambda: simulate(varied(0.01), IDLE, [chip()], [(0, 1, "power_uw")], t_ns), "with power_uw"),
        (lambda: simulate(varied(0.01), IDLE, [chip()], THREE, t_ns[::-1]), "must not fall"),
        (lambda: simulate(varied(0.01), IDLE, [chip()], THREE, t_ns, delay_ns=-1), "simulated chips: Invalid"),
        (lambda: simulate(varied(0.01), IDLE, [chip()], THREE, t_ns, clock_ppm=float("nan")), "chips: Invalid"),
        (lambda: SimChip("x", ["A"], [0], [1]), "above 0"),
        (lambda: SimChip("x", ["A", "B"], [1], [1]), "one to three channels"),
        (lambda: SimChip("x", ["A"], [1], [1], 0x10000), "16 bits"),
    ):
        with pytest.raises(SamplerError, match=says):
            attempt()
