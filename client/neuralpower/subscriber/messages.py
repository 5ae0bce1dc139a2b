"""What a client hands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_wire import (
    Batch,
    Epoch,
    Record,
    TickColumns,
    WireError,
    rail_power_w,
    ticks_to_batch,
    total_power_w,
)
from neuralpower_wire import Ticks as TickArray
from neuralpower_wire.batch import column
from neuralpower_wire.estimates import EngineEstimate, batch_to_estimates

Series = npt.NDArray[np.float64]
MAX_LAYER_ROWS = 1 << 20


@dataclass(frozen=True)
class Ticks:
    """Consecutive ticks of one epoch, each once and in order; `epoch` is None only while no daemon could tell it."""

    stream: bytes
    held: TickArray | TickColumns
    """The ticks as they came: in rows, or in the columns of a message."""
    epoch: Epoch | None = None

    @cached_property
    def ticks(self) -> TickArray:
        """(n,) structured array; made of the columns when it is first asked for."""
        return self.held.rows() if isinstance(self.held, TickColumns) else self.held

    @property
    def epoch_number(self) -> int:
        """The number of the epoch that explains the ticks."""
        return self.held.epoch if isinstance(self.held, TickColumns) else int(self.held["epoch"][0])

    @property
    def first(self) -> int:
        """The index of the first tick."""
        return self.held.first if isinstance(self.held, TickColumns) else int(self.held["index"][0])

    @property
    def slots(self) -> npt.NDArray[np.uint64]:
        """(n,): the grid point of each tick."""
        slots: npt.NDArray[np.uint64] = self.held.slot if isinstance(self.held, TickColumns) else self.held["slot"]
        return slots

    def batch(self) -> Batch:
        """The message of these ticks."""
        if isinstance(self.held, TickColumns):
            return self.held.batch(self.stream)
        return ticks_to_batch(self.stream, self.held)

    def __len__(self) -> int:
        return len(self.held)

    def rail_power_w(self) -> dict[str, Series]:
        """Watts of each rail at each tick; empty while the epoch is not known."""
        return rail_power_w(self.epoch, self.ticks) if self.epoch else {}

    def total_power_w(self) -> Series:
        """Watts of the whole board at each tick, nan where the total is not known."""
        return total_power_w(self.epoch, self.ticks) if self.epoch else np.full(len(self.ticks), np.nan)


@dataclass(frozen=True)
class Records:
    """Consecutive records of the journal, each once and in order; those of a daemon are unpacked when they are looked at."""

    stream: bytes
    first: int
    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.records)


OLDER = "older than what the daemon's history held when they were asked for"
GONE = "the daemon does not hold this stream any more"
UNREADABLE = "the daemon's answer could not be read"


@dataclass(frozen=True)
class Lost:
    """Entries `first` to `last` of a log ("ticks" or "journal") were missed and cannot be had any more; `why` says what became of them."""

    log: str
    stream: bytes
    first: int
    count: int
    why: str

    @property
    def last(self) -> int:
        """The index of the last one."""
        return self.first + self.count - 1

    def __str__(self) -> str:
        return f"{self.log}: {self.count} entries ({self.first} to {self.last}) are lost: {self.why}"


@dataclass(frozen=True)
class Ended:
    """A stream has ended, as each reboot of the device ends one: `next` is one past its last entry where that is `known`, else past the last
    one heard of."""

    log: str
    stream: bytes
    next: int
    known: bool

    def __str__(self) -> str:
        if self.known:
            return f"{self.log}: stream {self.stream.hex()[:8]} ended with entry {self.next - 1}"
        return f"{self.log}: stream {self.stream.hex()[:8]} ended; what came after entry {self.next - 1}, if anything, is lost: {GONE}"


@dataclass(frozen=True)
class Short:
    """A client that joined asked for the last `wanted_s` of a log, of which the daemon holds the last `held_s` only."""

    log: str
    wanted_s: float
    held_s: float

    def __str__(self) -> str:
        return f"{self.log}: the daemon holds the last {self.held_s:.0f} s, and not {self.wanted_s:.0f} s"


@dataclass(frozen=True)
class Found:
    """An engine or epoch that was asked for because the journal, as far as it was seen, does not have it."""

    record: Record


@dataclass(frozen=True)
class Energies:
    """Energy of inferences, as the daemon reckons it live: the total power, in straight lines between ticks, integrated over each.

    Arrays of one length: journal index, begin and end on CLOCK_MONOTONIC, joules (nan where unknown).
    """

    index: npt.NDArray[np.uint64]
    begin_ns: npt.NDArray[np.int64]
    end_ns: npt.NDArray[np.int64]
    energy_j: Series

    @classmethod
    def of(cls, batch: Batch) -> Energies:
        """The energies in a `layers` batch; WireError where it has none."""
        rows = min(len(batch.columns.get("inference_index", ())), MAX_LAYER_ROWS)
        index = column(batch, "inference_index", "<u8", rows)
        begin_ns = column(batch, "inference_begin_ns", "<i8", rows)
        end_ns = column(batch, "inference_end_ns", "<i8", rows)
        energy_uj = column(batch, "inference_energy_uj", "<i8", rows)
        return cls(index, begin_ns, end_ns, np.where(energy_uj < 0, np.nan, energy_uj * 1e-6))


@dataclass(frozen=True)
class Estimates:
    """What the layers of each engine draw by now, message number `first` of the daemon's own count."""

    first: int
    engines: list[EngineEstimate]

    @classmethod
    def of(cls, batch: Batch) -> Estimates:
        """The estimates in an `estimates` batch; WireError where it has none."""
        return cls(*batch_to_estimates(batch))


@dataclass(frozen=True)
class Status:
    """What the daemon knows of itself, once a second."""

    status: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch) -> Status:
        """The status in a `status` batch; WireError where it has none."""
        status = batch.header.get("status")
        if not isinstance(status, dict):
            raise WireError("a status message needs a map")
        return cls(status)


@dataclass(frozen=True)
class Refused:
    """A message broke the wire format and was dropped; what it carried is asked for again where there is a history."""

    topic: bytes
    reason: str


Message = Ticks | Records | Lost | Ended | Short | Found | Energies | Estimates | Status | Refused
"""Everything that :meth:`neuralpower.Client.poll` may return."""
