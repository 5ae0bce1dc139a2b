"""What travels and what is shared: record types and their bytes. No socket, no clock, no thread in here."""

from __future__ import annotations

from .batch import VERSION, Batch, decode, encode
from .epoch import FRESHNESS, QUANTITIES, Channel, Chip, Epoch
from .errors import VersionError, WireError
from .journal import Kind, PackedRecord, Record, batch_to_records, packed_to_batch, records_to_batch
from .power import rail_power_w, total_power_w
from .tick import READING, Flag, State, Ticks, tick_dtype
from .ticks import batch_to_ticks, ticks_to_batch, ticks_to_frames
from .timeline import Timeline, TimelineWriter, close_if_abandoned, create_timeline
from .topics import ESTIMATES, INFERENCES, LAYERS, RAILS, STATUS, TOPICS

__all__ = [
    "ESTIMATES",
    "FRESHNESS",
    "INFERENCES",
    "LAYERS",
    "QUANTITIES",
    "RAILS",
    "READING",
    "STATUS",
    "TOPICS",
    "VERSION",
    "Batch",
    "Channel",
    "Chip",
    "Epoch",
    "Flag",
    "Kind",
    "PackedRecord",
    "Record",
    "State",
    "Ticks",
    "Timeline",
    "TimelineWriter",
    "VersionError",
    "WireError",
    "batch_to_records",
    "batch_to_ticks",
    "close_if_abandoned",
    "create_timeline",
    "decode",
    "encode",
    "packed_to_batch",
    "rail_power_w",
    "records_to_batch",
    "tick_dtype",
    "ticks_to_batch",
    "ticks_to_frames",
    "total_power_w",
]
