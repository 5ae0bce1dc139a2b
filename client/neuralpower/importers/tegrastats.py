"""tegrastats: the log of a Jetson's own monitor, in every form its line has had.

A rail is ``NAME now/average`` in milliwatts: ``POM_5V_IN 2532/2532`` (Nano), ``VDD_IN 4567/4567`` (TX2, Xavier NX), ``CPU 311/311`` (AGX
Xavier), ``VDD_IN 4567mW/4567mW`` (JetPack 5 and later). ``tegrastats --logfile`` of JetPack 4.6 and later begins a line with
``MM-DD-YYYY HH:MM:SS``; a line to which another tool gave a date and time (ISO 8601) is read as well. Only the first number is taken:
the second is an average since tegrastats began.

A folder as EdgeProfiler's raw ones are, with such a log in place of its own, becomes a dataset of layers. A log alone has no layers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuralpower.dataset import Dataset, dataset_of
from neuralpower.documents import read_text, whole_lines
from neuralpower.errors import InputError
from neuralpower.importers.imported import Imported

LEAST_W = 0.1
"""Of a board's total: one that runs draws more, a Jetson a watt and more; the daemon doubts less than this too."""
MOST_W = 500.0
"""No Jetson's supply gives more: that of AGX Thor gives 240 W. A reading above has a wrong shunt or a wrong unit."""

TOTALS = (
    ("VIN",),
    ("VDD_IN", "VDD_MUX"),
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Rails whose sum is the board's power, as the daemon has them for each board; the first of which all are there is taken."""

_RAIL = re.compile(r"(?<![\w@/])([A-Za-z][A-Za-z0-9_]*) (-?\d+)(?:mW)?/(-?\d+)(?:mW)?(?=[\s,]|$)")
_STAMP = re.compile(
    r"\W{0,2}(?:(?P<month>\d\d)-(?P<day>\d\d)-(?P<year>\d{4})|(?P<date>\d{4}-\d\d-\d\d))[ T](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,9}))?"
)
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class TegrastatsLog:
    """A log's samples in order of time, ns since 1970 by its wall clock and W, and what was left out of it.

    ``undated_w``: the powers of lines without a time. ``rails``: their mean, least and most, W.
    """

    time_ns: NDArray[np.int64]
    power_w: NDArray[np.float64]
    left_out: list[str]
    undated_w: list[float] = field(default_factory=list)
    total: tuple[str, ...] = ()
    rails: dict[str, tuple[float, float, float]] = field(default_factory=dict)


def is_log(text: str) -> bool:
    """Whether a text is tegrastats' rather than another tool's: one of its first lines has rails of its form."""
    return any(_RAIL.search(line) for line in text[:65536].splitlines()[:20])


def read(path: Path) -> Imported:
    """Layers of a folder with such a log (docs/dataset.md); of a log alone, what its rails drew, and no rows.

    Raises InputError where there is no line of tegrastats.
    """
    if path.is_dir():
        from neuralpower.importers import edgeprofiler

        imported = edgeprofiler.read(path)
        made = Dataset(imported.dataset.table, {**imported.dataset.provenance, "importer": "tegrastats"})
        return Imported(made, imported.read, imported.skipped)
    log = parse(path, read_text(path))
    powers = [*log.power_w.tolist(), *log.undated_w]
    seen = [
        f"{path}: {len(powers)} lines with a power; {' + '.join(log.total)} draws {np.mean(powers):.4g} W in the mean"
    ]
    seen += [
        f"{path}: {name}: {mean:.4g} W, from {low:.4g} to {high:.4g}" for name, (mean, low, high) in log.rails.items()
    ]
    provenance = {
        "importer": "tegrastats",
        "path": str(path),
        "mean_power_w": float(np.mean(powers)),
        "lines": len(powers),
    }
    skipped = [*log.left_out, f"{path}: no layers in a log; name a folder with trt_profiling/ beside it"]
    return Imported(dataset_of([], provenance), seen, skipped)


def parse(path: Path, text: str) -> TegrastatsLog:
    """The samples of a log. Lines without rails, without the total or with a power that cannot be are left out and counted.

    Raises InputError where no line has a power, or no rails make the board's total.
    """
    lines, left_out = whole_lines(path, text)
    rows = [(line, {name: float(now) * 1e-3 for name, now, _ in _RAIL.findall(line)}) for line in lines if line.strip()]
    names = Counter(name for _, rails in rows for name in rails)
    if not names:
        cut = f"; {left_out[0].removeprefix(f'{path}: ')}" if left_out else ""
        raise InputError(f"{path}: not a log of tegrastats: no line has a rail such as VDD_IN 4567mW/4567mW{cut}")
    total = next((rails for rails in TOTALS if all(name in names for name in rails)), ())
    if not total:
        known = "; ".join(" + ".join(rails) for rails in TOTALS)
        raise InputError(f"{path}: the board's total is not told by the rails {', '.join(names)}; it is one of {known}")
    dated: list[tuple[int, float]] = []
    undated: list[float] = []
    kept: list[dict[str, float]] = []
    reasons: Counter[str] = Counter()
    for line, rails in rows:
        if not all(name in rails for name in total):
            reasons[f"lines without {' + '.join(total)}"] += 1
            continue
        watts = sum(rails[name] for name in total)
        if min(rails[name] for name in total) < 0 or not LEAST_W <= watts <= max(watts, *rails.values()) <= MOST_W:
            reasons[f"lines with a power below {LEAST_W:g} or above {MOST_W:g} W, which no Jetson draws"] += 1
            continue
        kept.append(rails)
        stamp = _stamp_ns(line)
        if stamp is None:
            undated.append(watts)
        else:
            dated.append((stamp, watts))
    if not dated and not undated:
        raise InputError(
            f"{path}: no line has a power that can be: {'; '.join(f'{n} {why}' for why, n in reasons.items())}"
        )
    left_out = [*(f"{path}: {count} {why}: left out" for why, count in reasons.items()), *left_out]
    dated.sort(key=lambda sample: sample[0])
    ranges = {name: np.array(each) for name in names if (each := [rails[name] for rails in kept if name in rails])}
    return TegrastatsLog(
        np.array([ns for ns, _ in dated], dtype=np.int64),
        np.array([watts for _, watts in dated], dtype=np.float64),
        left_out,
        undated,
        total,
        {name: (float(w.mean()), float(w.min()), float(w.max())) for name, w in ranges.items()},
    )


def _stamp_ns(line: str) -> int | None:
    """The time a line begins with, ns since 1970 by its wall clock; None without one."""
    found = _STAMP.match(line)
    if not found:
        return None
    date = found["date"] or f"{found['year']}-{found['month']}-{found['day']}"
    try:
        since = datetime.strptime(f"{date} {found['time']}", "%Y-%m-%d %H:%M:%S") - _EPOCH
    except ValueError:
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int((found["part"] or "0").ljust(9, "0"))
