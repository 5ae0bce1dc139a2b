"""Tables and progress: drawn with rich on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .names import drawn_on, printable

EVERY_S = 30.0
"""Where progress is written in lines there is none in less: a log of minutes has a few."""
Cell = str | int | float | None


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, simulated: bool = False) -> None:
    """Print a table on stdout. Text columns are left-aligned, number columns right; None and nan show as a dash.

    Args:
        title: one line above the table; "(simulated)" is added to it when `simulated`.
        columns: the headings; put units here.
        rows: cells, already rounded strings or plain numbers.
    """
    heading = printable(f"{title} (simulated)" if simulated else title)
    columns = [printable(name) for name in columns]
    cells = [[text(cell) for cell in row] for row in rows]
    right = [all(_numeric(row[i]) for row in cells) and bool(cells) for i in range(len(columns))]
    if sys.stdout.isatty():
        _rich_table(heading, columns, cells, right)
        return
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    print(heading)
    for line in [list(columns), ["-" * width for width in widths], *cells]:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)]
        print("  " + "  ".join(padded).rstrip())
    print()


def text(cell: Cell) -> str:
    """A cell as text in one line: four significant digits for floats, a dash for nothing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return printable(str(cell))


def shortened(name: str, width: int = 48) -> str:
    """`name` in one line of at most `width` characters, its middle left out: layers' names differ at both ends."""
    name = printable(name)
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[head + 1 - width :]}"


def _numeric(cell: str) -> bool:
    return cell == "-" or cell.lstrip("+-±").replace("±", "").replace("%", "").replace(" ", "")[:1].isdigit()


def _rich_table(heading: str, columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(heading, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name, is_right in zip(columns, right, strict=True):
        drawn.add_column(Text(name), justify="right" if is_right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(file=drawn_on(sys.stdout)).print(drawn)


def print_json(value: Any) -> None:
    """Print `value` as JSON for machines; numpy values become plain ones, nan becomes null."""
    print(json.dumps(plain(value), indent=2))


def plain(value: Any) -> Any:
    """`value` with only what JSON knows: dict, list, str, int, finite float, bool, None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    numpy = sys.modules.get("numpy")  # where nobody has imported it nothing is its own
    if numpy is not None and isinstance(value, numpy.ndarray):
        return plain(value.tolist())
    if numpy is not None and isinstance(value, numpy.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def note(line: str) -> None:
    """Print a line for people on stderr: what they may want to know, and what ends nothing."""
    print(f"neuralpower: {printable(line)}", file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: float | None = None) -> Iterator[Callable[[float, str], None]]:
    """Show progress on stderr while the block runs; yields `advance(done, note)`.

    On a terminal it is a bar that clears itself, with the time that has passed, and what is left where there is a `total`; elsewhere a line where it begins, and
    where there is a total one each EVERY_S.
    """
    label = printable(label)
    if not sys.stderr.isatty():
        print(f"{label} ...", file=sys.stderr, flush=True)
        yield _in_lines(label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(file=drawn_on(sys.stderr))
    words = [TextColumn(part, markup=False) for part in ("{task.description}", "{task.fields[note]}")]
    layout: list[ProgressColumn] = [words[0], BarColumn(), words[1], TimeElapsedColumn()]
    if total is not None:
        layout += [TextColumn("left"), TimeRemainingColumn()]
    with Progress(*layout, console=console, transient=True) as bars:
        task = bars.add_task(label, total=total, note="")
        yield lambda done, note: bars.update(task, completed=done, note=printable(note))


def _in_lines(label: str, total: float | None) -> Callable[[float, str], None]:
    """What `progress` yields where there is no terminal."""
    begin_s = last_s = time.monotonic()

    def advance(done: float, note: str) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if not total or not 0 < done < total or now_s < last_s + EVERY_S:
            return
        last_s = now_s
        left_s = (now_s - begin_s) * (total - done) / done
        print(f"{label} ... {done / total:.0%}, about {left_s:.0f} s left {note}".rstrip(), file=sys.stderr, flush=True)

    return advance
