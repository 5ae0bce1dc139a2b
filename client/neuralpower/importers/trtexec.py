"""trtexec's exports: ``--exportLayerInfo`` (NET.graph.json) beside ``--exportProfile`` (NET.profile.json).

The profile has a mean per layer over ``count`` inferences and no power, so the dataset has runtime only. Which file of a pair is which
is told by its content.
"""

from __future__ import annotations

from pathlib import Path

from neuralpower.dataset import dataset_of
from neuralpower.documents import read_json
from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.network import network_name
from neuralpower.importers.imported import Imported, MeasuredLayer, NetworkJoin, distinct, folders_below
from neuralpower.profiler.description import content_hash

_GRAPH, _PROFILE = ".graph.json", ".profile.json"


def read(path: Path) -> Imported:
    """The pair that ``path`` belongs to, or every pair in a folder and below. InputError without any, or where a single pair is broken.

    Of several pairs a broken one is left out with its reason. Networks of one name are told apart by their files and folders.
    """
    graphs = _graphs(path)
    root = path if path.is_dir() else path.parent
    names = distinct(graphs, root, network_name, lambda graph: graph.name.removesuffix(_GRAPH))
    rows: list[dict[str, object]] = []
    seen: list[str] = []
    skipped: list[str] = []
    for graph, name in zip(graphs, names, strict=True):
        try:
            join, listed = _pair(graph, name)
        except InputError as error:
            if len(graphs) == 1:
                raise
            skipped.append(str(error))
            continue
        rows += join.rows
        skipped += join.skipped
        seen.append(f"{graph}: network {name}, {len(join.rows)} of {listed} layers measured")
    if not seen:
        raise InputError(skipped[0])
    return Imported(dataset_of(rows, {"importer": "trtexec", "path": str(path)}), seen, skipped)


def _pair(graph: Path, name: str) -> tuple[NetworkJoin, int]:
    """A pair's rows, and how many layers the engine has."""
    profile = graph.with_name(graph.name.removesuffix(_GRAPH) + _PROFILE)
    if not profile.is_file():
        raise InputError(f"{profile}: no such file; trtexec writes it with --exportProfile={profile.name}")
    engine, times = read_json(graph), read_json(profile)
    if isinstance(engine, list) and isinstance(times, dict):
        graph, profile, engine, times = profile, graph, times, engine
    layers = layers_from_engine(engine, str(graph))
    join = NetworkJoin(name, "trtexec-profile", content_hash(engine) if isinstance(engine, dict) else "")
    join.add(layers, _profile(profile, times))
    return join, len(layers)


def _graphs(path: Path) -> list[Path]:
    if path.is_dir():
        found = [graph for folder in folders_below(path) for graph in sorted(folder.glob(f"*{_GRAPH}"))]
        if not found:
            raise InputError(f"{path}: no *{_GRAPH} in it; trtexec writes them with --exportLayerInfo=NET{_GRAPH}")
        return found
    for suffix in (_GRAPH, _PROFILE):
        if path.name.endswith(suffix):
            return [path.with_name(path.name.removesuffix(suffix) + _GRAPH)]
    raise InputError(f"{path}: name a folder, a *{_GRAPH} or a *{_PROFILE}, which tell the two files of a pair apart")


def _profile(file: Path, document: object) -> list[tuple[str, MeasuredLayer]]:
    """Name and measurement of each layer in the profile's order; a name may occur more than once."""
    try:
        if not isinstance(document, list):
            raise TypeError
        count = int(next(entry["count"] for entry in document if "count" in entry))
        timed = [(str(entry["name"]), float(entry["averageMs"]) * 1e-3) for entry in document if "name" in entry]
    except (KeyError, TypeError, ValueError, OverflowError, StopIteration):
        raise InputError(
            f"{file}: not a trtexec profile: a list with count, then name and averageMs of each layer"
        ) from None
    if count < 1:
        raise InputError(f"{file}: a profile of {count} inferences; run trtexec for longer")
    return [(name, MeasuredLayer([runtime], count=count)) for name, runtime in timed]
