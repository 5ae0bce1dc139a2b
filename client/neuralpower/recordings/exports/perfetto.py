"""A recording as a Perfetto trace, for ui.perfetto.dev: rails as counters, inferences and layers as slices, marks as instants.

The trace is a stream of protocol buffers (`perfetto.protos.Trace`), written here byte by byte: a dozen fields whose numbers
Perfetto never changes, no dependency, and millions of layers in seconds, since those of an engine differ in their times alone. Times are the device's
CLOCK_MONOTONIC; clock snapshots tell the wall time beside it.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.windows import layer_windows
from neuralpower_wire import Epoch, Inference, Kind, Mark, Ticks, explained, rail_power_w, total_power_w
from neuralpower_wire.files import replacing

from ...errors import InputError
from ..recording import Recording
from .protobuf import (
    double,
    integer,
    message,
    text,
)

REALTIME, MONOTONIC, BOOTTIME = 1, 3, 6
"""Numbers of Perfetto's built-in clocks."""
BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
"""TrackEvent.Type."""
_SEQUENCE = integer(10, 1)  # trusted_packet_sequence_id
_CLEARED, _NEEDED = integer(13, 1), integer(13, 2)  # sequence_flags
_EXPLICIT = 3  # TrackDescriptor.ChildTracksOrdering
_TIME = b"\x40"  # TracePacket.timestamp, a varint
_GROUPS = 9
_SHIFTS = 7 * np.arange(_GROUPS)
_TOLD = ("seq", "text")
"""Names of what slices and marks tell beside their name."""


def write_perfetto(recording: Recording, path: Path) -> dict[str, int]:
    """Write a trace, compressed if the name ends in .gz; returns path -> events. `path` is replaced only by a whole file.

    Nothing but a segment (a minute) of the recording is in memory at a time. Raises InputError on a name that ends in
    .json, OSError as files do.
    """
    if path.name.removesuffix(".gz").endswith(".json"):
        raise InputError(f"{path}: the trace is Perfetto's protobuf, not JSON; end its name in .pftrace")
    with (
        replacing(path) as whole,
        gzip.GzipFile(path.stem, "wb", fileobj=whole) if path.suffix == ".gz" else nullcontext(whole) as file,
    ):
        count = _Trace(file).write(recording)
    return {str(path): count}


