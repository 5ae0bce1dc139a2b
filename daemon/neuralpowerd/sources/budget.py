"""What a tick costs on the bus, and what is possible instead where a wish is not. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

TRANSFER_BITS = 48
"""Bit times of one register read: address, register, address again, two bytes, with their acknowledges and start bits."""
USABLE = 0.97
"""Share of a period that reads may take. One voltage and one current just fit in 1 ms at 100 kHz."""
CHOSEN_NS = 1_000_000
"""The period that is taken where none is wished and the bus carries it."""
GRAIN_US = 10
SELDOM = 10
"""Voltages are not read less often than this unless the configuration says so: they fall with the load."""


@dataclass(frozen=True)
class RailCost:
    """A rail's reads in a tick, on one chip."""

    rail: str
    chip: str
    reads: int
    bus_hz: int | None
    measured_ns: int = 0
    """Cost of one read as the probe found it; 0: not probed."""
    waits_ns: int = 0
    """What a read waits on average, where the driver waits for the chip."""
    voltages: int = 0
    """How many of the reads give a voltage alone, and may be left out of some ticks."""

    @property
    def read_ns(self) -> int:
        """A read takes its bits on the wire or what was measured, whichever is longer, or what it waits."""
        wire = TRANSFER_BITS * 1_000_000_000 // self.bus_hz if self.bus_hz else 0
        return max(wire, self.measured_ns, self.waits_ns)

    @property
    def tick_ns(self) -> int:
        """What the rail's reads take in a tick that leaves none out."""
        return self.reads * self.read_ns


@dataclass(frozen=True)
class Budget:
    """The rails of a tick, in order of importance, and `extra` reads a tick that no rail owns (a flag per chip).

    Voltages are read in every `every`-th tick, taking turns.
    """

    rails: tuple[RailCost, ...]
    extra_ns: int = 0
    every: int = 1

    @property
    def tick_ns(self) -> int:
        """What all reads of the longest tick take; they come one after another."""
        voltages = [rail.read_ns for rail in self.rails for _ in range(rail.voltages)]
        most = sum(sorted(voltages, reverse=True)[: self.turns(len(voltages))])
        return sum(rail.tick_ns for rail in self.rails) - sum(voltages) + most + self.extra_ns

    def turns(self, voltages: int) -> int:
        """How many of them are read in one tick, at most."""
        return -(-voltages // self.every)

    @property
    def reads(self) -> int:
        """Reads of the longest tick."""
        voltages = sum(rail.voltages for rail in self.rails)
        return sum(rail.reads for rail in self.rails) - voltages + self.turns(voltages)

    @property
    def shortest_ns(self) -> int:
        """The shortest period that these rails allow."""
        grain = GRAIN_US * 1000
        return max(100_000, -(-round(self.tick_ns / USABLE) // grain) * grain)

    def fits(self, period_ns: int) -> bool:
        """Whether a tick of this period has time for the reads."""
        return self.tick_ns <= USABLE * period_ns


def chosen_period_ns(budget: Budget) -> int:
    """The period where none is wished: 1 ms, or the shortest possible."""
    return CHOSEN_NS if budget.fits(CHOSEN_NS) else budget.shortest_ns


def thinned(budget: Budget, period_ns: int) -> Budget | None:
    """The budget with voltages as often as the period allows, down to every tenth tick; None where that is not enough."""
    last = min(SELDOM, max(1, sum(rail.voltages for rail in budget.rails)))
    for every in range(1, last + 1):
        fewer = replace(budget, every=every)
        if fewer.fits(period_ns):
            return fewer
    return None


def refusal(budget: Budget, period_ns: int) -> str:
    """Why the period is impossible."""
    reads = budget.reads
    slowest = max(budget.rails, key=lambda rail: rail.read_ns)
    return (
        f"{period_ns // 1000} µs with {_rails(budget.rails)} ({reads} reads a tick) is impossible: a read takes "
        f"{_time(slowest.read_ns)} ({_why(slowest)}), a tick {_time(budget.tick_ns)}"
    )


def remedy(budget: Budget, period_ns: int) -> str:
    """What is possible instead."""
    return f"possible: {'; or '.join(alternatives(budget, period_ns))}"


def alternatives(budget: Budget, period_ns: int) -> list[str]:
    """What is possible: all rails slower, with voltages more seldom less so, fewer rails at the wished period, another bus
    clock or driver."""
    found = [f"period_us = {budget.shortest_ns // 1000} with {_rails(budget.rails)}{_seldom(budget)}"]
    last = min(SELDOM, sum(rail.voltages for rail in budget.rails))
    slower = replace(budget, every=last) if last > budget.every else budget
    if slower.shortest_ns < budget.shortest_ns:
        found.append(f"period_us = {slower.shortest_ns // 1000} with {_rails(budget.rails)}{_seldom(slower)}")
    fewer = _fewer_rails(budget, period_ns)
    if fewer:
        names = ", ".join(f'"{rail.rail}"' for rail in fewer.rails)
        found.append(f"period_us = {period_ns // 1000} with plan.rails = [{names}]{_seldom(fewer)}")
    if any(rail.waits_ns > rail.measured_ns for rail in budget.rails):
        found.append('source = "i2c" instead of a driver that waits in each read')
    needed = needed_clock_hz(budget, period_ns)
    if needed and all(rail.bus_hz for rail in budget.rails):
        found.append(f"a bus clock of at least {needed / 1000:.0f} kHz instead of {_clock(budget)}")
    return found


def _fewer_rails(budget: Budget, period_ns: int) -> Budget | None:
    for count in range(len(budget.rails) - 1, 0, -1):
        fewer = thinned(replace(budget, rails=budget.rails[:count]), period_ns)
        if fewer:
            return fewer
    return None


def _seldom(budget: Budget) -> str:
    return f" and plan.voltage_every = {budget.every}" if budget.every > 1 else ""


def needed_clock_hz(budget: Budget, period_ns: int) -> int | None:
    """The slowest of the usual bus clocks that would do, if the wire is all that is in the way."""
    for clock in (400_000, 1_000_000):
        quick = tuple(replace(rail, bus_hz=clock, measured_ns=0) for rail in budget.rails)
        share = clock / min((rail.bus_hz or clock) for rail in budget.rails)
        if share > 1 and replace(budget, rails=quick, extra_ns=round(budget.extra_ns / share)).fits(period_ns):
            return clock
    return None


def _rails(rails: Sequence[RailCost]) -> str:
    return f"{len(rails)} rails" if len(rails) > 1 else f"rail {rails[0].rail}"


def _why(rail: RailCost) -> str:
    if rail.waits_ns and rail.read_ns == rail.waits_ns:
        return "the driver waits for the chip"
    if rail.bus_hz and rail.read_ns > rail.measured_ns:
        return f"{TRANSFER_BITS} bits at {rail.bus_hz / 1000:g} kHz"
    return "measured"


def _clock(budget: Budget) -> str:
    return f"{min(rail.bus_hz or 0 for rail in budget.rails) / 1000:g} kHz"


def _time(ns: int) -> str:
    return f"{ns / 1e6:.3g} ms" if ns >= 1_000_000 else f"{ns / 1e3:.3g} µs"
