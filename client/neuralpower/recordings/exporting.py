"""A recording for other tools: CSV tables, and a trace in Chrome's JSON format, which ui.perfetto.dev opens.

Trace format: "Trace Event Format" (Chromium): complete slices "X", counters "C", names "M"; times in µs.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from neuralpower_align.windows import layer_windows
from neuralpower_wire import Kind

from .recording import Inference, Recording

ROWS_AT_ONCE = 100_000
"""Ticks turned into text at a time: bounds memory to some 50 MB, however long the recording."""
RAILS_PID, INFERENCES_PID = 1, 2


def write_csv(recording: Recording, folder: Path) -> dict[str, int]:
    """Write rails.csv, inferences.csv and layers.csv; returns path -> rows. Times are ns of CLOCK_MONOTONIC.

    Each row says whether it is simulated. Layers lie where their durations put them between the host anchors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    simulated = int(recording.simulated)
    epochs = [epoch for stream in recording.streams for epoch in recording.epochs(stream)]
    rails = list(dict.fromkeys(rail for epoch in epochs for rail in epoch.rails()))
    tables: list[tuple[str, list[str], Iterable[Sequence[Any]]]] = [
        (
            "rails.csv",
            ["stream", "index", "slot", "t_ns", "epoch", *(f"{rail}_w" for rail in rails), "total_w", "simulated"],
            _rail_rows(recording, rails, simulated),
        ),
        (
            "inferences.csv",
            ["index", "session", "seq", "engine", "name", "begin_ns", "end_ns", "layers_ns", "simulated"],
            _inference_rows(recording, simulated),
        ),
        (
            "layers.csv",
            ["inference", "layer", "name", "begin_ns", "end_ns", "duration_ns", "simulated"],
            _layer_rows(recording, simulated),
        ),
    ]
    return {str(folder / name): _write(folder / name, columns, rows) for name, columns, rows in tables}


def _write(path: Path, columns: list[str], rows: Iterable[Sequence[Any]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def _rail_rows(recording: Recording, rails: list[str], simulated: int) -> Iterator[Sequence[Any]]:
    for stream in recording.streams:
        ticks, power, total = recording.ticks(stream), recording.rail_power_w(stream), recording.total_power_w(stream)
        for begin in range(0, len(ticks), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            columns: list[list[Any]] = [ticks[name][part].tolist() for name in ("index", "slot", "t_ns", "epoch")]
            count = len(columns[0])
            columns += [_texts(power[rail][part]) if rail in power else [""] * count for rail in rails]
            yield from zip([stream.hex()] * count, *columns, _texts(total[part]), [simulated] * count, strict=True)


def _texts(values: Any) -> list[str]:
    """Watts to the microwatt, empty where not known."""
    return ["" if value != value else f"{value:.6f}" for value in values.tolist()]


def _inference_rows(recording: Recording, simulated: int) -> Iterator[Sequence[Any]]:
    engines = recording.engines()
    for each in recording.inferences():
        name = engines[each.engine]["name"] if each.engine in engines else ""
        layers_ns = int(each.durations_ns.sum())
        yield (
            each.index,
            each.session.hex(),
            each.seq,
            each.engine,
            name,
            each.begin_ns,
            each.end_ns,
            layers_ns,
            simulated,
        )


def _layer_rows(recording: Recording, simulated: int) -> Iterator[Sequence[Any]]:
    engines = recording.engines()
    for each in recording.inferences():
        for layer, name, begin, end, duration in _layers(each, engines):
            yield each.index, layer, name, begin, end, duration, simulated


def _layers(inference: Inference, engines: dict[str, dict[str, Any]]) -> Iterator[tuple[int, str, int, int, int]]:
    """Position, name, begin, end and reported duration of each layer of an inference."""
    names = engines[inference.engine]["layers"] if inference.engine in engines else []
    durations = inference.durations_ns.tolist()
    windows = layer_windows(inference.begin_ns, inference.end_ns, inference.durations_ns).tolist()
    for layer, ((begin, end), duration) in enumerate(zip(windows, durations, strict=True)):
        yield layer, names[layer] if layer < len(names) else f"layer {layer}", begin, end, duration


def write_perfetto(recording: Recording, path: Path) -> dict[str, int]:
    """Write a trace: rails as counters, inferences and layers as slices, marks and events as instants; returns path -> events."""
    count = 0
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write('{"displayTimeUnit":"ns","otherData":' + json.dumps({"simulated": recording.simulated}))
        file.write(',"traceEvents":[\n')
        for event in _events(recording):
            _put(file, event, count)
            count += 1
        file.write("\n]}\n")
    return {str(path): count}


def _put(file: TextIO, event: dict[str, Any], number: int) -> None:
    file.write((",\n" if number else "") + json.dumps(event, separators=(",", ":")))


def _events(recording: Recording) -> Iterator[dict[str, Any]]:
    mark = " (simulated)" if recording.simulated else ""
    for pid, name in ((RAILS_PID, f"rails{mark}"), (INFERENCES_PID, f"inferences{mark}")):
        yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
    for stream in recording.streams:
        yield from _counters(recording, stream)
    engines = recording.engines()
    sessions: dict[bytes, int] = {}
    for inference in recording.inferences():
        thread = sessions.setdefault(inference.session, len(sessions) + 1)
        name = engines[inference.engine]["name"] if inference.engine in engines else inference.engine[:12]
        yield _slice(name, thread, inference.begin_ns, inference.end_ns, {"seq": inference.seq})
        for _, layer, begin, end, duration in _layers(inference, engines):
            yield _slice(layer, thread, begin, end, {"duration_ns": duration})
    for record in recording.records():
        if record.kind in (Kind.MARK, Kind.EVENT):
            at = {"ph": "i", "s": "g", "pid": INFERENCES_PID, "tid": 0, "ts": record.t_ns / 1e3}
            yield {**at, "name": record.body["name"], "args": {"text": record.body["text"]}}


def _counters(recording: Recording, stream: bytes) -> Iterator[dict[str, Any]]:
    """A counter per rail; only its changes are written, which draws the same and is a tenth of the size."""
    t_us = (recording.ticks(stream)["t_ns"] / 1e3).tolist()
    for rail, watts in recording.rail_power_w(stream).items():
        before = None
        for at, value in zip(t_us, watts.round(6).tolist(), strict=True):
            if value == value and value != before:
                yield {"ph": "C", "pid": RAILS_PID, "name": f"{rail} W", "ts": at, "args": {"W": value}}
                before = value


def _slice(name: str, thread: int, begin_ns: int, end_ns: int, args: dict[str, Any]) -> dict[str, Any]:
    times = {"ts": begin_ns / 1e3, "dur": (end_ns - begin_ns) / 1e3}
    return {"ph": "X", "pid": INFERENCES_PID, "tid": thread, "name": name, **times, "args": args}
