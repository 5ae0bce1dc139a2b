"""The journal: a shared-memory log of variable records, one writer, any number of readers by index.

The file is a header page and a circular area of bytes; docs/journal.md has every byte. A record becomes part of the log
only when a state slot that counts it is whole: there are two slots, written in turn, each with its checksum, so that a
writer killed at any byte leaves the log as it was before the record or after it. The oldest records are given up before
their bytes are reused. Every record carries its index and checksum, since a writer in Python has no memory barriers.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neuralpower_wire import PackedRecord, Record, WireError

from ..errors import DaemonError

MAGIC = b"NPJOURN1"
VERSION = 1
HEADER_BYTES = 4096
_IDENTITY = struct.Struct("<8sIIQ16s16s16s")
"""magic, version, zero, capacity, stream, previous stream (zeros: none), boot id; followed by the CRC-32 of these."""
_SLOT = struct.Struct("<QQQQQ")
"""sequence, oldest index, its position, next index, its position; followed by the CRC-32 of these."""
_SLOT_AT = (1024, 2048)
_RECORD = struct.Struct("<IIIIQq")
"""CRC-32 of all that follows, body length, kind, zero, index, t_ns; then the body. Positions grow without end; a byte at
position p lies at HEADER_BYTES + p mod capacity."""
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Entries:
    """Consecutive records from index `first` on; `lost` asked-for records before them are no longer held."""

    first: int
    records: list[Record]
    lost: int


@dataclass(frozen=True)
class PackedEntries:
    """Entries whose bodies are still packed."""

    first: int
    records: list[PackedRecord]
    lost: int


class _State(NamedTuple):
    sequence: int = 0
    oldest: int = 0
    oldest_at: int = 0
    next: int = 0
    next_at: int = 0


class JournalReader:
    """Reads a journal by index, while its writer goes on."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with open(self.path, "rb") as file:
            self._attach(file.fileno(), mmap.ACCESS_READ)

    def _attach(self, descriptor: int, access: int) -> None:
        size = os.fstat(descriptor).st_size
        if size <= HEADER_BYTES:
            raise DaemonError(f"{self.path}: too short for a journal; delete it")
        self._map = mmap.mmap(descriptor, size, access=access)
        identity = self._map[: _IDENTITY.size]
        (crc,) = _CRC.unpack_from(self._map, _IDENTITY.size)
        magic, version, _, self.capacity, self.stream, previous, self.boot_id = _IDENTITY.unpack(identity)
        sound = crc == zlib.crc32(identity) and self.capacity + HEADER_BYTES == size
        if not sound or (magic, version) != (MAGIC, VERSION):
            self._map.close()
            raise DaemonError(f"{self.path}: not a journal of version {VERSION}; delete it")
        self.previous: bytes | None = previous if any(previous) else None
        self._state = _State()
        self._positions = array("Q")
        self._base = 0  # index of the first of _positions
        self.refresh()

    @property
    def oldest(self) -> int:
        """Index of the oldest record still held."""
        return self._state.oldest

    @property
    def next_index(self) -> int:
        """Index that the next record will have."""
        return self._state.next

    def refresh(self) -> None:
        """Take notice of what the writer has added and given up."""
        state = self._newest() or _State()
        index, position = self._base + len(self._positions), self._state.next_at
        if index < state.oldest or not len(self._positions):
            self._positions, self._base = array("Q"), state.oldest
            index, position = state.oldest, state.oldest_at
        while index < state.next:
            record = self._whole(index, position)
            if record is None:
                break
            self._positions.append(position)
            index, position = index + 1, position + _RECORD.size + len(record.body)
        self._state = _State(state.sequence, state.oldest, state.oldest_at, index, position)
        self._trim()

    def _trim(self) -> None:
        gone = self._state.oldest - self._base
        if gone > 1024 and gone > len(self._positions) // 2:
            del self._positions[:gone]
            self._base += gone

    def read(self, first: int, count: int, max_bytes: int = 1 << 62) -> Entries:
        """Up to `count` records from index `first` on, at least one where there is one, else at most `max_bytes` of bodies."""
        packed = self.read_packed(first, count, max_bytes)
        return Entries(
            packed.first, [Record.unpack(each.kind, each.t_ns, each.body) for each in packed.records], packed.lost
        )

    def read_packed(self, first: int, count: int, max_bytes: int = 1 << 62) -> PackedEntries:
        """The same as it lies in the journal: whole, by its checksum, but not looked into."""
        start = min(max(first, self.oldest), self.next_index)
        records: list[PackedRecord] = []
        size = 0
        for index in range(start, min(start + count, self.next_index)):
            record = self._whole(index, self._positions[index - self._base])
            if record is None:
                break
            size += len(record.body)
            if records and size > max_bytes:
                break
            records.append(record)
        return PackedEntries(start, records, max(0, start - first))

    def _whole(self, index: int, position: int) -> PackedRecord | None:
        """The record `index` if it lies whole at `position`."""
        head = self._bytes(position, _RECORD.size)
        crc, length, kind, _, found, t_ns = _RECORD.unpack(head)
        if found != index or length > self.capacity - _RECORD.size:
            return None
        body = self._bytes(position + _RECORD.size, length)
        return PackedRecord(kind, t_ns, body) if crc == zlib.crc32(body, zlib.crc32(head[4:])) else None

    def _bytes(self, position: int, length: int) -> bytes:
        at = position % self.capacity
        begin, over = HEADER_BYTES + at, at + length - self.capacity
        if over <= 0:
            return self._map[begin : begin + length]
        return self._map[begin : HEADER_BYTES + self.capacity] + self._map[HEADER_BYTES : HEADER_BYTES + over]

    def _newest(self) -> _State | None:
        slots = [slot for slot in map(self._read_slot, _SLOT_AT) if slot]
        return max(slots, key=lambda slot: slot.sequence, default=None)

    def _read_slot(self, at: int) -> _State | None:
        packed = self._map[at : at + _SLOT.size + _CRC.size]
        (crc,) = _CRC.unpack_from(packed, _SLOT.size)
        return _State(*_SLOT.unpack_from(packed)) if crc == zlib.crc32(packed[: _SLOT.size]) else None

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()


