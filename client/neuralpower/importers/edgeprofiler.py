"""EdgeProfiler's files: raw recordings, its preprocessed tables, and desktop latencies without power.

raw            ``<net>_power_log.log`` (time,mV,mA), ``trt_profiling/trt_layer_latency.json`` ({layer: [[ms, stamp]]}),
               ``trt_profiling/trt_engine_info.json``; ``idling_power.json`` (µW) in the folder or the one above
preprocessed   ``power_runtime_mapping_layerwise.csv`` (µW, ms per layer and cycle), ``trt_engine_info.json``
desktop        ``trt_layer_latency.json`` ({layer: [ms]}), ``trt_engine_info.json``; runtime only

A folder that holds such folders is read whole. Power is the board's, idle included, by that project's own rule: the
mean of the samples in [stamp - ms, stamp] (docs/dataset.md says why that is only a baseline).
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import dataset_of
from neuralpower.errors import InputError
from neuralpower.features.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.features.network import read_json
from neuralpower.importers.imported import Imported, Join, Measured
from neuralpower.importers.window_mean import window_mean

_ENGINE = "trt_engine_info.json"
_LATENCY = "trt_layer_latency.json"
_TABLE = "power_runtime_mapping_layerwise.csv"
_EPOCH = datetime(1970, 1, 1)


def read(path: Path) -> Imported:
    """Every network under ``path``. Raises InputError when there is none, or a file is broken."""
    if not path.is_dir():
        raise InputError(
            f"{path}: {'not a folder' if path.exists() else 'no such folder'}; EdgeProfiler data is a folder"
        )
    folders = [path] if kind_of(path) else [folder for folder in sorted(path.iterdir()) if kind_of(folder)]
    if not folders:
        raise InputError(f"{path}: no EdgeProfiler data: neither {_LATENCY} nor {_TABLE} in it or one folder below")
    rows: list[dict[str, object]] = []
    seen: list[str] = []
    skipped: list[str] = []
    idle: dict[str, float] = {}
    for folder in folders:
        kind = cast(str, kind_of(folder))
        network = folder.absolute().name
        layers, measured = _READERS[kind](folder)
        join = Join(network, "window-mean" if kind != "desktop" else "layer-profile")
        join.add(layers, measured)
        rows += join.rows
        skipped += join.skipped
        seen.append(f"{folder}: {kind}, {len(join.rows)} of {len(layers)} layers measured")
        watts = idle_power_w(folder) if kind == "raw" else None
        if watts is not None:
            idle[network] = watts
    provenance = {"importer": "edgeprofiler", "path": str(path), "idle_power_w": idle}
    return Imported(dataset_of(rows, provenance), seen, skipped)


def kind_of(folder: Path) -> str | None:
    """``raw``, ``preprocessed`` or ``desktop`` by what a folder holds; None when it is none of them."""
    if (folder / "trt_profiling" / _LATENCY).is_file():
        return "raw"
    if (folder / _TABLE).is_file():
        return "preprocessed"
    return "desktop" if (folder / _LATENCY).is_file() else None


def idle_power_w(folder: Path) -> float | None:
    """The board's idle power from ``idling_power.json`` in a raw folder or above it; None when there is none."""
    for place in (folder, folder.absolute().parent):
        file = place / "idling_power.json"
        if file.is_file():
            document = read_json(file)
            microwatts = document.get("avg_idle_power") if isinstance(document, dict) else None
            if not isinstance(microwatts, (int, float)):
                raise InputError(f"{file}: no number avg_idle_power")
            return microwatts * 1e-6
    return None


