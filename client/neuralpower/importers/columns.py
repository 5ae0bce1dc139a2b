"""A table of somebody's own, CSV or Parquet, as columns of ours: names, units and what is missing."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from neuralpower.dataset import why_implausible
from neuralpower.documents import opened, read_text, whole_lines
from neuralpower.errors import InputError

MOST_ROWS = 2_000_000
"""A table of more does not fit into memory beside its dataset on a machine with 8 GiB."""
MOST_COLUMNS = 1000

_UNITS = {
    "runtime_s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "power_w": {"w": 1.0, "mw": 1e-3, "uw": 1e-6},
    "energy_j": {"j": 1.0, "mj": 1e-3, "uj": 1e-6},
}
"""What is measured, and the units that the end of a column's name may tell. A standard error has `_se` before its unit."""

CONTRADICTION = 2.0
"""An energy is runtime times power to this factor. Means of different runs differ by percents, units by a thousand."""

CONTRADICTED = "row(s) hold one that is not runtime times power, by more than a factor of two: left out"

_BRACKETS = re.compile(r"[(\[]\s*([^()\[\]]+?)\s*[)\]]$")
"""A unit in brackets at the end of a name."""

_OTHER_UNITS = {
    "sec", "secs", "second", "seconds", "msec", "millisecond", "milliseconds", "usec", "microsecond", "microseconds", "min", "minutes",
    "watt", "watts", "milliwatt", "milliwatts", "kw", "joule", "joules", "millijoule", "millijoules", "kj", "wh", "mwh", "kwh",
}  # fmt: skip
"""Ways to write a unit, or units, that are not taken."""

_MEGA = re.compile(r"[\s_(\[]M[JW][)\]]?$")
"""A million of a unit, where the rest of the name is not in capitals too: as ours it would be read as a thousandth."""

DELIMITERS = ",;\t|"
_TOLD_DELIMITER = re.compile(r"sep=(.)\s*$", re.I)
"""A first line by which Excel is told what divides the columns."""


@dataclass
class ColumnTable:
    """Columns by our names, as text; factors of the measured ones to SI, and a line for each thing that was left out."""

    path: Path
    columns: dict[str, list[str]]
    factors: dict[str, float]
    numbers: list[int]
    """Of each row: its line in a CSV file, its place from 1 in a Parquet file."""
    comma: bool = False
    """Whether a number has a comma where others have a point, as tables have that are divided by semicolons."""
    left_out: list[str] = field(default_factory=list)
    theirs: dict[str, str] = field(default_factory=dict)
    """Our name of a column -> what the file calls it, where it has one."""
    _lacking: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return len(self.numbers)

    def text(self, name: str, at: int) -> str:
        """The cell of a row, empty where there is no such column."""
        return self.columns[name][at] if name in self.columns else ""

    def called(self, name: str) -> str:
        """What the file calls a column of ours; our name where it has none."""
        return self.theirs.get(name, name)

    def lack(self, column: str, whom: str) -> None:
        """Count a row that cannot be used, for want of a column or of a cell in it."""
        self._lacking[column, whom] += 1

    def integer(self, name: str, at: int, default: int | None) -> int | None:
        """A size; ``default`` where the cell is empty. InputError on what is no whole number of 0 or more."""
        cell = self.text(name, at)
        if not cell:
            return default
        try:
            value = self._number(cell)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1 << 31 or value != int(value):
            raise InputError(f"{self.place(at)}: {self.called(name)} is {cell[:40]!r}, not a whole number of 0 or more")
        return int(value)

    def measured(self, name: str, at: int) -> float:
        """runtime_s, power_w, energy_j or the standard error of one, in SI; nan where it is not told, or cannot be, which is counted."""
        cell = self.text(name, at)
        if not cell or cell.lower() in ("nan", "na", "n/a", "none", "null", "-"):
            return float("nan")
        try:
            value = self._number(cell) * self.factors[name]
        except ValueError:
            raise InputError(f"{self.place(at)}: {self.called(name)} is {cell[:40]!r}, not a number") from None
        if why := why_implausible(name.replace("_se_", "_"), value):
            self._lacking[name, f"row(s) hold one that is {why}: not taken"] += 1
            return float("nan")
        return value

    def place(self, at: int) -> str:
        """Where a row stands, for errors."""
        return f"{self.path}: row {self.numbers[at]}"

    def _number(self, cell: str) -> float:
        return float(cell.replace(",", ".") if self.comma else cell)

    def reasons(self) -> list[str]:
        """What was left out, a line for each column and reason."""
        lines = [
            f"{self.path}: column {self.called(column)}: {'' if column in self.columns else 'missing; '}{count} {whom}"
            for (column, whom), count in self._lacking.items()
        ]
        return self.left_out + lines


def read_columns(path: Path, known: Mapping[str, str], mapping: Mapping[str, str]) -> ColumnTable:
    """The table in a file, told by its content.

    Args:
        known: the columns that are of use, without units, and what each is; `mapping` theirs -> ours, with the unit in our name.

    Raises InputError where it is neither CSV with a header nor Parquet, has two columns for one, or none that is known.
    """
    head, _ = opened(path)
    names, cells, table = _parquet(path) if head.startswith(b"PAR1") else _csv(path)
    lost = [theirs for theirs in mapping if theirs not in names]
    if lost:
        raise InputError(f"{path}: --map {lost[0]}=…: no such column; there are {', '.join(names[:40])}")
    unknown = []
    for theirs, column in zip(names, cells, strict=True):
        called = mapping.get(theirs, theirs)
        name, factor = _ours(_plain(called))
        if _MEGA.search(called) and not called.isupper():
            name = _plain(called).rpartition("_")[0]
        if name not in known:
            units = _units_of(name, known)
            if theirs in mapping:
                there = units or f"no such column of ours; there are {', '.join(known)}"
                raise InputError(f"{path}: --map {theirs}={mapping[theirs]}: {there}")
            if units:
                table.left_out.append(f"{path}: column {theirs}: {units}; not taken")
            else:
                unknown.append(theirs)
            continue
        if name in table.columns:
            raise InputError(f"{path}: two columns for {name}; name one of them otherwise, or leave one out")
        table.columns[name], table.factors[name], table.theirs[name] = column, factor, theirs
    if not table.columns:
        raise InputError(
            f"{path}: no known column in {', '.join(names[:40])}; known are {', '.join(known)}; --map THEIRS=OURS names them"
        )
    if unknown:
        table.left_out.append(
            f"{path}: columns of no use here: {', '.join(unknown[:40])}; --map THEIRS=OURS names one that is"
        )
    return table


