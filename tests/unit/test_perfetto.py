"""The trace for ui.perfetto.dev, read back by protobuf with Perfetto's field numbers and judged as its importer would."""

from __future__ import annotations

import gzip
import importlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, T0_NS, engine, epoch, inference, ticks

from neuralpower.cli import main
from neuralpower.recordings.exports import perfetto
from neuralpower.recordings.exports.protobuf import (
    double,
    integer,
    message,
    text,
    varint,
)
from neuralpower.recordings.recording import Recording
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_wire import Kind, Record

_FIELDS: dict[str, dict[str, tuple[int, Any]]] = {
    "Trace": {"packet": (1, ["TracePacket"])},
    "TracePacket": {
        "timestamp": (8, int), "clock_snapshot": (6, "ClockSnapshot"), "trusted_packet_sequence_id": (10, int),
        "track_event": (11, "TrackEvent"), "interned_data": (12, "InternedData"), "sequence_flags": (13, int),
        "trace_packet_defaults": (59, "TracePacketDefaults"), "track_descriptor": (60, "TrackDescriptor"),
    },
    "TracePacketDefaults": {"timestamp_clock_id": (58, int)},
    "ClockSnapshot": {"clocks": (1, ["Clock"]), "primary_trace_clock": (2, int)},
    "Clock": {"clock_id": (1, int), "timestamp": (2, int)},
    "TrackDescriptor": {
        "uuid": (1, int), "parent_uuid": (5, int), "name": (2, str), "counter": (8, "CounterDescriptor"),
        "child_ordering": (11, int), "sibling_order_rank": (12, int),
    },
    "CounterDescriptor": {"unit_name": (6, str)},
    "TrackEvent": {
        "type": (9, int), "name": (23, str), "name_iid": (10, int), "track_uuid": (11, int), "debug_annotations": (4, ["DebugAnnotation"]),
        "double_counter_value": (44, float),
    },
    "DebugAnnotation": {"name_iid": (1, int), "int_value": (4, int), "string_value": (6, str)},
    "InternedData": {"event_names": (2, ["Interned"]), "debug_annotation_names": (3, ["Interned"])},
    "Interned": {"iid": (1, int), "name": (2, str)},
}  # fmt: skip
"""perfetto/protos/perfetto/trace, as far as a trace uses it: message -> field -> number, type (a list: repeated)."""


def schema() -> Any:
    """The class of a Trace, from the field numbers above."""
    file = descriptor_pb2.FileDescriptorProto(name="trace.proto", package="perfetto.protos", syntax="proto2")
    kind = descriptor_pb2.FieldDescriptorProto
    for name, fields in _FIELDS.items():
        described = file.message_type.add(name=name)
        for field, (number, given) in fields.items():
            repeated = isinstance(given, list)
            of = given[0] if isinstance(given, list) else given
            plain = {int: kind.TYPE_UINT64, str: kind.TYPE_STRING, float: kind.TYPE_DOUBLE}
            added = described.field.add(name=field, number=number, type=plain.get(of, kind.TYPE_MESSAGE))
            added.label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            if of not in plain:
                added.type_name = f".perfetto.protos.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("perfetto.protos.Trace"))


