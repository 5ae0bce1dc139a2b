"""Ticks on the wire: topic `rails`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .batch import MAX_COUNT, VERSION, Batch, column, header_bytes, header_count, pack
from .errors import WireError
from .tick import MAX_READINGS, READING, Ticks, tick_dtype
from .topics import RAILS

STREAM_BYTES = 16
_READING_COLUMNS = READING.names or ()
_SCAN_COLUMNS = ("flags", "span", "scan")
"""Left out of a batch without flags: only a source that reads the chip's registers has them."""
_PLAIN_COLUMNS = tuple(name for name in _READING_COLUMNS if name not in _SCAN_COLUMNS)


def ticks_to_batch(stream: bytes, ticks: Ticks) -> Batch:
    """A batch of consecutive ticks of one epoch.

    Args:
        stream: the 16 bytes that name the ring.
        ticks: (n,) structured array, n > 0, in the order of a ring: `index` rises, and `epoch` never falls.

    Raises:
        WireError: the ticks are not consecutive or of more than one epoch.
    """
    columns = {"slot": ticks["slot"], "t_ns": ticks["t_ns"]}
    header, readings = _header(stream, ticks), ticks["readings"]
    columns.update((name, readings[name].reshape(-1)) for name in _names(readings))
    return Batch(RAILS, header, columns)


def ticks_to_frames(stream: bytes, ticks: Ticks) -> list[bytes]:
    """The frames of the same batch, in fewer steps: what a publisher does twenty times a second and more."""
    readings = ticks["readings"]
    names = _names(readings)
    header = {"v": VERSION, **_header(stream, ticks), "columns": _described(names, *readings.shape)}
    columns = [readings[name].tobytes() for name in names]
    return [RAILS, pack(header), ticks["slot"].tobytes(), ticks["t_ns"].tobytes(), *columns]


def _header(stream: bytes, ticks: Ticks) -> dict[str, Any]:
    count, index, epoch = len(ticks), ticks["index"], ticks["epoch"]
    if not count or index.item(-1) - index.item(0) != count - 1 or epoch.item(-1) != epoch.item(0):
        raise WireError("a batch takes consecutive ticks of one epoch")
    width = ticks.dtype["readings"].shape[0]
    return {"stream": stream, "epoch": epoch.item(0), "first": index.item(0), "count": count, "readings": width}


def _names(readings: npt.NDArray[np.void]) -> tuple[str, ...]:
    """The columns that are sent of these readings."""
    return _READING_COLUMNS if readings["flags"].tobytes().strip(b"\0") else _PLAIN_COLUMNS


@lru_cache(64)
def _described(names: tuple[str, ...], count: int, width: int) -> list[list[str | int]]:
    """A header's list of columns: name, dtype, length."""
    whole: list[list[str | int]] = [["slot", "<u8", count], ["t_ns", "<i8", count]]
    return whole + [[name, READING[name].str, count * width] for name in names]


@dataclass(frozen=True)
class TickColumns:
    """A run of consecutive ticks of one epoch as it travels: `slot` and `t_ns` (n,), each column of `readings` (n · width,)."""

    first: int
    epoch: int
    width: int
    slot: npt.NDArray[np.uint64]
    t_ns: npt.NDArray[np.int64]
    readings: dict[str, npt.NDArray[Any]]
    """By name of :data:`neuralpower_wire.READING`, tick by tick; columns that are not there are zeros."""

    @classmethod
    def of(cls, batch: Batch) -> TickColumns:
        """The ticks of a `rails` batch; WireError where it is not one."""
        count = header_count(batch.header, "count", MAX_COUNT)
        width = header_count(batch.header, "readings", MAX_READINGS)
        sent = [name for name in _READING_COLUMNS if name in batch.columns or name not in _SCAN_COLUMNS]
        return cls(
            header_count(batch.header, "first", 2**63),
            header_count(batch.header, "epoch", 2**32 - 1),
            width,
            column(batch, "slot", "<u8", count),
            column(batch, "t_ns", "<i8", count),
            {name: column(batch, name, READING[name].str, count * width) for name in sent},
        )

    def batch(self, stream: bytes) -> Batch:
        """The batch of these ticks."""
        about = {"epoch": self.epoch, "first": self.first, "count": len(self), "readings": self.width}
        return Batch(RAILS, {"stream": stream, **about}, {"slot": self.slot, "t_ns": self.t_ns, **self.readings})

    @property
    def index(self) -> npt.NDArray[np.uint64]:
        """(n,): the index of each tick."""
        return np.arange(self.first, self.first + len(self), dtype="<u8")

    def rows(self) -> Ticks:
        """The same as (n,) structured ticks."""
        ticks = np.zeros(len(self), tick_dtype(self.width))
        ticks["index"] = self.index
        ticks["commit"] = ticks["index"] + np.uint64(1)
        ticks["slot"], ticks["t_ns"], ticks["epoch"], ticks["n"] = self.slot, self.t_ns, self.epoch, self.width
        for name, values in self.readings.items():
            ticks["readings"][name] = values.reshape(len(self), self.width)
        return ticks

    def __len__(self) -> int:
        return len(self.slot)

    def __getitem__(self, at: slice) -> TickColumns:
        begin, end, step = at.indices(len(self))
        if step != 1:
            raise ValueError("ticks are cut into runs only")
        readings = {name: values[begin * self.width : end * self.width] for name, values in self.readings.items()}
        return replace(self, first=self.first + begin, slot=self.slot[at], t_ns=self.t_ns[at], readings=readings)


def batch_to_columns(batch: Batch) -> tuple[bytes, TickColumns]:
    """The stream and the ticks of a `rails` batch, as they travel; WireError where it is not one."""
    return header_bytes(batch.header, "stream", STREAM_BYTES), TickColumns.of(batch)


def batch_to_ticks(batch: Batch) -> tuple[bytes, Ticks]:
    """The stream and the (n,) ticks of a `rails` batch; WireError where it is not one."""
    stream, columns = batch_to_columns(batch)
    return stream, columns.rows()
