"""Entries of the two logs as a recording's files hold them: out of wire messages, into one ordered run.

A message's columns are passed on as they are; rows are made of them for who reads a recording, and only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from neuralpower_wire import (
    INFERENCES,
    RAILS,
    PackedRecords,
    Record,
    TickColumns,
    Ticks,
    WireError,
    batch_to_records,
    decode,
)
from neuralpower_wire.ticks import batch_to_columns

Journal = list[tuple[int, Record]]
"""Records of the journal with their indices."""


def columns_of(message: Sequence[bytes]) -> tuple[str, bytes, int, TickColumns | PackedRecords]:
    """Log, stream, first index and entries of a message of a write-ahead log; WireError where it is none of ours."""
    batch = decode(message)
    if batch.topic == RAILS:
        stream, ticks = batch_to_columns(batch)
        return "ticks", stream, ticks.first, ticks
    if batch.topic == INFERENCES:
        return "journal", *batch_to_records(batch)
    raise WireError(f"topic {batch.topic!r} does not belong into a recording")


def rows_of(message: Sequence[bytes]) -> tuple[str, bytes, int, Any]:
    """The same with ticks as a structured array, and records unpacked."""
    log, stream, first, entries = columns_of(message)
    return log, stream, first, entries.rows() if isinstance(entries, TickColumns) else list(entries)


def in_order(parts: Sequence[Ticks]) -> Ticks:
    """The ticks of all parts by index, each index once."""
    ticks: Ticks = np.concatenate(parts) if len(parts) > 1 else parts[0]  # a recording's one part can be 100 MB
    index = ticks["index"]
    if np.all(index[1:] > index[:-1]):
        return ticks
    return ticks[np.unique(index, return_index=True)[1]]


def journal_in_order(parts: Iterable[tuple[int, list[Record]]]) -> Journal:
    """The records of all parts by index, each index once."""
    by_index = {first + offset: record for first, records in parts for offset, record in enumerate(records)}
    return sorted(by_index.items(), key=lambda entry: entry[0])
