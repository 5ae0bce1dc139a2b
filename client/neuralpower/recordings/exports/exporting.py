"""A recording as CSV tables for other tools; the trace is in :mod:`neuralpower.recordings.exports.perfetto`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.windows import layer_windows
from neuralpower_wire import explained, rail_power_w, total_power_w
from neuralpower_wire.files import replacing

from ...names import csv_name
from ..devices.clock import ClockMapping
from ..recording import Inference, Recording


def write_csv(recording: Recording, folder: Path) -> dict[str, int]:
    """Write rails.csv, inferences.csv and layers.csv; returns path -> rows. Times are ns of CLOCK_MONOTONIC.

    `recorder_ns` is the same on the recorder's clock, to `recorder_bound_ns`; empty where nothing compared the two. Each row says whether it is simulated. Layers lie where their durations put them between the host anchors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    simulated = int(recording.simulated)
    epochs = [epoch for stream in recording.streams for epoch in recording.epochs(stream)]
    rails = list(dict.fromkeys(rail for epoch in epochs for rail in epoch.rails()))
    tables: list[tuple[str, list[str], Iterable[Sequence[Any]]]] = [
        (
            "rails.csv",
            [
                "stream",
                "index",
                "slot",
                "t_ns",
                "epoch",
                *(csv_name(f"{rail}_w") for rail in rails),
                "total_w",
                "simulated",
                "recorder_ns",
                "recorder_bound_ns",
            ],
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
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(row)
            count += 1
        text.detach()
    return count


def _rail_rows(recording: Recording, rails: list[str], simulated: int) -> Iterator[Sequence[Any]]:
    for stream in recording.streams:
        epochs = recording.epochs(stream)
        clock = recording.recorder_clock(stream)
        for whole in recording.tick_parts(stream):
            for epoch, ticks in explained(whole, epochs):
                count = len(ticks)
                power = rail_power_w(epoch, ticks) if epoch else {}
                total = _texts(total_power_w(epoch, ticks)) if epoch else [""] * count
                columns: list[list[Any]] = [ticks[name].tolist() for name in ("index", "slot", "t_ns", "epoch")]
                columns += [_texts(power[rail]) if rail in power else [""] * count for rail in rails]
                columns += [total, [simulated] * count, *_on(clock, ticks["t_ns"])]
                yield from zip([stream.hex()] * count, *columns, strict=True)


def _on(clock: ClockMapping, t_ns: npt.NDArray[np.int64]) -> tuple[list[Any], list[Any]]:
    """Times on the recorder's clock, and what they may be wrong by, in ns; empty where nothing compared the clocks."""
    if not clock:
        return [""] * len(t_ns), [""] * len(t_ns)
    times, bounds = clock.to_recorder_ns(t_ns)
    return times.tolist(), np.ceil(bounds).astype(np.int64).tolist()


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
            csv_name(each.engine),
            csv_name(name),
            each.begin_ns,
            each.end_ns,
            layers_ns,
            simulated,
        )


def _layer_rows(recording: Recording, simulated: int) -> Iterator[Sequence[Any]]:
    engines = recording.engines()
    for each in recording.inferences():
        for layer, name, begin, end, duration in _layers(each, engines):
            yield each.index, layer, csv_name(name), begin, end, duration, simulated


def _layers(inference: Inference, engines: dict[str, dict[str, Any]]) -> Iterator[tuple[int, str, int, int, int]]:
    """Position, name, begin, end and reported duration of each layer of an inference."""
    names = engines[inference.engine]["layers"] if inference.engine in engines else []
    durations = inference.durations_ns.tolist()
    windows = layer_windows(inference.begin_ns, inference.end_ns, inference.durations_ns).tolist()
    for layer, ((begin, end), duration) in enumerate(zip(windows, durations, strict=True)):
        yield layer, names[layer] if layer < len(names) else f"layer {layer}", begin, end, duration
