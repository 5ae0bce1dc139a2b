"""The sampler over hwmon files, a recording and the simulated chip, through the Python face."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.patience import until

import neuralpower_sampler
from neuralpower_sampler import (
    AVAILABLE,
    HwmonInput,
    HwmonSource,
    ReplaySource,
    Ring,
    RingReader,
    Sampler,
    SamplerError,
    SimChip,
    SimSource,
    clocks,
    tick_dtype,
)
from neuralpower_sampler.errors import Own
from neuralpower_wire.tick import ReadingState
from neuralpower_wire.timeline import TimelineWriter, create_timeline

needs_sampler = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

PERIOD = 1_000_000
CHANNELS = [(0, channel, quantity) for channel in (1, 2) for quantity in ("bus_uv", "shunt_uv")]
CHIP = SimChip("ina", ["VDD_IN", "VDD_GPU"], [5_000_000, 5_000_000], [10_000, 10_000])


def files(folder: Path) -> list[HwmonInput]:
    (folder / "in1_input").write_text("5000\n")
    (folder / "curr1_input").write_text("120\n")
    return [HwmonInput(str(folder / name), 1000) for name in ("in1_input", "curr1_input", "curr2_input")]


@needs_sampler
def test_files_become_ticks(tmp_path: Path) -> None:
    """Values are scaled, a missing file is a missing reading that is counted, and every tick lies on the grid."""
    source = HwmonSource(files(tmp_path))
    with Ring.create(tmp_path / "ring", 3, PERIOD, 1.0) as ring:
        epoch = ring.begin_epoch(b"epoch")
        with Sampler(ring, source, PERIOD, epoch) as sampler:
            until(lambda: sampler.stats().ticks >= 50)
        stats = sampler.stats()
        ticks = RingReader(tmp_path / "ring").read(0).ticks
        assert len(ticks) == stats.ticks == int(stats.lateness_counts.sum())
        assert set(ticks["epoch"]) == {epoch} and set(ticks["n"]) == {3}
        readings = ticks["readings"]
        assert set(readings["value"][:, 0]) == {5_000_000} and set(readings["value"][:, 1]) == {120_000}
        assert set(readings["state"][:, 2]) == {ReadingState.MISSING} and set(readings["error"][:, 2]) == {2}
        assert stats.errors == [{}, {}, {2: stats.ticks}]
        assert np.all(readings["begin_ns"] <= readings["end_ns"])
        lateness = ticks["t_ns"] - (ring.t0_ns + ticks["slot"].astype("<i8") * PERIOD)
        assert np.all(lateness >= 0) and lateness.max() == stats.lateness_max_ns
        assert stats.missed_slots == int(ticks["slot"][-1] - ticks["slot"][0]) + 1 - len(ticks)
        assert stats.last_slot == ticks["slot"][-1] and stats.last_t_ns == ticks["t_ns"][-1]
        assert (stats.policy, stats.priority) == ("fifo 80", 80) or stats.policy.startswith("other: ")
        assert stats.thread_cpu_ns > 0 and not stats.running and stats.error is None
        assert stats.lateness_ns(0.5) <= stats.lateness_ns(0.99) <= stats.lateness_ns(1.0) == stats.lateness_max_ns


@needs_sampler
def test_a_spin_polls_for_its_share_of_each_period(tmp_path: Path) -> None:
    """Spinning costs processor time before each deadline, ticks stay on the grid, and half a period is the most."""
    source = HwmonSource(files(tmp_path))
    with Ring.create(tmp_path / "ring", 3, PERIOD, 1.0) as ring:
        epoch = ring.begin_epoch(b"epoch")
        with pytest.raises(SamplerError, match="half a period"):
            Sampler(ring, source, PERIOD, epoch, spin_ns=PERIOD // 2 + 1)
        with Sampler(ring, source, PERIOD, epoch, spin_ns=PERIOD // 2) as sampler:
            until(lambda: sampler.stats().ticks >= 100)
        stats = sampler.stats()
        assert stats.thread_cpu_ns > stats.ticks * PERIOD // 20
        ticks = RingReader(tmp_path / "ring").read(0).ticks
        assert np.all(ticks["t_ns"] >= ring.t0_ns + ticks["slot"].astype("<i8") * PERIOD)


@needs_sampler
def test_a_file_that_comes_back_is_revived(tmp_path: Path) -> None:
    """What appears after the start is found by the housekeeping call, while the loop runs."""
    source = HwmonSource(files(tmp_path))
    with Ring.create(tmp_path / "ring", 3, PERIOD, 1.0) as ring, Sampler(ring, source, PERIOD, 1) as sampler:
        until(lambda: 2 in sampler.stats().errors[2])
        (tmp_path / "curr2_input").write_text("7\n")
        assert source.revive() == 1
        assert source.revive() == 0
        start = ring.next_index
        until(lambda: ring.next_index > start + 2)
        assert ring.read(start + 1).ticks["readings"]["value"][0, 2] == 7000


@needs_sampler
def test_a_restart_shows_exactly_the_slots_it_missed(tmp_path: Path) -> None:
    """Slots go on along the same grid, so the hole of a restart can be counted."""
    ticks = np.zeros(3, tick_dtype(1))
    for turn in range(2):
        with Ring.create(tmp_path / "ring", 1, PERIOD, 10.0) as ring:
            assert ring.resumed == bool(turn)
            with Sampler(ring, ReplaySource(ticks, repeat=True), PERIOD, 1):
                start = ring.next_index
                until(lambda ring=ring, start=start: ring.next_index > start + 10)
            t0_ns = ring.t0_ns
    got = RingReader(tmp_path / "ring").read(0).ticks
    assert np.array_equal(got["index"], np.arange(len(got)))
    assert np.all(np.diff(got["slot"].astype("<i8")) >= 1)
    assert np.all(got["t_ns"] >= t0_ns + got["slot"].astype("<i8") * PERIOD)


@needs_sampler
def test_running_borrows_ring_and_source(tmp_path: Path) -> None:
    """Neither can be closed, nor an epoch begun, before stop; stop and close may be repeated."""
    source = HwmonSource(files(tmp_path))
    ring = Ring.create(tmp_path / "ring", 3, PERIOD, 1.0)
    sampler = Sampler(ring, source, PERIOD, 1, priority=None, lock_memory=False)
    sampler.start()
    for attempt, says in (
        (ring.close, "the ring is in use by a running sampler"),
        (source.close, "the source is in use by a running sampler"),
        (lambda: ring.begin_epoch(b"x"), "epoch table: Device or resource busy"),
        (sampler.start, "already in progress"),
    ):
        with pytest.raises(SamplerError, match=says):
            attempt()
    stats = sampler.stats()
    assert stats.running and stats.policy == "other: not asked for" and stats.lock_note == "not asked for"
    sampler.stop()
    sampler.stop()
    source.close()
    ring.close()


@needs_sampler
def test_a_sampler_that_is_dropped_stops(tmp_path: Path) -> None:
    """Losing the last reference ends the thread, so that the ring can be closed."""
    ring = Ring.create(tmp_path / "ring", 3, PERIOD, 1.0)
    sampler = Sampler(ring, HwmonSource(files(tmp_path)), PERIOD, 1)
    sampler.start()
    del sampler
    ring.close()


@needs_sampler
def test_impossible_samplers_are_refused(tmp_path: Path) -> None:
    """Each mismatch is one clear line."""
    source = HwmonSource(files(tmp_path))
    with Ring.create(tmp_path / "ring", 3, PERIOD, 1.0) as ring:
        with pytest.raises(SamplerError, match="period"):
            Sampler(ring, source, 2 * PERIOD, 1)
        with pytest.raises(SamplerError, match="priorities"):
            Sampler(ring, source, PERIOD, 1, priority=100)
        with pytest.raises(SamplerError, match="does not fit"):
            Sampler(ring, HwmonSource(files(tmp_path)[:1]), PERIOD, 1)
        with pytest.raises(SamplerError, match="CPU 1000"):
            Sampler(ring, source, PERIOD, 1, cpu=1000).start()
    with pytest.raises(SamplerError, match="0 files"):
        HwmonSource([])


@needs_sampler
def test_the_simulated_chip_runs_live(tmp_path: Path) -> None:
    """Idle where nobody writes, the written power where somebody does, and underruns when the writer is late."""
    path = tmp_path / "timeline"
    create_timeline(path, ["VDD_IN", "VDD_GPU"], [1_000_000, 500_000])
    source = SimSource(path, [CHIP], CHANNELS, noise_uv=0.0)
    with Ring.create(tmp_path / "ring", 4, PERIOD, 10.0) as ring, Sampler(ring, source, PERIOD, 1) as sampler:
        until(lambda: ring.next_index > 3)
        assert ring.read(0).ticks["readings"]["value"][-1].tolist() == [5_000_000, 2000, 5_000_000, 1000]
        assert sampler.stats().underruns == 0
        writer = TimelineWriter(path)
        start = time.monotonic_ns() + 500_000_000  # the process may stand still for as long
        writer.append([start], [start + 500_000_000], [[4_000_000, 2_000_000]])
        until(lambda: sampler.stats().underruns > 0)
        ticks = ring.read(0).ticks
        inside = (ticks["t_ns"] > start + 2_000_000) & (ticks["t_ns"] < start + 499_000_000)
        assert inside.any() and set(ticks["readings"]["value"][inside][:, 1]) == {8000}
        late = ticks["readings"][ticks["t_ns"] > start + 502_000_000]
        assert set(late["state"].ravel()) <= {ReadingState.MISSING} and set(late["error"].ravel()) <= {116}
        writer.close()
        counted = sampler.stats().ticks
        until(lambda: sampler.stats().ticks > counted + 3)
        assert ring.read(ring.next_index - 1).ticks["readings"]["value"][0].tolist() == [
            5_000_000,
            2000,
            5_000_000,
            1000,
        ]
    with pytest.raises(SamplerError, match="no rail called VDD_SOC"):
        SimSource(path, [SimChip("ina", ["VDD_SOC"], [1], [1])], [(0, 1, "bus_uv")])
    with pytest.raises(SamplerError, match="No such file"):
        SimSource(tmp_path / "none", [CHIP], CHANNELS)


@needs_sampler
def test_clocks_are_read_together() -> None:
    """Monotonic time lies between two readings of Python's own, in a bracket that is not negative."""
    before = time.monotonic_ns()
    monotonic_ns, boottime_ns, realtime_ns, bracket_ns = clocks()
    assert before <= monotonic_ns <= time.monotonic_ns()
    assert bracket_ns >= 0 and boottime_ns >= monotonic_ns - bracket_ns and realtime_ns > 0


