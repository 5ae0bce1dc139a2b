"""A recording as long as wanted, made at once: the segments that a recorder would have written, by the recorder's own writer of segments.

The readings are simulated: three rails of an INA3221 read through its registers, values that last for the six ticks of a scan, times of
reading that vary by microseconds, as they do on I2C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower.recordings.files import compaction, layout, segments
from neuralpower.recordings.writer import Writer
from neuralpower_wire import (
    Channel,
    Epoch,
    Inference,
    Kind,
    PackedRecords,
    ReadingState,
    Record,
    TickColumns,
)

RATE_HZ, MINUTE_TICKS = 1000, 60_000
PERIOD_NS = 1_000_000_000 // RATE_HZ
T0_NS = 3_600_000_000_000
"""An hour after the device began."""
WALL_NS = 1_750_000_000_000_000_000
RAILS = ("VDD_IN", "VDD_CPU", "VDD_GPU")
STREAM, JOURNAL = b"D" * 16, b"d" * 16
SCAN_TICKS, INFERENCES_PER_S, LAYERS = 6, 2, 60
ENGINE = "e" * 64
SEED = 16


def epoch() -> Epoch:
    """Bus and shunt voltage of three rails at 1 kHz."""
    channels = tuple(
        Channel(rail, quantity, "ina", 1, shunt_uohm=5000, lsb=lsb)
        for rail in RAILS
        for quantity, lsb in (("bus_uv", 8000), ("shunt_uv", 40))
    )
    return Epoch(1, 0, PERIOD_NS, T0_NS, "sim", True, "made for a benchmark", channels, totals=("VDD_IN",))


def make(folder: Path, minutes: int, advance: Callable[[float, str], None] = lambda done, note: None) -> None:
    """Write so many minutes; `advance` is told after each."""
    Writer(folder, "made for a benchmark").finish()
    document = replace(layout.read_document(folder), simulated=True, streams=[STREAM.hex()])
    layout.write_document(folder, document)
    known = compaction.KnownEpochs(folder)
    known.add(STREAM, epoch())
    first = 0
    for minute in range(minutes):
        table = segments.columns_to_table([_ticks(minute)])
        compaction.write_segment(folder, ("ticks", STREAM, 2 * len(RAILS)), table, known)
        records = PackedRecords.of([*([] if minute else _described()), *_journal(minute)])
        table = segments.records_to_table([(first, records)])
        compaction.write_segment(folder, ("journal", JOURNAL, 0), table, known)
        first += len(records)
        advance(minute + 1, f"{minute + 1} of {minutes} minutes made")


def _described() -> list[Record]:
    """What explains the rest."""
    layers = [f"layer{number}" for number in range(LAYERS)]
    body = {"hash": ENGINE, "name": "network", "inspector": {}, "layers": layers, "simulated": True}
    begun = {**epoch().to_dict(), "stream": STREAM}
    return [Record(Kind.EPOCH, T0_NS, begun), Record(Kind.ENGINE, T0_NS, body)]


def _ticks(minute: int) -> TickColumns:
    """A minute of ticks: idle at 4 W, with bursts of 12 W."""
    draw = np.random.default_rng([SEED, minute])
    width, first = 2 * len(RAILS), minute * MINUTE_TICKS
    slot = first + np.arange(MINUTE_TICKS)
    late = (20_000 + draw.gamma(4.0, 3000.0, MINUTE_TICKS)).astype(np.int64)
    t_ns = T0_NS + slot * PERIOD_NS + late
    takes = 105_000 + draw.gamma(2.0, 400.0, (MINUTE_TICKS, width))
    end = np.cumsum(takes, axis=1)
    scans = (MINUTE_TICKS + SCAN_TICKS - 1) // SCAN_TICKS
    busy = (np.arange(scans) * SCAN_TICKS % 500 < 300)[:, None]
    share = np.array([1.0, 0.3, 0.5])
    amps = (np.where(busy, 2.4, 0.8) * share + draw.normal(0, 0.02, (scans, len(RAILS)))) / 1.0
    value = np.empty((scans, width), np.int64)
    value[:, 0::2] = (5e6 - 40_000 * amps) // 8000 * 8000
    value[:, 1::2] = amps * 5000 // 40 * 40
    readings: dict[str, npt.NDArray[Any]] = {
        "value": value.repeat(SCAN_TICKS, axis=0)[:MINUTE_TICKS],
        "begin_ns": (end - takes).astype(np.uint32),
        "end_ns": end.astype(np.uint32),
        "state": np.full((MINUTE_TICKS, width), ReadingState.UNKNOWN),
        "error": np.zeros((MINUTE_TICKS, width)),
    }
    dtypes = {"value": "<i8", "begin_ns": "<u4", "end_ns": "<u4", "state": "|u1", "error": "|u1"}
    columns = {name: np.ascontiguousarray(values.astype(dtypes[name])).reshape(-1) for name, values in readings.items()}
    return TickColumns(first, 1, width, slot.astype("<u8"), t_ns, columns)


def _journal(minute: int) -> list[Record]:
    """A clock map and a few inferences a second, conditions every ten."""
    durations, records = np.full(LAYERS, 80_000), []
    for second in range(60 * minute, 60 * minute + 60):
        t = T0_NS + second * 1_000_000_000
        clock = {"monotonic_ns": t, "boottime_ns": t, "realtime_ns": WALL_NS + t, "bracket_ns": 200}
        records.append(Record(Kind.CLOCK, t, clock))
        if second % 10 == 0:
            records.append(Record(Kind.CONDITION, t + 1, {"clock_hz.gpu": 6.0e8, "temperature_c.gpu": 45.0}))
        for number in range(INFERENCES_PER_S):
            begin = t + number * 1_000_000_000 // INFERENCES_PER_S
            seq = second * INFERENCES_PER_S + number
            told = Inference(bytes(16), seq, ENGINE, begin, begin + 5_000_000, durations)
            records.append(Record(Kind.INFERENCE, begin + 6_000_000, told))
    return records
