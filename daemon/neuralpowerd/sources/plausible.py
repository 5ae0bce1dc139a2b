"""Doubts a rail that no board can have: what its shunt or its power cannot be, whatever the driver says.

A shunt in the wrong unit makes every reading wrong by a thousand; nothing else looks odd, since the driver divides as told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..system.monitors import MonitorRail
from .boards import Board

SHUNTS_UOHM = (50, 500_000)
"""Shunts that somebody would build in: below, the INA3221's offset of 80 µV alone would be more than an ampere; above, an ampere would
cost the supply half a volt. Known boards have 1,000 to 20,000 µΩ, so that a mistake of a thousand lies outside, either way."""
PEAK = 3
"""A board's total above so many times its highest power mode is none of it: short peaks reach twice the mode."""
MOST_W = 1000.0
"""The same for a rail of an unknown board: such monitors sit on boards that one supply of a kilowatt would run."""
LEAST_W = 0.1
"""A board that runs this program draws more: a Jetson idles at a watt and more."""
BELOW_ZERO_W = -2.0
"""What the INA3221's offset of 80 µV makes of no current at most, with the smallest shunt (1 mΩ at 20 V: 1.6 W)."""


@dataclass(frozen=True)
class Doubt:
    """Why the readings of a rail cannot be: one phrase."""

    rail: str
    why: str


def shunt_doubts(shunts_uohm: Iterable[tuple[str, int]]) -> tuple[Doubt, ...]:
    """Of (rail, µΩ), those that no board has; 0 is not known and not doubted."""
    low, high = SHUNTS_UOHM
    doubted = ((rail, shunt) for rail, shunt in shunts_uohm if shunt and not low <= shunt <= high)
    return tuple(Doubt(rail, f"its shunt of {shunt} µΩ is not plausible") for rail, shunt in doubted)


def shunts_of(rails: Iterable[MonitorRail]) -> tuple[Doubt, ...]:
    """The doubts that the drivers' own figures give."""
    return shunt_doubts((rail.name, rail.shunt_uohm) for rail in rails)


@dataclass(frozen=True)
class PowerLimits:
    """Between which watts a rail, and a total, of a board may be."""

    low_w: float
    high_w: float

    def doubt(self, power_w: float) -> str:
        """Why this power cannot be, or nothing."""
        if power_w > self.high_w:
            return f"{power_w:.4g} W is not plausible: more than {self.high_w:g} W"
        if power_w < self.low_w:
            return f"{power_w:.3g} W is not plausible: less than {self.low_w:g} W"
        return ""


def rail_limits(board: Board | None) -> PowerLimits:
    """Of one rail. On an unknown board power may flow back, into a battery."""
    return PowerLimits(BELOW_ZERO_W, board.mode_w * PEAK) if board else PowerLimits(-MOST_W, MOST_W)


def total_limits(board: Board | None) -> PowerLimits:
    """Of the total."""
    return PowerLimits(LEAST_W, rail_limits(board).high_w)