@pytest.mark.skipif(find_spec("neuralpower_sampler._sampler") is None, reason="the C sampler is not installed")
def test_an_extension_that_is_there_can_be_loaded() -> None:
    """Else every test of the sampler would be skipped as if it had not been built: a prototype without a body fails here."""
    assert neuralpower_sampler.AVAILABLE, neuralpower_sampler.REINSTALL


def test_without_the_extension_everything_imports(tmp_path: Path) -> None:
    """Importing works and using anything names the command that adds it."""
    script = (
        "import sys; sys.modules['neuralpower_sampler._sampler'] = None\n"
        "import neuralpower_sampler as s\n"
        "assert not s.AVAILABLE and 'pip install' in s.REINSTALL, s.REINSTALL\n"
        "for use in (s.clocks, lambda: s.Ring.create('x', 1, 1000, 1.0), lambda: s.RingReader('x'),\n"
        "            lambda: s.HwmonSource([s.HwmonInput('x', 1)]), lambda: s.SimSource('x', [], [])):\n"
        "    try: use()\n"
        "    except s.SamplerError as error: assert s.REINSTALL in str(error)\n"
        "    else: raise SystemExit('worked without the extension')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_the_face_is_complete() -> None:
    """What the package promises is there."""
    assert all(hasattr(neuralpower_sampler, name) for name in neuralpower_sampler.__all__)


def test_our_error_numbers_are_those_of_the_header() -> None:
    """Each by its number, with words that are not the system's."""
    from neuralpower_sampler._calls import lib, words

    named = {name: getattr(lib(), name) for name in dir(lib()) if name.startswith("NP_E")}
    assert sorted(named.values()) == sorted(Own)
    assert all(not words(-each).startswith("Unknown error") for each in Own)
    assert lib().NP_EHELD == Own.HELD and lib().NP_ECPU == Own.CPU