def mapping_of(given: list[str]) -> dict[str, str]:
    """``theirs=ours`` of each option; the last = divides, since names of others hold what they like. InputError where there is none."""
    pairs = {}
    for each in given:
        theirs, equals, ours = each.rpartition("=")
        if not equals or not theirs or not ours:
            raise InputError(f"--map {each}: write THEIRS=OURS, such as --map latency=runtime_ms")
        pairs[theirs] = ours
    return pairs


def _plain(name: str) -> str:
    """A column's name as ours are written: ``Runtime (ms)`` and ``runtime [ms]`` are runtime_ms."""
    words = _BRACKETS.sub(r" \1", name.strip().lower().replace("µ", "u").replace("μ", "u"))
    return "_".join(words.split())


def _ours(name: str) -> tuple[str, float]:
    """A column's name without its unit, as the dataset has it, and the factor to SI."""
    stem, _, unit = name.rpartition("_")
    for ours, units in _UNITS.items():
        quantity, _, si = ours.rpartition("_")
        if unit in units and stem in (quantity, f"{quantity}_se"):
            return f"{stem}_{si}", units[unit]
    return name, 1.0


def _units_of(name: str, known: Mapping[str, str]) -> str:
    """What a column of a measured quantity must be called, where its name ends in no unit of it; "" of any other."""
    for ours, units in _UNITS.items():
        quantity = ours.rpartition("_")[0]
        stem = f"{quantity}_se" if name.startswith(f"{quantity}_se") else quantity
        if ours in known and (name == stem or name.removeprefix(f"{stem}_") in _OTHER_UNITS):
            return f"its name must end in its unit: {', '.join(f'{stem}_{unit}' for unit in units)}"
    return ""


def contradicts(runtime_s: float, power_w: float, energy_j: float) -> bool:
    """Whether all three are told and do not go together: one of them is of something else, or in another unit."""
    told = runtime_s * power_w
    return isfinite(energy_j) and told > 0 and not told / CONTRADICTION <= energy_j <= told * CONTRADICTION


_Cells = tuple[list[str], list[list[str]], ColumnTable]


def _csv(path: Path) -> _Cells:
    """Names, cells by column and an empty table; the delimiter is the one that the header has most of."""
    lines, left_out = whole_lines(path, read_text(path))
    told = _TOLD_DELIMITER.match(lines[0]) if lines else None
    above = 1 if told else next((at for at, line in enumerate(lines) if _is_content(line)), len(lines))
    if above >= len(lines) or not lines[above].strip():
        why = f": {left_out[0].removeprefix(f'{path}: ')}" if left_out else ""
        raise InputError(f"{path}: no header; its first line names the columns{why}")
    delimiter = told[1] if told else max(DELIMITERS, key=lines[above].count)
    reader = csv.reader(io.StringIO("\n".join(lines[above:])), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        header = [name.strip() for name in next(reader)]
        _check(path, header, len(lines))
        for row in reader:
            if any(row):
                rows.append(row)
                numbers.append(above + reader.line_num)
            if row and len(row) != len(header):
                raise InputError(
                    f"{path}: line {above + reader.line_num} has {len(row)} cells, the header {len(header)}"
                )
    except csv.Error as error:
        raise InputError(f"{path}: taken for CSV, which breaks at line {above + reader.line_num}: {error}") from None
    cells = [[row[at].strip() for row in rows] for at in range(len(header))]
    return header, cells, ColumnTable(path, {}, {}, numbers, delimiter == ";", left_out)


def _is_content(line: str) -> bool:
    """Whether a line above the header is the header: empty lines and remarks (#) may stand there."""
    return bool(line.strip(" \t\r\ufeff")) and not line.lstrip().startswith("#")


def _parquet(path: Path) -> _Cells:
    import pyarrow as pa

    from neuralpower import parquet

    try:
        rows, columns = parquet.size(path)
        _check(path, [str(at) for at in range(columns)], rows)
        table = parquet.read_table(path)
        names = [str(name) for name in table.column_names]
        _check(path, names, rows)
        cells = [_texts(column) for column in table.columns]
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as Parquet: {told}") from None
    return names, cells, ColumnTable(path, {}, {}, list(range(1, len(table) + 1)))


def _texts(column: Any) -> list[str]:
    """A column's cells as text, empty where there is none."""
    try:
        values = column.to_pylist()
    except ValueError:  # a time finer than Python's
        values = column.cast("string").to_pylist()
    return [
        "" if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in values
    ]


def _check(path: Path, names: list[str], rows: int) -> None:
    if rows > MOST_ROWS or len(names) > MOST_COLUMNS:
        raise InputError(
            f"{path}: {rows:,} rows of {len(names):,} columns; at most {MOST_ROWS:,} of {MOST_COLUMNS:,} are read"
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise InputError(f"{path}: two columns are called {twice[0]!r}")
