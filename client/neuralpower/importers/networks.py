"""Whole networks as others measured them: a table, CSV or Parquet, with a row for each network's runtime, power or energy.

The header has ``network`` and at least ``runtime`` with a unit, beside it ``power`` or ``energy``; ``file`` names the network's engine
JSON or ONNX file from the table's folder, whose layers then stand in the dataset, unmeasured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import isfinite, isnan
from pathlib import Path
from typing import Any

from neuralpower.dataset import dataset_of, row
from neuralpower.dataset_networks import KEY, measured_whole
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network
from neuralpower.importers.columns import CONTRADICTED, ColumnTable, contradicts, read_columns
from neuralpower.importers.imported import Imported

COLUMNS = {
    **dict.fromkeys(("network", "file", "device", "precision"), "text"),
    **dict.fromkeys(("batch", "count"), "whole"),
    **dict.fromkeys(("runtime_s", "power_w", "energy_j", "runtime_se_s", "power_se_w", "energy_se_j"), "measured"),
}


def read(path: Path, mapping: Mapping[str, str] | None = None) -> Imported:
    """The networks in the dataset's provenance, and the layers of those whose file is named, without measurements of their own.

    Raises InputError where the table is broken or no row can be used. A row that cannot be is left out with its reason.
    """
    table = read_columns(path, COLUMNS, mapping or {})
    if "network" not in table.columns:
        raise InputError(f"{path}: no column network; --map THEIRS=network names it")
    rows: list[dict[str, object]] = []
    networks: list[dict[str, Any]] = []
    loaded: dict[tuple[str, int], list[Layer] | str] = {}
    for at in range(table.rows):
        entry, layers = _entry(table, at, loaded)
        if entry is None:
            continue
        networks.append(entry)
        about = {"network": entry["network"], "origin": "import", "method": "whole network", "engine": entry["engine"]}
        rows += [
            row(layer, position=place, device=table.text("device", at), **about) for place, layer in enumerate(layers)
        ]
    skipped = table.reasons()
    if not networks:
        raise InputError(
            f"{path}: no network in it can be used: {'; '.join(each.removeprefix(f'{path}: ') for each in skipped) or 'it has no row'}"
        )
    seen = [f"{path}: {len(networks)} of {table.rows} networks, {len(rows)} layers of those that name a file"]
    return Imported(dataset_of(rows, {"importer": "networks", "path": str(path), KEY: networks}), seen, skipped)


def _entry(
    table: ColumnTable, at: int, loaded: dict[tuple[str, int], list[Layer] | str]
) -> tuple[dict[str, Any] | None, list[Layer]]:
    """What the provenance keeps of a row and its layers; None, counted, where it cannot be used. `loaded`: files and batches that were
    read before, as layers or as the reason why not."""
    name = table.text("network", at)
    if not name:
        table.lack("network", "row(s) do not say it: left out")
        return None, []
    runtime, power, energy = (table.measured(column, at) for column in ("runtime_s", "power_w", "energy_j"))
    if isnan(runtime) or runtime == 0:
        told = bool(table.text("runtime_s", at))
        table.lack("runtime_s", f"network(s) {'have none that can be' if told else 'lack it'}: left out")
        return None, []
    if contradicts(runtime, power, energy):
        table.lack("energy_j", CONTRADICTED)
        return None, []
    power_se = table.measured("power_se_w", at)
    energy_se = table.measured("energy_se_j", at)
    if isnan(energy):
        energy, energy_se = power * runtime, power_se * runtime
    if isnan(energy):
        table.lack("power_w", "network(s) have a runtime alone, neither power nor energy")
    batch = table.integer("batch", at, None)
    if batch == 0:
        table.lack("batch", "row(s) hold 0: left out")
        return None, []
    found = _layers(table.path.parent, table.text("file", at), batch or 1, loaded)
    if isinstance(found, str):
        table.left_out.append(f"{table.place(at)}: {found}: without its layers")
    # The same network at two batch sizes or on two devices is two.
    identity = "\0".join(
        [name, str(batch), table.text("precision", at), table.text("device", at), str(table.numbers[at])]
    )
    return measured_whole(
        name, hashlib.sha256(identity.encode()).hexdigest(), table.integer("count", at, 0) or 0, runtime,
        energy, runtime_se_s=table.measured("runtime_se_s", at), energy_se_j=energy_se if isfinite(energy_se) else float("nan"),
    ), [] if isinstance(found, str) else found  # fmt: skip


def _layers(folder: Path, file: str, batch: int, loaded: dict[tuple[str, int], list[Layer] | str]) -> list[Layer] | str:
    """The layers of a file, each read once; none without a file, and the reason where it cannot be read."""
    if not file:
        return []
    if (file, batch) not in loaded:
        try:
            loaded[file, batch] = load_network(folder / file, batch).layers
        except InputError as error:
            loaded[file, batch] = str(error)
    return loaded[file, batch]
