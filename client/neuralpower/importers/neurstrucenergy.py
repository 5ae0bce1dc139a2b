"""NeurstrucEnergy's measured convolutions: each ran alone in a loop of about 4 s under a power meter.

Space-separated columns ``data mean_power time forward_num energy silence_energy all_energy``; ``data`` is 19 numbers:
N,Cin,H,W, N,Cout,Ho,Wo, Cin,Cout,Kh,Kw, Sh,Sw, Ph,Pw, dilation twice, groups. Rows with ``data`` 0 carry no layer.
"""

from __future__ import annotations

from pathlib import Path

from neuralpower.dataset import MOST, dataset_of, row, why_implausible
from neuralpower.documents import read_text, whole_lines
from neuralpower.errors import InputError
from neuralpower.features.classify import Operation, Sliding, convolution
from neuralpower.features.layers import Layer
from neuralpower.importers.imported import Imported

_HEADER = ["data", "mean_power", "time", "forward_num", "energy", "silence_energy", "all_energy"]


def read(path: Path) -> Imported:
    """All measured layers, one row each.

    Rows of one geometry are repeats: they share ``layer`` and ``network``, so folds grouped by network keep them
    together. ``energy_j`` is the file's own energy per inference, idle included. Raises InputError on a broken file.
    """
    lines, skipped = whole_lines(path, read_text(path))
    if not lines or lines[0].split() != _HEADER:
        raise InputError(f"{path}: not NeurstrucEnergy's conv2d.txt: its first line is not {' '.join(_HEADER)}")
    rows: list[dict[str, object]] = []
    empty = 0
    for number, line in enumerate(lines[1:], 2):
        cells = line.split()
        if not cells or cells[0] == "0":
            empty += bool(cells)
            continue
        try:
            found = _row(cells, len(rows))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise InputError(f"{path}: line {number} is not a measured convolution") from None
        wrong = [f"{column} {why}" for column in MOST if (why := why_implausible(column, float(str(found[column]))))]
        if wrong:
            skipped.append(f"{path}: line {number}: {', '.join(wrong)}: left out")
        else:
            rows.append(found)
    distinct = len({measured["layer"] for measured in rows})
    seen = [f"{path}: {len(rows)} measured layers, {distinct} distinct"]
    if empty:
        skipped.append(f"{path}: {empty} row(s) without a layer")
    return Imported(dataset_of(rows, {"importer": "neurstrucenergy", "path": str(path)}), seen, skipped)


def _row(cells: list[str], position: int) -> dict[str, object]:
    data, mean_power, time, forward_num, _, _, all_energy = cells
    layer = _layer([int(float(number)) for number in data.split(",")])
    count = int(forward_num)
    if count >= 1 << 62:
        raise ValueError("a count that nothing runs")
    return row(
        layer,
        network=layer.name,
        position=position,
        origin="import",
        runtime_s=float(time) / count,
        power_w=float(mean_power),
        energy_j=float(all_energy),
        count=count,
        method="loop-mean",
    )


def _layer(numbers: list[int]) -> Layer:
    """Raises ValueError unless there are 19 numbers that agree with each other."""
    n, cin, h, w, n_out, cout, ho, wo, cin_again, cout_again, kh, kw, sh, sw, ph, pw, dh, dw, groups = numbers
    if (n, cin, cout) != (n_out, cin_again, cout_again):
        raise ValueError("the row contradicts itself")
    name = f"conv {cin}x{h}x{w} to {cout}x{ho}x{wo} k{kh}x{kw} s{sh} p{ph} d{dh} g{groups} n{n}"
    window = Sliding((kh, kw), (sh, sw), (ph, pw), (dh, dw))
    return convolution(Operation(name, "Conv2d"), (n, cin, h, w), (n, cout, ho, wo), window, groups)