class Journal(JournalReader):
    """The one writer. It goes on in the same stream where the file is sound, of this size, and of this boot.

    Raises:
        DaemonError: another process writes this journal, or there is no room for it.
    """

    def __init__(self, path: str | os.PathLike[str], capacity: int, boot_id: bytes) -> None:
        self.path = Path(path)
        self._descriptor = self._open(self.path)
        try:
            self.resumed, previous = self._resumes(capacity, boot_id)
            if self.resumed:
                self._drop_damaged()
            else:
                self._create(capacity, boot_id, previous)
        except BaseException:
            os.close(self._descriptor)  # and with it the lock
            raise

    def _resumes(self, capacity: int, boot_id: bytes) -> tuple[bool, bytes]:
        """Whether the file goes on as it is, and the stream that it holds."""
        try:
            self._attach(self._descriptor, mmap.ACCESS_WRITE)
        except DaemonError:
            return False, bytes(16)
        same = self.capacity == capacity and self.boot_id == boot_id and self._newest() is not None
        return same, self.stream

    def _open(self, path: Path, flags: int = 0) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise DaemonError(f"{path}: already written by another process; stop that daemon first") from None
        return descriptor

    def _create(self, capacity: int, boot_id: bytes, previous: bytes) -> None:
        """Put a new file in the place of the old, which readers may still have mapped."""
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.unlink(missing_ok=True)
        descriptor = self._open(fresh, os.O_EXCL)
        try:
            os.posix_fallocate(descriptor, 0, HEADER_BYTES + capacity)
            identity = _IDENTITY.pack(MAGIC, VERSION, 0, capacity, os.urandom(16), previous, boot_id)
            os.pwrite(descriptor, identity + _CRC.pack(zlib.crc32(identity)), 0)
            self._attach(descriptor, mmap.ACCESS_WRITE)
            self._publish(_State(sequence=1))
            fresh.replace(self.path)
        except OSError as error:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            text = f"{self.path}: no room for a journal of {capacity >> 20} MiB: {error.strerror}; make it smaller"
            raise DaemonError(text) from None
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _drop_damaged(self) -> None:
        """Give up what a damaged record hides: indices stay contiguous, and readers see the loss."""
        newest = self._newest()
        if newest and newest.next != self._state.next:
            self._publish(_State(newest.sequence + 1, newest.next, newest.next_at, newest.next, newest.next_at))
            self._positions, self._base = array("Q"), newest.next

    def append(self, record: Record) -> int:
        """Add `record` and return its index. WireError where it breaks the format or can never fit."""
        body = record.body.packed
        size = _RECORD.size + len(body)
        if size > self.capacity // 2:
            raise WireError(
                f"a record of {size} bytes does not fit in a journal of {self.capacity}; enlarge the journal"
            )
        self._make_room(size)
        state = self._state
        rest = _RECORD.pack(0, len(body), record.number, 0, state.next, record.t_ns)[4:]
        self._put_circular(state.next_at, _CRC.pack(zlib.crc32(body, zlib.crc32(rest))) + rest + body)
        self._positions.append(state.next_at)
        self._publish(_State(state.sequence + 1, state.oldest, state.oldest_at, state.next + 1, state.next_at + size))
        return state.next

    def _make_room(self, size: int) -> None:
        """Give up the oldest records that the next `size` bytes will overwrite, before they are touched."""
        state, oldest, oldest_at = self._state, self._state.oldest, self._state.oldest_at
        while state.next_at + size - oldest_at > self.capacity:
            oldest += 1
            oldest_at = self._positions[oldest - self._base] if oldest < state.next else state.next_at
        if oldest != state.oldest:
            self._publish(_State(state.sequence + 1, oldest, oldest_at, state.next, state.next_at))
            self._trim()

    def _publish(self, state: _State) -> None:
        packed = _SLOT.pack(state.sequence, state.oldest, state.oldest_at, state.next, state.next_at)
        self._put(_SLOT_AT[state.sequence % 2], packed + _CRC.pack(zlib.crc32(packed)))
        self._state = state

    def _put_circular(self, position: int, data: bytes) -> None:
        at = position % self.capacity
        first = min(len(data), self.capacity - at)
        self._put(HEADER_BYTES + at, data[:first])
        self._put(HEADER_BYTES, data[first:])

    def _put(self, at: int, data: bytes) -> None:
        """Every byte the writer changes goes through here."""
        self._map[at : at + len(data)] = data

    def close(self) -> None:
        """Unmap the file and let its lock go."""
        super().close()
        os.close(self._descriptor)


def boot_id() -> bytes:
    """The 16 bytes that name this boot: times of another one mean nothing."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)
