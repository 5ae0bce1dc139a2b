"""No folder holds more files than a reader takes in at a look: what grows beyond that wants rooms inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ROOTS = ("align", "benchmarks", "client", "daemon", "sampler_c", "tests/worlds", "wire")
MOST = 14
"""Units of source in a folder: a module, or in C a source with its header."""
CROWDED = {
    "sampler_c/src": "one library in C, whose files find each other by name; units are named by their room (`chip_`, `ring_`, `source_`)",
    "wire/neuralpower_wire": "a module for each message and record that travels, as docs/wire.md lists them",
}
"""Folders that may hold more, and why."""


def folders() -> Iterator[tuple[str, set[str]]]:
    """Each folder of source and the units in it."""
    for root in ROOTS:
        for folder in sorted({file.parent for file in (CHECKOUT / root).rglob("*.[pch]*")}):
            units = {file.stem for file in folder.iterdir() if file.suffix in (".py", ".c", ".h")}
            yield str(folder.relative_to(CHECKOUT)), {unit for unit in units if not unit.startswith("__")}


def test_no_folder_is_crowded() -> None:
    crowded = {name: len(units) for name, units in folders() if len(units) > MOST}
    assert crowded.keys() == CROWDED.keys(), crowded
