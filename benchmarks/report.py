"""What a part gives: a table for people, build/bench/<part>.json for machines, and notes that belong to the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from neuralpower.console import table

from .machine import OUT
from .statistics import Row


@dataclass
class Result:
    """Rows, and what must be known to read them. `failed`: a part that must hold does not."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False


def show(title: str, result: Result) -> None:
    """Print rows and notes."""
    if result.rows:
        head = ("what", "unit", "ours", "reference", "ratio", "95 % interval", "bar", "verdict", "runs")
        table(title, head, [_cells(row) for row in result.rows])
    else:
        print(title)
    for note in result.notes:
        print(f"  note: {note}")
    print()


def _cells(row: Row) -> list[str | int]:
    interval = f"{row.low:.3f} to {row.high:.3f}"
    figures = [f"{row.ours:.4g}", f"{row.reference:.4g}", f"{row.ratio:.3f}", interval]
    return [row.name, row.unit, *figures, str(row.bar or ""), row.verdict, row.runs]


def store(part: str, rows: Sequence[Row]) -> None:
    """Write build/bench/<part>.json."""
    OUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps([row.document() for row in rows], indent=2, ensure_ascii=False)
    (OUT / f"{part}.json").write_text(text + "\n")
