"""trtexec's exports: ``--exportLayerInfo`` (NET.graph.json) beside ``--exportProfile`` (NET.profile.json).

The profile has a mean per layer over ``count`` inferences and no power, so the dataset has runtime only. Which file of a pair is which
is told by its content; so are the files of a pair that have other names, where no name tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralpower.dataset import dataset_of
from neuralpower.documents import encoding_of, opened, printable, read_json
from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.network import network_name
from neuralpower.importers.imported import Imported, MeasuredLayer, NetworkJoin, distinct, folders_below
from neuralpower.profiler.description import content_hash

_GRAPH, _PROFILE = ".graph.json", ".profile.json"
_LAYERS = re.compile(r'\s*\{\s*"(?:Layers|Bindings|I/O Tensors)"')
_TIMES = re.compile(r'\s*\[\s*\{\s*"count"')
_SAYING = {
    "graph", "profile", "layer", "layers", "layerinfo", "info", "engine", "time", "times", "exportlayerinfo", "exportprofile", "trt", "trtexec",
}  # fmt: skip
"""Words of a file's name that say which of the two it is, and not of which network."""


def read(path: Path) -> Imported:
    """The pair that ``path`` belongs to, or every pair in a folder and below. InputError without any, or where a single pair is broken.

    Of several pairs a broken one is left out with its reason. Networks of one name are told apart by their files and folders.
    """
    pairs = _pairs(path)
    graphs = [graph for graph, _ in pairs]
    root = path if path.is_dir() else path.parent
    names = distinct(graphs, root, _name, lambda graph: graph.name.removesuffix(_GRAPH))
    rows: list[dict[str, object]] = []
    seen: list[str] = []
    skipped: list[str] = []
    for (graph, profile), name in zip(pairs, names, strict=True):
        try:
            join, listed = _pair(graph, profile, name)
        except InputError as error:
            if len(pairs) == 1:
                raise
            skipped.append(str(error))
            continue
        rows += join.rows
        skipped += join.skipped
        seen.append(f"{graph}: network {name}, {len(join.rows)} of {listed} layers measured")
    if not seen:
        raise InputError(skipped[0])
    return Imported(dataset_of(rows, {"importer": "trtexec", "path": str(path)}), seen, skipped)


def _pair(graph: Path, profile: Path, name: str) -> tuple[NetworkJoin, int]:
    """A pair's rows, and how many layers the engine has."""
    if not profile.is_file():
        raise InputError(f"{profile}: no such file; trtexec writes it with --exportProfile={profile.name}")
    engine, times = read_json(graph), read_json(profile)
    if isinstance(engine, list) and isinstance(times, dict):
        graph, profile, engine, times = profile, graph, times, engine
    layers = layers_from_engine(engine, str(graph))
    join = NetworkJoin(name, "trtexec-profile", content_hash(engine) if isinstance(engine, dict) else "")
    join.add(layers, _profile(profile, times))
    return join, len(layers)


def _pairs(path: Path) -> list[tuple[Path, Path]]:
    """The layers' file and that of their times, by their names, else by their content."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        found = [pair for folder in folders_below(path) for pair in _named(folder) or _told(folder)]
        if not found:
            raise InputError(f"{path}: no *{_GRAPH} in it; trtexec writes them with --exportLayerInfo=NET{_GRAPH}")
        return found
    for suffix in (_GRAPH, _PROFILE):
        if path.name.endswith(suffix):
            stem = path.name.removesuffix(suffix)
            return [(path.with_name(stem + _GRAPH), path.with_name(stem + _PROFILE))]
    pairs = [pair for pair in _told(path.parent) if path in pair]
    if not pairs:
        raise InputError(
            f"{path}: nothing beside it makes a pair with it; call them NET{_GRAPH} (--exportLayerInfo) and NET{_PROFILE} (--exportProfile)"
        )
    return pairs


def _named(folder: Path) -> list[tuple[Path, Path]]:
    graphs = sorted(folder.glob(f"*{_GRAPH}"))
    return [(graph, graph.with_name(graph.name.removesuffix(_GRAPH) + _PROFILE)) for graph in graphs]


def _told(folder: Path) -> list[tuple[Path, Path]]:
    """Pairs by what their files begin with: the only two of a folder, or those whose names have the same words but for what they are."""
    layers, times = list[Path](), list[Path]()
    for file in sorted(folder.glob("*.json")):
        try:
            head, _ = opened(file)
        except InputError:
            continue
        encoding, mark = encoding_of(head)
        text = head[mark:].decode(encoding, errors="replace")
        for form, found in ((_LAYERS, layers), (_TIMES, times)):
            if form.match(text):
                found.append(file)
    if len(layers) == len(times) == 1:
        return [(layers[0], times[0])]
    of = {_words(file): file for file in times}
    return [(file, of[_words(file)]) for file in layers if _words(file) in of]


def _words(file: Path) -> str:
    """The words of a file's name that say of which network it is."""
    words = re.split(r"[\W_]+", printable(file.name).lower().removesuffix(".json"))
    return "_".join(word for word in words if word and word not in _SAYING)


def _name(graph: Path) -> str:
    if graph.name.endswith(_GRAPH):
        return network_name(graph)
    return _words(graph) or printable(graph.absolute().parent.name)


def _profile(file: Path, document: object) -> list[tuple[str, MeasuredLayer]]:
    """Name and measurement of each layer in the profile's order; a name may occur more than once."""
    try:
        if not isinstance(document, list):
            raise TypeError
        count = int(next(entry["count"] for entry in document if "count" in entry))
        timed = [(str(entry["name"]), _mean_ms(entry, count) * 1e-3) for entry in document if "name" in entry]
    except (KeyError, TypeError, ValueError, OverflowError, StopIteration):
        raise InputError(
            f"{file}: not a trtexec profile: a list with count, then name and averageMs of each layer"
        ) from None
    if count < 1:
        raise InputError(f"{file}: a profile of {count} inferences; run trtexec for longer")
    if count >= 1 << 62:
        raise InputError(f"{file}: a count of inferences that nothing runs; write it again")
    return [(name, MeasuredLayer([runtime], count=count)) for name, runtime in timed]


def _mean_ms(entry: Mapping[str, Any], count: int) -> float:
    """A layer's mean, or what all inferences took together by their number."""
    return float(entry["averageMs"]) if "averageMs" in entry else float(entry["timeMs"]) / max(count, 1)
