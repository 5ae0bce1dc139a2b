"""trtexec's exports: ``--exportLayerInfo`` (NET.graph.json) beside ``--exportProfile`` (NET.profile.json).

The profile has a mean per layer over ``count`` inferences and no power, so the dataset has runtime only.
"""

from __future__ import annotations

from pathlib import Path

from neuralpower.dataset import dataset_of
from neuralpower.errors import InputError
from neuralpower.features.engine import layers_from_engine
from neuralpower.features.network import network_name, read_json
from neuralpower.importers.imported import Imported, Join, Measured

_GRAPH, _PROFILE = ".graph.json", ".profile.json"


def read(path: Path) -> Imported:
    """The pair that ``path`` belongs to, or every pair in a folder and one below. Raises InputError without any."""
    graphs = _graphs(path)
    rows: list[dict[str, object]] = []
    seen: list[str] = []
    skipped: list[str] = []
    for graph in graphs:
        profile = graph.with_name(graph.name.removesuffix(_GRAPH) + _PROFILE)
        if not profile.is_file():
            raise InputError(f"{profile}: no such file; trtexec writes it with --exportProfile={profile.name}")
        layers = layers_from_engine(read_json(graph), str(graph))
        join = Join(network_name(graph), "trtexec-profile")
        join.add(layers, _profile(profile))
        rows += join.rows
        skipped += join.skipped
        seen.append(f"{graph}: {len(join.rows)} of {len(layers)} layers measured")
    return Imported(dataset_of(rows, {"importer": "trtexec", "path": str(path)}), seen, skipped)


def _graphs(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted([*path.glob(f"*{_GRAPH}"), *path.glob(f"*/*{_GRAPH}")])
        if not found:
            raise InputError(f"{path}: no *{_GRAPH} in it; trtexec writes them with --exportLayerInfo")
        return found
    for suffix in (_GRAPH, _PROFILE):
        if path.name.endswith(suffix):
            return [path.with_name(path.name.removesuffix(suffix) + _GRAPH)]
    raise InputError(f"{path}: name a folder, a *{_GRAPH} or a *{_PROFILE}")


def _profile(file: Path) -> dict[str, Measured]:
    document = read_json(file)
    try:
        if not isinstance(document, list):
            raise TypeError
        count = int(next(entry["count"] for entry in document if "count" in entry))
        timed = {entry["name"]: float(entry["averageMs"]) * 1e-3 for entry in document if "name" in entry}
    except (KeyError, TypeError, ValueError, StopIteration):
        raise InputError(f"{file}: not a trtexec profile: a list with count, then name and averageMs") from None
    return {name: Measured([runtime], count=count) for name, runtime in timed.items()}