def power_log(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times (n,) in ns and watts (n,) of a power log, in order of time: lines ``YYYYMMDD-HH:MM:SS.ffffff,mV,mA``."""
    samples: list[tuple[int, float]] = []
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            stamp, millivolts, milliamperes = line.split(",")
            samples.append((stamp_ns(stamp), float(millivolts) * float(milliamperes) * 1e-6))
        except ValueError:
            raise InputError(f"{file}: line {number} is not time,mV,mA: {line[:60]!r}") from None
    samples.sort(key=lambda sample: sample[0])
    return np.array([s[0] for s in samples], dtype=np.int64), np.array([s[1] for s in samples], dtype=np.float64)


def stamp_ns(stamp: str) -> int:
    """``20241121-00:00:01.50`` in nanoseconds since 1970, its wall clock taken as it is; microseconds at best."""
    since = datetime.strptime(stamp.strip(), "%Y%m%d-%H:%M:%S.%f") - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _raw(folder: Path) -> tuple[list[Layer], dict[str, Measured]]:
    profiling = folder / "trt_profiling"
    logs = sorted(folder.glob("*_power_log.log"))
    if len(logs) != 1:
        raise InputError(f"{folder}: {len(logs)} files *_power_log.log, where one is needed")
    sample_ns, sample_w = power_log(logs[0])
    measured = {}
    for name, cycles in _latencies(profiling / _LATENCY).items():
        try:
            runtimes_ms = [float(ms) for ms, _ in cycles]
            end_ns = np.array([stamp_ns(stamp) for _, stamp in cycles], dtype=np.int64)
        except (TypeError, ValueError):
            raise InputError(f"{profiling / _LATENCY}: {name}: not a list of [ms, stamp]") from None
        # Whole microseconds, as the stamps have.
        begin_ns = end_ns - np.array([round(ms * 1000) * 1000 for ms in runtimes_ms], dtype=np.int64)
        powers = window_mean(sample_ns, sample_w, begin_ns, end_ns)
        measured[name] = Measured([ms * 1e-3 for ms in runtimes_ms], powers[~np.isnan(powers)].tolist())
    return _layers(profiling / _ENGINE), measured


def _desktop(folder: Path) -> tuple[list[Layer], dict[str, Measured]]:
    measured = {}
    for name, runtimes_ms in _latencies(folder / _LATENCY).items():
        try:
            measured[name] = Measured([float(ms) * 1e-3 for ms in runtimes_ms])
        except (TypeError, ValueError):
            raise InputError(f"{folder / _LATENCY}: {name}: not a list of milliseconds") from None
    return _layers(folder / _ENGINE), measured


def _preprocessed(folder: Path) -> tuple[list[Layer], dict[str, Measured]]:
    """The table names some layers that the engine lacks under that name: those are known by their type alone."""
    file = folder / _TABLE
    runtimes: dict[str, list[float]] = {}
    powers: dict[str, list[float]] = {}
    types: dict[str, str] = {}
    for number, line in enumerate(csv.DictReader(_text(file).splitlines()), 2):
        try:
            name, watts = line["layer_name"], line["layer_power_including_idle_power_micro_watt"]
            types[name] = line["layer_type"]
            runtimes.setdefault(name, []).append(float(line["layer_run_time"]) * 1e-3)
            powers.setdefault(name, []).extend([float(watts) * 1e-6] if watts else [])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{file}: line {number} lacks a layer's name, type, power or run time") from None
    layers = _layers(folder / _ENGINE)
    known = {layer.name for layer in layers}
    unlisted = [{"Name": name, "LayerType": kind} for name, kind in types.items() if name not in known]
    if unlisted:
        layers += layers_from_engine({"Layers": unlisted}, str(file))
    return layers, {name: Measured(runtimes[name], powers[name]) for name in runtimes}


_Reader = Callable[[Path], tuple[list[Layer], dict[str, Measured]]]
_READERS: dict[str, _Reader] = {"raw": _raw, "preprocessed": _preprocessed, "desktop": _desktop}


def _layers(file: Path) -> list[Layer]:
    return layers_from_engine(read_json(file), str(file))


def _latencies(file: Path) -> dict[str, list[Any]]:
    document = read_json(file)
    if not isinstance(document, dict) or not all(isinstance(cycles, list) for cycles in document.values()):
        raise InputError(f"{file}: not EdgeProfiler's layer latencies: an object of lists is needed")
    return document


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file") from None