class Template:
    """Packets of events that differ in nothing but their times: the bytes are laid once and the times put in, many at a time.

    A time is a varint of nine groups, which holds 63 bits; leading zeros are as good as none to every reader.
    """

    def __init__(self, events: Sequence[bytes]) -> None:
        packets: list[bytes] = []
        places: list[int] = []
        length = 0
        for event in events:
            head = _SEQUENCE + _NEEDED + _TIME
            body = head + bytes(_GROUPS) + message(11, event)
            packets.append(message(1, body))
            length += len(packets[-1])
            places.append(length - len(body) + len(head))
        self._bytes = np.frombuffer(b"".join(packets), np.uint8)
        self._places = (np.array(places, np.intp)[:, None] + np.arange(_GROUPS)).reshape(-1)

    def rows(self, t_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The bytes (n, length) of the packets at the times (n, events), ns."""
        rows = np.repeat(self._bytes[None, :], len(t_ns), axis=0)
        groups = (t_ns[:, :, None] >> _SHIFTS & 0x7F).astype(np.uint8)
        groups[:, :, :-1] |= 0x80
        rows[:, self._places] = groups.reshape(len(t_ns), len(self._places))
        return rows


class _Trace:
    """The packets of one trace, in the order in which they are written."""

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file = file
        self._tracks = 0
        self._names: dict[str, int] = {}
        self._lanes: dict[tuple[bytes, int], tuple[int, int]] = {}  # session and lane -> track, end of its last slice
        self._sessions: dict[bytes, int] = {}
        self._plans: dict[tuple[int, str, int], Template] = {}
        self._mark = ""
        self.events = 0

    def write(self, recording: Recording) -> int:
        """Everything in the recording; returns the number of events."""
        self._mark = " (simulated)" if recording.simulated else ""
        self._clocks(recording.clock_maps())
        for number, stream in enumerate(recording.streams, 1):
            several = f" of stream {number}" if len(recording.streams) > 1 else ""
            self._rails(recording, stream, several)
        self._journal(recording)
        return self.events

    # Power

    def _rails(self, recording: Recording, stream: bytes, several: str) -> None:
        """A counter for each rail; only its changes are written, which draws the same and is a tenth of the size."""
        epochs = recording.epochs(stream)
        group = self._track(f"power{several}{self._mark}", rank=1)
        counters: dict[str, int] = {}
        last: dict[str, float] = {}
        gaps = 0
        before: Ticks | None = None
        for ticks in recording.tick_parts(stream):
            gaps = self._lost(before, ticks, gaps, several)
            before = ticks[-1:]
            for epoch, part in explained(ticks, epochs):
                for name, watts in _power(epoch, part).items() if epoch else ():
                    if name not in counters:
                        counters[name] = self._track(name, group, len(counters), unit="W")
                    self._counter(counters[name], part["t_ns"], watts, last, name)
        for name, track in counters.items():  # a counter ends where it was last written
            if before is not None and name in last:
                self._put(int(before["t_ns"][0]), _event(COUNTER, track) + double(44, last[name]))

    def _counter(self, track: int, t_ns: Any, watts: Any, last: dict[str, float], name: str) -> None:
        rounded = np.round(watts, 6)
        known = np.flatnonzero(np.isfinite(rounded))
        values = rounded[known]
        begun = last.get(name, np.nan)  # to which nothing is equal, so that the first value is written
        changed = np.flatnonzero(np.diff(values, prepend=begun) != 0)
        rows = Template([_event(COUNTER, track) + double(44, 0.0)]).rows(t_ns[known[changed]][:, None])
        rows[:, -8:] = values[changed].astype("<f8")[:, None].view(np.uint8)
        self._file.write(rows.tobytes())
        self.events += len(rows)
        if len(values):
            last[name] = float(values[-1])

    def _lost(self, before: Ticks | None, ticks: Ticks, track: int, several: str) -> int:
        """A slice wherever ticks are missing: there a counter's line means nothing."""
        joined = ticks if before is None else np.concatenate([before, ticks])
        index = joined["index"].astype(np.int64)
        for at in np.flatnonzero(np.diff(index) > 1).tolist():
            track = track or self._track(f"lost ticks{several}", rank=3)
            name = f"{index[at + 1] - index[at] - 1} ticks lost"
            self._put(int(joined["t_ns"][at]), _event(BEGIN, track) + text(23, name))
            self._put(int(joined["t_ns"][at + 1]), _event(END, track))
        return track

    # Journal

    def _journal(self, recording: Recording) -> None:
        engines = recording.engines()
        group = notes = 0
        for part in recording.record_parts(Kind.INFERENCE, Kind.MARK, Kind.EVENT):
            for record in part:
                body = record.body
                if isinstance(body, Inference):
                    group = group or self._track(f"inferences{self._mark}", rank=2)
                    self._inference(body, engines.get(body.engine), group)
                elif isinstance(body, Mark):
                    notes = notes or self._track("marks and events", rank=0)
                    told = _told("text", body.text) if body.text else b""
                    self._put(record.t_ns, _event(INSTANT, notes) + text(23, body.name) + told)

    def _inference(self, run: Inference, engine: dict[str, Any] | None, group: int) -> None:
        begin, end, durations = run.begin_ns, run.end_ns, run.durations_ns
        track = self._lane(run.session, begin, end, group)
        name = engine["name"] if engine else run.engine[:12]
        layers: Sequence[str] = engine["layers"] if engine else ()
        self._put(begin, self._begin(track, name) + _told("seq", run.seq))
        plan = self._plans.get((track, run.engine, len(durations)))
        if plan is None:
            told = [*layers, *(f"layer {number}" for number in range(len(layers), len(durations)))]
            events = [e for layer in told[: len(durations)] for e in (self._begin(track, layer), _event(END, track))]
            plan = self._plans[track, run.engine, len(durations)] = Template(events)
        times = layer_windows(begin, end, durations).reshape(1, -1)
        self._file.write(plan.rows(times).tobytes())
        self.events += times.size
        self._put(end, _event(END, track))

    def _lane(self, session: bytes, begin: int, end: int, group: int) -> int:
        """The session's first track on which nothing runs at `begin`: inferences of several streams may overlap."""
        number = self._sessions.setdefault(session, len(self._sessions) + 1)
        lane = 0
        while (found := self._lanes.get((session, lane))) is not None and found[1] > begin:
            lane += 1
        name = f"session {number}" + (f", lane {lane + 1}" if lane else "")
        track = found[0] if found else self._track(name, group, number)
        self._lanes[session, lane] = track, end
        return track

    # Packets

    def _clocks(self, maps: Any) -> None:
        """What the trace's clock is, and the wall time beside it; readings that go backwards are left out."""
        primary = integer(2, MONOTONIC)
        pairs = [(MONOTONIC, 0), (BOOTTIME, 1), (REALTIME, 2)]
        newest = (0, 0)
        for row in maps.tolist():
            if row[0] > newest[0] and row[1] > newest[1]:
                clocks = b"".join(message(1, integer(1, clock) + integer(2, row[at])) for clock, at in pairs)
                self._packet(message(6, clocks + primary))
                newest = row[0], row[1]
        if newest == (0, 0):
            self._packet(message(6, message(1, integer(1, MONOTONIC) + integer(2, 1)) + primary))
        self._packet(_start())

    def _track(self, name: str, parent: int = 0, rank: int = 0, unit: str = "") -> int:
        self._tracks += 1
        body = integer(1, self._tracks) + text(2, name) + integer(12, rank)
        body += integer(5, parent) if parent else b""
        body += message(8, text(6, unit)) if unit else integer(11, _EXPLICIT)
        self._packet(message(60, body))
        return self._tracks

    def _begin(self, track: int, name: str) -> bytes:
        """A slice's begin. Its name is written once, and from then on a number stands for it."""
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = len(self._names) + 1
            self._packet(_NEEDED + message(12, message(2, integer(1, number) + text(2, name))))
        return _event(BEGIN, track) + integer(10, number)

    def _put(self, t_ns: int, event: bytes) -> None:
        self._file.write(Template([event]).rows(np.array([[t_ns]])).tobytes())
        self.events += 1

    def _packet(self, body: bytes) -> None:
        self._file.write(message(1, _SEQUENCE + body))


def _start() -> bytes:
    """The state of the sequence begun anew: its clock, and the names of annotations."""
    names = b"".join(message(3, integer(1, number) + text(2, name)) for number, name in enumerate(_TOLD, 1))
    return _CLEARED + message(59, integer(58, MONOTONIC)) + message(12, names)


def _event(kind: int, track: int) -> bytes:
    return integer(9, kind) + integer(11, track)


def _told(name: str, value: int | str) -> bytes:
    """A debug annotation."""
    shown = text(6, value) if isinstance(value, str) else integer(4, value)
    return message(4, integer(1, _TOLD.index(name) + 1) + shown)


def _power(epoch: Epoch, ticks: Ticks) -> dict[str, Any]:
    """Watts of each rail, and of the board where that is the sum of several."""
    power: dict[str, Any] = dict(rail_power_w(epoch, ticks))
    if len(epoch.totals) > 1:
        power["total"] = total_power_w(epoch, ticks)
    return power
