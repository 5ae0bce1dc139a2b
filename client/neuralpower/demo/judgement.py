"""Holds an attribution against the truth of a simulated run, by units: what it tells is resolved layers, and groups of layers.

A layer of a group has the group's power and an error wide enough for whatever it may be, so counting layers would count one
interval many times, and wide ones most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..attribution import Attribution, EngineAttribution
from ..console import Cell, table
from ..virtual.device.truth import EngineTruth, Truth

Floats = npt.NDArray[np.float64]

WITHIN = 2.0
"""Standard errors."""
CHANCE = math.erfc(WITHIN / math.sqrt(2))
"""So often a right interval of that half-width misses: 4.6 %."""
UNUSUAL = 0.025
OFFSET_W, GAIN = 0.04, 0.00125
"""What of the chip's offset and gain, common to all its readings, is allowed for, rms: TI's SBOS576B at a shunt of 5 mΩ and 5 V."""


@dataclass(frozen=True)
class JudgedUnit:
    """A layer told for itself, or `layers` neighbours told together, with its true power: energy over time of all of them."""

    engine: str
    name: str
    layers: int
    told_w: float
    se_w: float
    true_w: float


@dataclass(frozen=True)
class Energy:
    """What the layers of a mean inference take, told and true."""

    engine: str
    told_j: float
    se_j: float
    true_j: float


@dataclass
class Judged:
    """Engines of one sort: what was told of them, and of which nothing was: withheld, with the reason, or not attributed at all.

    `off`: how far each unit is off in its standard errors, told less true. `rest`: the same less the chip's gain and offset.
    """

    units: list[JudgedUnit] = field(default_factory=list)
    energies: list[Energy] = field(default_factory=list)
    told: int = 0
    withheld: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    off: Floats = field(default_factory=lambda: np.zeros(0))
    rest: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def missed(self) -> int:
        """Units farther off than :data:`WITHIN` standard errors, the chip's gain and offset left out."""
        return int(np.sum(np.abs(self.rest) > WITHIN))

    @property
    def holds(self) -> bool | None:
        """Whether that is no more than chance allows; None where no unit is told."""
        return self.missed <= most_missed(len(self.units)) if self.units else None


def judge(attribution: Attribution, truth: Truth) -> dict[str, Judged]:
    """The networks and the repeated layers of a run, each engine that ran in one of them."""
    judged = {"networks": Judged(), "repeated layers": Judged()}
    for key, real in truth.engines.items():
        sort = judged["repeated layers" if real.repeats > 1 else "networks"]
        engine = attribution.engines.get(key)
        if engine is None:
            sort.missing.append(real.name)
        elif engine.withheld:
            sort.withheld[engine.name] = engine.withheld
        else:
            sort.told += 1
            sort.units += units_of(engine, real, truth.total)
            true_j = float(real.energy_j[:, real.rails.index(truth.total)].sum()) * real.repeats
            sort.energies.append(Energy(engine.name, engine.energy_per_inference_j, engine.energy_se_j, true_j))
    offset_w, gain = chip_error([unit for sort in judged.values() for unit in sort.units])
    for sort in judged.values():
        told, se, true = _columns(sort.units)
        sort.off, sort.rest = (told - true) / se, (told - true - offset_w - gain * true) / se
    return judged


def units_of(engine: EngineAttribution, real: EngineTruth, rail: str) -> list[JudgedUnit]:
    """The units of an engine that ran and were told with an error."""
    seconds, joules = np.array(real.total_s), np.array(real.total_j)[:, real.rails.index(rail)]
    members: dict[int, list[int]] = {}
    for position, layer in enumerate(engine.layers):
        members.setdefault(layer.unit, []).append(position)
    found = []
    for number, of in members.items():
        told, se, ran = engine.unit_power_w[number], engine.unit_se_w[number], float(seconds[of].sum())
        if ran > 0 and math.isfinite(told) and 0 < se < math.inf:
            name = engine.name if engine.repeated else engine.layers[of[0]].name
            found.append(JudgedUnit(engine.name, name, len(of), told, se, float(joules[of].sum()) / ran))
    return found


def chip_error(units: Sequence[JudgedUnit]) -> tuple[float, float]:
    """Offset, W, and gain that explain most of how far units are off: least squares, both held near 0 by what a chip may have."""
    if not units:
        return 0.0, 0.0
    told, se, true = _columns(units)
    design = np.vstack([np.column_stack([np.ones_like(true), true]) / se[:, None], np.diag([1 / OFFSET_W, 1 / GAIN])])
    offset_w, gain = np.linalg.lstsq(design, np.concatenate([(told - true) / se, [0.0, 0.0]]), rcond=None)[0]
    return float(offset_w), float(gain)