class Imported:
    """What Perfetto's importer makes of a trace: tracks by path, counters, slices and instants; it fails on what that drops."""

    def __init__(self, data: bytes) -> None:
        self.trace = schema().FromString(data)
        self.tracks: dict[int, str] = {}
        self.counters: dict[str, list[tuple[int, float]]] = {}
        self.slices: list[tuple[str, str, int, int, dict[str, Any]]] = []
        self.instants: list[tuple[int, str, dict[str, Any]]] = []
        self.clock = self.default = None
        self._open: dict[int, list[tuple[str, int, dict[str, Any]]]] = {}
        self._names: dict[int, str] = {}
        self._told: dict[int, str] = {}
        events = []
        for packet in self.trace.packet:
            assert packet.trusted_packet_sequence_id == 1
            self._state(packet)
            if packet.HasField("track_event"):
                assert packet.sequence_flags == 2 and self.default == self.clock == perfetto.MONOTONIC
                name = (
                    self._names[packet.track_event.name_iid] if packet.track_event.name_iid else packet.track_event.name
                )
                events.append((packet.timestamp, packet.track_event, name))
        for t_ns, event, name in sorted(events, key=lambda each: each[0]):  # stable, as the importer's sort is
            self._event(t_ns, event, name)
        assert not any(self._open.values()), "a slice never ends"

    def _state(self, packet: Any) -> None:
        if packet.sequence_flags == 1:
            self._names.clear()
            self._told.clear()
            self.default = packet.trace_packet_defaults.timestamp_clock_id
        self._names.update((each.iid, each.name) for each in packet.interned_data.event_names)
        self._told.update((each.iid, each.name) for each in packet.interned_data.debug_annotation_names)
        if packet.HasField("clock_snapshot"):
            self.clock = packet.clock_snapshot.primary_trace_clock
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            parent = self.tracks[track.parent_uuid] + "/" if track.parent_uuid else ""
            assert track.uuid not in self.tracks
            self.tracks[track.uuid] = parent + track.name
            if track.HasField("counter"):
                self.counters[parent + track.name] = []

    def _event(self, t_ns: int, event: Any, name: str) -> None:
        track = self.tracks[event.track_uuid]
        told = {self._told[a.name_iid]: a.string_value or a.int_value for a in event.debug_annotations}
        stack = self._open.setdefault(event.track_uuid, [])
        if event.type == perfetto.COUNTER:
            self.counters[track].append((t_ns, event.double_counter_value))
        elif event.type == perfetto.BEGIN:
            stack.append((name, t_ns, told))
        elif event.type == perfetto.END:
            begun, begin, held = stack.pop()
            self.slices.append((track, begun, begin, t_ns, held))
        else:
            self.instants.append((t_ns, name, told))


def recorded(tmp_path: Path, *records: Record) -> Recording:
    """Half a second at 1 kHz, ten ticks lost, and a journal of these records."""
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower")
    writer.keep(Ticks(STREAM, ticks(0, 300), epoch()))
    writer.keep(Ticks(STREAM, ticks(310, 190), epoch()))
    first = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})
    writer.keep(Records(JOURNAL_STREAM, 0, [first, engine(), *records]))
    writer.finish()
    return Recording(tmp_path / "rec")


def exported(recording: Recording, path: Path) -> Imported:
    perfetto.write_perfetto(recording, path)
    data = path.read_bytes()
    return Imported(gzip.decompress(data) if path.name.endswith(".gz") else data)


@pytest.mark.parametrize("name", ["trace.pftrace", "trace.pftrace.gz"])
def test_a_trace_has_counters_slices_and_marks(tmp_path: Path, name: str) -> None:
    """Rails are counters in watts, an inference holds its layers in order, marks keep their text, losses are shown."""
    mark = Record(Kind.MARK, T0_NS, {"name": "begin", "text": "warm"})
    clock = {"monotonic_ns": T0_NS, "boottime_ns": T0_NS + 5, "realtime_ns": 10**18, "bracket_ns": 100}
    recording = recorded(tmp_path, inference(7), mark, Record(Kind.CLOCK, T0_NS, clock))
    assert main(["export", str(recording.directory), "--perfetto", str(tmp_path / name)]) == 0
    data = (tmp_path / name).read_bytes()
    trace = Imported(gzip.decompress(data) if name.endswith("gz") else data)
    seen = ticks(0, 500)["t_ns"]
    assert trace.counters == {"power (simulated)/VDD_IN": [(seen[0], 5.0), (seen[-1], 5.0)]}
    layers = [s for s in trace.slices if s[0] == "inferences (simulated)/session 1"]
    assert [(s[1], s[4]) for s in layers] == [
        ("a", {}), ("b", {}), ("net", {"seq": 7}),
    ]  # fmt: skip
    assert [s[3] - s[2] for s in layers] == [3072, 4096, 10_000]
    assert layers[2][2:4] == (T0_NS, T0_NS + 10_000)
    assert T0_NS <= layers[0][2] <= layers[0][3] == layers[1][2] <= layers[1][3] <= T0_NS + 10_000
    assert trace.instants == [(T0_NS, "begin", {"text": "warm"})]
    assert ("lost ticks", "10 ticks lost", seen[299], seen[310], {}) in trace.slices
    clocks = {c.clock_id: c.timestamp for c in trace.trace.packet[0].clock_snapshot.clocks}
    assert clocks == {perfetto.MONOTONIC: T0_NS, perfetto.BOOTTIME: T0_NS + 5, perfetto.REALTIME: 10**18}


