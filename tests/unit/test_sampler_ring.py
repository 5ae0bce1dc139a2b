"""The ring's Python face: lifecycle, epochs, reading, and errors in one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from neuralpower_sampler import AVAILABLE, READING, Ring, RingReader, SamplerError, tick_bytes, tick_dtype
from neuralpower_wire import tick as wire_tick

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

PERIOD = 1_000_000


def make(path: Path, readings: int = 2, period_ns: int = PERIOD, seconds: float = 0.1) -> Ring:
    return Ring.create(path, readings, period_ns, seconds)


def fill(ring: Ring, ticks: int, epoch: int = 1) -> None:
    for _ in range(ticks):
        index = ring.next_index
        readings = np.zeros(ring.readings, READING)
        readings["value"] = index
        ring.append(2 * index, 10 * index, epoch, readings)


def test_the_tick_is_the_wires() -> None:
    """Sampler and wire describe the same bytes."""
    for readings in (1, 6, 64):
        assert tick_dtype(readings) == wire_tick.tick_dtype(readings)
    assert tick_bytes(6) == 40 + 6 * 24


@pytest.mark.parametrize("mask", [0o022, 0o077, 0])
def test_the_group_reads_the_ring_whatever_the_umask(mask: int, tmp_path: Path) -> None:
    """The service's umask leaves nothing to others; its group is meant to map the ring, and nobody else."""
    before = os.umask(mask)
    try:
        make(tmp_path / "ring").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ring").stat().st_mode) == 0o640


def test_a_reader_gets_what_was_written(tmp_path: Path) -> None:
    """Every field of a tick comes back through a mapping of its own."""
    with make(tmp_path / "ring") as ring, RingReader(tmp_path / "ring") as reader:
        fill(ring, 30)
        part = reader.read(10, max_ticks=5)
        assert (part.first, part.lost, len(part.ticks)) == (10, 0, 5)
        assert part.ticks.dtype == tick_dtype(2)
        assert part.ticks["index"].tolist() == [10, 11, 12, 13, 14]
        assert part.ticks["slot"].tolist() == [20, 22, 24, 26, 28]
        assert part.ticks["readings"]["value"][:, 1].tolist() == [10, 11, 12, 13, 14]
        assert len(reader.read(30).ticks) == 0
        assert reader.stream == ring.stream and reader.next_index == 30


def test_a_lapped_reader_learns_how_much_is_lost(tmp_path: Path) -> None:
    """Ticks read and ticks lost add up to what was written."""
    with make(tmp_path / "ring") as ring, RingReader(tmp_path / "ring") as reader:
        fill(ring, 3 * ring.capacity)
        part = reader.read(0)
        assert part.first == part.lost == reader.oldest
        assert part.lost + len(part.ticks) == 3 * ring.capacity
        assert np.array_equal(part.ticks["index"], np.arange(part.first, 3 * ring.capacity))


def test_a_ring_is_resumed_on_its_grid(tmp_path: Path) -> None:
    """Opened again, it goes on with the next index on the same grid; with another period, on a new grid."""
    with make(tmp_path / "ring") as ring:
        fill(ring, 7)
        stream, t0_ns = ring.stream, ring.t0_ns
        assert not ring.resumed and ring.previous is None
    with make(tmp_path / "ring") as ring:
        assert ring.resumed and (ring.stream, ring.next_index, ring.t0_ns) == (stream, 7, t0_ns)
    with make(tmp_path / "ring", period_ns=2 * PERIOD) as ring:
        assert ring.resumed and ring.stream == stream and ring.t0_ns > t0_ns and ring.period_ns == 2 * PERIOD


def test_another_layout_is_a_new_stream(tmp_path: Path) -> None:
    """More readings, or a longer history than there is room for, begin a stream that names the one before."""
    with make(tmp_path / "ring") as ring:
        old = ring.stream
        reader = RingReader(tmp_path / "ring")
        assert not reader.replaced
    with make(tmp_path / "ring", readings=3) as ring:
        assert not ring.resumed and ring.previous == old and ring.stream != old
        assert reader.replaced and reader.stream == old
        middle = ring.stream
    with make(tmp_path / "ring", readings=3, seconds=0.2) as ring:
        assert ring.previous == middle and ring.capacity == 200
    reader.close()


def test_epochs_come_back_with_their_first_index(tmp_path: Path) -> None:
    """The table holds number, first index and document, and survives a restart."""
    with make(tmp_path / "ring") as ring:
        assert ring.next_epoch == 1
        assert ring.begin_epoch(b"one") == 1
        fill(ring, 4)
        assert ring.begin_epoch(b"") == 2
    with make(tmp_path / "ring") as ring:
        assert ring.begin_epoch(b"x" * 8192) == 3
        assert ring.epochs() == [(1, 0, b"one"), (2, 4, b""), (3, 4, b"x" * 8192)]
        with pytest.raises(SamplerError, match="long"):
            ring.begin_epoch(b"x" * 8193)
        for _ in range(100):
            last = ring.begin_epoch(b"y")
        assert [number for number, _, _ in ring.epochs()] == list(range(last - 63, last + 1))


def test_errors_say_what_and_where(tmp_path: Path) -> None:
    """Each mistake is one line with the path."""
    path = tmp_path / "ring"
    with make(path), pytest.raises(SamplerError, match="ring: already sampled by another process"):
        make(path)
    with pytest.raises(SamplerError, match="No such file"):
        RingReader(tmp_path / "none")
    (tmp_path / "notes").write_text("x" * 10000)
    for attempt in (lambda: RingReader(tmp_path / "notes"), lambda: make(tmp_path / "notes")):
        with pytest.raises(SamplerError, match="notes: not a tick ring"):
            attempt()
    assert (tmp_path / "notes").read_text() == "x" * 10000
    with open(path, "r+b") as file:
        file.truncate(600_000 - 65536)
    with pytest.raises(SamplerError, match="truncated"):
        RingReader(path)
    for readings, period, seconds, says in (
        (0, PERIOD, 1, "1 to 64 readings, not 0"),
        (65, PERIOD, 1, "1 to 64 readings, not 65"),
        (1, 0, 1, "a period of 0 ns"),
        (1, PERIOD, 0, "no ring of 0 s"),
        (1, PERIOD, -1, "no ring of -1 s"),
    ):
        with pytest.raises(SamplerError, match=says):
            Ring.create(path, readings, period, seconds)


def test_a_closed_ring_says_so(tmp_path: Path) -> None:
    """Closing twice is harmless, using it afterwards is an error and not a crash."""
    ring = make(tmp_path / "ring")
    reader = RingReader(tmp_path / "ring")
    for mapped in (ring, reader):
        mapped.close()
        mapped.close()
        with pytest.raises(SamplerError, match="the ring is closed"):
            mapped.read(0)
    with RingReader(tmp_path / "ring") as reader, pytest.raises(SamplerError, match="from index -1"):
        reader.read(-1)
