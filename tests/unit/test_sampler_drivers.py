"""Driver generations, IIO files and what sources know of freshness, through the Python face."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from neuralpower_sampler import (
    AVAILABLE,
    HwmonInput,
    HwmonSource,
    IioInput,
    IioSource,
    ReplaySource,
    Ring,
    Sampler,
    SamplerError,
    SimChip,
    SimError,
    SimSource,
    simulate,
    tick_dtype,
)
from neuralpower_wire.tick import Flag, ReadingState
from neuralpower_wire.timeline import create_timeline, make_records

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

RESET = 0x7127
IDLE = {"A": 1_000_000, "B": 2_000_000, "C": 3_000_000}
SIX = [(0, channel, quantity) for channel in (1, 2, 3) for quantity in ("bus_uv", "shunt_uv")]
MILLISECONDS = 10**9 + np.arange(10_000) * 1_000_000


def chip(config: int = 0x7007) -> SimChip:
    return SimChip("ina", ["A", "B", "C"], [5_000_000] * 3, [10_000] * 3, config)


def noise(seconds: float) -> np.ndarray:
    """Random power on three rails, in pieces of a millisecond."""
    count = int(seconds * 1000)
    start = np.arange(count) * 1_000_000
    return make_records(0, start, start + 1_000_000, np.random.default_rng(2).integers(0, 40_000_000, (count, 3)))


def test_the_waiting_driver_gives_25_hz_at_the_reset_setting() -> None:
    """Each of six reads waits for a scan of 6.6 ms; what passes meanwhile is missed slots, the index goes on."""
    ticks = simulate(noise(12), IDLE, [chip(RESET)], SIX, MILLISECONDS, driver="waiting", noise_uv=0.0)
    assert 240 <= len(ticks) <= 255
    assert np.array_equal(ticks["index"], np.arange(len(ticks)))
    assert np.array_equal(ticks["t_ns"], MILLISECONDS[ticks["slot"].astype(int)])
    assert set(ticks["readings"]["state"][1:].ravel()) == {ReadingState.FRESH}


@pytest.mark.parametrize("seed", range(4))
def test_register_reads_count_the_scans(seed: int) -> None:
    """At the reset setting, over a wire of 400 kHz and a clock that is off and swings: the fresh rate to 1 %."""
    ticks = simulate(
        noise(12), IDLE, [chip(RESET)], SIX, MILLISECONDS, driver="i2c", bus_hz=400_000, seed=seed, clock_ppm=-15_000.0,
        swing_ppm=50.0, walk_ppm=2.0,
    )  # fmt: skip
    for reading in range(6):
        placed = ticks["readings"][:, reading]
        placed = placed[(placed["flags"] & Flag.SCAN) != 0]
        assert len(placed) > 9900 and placed["span"].max() <= 2
        scans = int(placed["scan"][-1]) - int(placed["scan"][0])
        assert scans / 10 == pytest.approx(1 / (6.6e-3 * 0.985), rel=0.01)
        known = np.isin(placed["state"], (ReadingState.FRESH, ReadingState.REPEATED))
        assert known.mean() > 0.6  # a scan of 6.5 ms meets a grid of 1 ms at the same two phases again and again


def test_iio_reads_voltage_and_current_together() -> None:
    """The readings of a channel share one read, in mV and mA."""
    channels = [(0, 1, "current_ua"), (0, 1, "bus_uv"), (0, 1, "power_uw"), (0, 2, "current_ua")]
    ticks = simulate(
        noise(0.001), IDLE, [chip()], channels, MILLISECONDS[:3], driver="iio", bus_hz=400_000, noise_uv=0.0
    )
    readings = ticks["readings"]
    assert readings["value"][2].tolist() == [200_000, 5_000_000, 1_000_000, 400_000]
    assert readings["begin_ns"][2].tolist() == [0, 0, 0, 240_000]
    assert readings["end_ns"][2].tolist() == [240_000, 240_000, 240_000, 480_000]


def test_errors_are_injected_where_they_are_ordered() -> None:
    """By reading and read number, once or again and again."""
    errors = [SimError(1, errno.EAGAIN, first=2, reads=3), SimError(4, errno.EIO, first=0, every=4)]
    ticks = simulate(noise(1), IDLE, [chip()], SIX, MILLISECONDS[:12], errors=errors)
    missing = ticks["readings"]["state"] == ReadingState.MISSING
    assert np.flatnonzero(missing[:, 1]).tolist() == [2, 3, 4] and np.flatnonzero(missing[:, 4]).tolist() == [0, 4, 8]
    assert set(ticks["readings"]["error"][missing[:, 1], 1]) == {errno.EAGAIN}
    assert missing.sum() == 6


def test_sources_say_what_they_can_know(tmp_path: Path) -> None:
    """Known where a new value can be told from an equal old one."""
    (tmp_path / "in1_input").write_text("5000\n")
    (tmp_path / "ui_input_0").write_text("5000 120\n")
    create_timeline(tmp_path / "timeline", ["A", "B", "C"], [1, 1, 1])
    hwmon = [HwmonInput(str(tmp_path / "in1_input"), 1000)]
    assert HwmonSource(hwmon).freshness == "unknown"
    assert HwmonSource(hwmon, waits=True).freshness == "unknown"  # one read waits for one scan: not enough
    assert HwmonSource(hwmon * 3, waits=True).freshness == "known"
    assert IioSource([IioInput(str(tmp_path / "ui_input_0"), "bus_uv")]).freshness == "unknown"
    assert ReplaySource(np.zeros(1, tick_dtype(1))).freshness == "unknown"
    for driver, freshness in (
        ("continuous", "unknown"), ("iio", "unknown"), ("waiting", "known"), ("i2c", "known"), ("single-shot", "known"),
    ):  # fmt: skip
        source = SimSource(tmp_path / "timeline", [chip()], SIX, driver=driver)
        assert source.freshness == freshness
        source.close()


def test_iio_files_become_ticks(tmp_path: Path) -> None:
    """ "mV mA" is read once for voltage, current and power."""
    path = tmp_path / "ui_input_0"
    path.write_text("5000 120\n")
    source = IioSource([IioInput(str(path), quantity) for quantity in ("bus_uv", "current_ua", "power_uw")])
    with Ring.create(tmp_path / "ring", 3, 1_000_000, 1.0) as ring:
        with Sampler(ring, source, 1_000_000, 1):
            while ring.next_index < 3:
                pass
        assert ring.read(0).ticks["readings"]["value"][0].tolist() == [5_000_000, 120_000, 600_000]
    with pytest.raises(SamplerError, match="no quantity shunt_uv"):
        IioSource([IioInput(str(path), "shunt_uv")])


def test_the_wire_takes_real_time_in_the_loop(tmp_path: Path) -> None:
    """Live, a transfer of 480 µs at 100 kHz lasts at least as long, and six of them miss slots."""
    create_timeline(tmp_path / "timeline", ["A", "B", "C"], [1_000_000] * 3)
    source = SimSource(tmp_path / "timeline", [chip()], SIX, bus_hz=100_000)
    with Ring.create(tmp_path / "ring", 6, 1_000_000, 1.0) as ring:
        with Sampler(ring, source, 1_000_000, 1) as sampler:
            while ring.next_index < 20:
                pass
            assert sampler.stats().missed_slots >= 38
        readings = ring.read(0).ticks["readings"]
    assert np.all(readings["end_ns"].astype(int) - readings["begin_ns"] >= 480_000)
    assert np.all(np.diff(readings["begin_ns"].astype(int), axis=1) >= 480_000)


def test_impossible_settings_are_refused() -> None:
    """One clear line each."""
    for settings, line in (
        ({"driver": "usb"}, "no driver usb"),
        ({"accumulator": "12-bit"}, "accumulator is one of"),
        ({"cvrf": "never"}, "cvrf is one of"),
        ({"noise": 1.0}, "no setting noise"),
        ({"walk_ppm": -1.0}, "simulated chips"),
        ({"swing_ppm": 1.0, "swing_s": 0.0}, "simulated chips"),
        ({"bus_hz": -1}, "simulated chips"),
        ({"errors": [SimError(6, 5, 0)]}, "simulated chips"),
    ):
        with pytest.raises(SamplerError, match=line):
            simulate(noise(0.01), IDLE, [chip()], SIX, MILLISECONDS[:1], **settings)