def most_missed(count: int) -> int:
    """How many of `count` independent right intervals miss at the most, but for one case in forty."""
    missed, log_share = 0, count * math.log1p(-CHANCE)
    within = math.exp(log_share)
    while within < 1 - UNUSUAL:
        missed += 1
        log_share += math.log((count - missed + 1) / missed * CHANCE / (1 - CHANCE))
        within += math.exp(log_share)
    return missed


def _columns(units: Sequence[JudgedUnit]) -> tuple[Floats, Floats, Floats]:
    """Told, its standard error, and true: (n,) W each."""
    rows = np.array([(unit.told_w, unit.se_w, unit.true_w) for unit in units]).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def show(judged: dict[str, Judged]) -> None:
    """Print it."""
    rows: list[list[Cell]] = [
        ["engines told", *(str(sort.told) for sort in judged.values())],
        ["engines withheld", *(str(len(sort.withheld)) for sort in judged.values())],
        ["engines not attributed", *(str(len(sort.missing)) for sort in judged.values())],
        ["units told", *(str(len(sort.units)) for sort in judged.values())],
        ["within two standard errors", *(_share(len(sort.units), sort.off) for sort in judged.values())],
        ["less the chip's gain and offset", *(_share(len(sort.units), sort.rest) for sort in judged.values())],
        ["right intervals, by chance", *(_right(len(sort.units)) for sort in judged.values())],
        ["median error of power", *(_median(sort.units) for sort in judged.values())],
    ]
    table("Attribution against the truth", ["", *judged], rows, simulated=True)
    print("  a unit is a layer told for itself, or neighbours told together")
    for title, sort in judged.items():
        for line in _sentences(title, sort):
            print(f"  {line}")
    print()


def document(judged: dict[str, Judged]) -> dict[str, Any]:
    """As plain values."""
    return {
        title: {
            "engines_told": sort.told,
            "withheld": sort.withheld,
            "not_attributed": sort.missing,
            "units": len(sort.units),
            "within_two_se": int(np.sum(np.abs(sort.off) <= WITHIN)),
            "within_two_se_less_gain_and_offset": len(sort.units) - sort.missed,
            "may_miss_by_chance": most_missed(len(sort.units)),
            "intervals_hold": sort.holds,
        }
        for title, sort in judged.items()
    }


def _share(count: int, off: Floats) -> str | None:
    within = int(np.sum(np.abs(off) <= WITHIN))
    return f"{within}, {100 * within / count:.1f} %" if count else None


def _right(count: int) -> str | None:
    return f"{count - most_missed(count)} or more" if count else None


def _median(units: Sequence[JudgedUnit]) -> str | None:
    told, _, true = _columns(units)
    return f"{100 * np.median(np.abs(told - true) / true):.2f} %" if units else None


def _sentences(title: str, sort: Judged) -> list[str]:
    lines = []
    if sort.units:
        verdict = "hold" if sort.holds else "do not hold"
        lines.append(
            f"intervals of {title} {verdict}: {sort.missed} of {len(sort.units)} units miss the truth by more than two standard "
            f"errors less gain and offset; by chance up to {most_missed(len(sort.units))} would"
        )
        worst = int(np.argmax(np.abs(sort.rest)))
        unit, rest = sort.units[worst], sort.rest[worst]
        where = unit.engine if unit.name == unit.engine else f"{unit.engine}, {unit.name}"
        where += f" and {unit.layers - 1} more" if unit.layers > 1 else ""
        lines.append(
            f"farthest off: {where}: told {unit.told_w:.4g} W, true {unit.true_w:.4g} W, {abs(rest):.1f} "
            f"standard errors {'above' if rest > 0 else 'below'}"
        )
    elif sort.withheld or sort.missing:
        lines.append(f"nothing is told of {title}: there are no intervals to judge")
    energies = [each for each in sort.energies if math.isfinite(each.told_j)]
    if energies:
        far = max(energies, key=lambda each: abs(each.told_j / each.true_j - 1))
        errors = abs(far.told_j - far.true_j) / far.se_j if far.se_j > 0 else math.nan
        known = f", {errors:.1f} standard errors" if math.isfinite(errors) else ""
        lines.append(
            f"energy of an inference farthest off: {far.engine}: told {far.told_j * 1e3:.4g} mJ, true {far.true_j * 1e3:.4g} mJ, "
            f"{100 * (far.told_j / far.true_j - 1):+.2f} %{known}"
        )
    reasons: dict[str, list[str]] = {}
    for engine, reason in sort.withheld.items():
        reasons.setdefault(reason, []).append(engine)
    lines += [f"withheld: {', '.join(engines)}: {reason}" for reason, engines in reasons.items()]
    if sort.missing:
        lines.append(f"not attributed: {', '.join(sort.missing)}")
    return lines
