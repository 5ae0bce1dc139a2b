"""The power timeline: what the rails of a virtual device draw, written ahead of time for the simulated chip to observe.

A shared-memory file of one writer. The bytes are in docs/wire.md; the C side reads them too. A record carries its own
index and checksum, because a writer in Python has no memory barriers: a reader takes a record only when both match.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import WireError
from .files import replacing

MAGIC = int.from_bytes(b"NPTLINE1", "little")
VERSION = 1
CAPACITY = 1 << 16
"""Records: half a second of lead at 6000 a second is 3000; the rest is history for a reader held up for 10 s."""
MAX_RAILS = 8
HEADER_BYTES = 4096
NAME_BYTES = 32
CLOSED, OPEN = 0, 1

HEADER = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u4"),
        ("rails", "<u4"),
        ("capacity", "<u8"),
        ("count", "<u8"),
        ("state", "<u8"),
        ("idle_uw", "<i8", (MAX_RAILS,)),
        ("names", f"S{NAME_BYTES}", (MAX_RAILS,)),
    ]
)
RECORD = np.dtype(
    [("index", "<u8"), ("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", (MAX_RAILS,)), ("check", "<u8")]
)
FILE_BYTES = HEADER_BYTES + CAPACITY * RECORD.itemsize
_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)

Records = npt.NDArray[np.void]


def checksum(records: Records) -> npt.NDArray[np.uint64]:
    """FNV-1a over the 11 words before `check` of each record: (n,) u64."""
    words = np.ascontiguousarray(records).view("<u8").reshape(len(records), -1)
    value = np.full(len(records), _FNV_OFFSET)
    for position in range(words.shape[1] - 1):
        value = (value ^ words[:, position]) * _FNV_PRIME
    return value


def make_records(first: int, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike, power_uw: npt.ArrayLike) -> Records:
    """Records ready to publish.

    Args:
        first: index of the first.
        start_ns, end_ns: (n,) times; end after start, each start at or after the end before it.
        power_uw: (n, rails) microwatts.

    Raises:
        WireError: times out of order, or a negative power.
    """
    start, end = np.asarray(start_ns, dtype="<i8"), np.asarray(end_ns, dtype="<i8")
    power = np.asarray(power_uw, dtype="<i8")
    if np.any(end <= start) or np.any(start[1:] < end[:-1]):
        raise WireError("timeline records must follow one another without overlap")
    if power.ndim != 2 or power.shape[1] > MAX_RAILS or np.any(power < 0):
        raise WireError(f"power must be (records, at most {MAX_RAILS} rails) and not negative")
    records = np.zeros(len(start), RECORD)
    records["index"] = first + np.arange(len(start), dtype="<u8")
    records["start_ns"], records["end_ns"] = start, end
    records["power_uw"][:, : power.shape[1]] = power
    records["check"] = checksum(records)
    return records


def create_timeline(path: str | os.PathLike[str], names: Sequence[str], idle_uw: Sequence[int]) -> None:
    """Make a closed timeline of these rails at `path`, idle power in microwatts; an existing file is replaced whole."""
    if not 0 < len(names) <= MAX_RAILS or len(idle_uw) != len(names) or any(power < 0 for power in idle_uw):
        raise WireError(f"a timeline has 1 to {MAX_RAILS} rails, each with a name and an idle power")
    if too_long := [name for name in names if len(name.encode()) > NAME_BYTES]:
        raise WireError(f"rail {too_long[0]!r}: a timeline takes names of at most {NAME_BYTES} bytes")
    header = np.zeros(1, HEADER)
    header["magic"], header["version"], header["rails"], header["capacity"] = MAGIC, VERSION, len(names), CAPACITY
    header["idle_uw"][0, : len(names)] = idle_uw
    header["names"][0, : len(names)] = [name.encode() for name in names]
    with replacing(path, 0o640) as file:
        os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
        file.write(header.tobytes())


class Timeline:
    """A mapped timeline file; `rails`, `idle_uw`, `count` and `open` read its header."""

    def __init__(self, path: str | os.PathLike[str], writable: bool = False) -> None:
        self.path = os.fspath(path)
        try:
            self._file = open(self.path, "r+b" if writable else "rb")  # noqa: SIM115  # closed with the timeline
        except OSError as error:
            advice = "; start neuralpowerd with source sim first" if isinstance(error, FileNotFoundError) else ""
            raise WireError(f"{self.path}: no timeline: {error.strerror}{advice}") from None
        try:
            if os.fstat(self._file.fileno()).st_size != FILE_BYTES:
                raise WireError(f"{self.path}: not a power timeline of {FILE_BYTES} bytes")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(self._file.fileno(), FILE_BYTES, access=access)
            self._header = np.ndarray((1,), HEADER, self._map)[0:1]
            self._records = np.ndarray((CAPACITY,), RECORD, self._map, offset=HEADER_BYTES)
            head = self._header[0]
            if (head["magic"], head["version"], head["capacity"]) != (MAGIC, VERSION, CAPACITY) or not 0 < head[
                "rails"
            ] <= MAX_RAILS:
                raise WireError(f"{self.path}: not a power timeline of version {VERSION}")
        except BaseException as error:  # an mmap that fails (no memory, a file that shrank) too
            self._file.close()
            if isinstance(error, OSError | ValueError) and not isinstance(error, WireError):
                raise WireError(f"{self.path}: cannot be mapped: {error}") from None
            raise

    @property
    def rails(self) -> list[str]:
        """The names of the rails."""
        head = self._header[0]
        return [name.decode() for name in head["names"][: head["rails"]]]

    @property
    def idle_uw(self) -> list[int]:
        """What each rail draws where no record lies, in microwatts."""
        head = self._header[0]
        return [int(power) for power in head["idle_uw"][: head["rails"]]]

    @property
    def count(self) -> int:
        """The index that the next record will have."""
        return int(self._header["count"][0])

    @property
    def open(self) -> bool:
        """Whether a writer says that it is ahead of the time."""
        return int(self._header["state"][0]) == OPEN

    def latest(self) -> Any:
        """A copy of the newest record, or None."""
        return self._records[(self.count - 1) % CAPACITY].copy() if self.count else None

    def close(self) -> None:
        """Unmap the file."""
        del self._header, self._records
        self._map.close()
        self._file.close()


class TimelineWriter(Timeline):
    """The one writer of a timeline.

    Raises:
        WireError: no such file, or another writer has it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, writable=True)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            super().close()
            raise WireError(
                f"{path}: another virtual device is writing this timeline; wait for it or stop it"
            ) from None
        latest = self.latest()
        self.horizon_ns = int(latest["end_ns"]) if latest is not None else 0

    def append(self, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike, power_uw: npt.ArrayLike) -> None:
        """Publish records that follow the ones before; the first call opens the timeline.

        The caller keeps them ahead of the time, and not more than half of :data:`CAPACITY` ahead.

        Args:
            start_ns, end_ns: (n,) CLOCK_MONOTONIC times; a hole between records idles.
            power_uw: (n, rails) microwatts.

        Raises:
            WireError: records out of order, or too many at once.
        """
        records = make_records(self.count, start_ns, end_ns, power_uw)
        if not len(records):
            return
        if len(records) > CAPACITY // 2 or int(records["start_ns"][0]) < self.horizon_ns:
            raise WireError(f"{self.path}: {len(records)} records do not follow the ones before")
        self._records[records["index"] % CAPACITY] = records
        self.horizon_ns = int(records["end_ns"][-1])
        self._header["count"] = records["index"][-1] + np.uint64(1)
        self._header["state"] = OPEN

    def close(self) -> None:
        """Say that the rails idle from the last record on, and let the file go."""
        self._header["state"] = CLOSED
        super().close()


def close_if_abandoned(path: str | os.PathLike[str]) -> bool:
    """Close a timeline that says open although no writer holds it; returns whether it was so."""
    timeline = Timeline(path)
    try:
        if not timeline.open:
            return False
    finally:
        timeline.close()
    try:
        TimelineWriter(path).close()
    except WireError:
        return False
    return True