def test_the_written_trace_agrees_with_perfettos_own_schema(tmp_path: Path) -> None:
    """Perfetto's package reads every packet whole: no field is unknown to it, and all enumerations have names."""
    try:
        pb2 = importlib.import_module("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    except ImportError:
        pytest.skip("the package perfetto is not installed: pip install perfetto")
    recording = recorded(tmp_path, inference(7), Record(Kind.MARK, T0_NS, {"name": "begin", "text": "warm"}))
    perfetto.write_perfetto(recording, tmp_path / "t.pftrace")
    data = (tmp_path / "t.pftrace").read_bytes()
    trace = pb2.Trace.FromString(data)
    known = pb2.Trace.FromString(data)
    known.DiscardUnknownFields()
    assert known.SerializeToString() == trace.SerializeToString() and len(trace.packet) > 10
    types = {packet.track_event.type for packet in trace.packet if packet.HasField("track_event")}
    assert types == {pb2.TrackEvent.Type.Value(f"TYPE_{t}") for t in ("SLICE_BEGIN", "SLICE_END", "INSTANT", "COUNTER")}
    assert pb2.BuiltinClock.Value("BUILTIN_CLOCK_MONOTONIC") == perfetto.MONOTONIC


def test_inferences_that_overlap_get_lanes(tmp_path: Path) -> None:
    """Inferences of one session that run at once are on tracks of their own; ones that follow share a track."""
    runs = [inference(1), inference(2, t_ns=T0_NS + 4000), inference(3, t_ns=T0_NS + 10_000)]
    trace = exported(recorded(tmp_path, *runs), tmp_path / "t.pftrace")
    nets = {s[4]["seq"]: s[0].rpartition("/")[2] for s in trace.slices if s[1] == "net"}
    assert nets == {1: "session 1", 2: "session 1, lane 2", 3: "session 1"}


def test_an_engine_nobody_described_keeps_its_inferences(tmp_path: Path) -> None:
    """Its layers are numbered, and an empty journal or no clock at all gives a trace too."""
    trace = exported(recorded(tmp_path, inference(1, engine="f" * 64)), tmp_path / "t.pftrace")
    assert {s[1] for s in trace.slices} == {"f" * 12, "layer 0", "layer 1", "10 ticks lost"}
    empty = Writer(tmp_path / "empty", "ipc:///nowhere")
    empty.finish()
    assert exported(Recording(tmp_path / "empty"), tmp_path / "e.pftrace").tracks == {}


def test_times_fill_templates_exactly() -> None:
    """Times up to the end of 63 bits come back from many packets laid at once."""
    times = np.array([[0, 1], [127, 128], [2**49, 2**63 - 1]], np.int64)
    rows = perfetto.Template([b"\x48\x02", b"\x48\x01\x58\x07"]).rows(times)
    found = schema().FromString(rows.tobytes()).packet
    assert [packet.timestamp for packet in found] == times.reshape(-1).tolist()
    assert [packet.track_event.track_uuid for packet in found] == [0, 7] * 3


def test_a_trace_named_json_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and nothing is written; a folder that is not there is one line too."""
    folder = recorded(tmp_path).directory
    assert main(["export", str(folder), "--perfetto", str(tmp_path / "t.json.gz")]) == 2
    assert ".pftrace" in capsys.readouterr().err
    assert main(["export", str(folder), "--perfetto", str(tmp_path / "no" / "t.pftrace")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("neuralpower: ")
    assert [path.name for path in tmp_path.iterdir()] == ["rec"]


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Six segments need less than twice the memory of one: no segment is kept once it is written."""

    def peak(segments: int) -> int:
        writer = Writer(tmp_path / f"{segments}", "ipc:///run/neuralpower")
        writer.keep(Records(JOURNAL_STREAM, 0, [Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})]))
        for number in range(segments):
            made = ticks(number * 4_000, 4_000)
            made["readings"]["value"][:, 1] += np.arange(4_000)
            writer.keep(Ticks(STREAM, made, epoch()))
            writer.turn_over()
        writer.finish()
        recording = Recording(tmp_path / f"{segments}")
        tracemalloc.start()
        perfetto.write_perfetto(recording, tmp_path / f"{segments}.pftrace")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(6) < 2 * peak(1)


