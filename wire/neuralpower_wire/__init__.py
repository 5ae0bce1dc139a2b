"""What travels and what is shared: record types and their bytes. No socket, no clock, no thread in here.

Each name is imported when it is first used, so that who only asks for help or for an error's class does not pay for numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import VersionError, WireError

if TYPE_CHECKING:
    from .batch import VERSION, Batch, decode, encode
    from .bodies import Body, ClockMap, Condition, Engine, EpochBegun, Event, Inference, Kind, Mark, Unknown
    from .epoch import FRESHNESS, QUANTITIES, Channel, Chip, Epoch, explained
    from .journal import PackedRecord, PackedRecords, Record, batch_to_records, records_to_batch
    from .power import rail_power_w, total_power_w
    from .tick import READING, Flag, ReadingState, Ticks, by_epoch, tick_dtype
    from .ticks import TickColumns, batch_to_ticks, ticks_to_batch, ticks_to_frames
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
    "Body",
    "Channel",
    "Chip",
    "ClockMap",
    "Condition",
    "Engine",
    "Epoch",
    "EpochBegun",
    "Event",
    "Flag",
    "Inference",
    "Kind",
    "Mark",
    "PackedRecord",
    "PackedRecords",
    "ReadingState",
    "Record",
    "TickColumns",
    "Ticks",
    "Timeline",
    "TimelineWriter",
    "Unknown",
    "VersionError",
    "WireError",
    "batch_to_records",
    "batch_to_ticks",
    "by_epoch",
    "close_if_abandoned",
    "create_timeline",
    "decode",
    "encode",
    "explained",
    "rail_power_w",
    "records_to_batch",
    "tick_dtype",
    "ticks_to_batch",
    "ticks_to_frames",
    "total_power_w",
]

_LAZY = {
    "batch": ("VERSION", "Batch", "decode", "encode"),
    "epoch": ("FRESHNESS", "QUANTITIES", "Channel", "Chip", "Epoch", "explained"),
    "bodies": (
        "Body",
        "ClockMap",
        "Condition",
        "Engine",
        "EpochBegun",
        "Event",
        "Inference",
        "Kind",
        "Mark",
        "Unknown",
    ),
    "journal": ("PackedRecord", "PackedRecords", "Record", "batch_to_records", "records_to_batch"),
    "power": ("rail_power_w", "total_power_w"),
    "tick": ("READING", "Flag", "ReadingState", "Ticks", "by_epoch", "tick_dtype"),
    "ticks": ("TickColumns", "batch_to_ticks", "ticks_to_batch", "ticks_to_frames"),
    "timeline": ("Timeline", "TimelineWriter", "close_if_abandoned", "create_timeline"),
    "topics": ("ESTIMATES", "INFERENCES", "LAYERS", "RAILS", "STATUS", "TOPICS"),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