def test_parts_are_the_whole_once_and_in_order(tmp_path: Path) -> None:
    """Segments whose indices overlap, since a gap was repaired later, and what is still in the write-ahead log: each entry once."""
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower")
    first = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})
    for begin, count in ((0, 100), (150, 100)):
        writer.keep(Ticks(STREAM, ticks(begin, count), epoch()))
    writer.keep(Records(JOURNAL_STREAM, 0, [first, engine(), inference(1)]))
    writer.turn_over()
    writer.keep(Ticks(STREAM, ticks(100, 50), epoch()))
    writer.keep(Ticks(STREAM, ticks(250, 50), epoch()))
    writer.keep(Records(JOURNAL_STREAM, 3, [inference(2), Record(Kind.MARK, T0_NS, {"name": "m", "text": ""})]))
    writer.turn_over()
    writer.keep(Ticks(STREAM, ticks(300, 20), epoch()))
    writer.keep(Records(JOURNAL_STREAM, 5, [inference(3)]))
    writer.sync()
    recording = Recording(tmp_path / "rec")
    parts = list(recording.tick_parts(STREAM))
    assert np.concatenate(parts)["index"].tolist() == list(range(320)) and [len(part) for part in parts] == [300, 20]
    assert np.array_equal(np.concatenate(parts), recording.ticks())
    every = [record for part in recording.record_parts() for record in part]
    assert [record.kind for record in every] == [record.kind for record in recording.records()]
    chosen = [record.body["seq"] for part in recording.record_parts(Kind.INFERENCE) for record in part]
    assert chosen == [1, 2, 3] and set(recording.engines()) == {"abc"} and len(recording.epochs()) == 1
    writer.finish()


def test_fields_are_encoded_as_the_reference_does() -> None:
    """Varints at their edges, negative integers, doubles and text agree with google.protobuf."""
    told = schema()().packet.add().track_event.debug_annotations.add()
    assert varint(0) == b"\x00" and varint(127) == b"\x7f" and varint(300) == b"\xac\x02"
    for value in (0, 1, 127, 128, 2**31, 2**63 - 1):
        told.int_value = value
        assert integer(4, value) == told.SerializeToString()
    assert integer(4, -1) == b"\x20" + b"\xff" * 9 + b"\x01"
    told.Clear()
    told.string_value = "µ"
    assert text(6, "µ") == told.SerializeToString() and text(6, "\ud800") == message(6, b"?")
    assert double(44, 1.5)[-8:] == b"\x00\x00\x00\x00\x00\x00\xf8\x3f"
