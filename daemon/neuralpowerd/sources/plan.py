"""What a source will give: the channels, chips, period and totals of an epoch, and what is possible there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuralpower_sampler import Source
from neuralpower_wire import Channel, Chip, Epoch
from neuralpower_wire.epoch import MAX_CHIPS, MAX_TEXT
from neuralpower_wire.tick import MAX_READINGS

from ..config import Config
from ..errors import ConfigError
from ..system.monitors import Monitor
from .boards import Total
from .budget import Budget, RailCost, chosen_period_ns, refusal, remedy, thinned
from .plausible import Doubt, PowerLimits
from .probe import Behaviour

Prober = Callable[[Monitor, int | None], Behaviour]


@dataclass(frozen=True)
class Plan:
    """What an epoch will say of its source, and `open`, which opens it; nothing is written before that.

    `period_ns` is the wished period, or the chosen one. `behaviours` and `bus_hz` are per chip, as far as known.
    `undo` gives back what `open` changed. `read_chips` tells the chips by the opened source, where only that knows them.
    `covers` says what the total is the power of, a key of :data:`neuralpower_wire.epoch.COVERS` or "". `doubts` are the rails whose
    readings cannot be, by what is known before the first. `limits` are those of a rail's power and of the total's, None where anything may be.
    `conditions` tells what of the source belongs into the conditions, `news` what has happened since
    it was last asked: name, text and numbers of events.
    """

    source: str
    simulated: bool
    board: str
    channels: tuple[Channel, ...]
    chips: tuple[Chip, ...]
    totals: tuple[str, ...]
    driver: str
    note: str
    open: Callable[[], Source]
    period_ns: int
    freshness: str = "unknown"
    fresh_rate_hz: float | None = None
    budget: Budget | None = None
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    bus_hz: Mapping[str, int | None] = field(default_factory=dict)
    undo: Callable[[], list[str]] = list
    timeline: Path | None = None
    conditions: Callable[[], Mapping[str, float | int | str | bool]] = dict
    news: Callable[[], list[tuple[str, str, dict[str, Any]]]] = list
    read_chips: Callable[[Source], tuple[Chip, ...]] | None = None
    covers: str = ""
    doubts: tuple[Doubt, ...] = ()
    limits: tuple[PowerLimits, PowerLimits] | None = None

    def opened(self, source: Source) -> Plan:
        """This plan with what the opened source knows of its chips."""
        if self.read_chips is None:
            return self
        chips = self.read_chips(source)
        freshness, rate = slowest_rate(chips, self.period_ns)
        return replace(self, chips=chips, freshness=freshness, fresh_rate_hz=rate)

    @property
    def voltage_every(self) -> int:
        """Voltages are read in every so many-th tick."""
        return max((channel.every for channel in self.channels if channel.quantity == "bus_uv"), default=1)

    def epoch(self, number: int, first_index: int, period_ns: int, t0_ns: int) -> Epoch:
        """The epoch of this plan from tick `first_index` on."""
        return Epoch(
            number=number,
            first_index=first_index,
            period_ns=period_ns,
            t0_ns=t0_ns,
            source=self.source,
            simulated=self.simulated,
            board=self.board,
            channels=self.channels,
            chips=self.chips,
            totals=self.totals,
            freshness=self.freshness,
            fresh_rate_hz=self.fresh_rate_hz,
            driver=self.driver,
            note=self.note[:MAX_TEXT],
            covers=self.covers,
        )


def wanted_rails(config: Config, there: Sequence[str]) -> list[str]:
    """The rails to measure, of those that are there."""
    for rail in config.plan.rails:
        if rail not in there:
            raise ConfigError(f"{rail!r} is no rail here", f"there are {', '.join(there) or 'none'}", key="plan.rails")
    return [rail for rail in there if rail in config.plan.rails or not config.plan.rails]


def wanted_total(total: Sequence[str], rails: Sequence[str]) -> tuple[str, ...]:
    """The rails of the total, or nothing where one of them is not measured."""
    return tuple(total) if set(total) <= set(rails) else ()


def undoubted(pick: Callable[[Sequence[str]], Total], rails: Sequence[str], doubts: Sequence[Doubt]) -> Total:
    """The total that `pick` makes of the rails that are not doubted; an empty one with the reason as its note where that is none."""
    doubted = {doubt.rail: doubt.why for doubt in doubts}
    total = pick([rail for rail in rails if rail not in doubted])
    reasons = [f"{rail}: {doubted[rail]}" for rail in pick(rails).rails if rail in doubted]
    return Total(note=f"total unknown: {'; '.join(reasons)}") if reasons and not total.rails else total


def refuse_too_many(readings: int, chips: int) -> None:
    """ConfigError where a tick cannot hold the rails."""
    if readings > MAX_READINGS or chips > MAX_CHIPS:
        raise ConfigError(
            f"all rails are {readings} readings of {chips} chips, and a tick holds {MAX_READINGS} of {MAX_CHIPS}",
            "name fewer",
            key="plan.rails",
        )


def period_for(
    config: Config, rails: Sequence[RailCost], total: Sequence[str], extra_ns: int = 0
) -> tuple[int, Budget]:
    """The period to sample at, and what a tick costs; ConfigError where the wished one is impossible.

    A wished period that has no time for all voltages in each tick gets them more seldom; one that is chosen here has time.
    """
    every = config.plan.voltage_every
    budget = Budget(tuple(sorted(rails, key=lambda cost: cost.rail not in total)), extra_ns, every or 1)
    wished_ns = config.period_us * 1000
    if not wished_ns:
        return chosen_period_ns(budget), budget
    possible = budget if budget.fits(wished_ns) else None if every else thinned(budget, wished_ns)
    if not possible:
        raise ConfigError(refusal(budget, wished_ns), remedy(budget, wished_ns), key="period_us")
    return wished_ns, possible


def decimated(source: Source, channels: Sequence[Channel]) -> Source:
    """The source, told which channels it need not read in each tick."""
    if any(channel.every > 1 for channel in channels):
        source.decimate([channel.every for channel in channels])
    return source


def slowest_rate(chips: Sequence[Chip], period_ns: int) -> tuple[str, float | None]:
    """Kind and rate of the slowest chip's fresh values as its configuration has it, at most one a tick."""
    if not chips or not all(chip.scan_ns for chip in chips):
        return "unknown", None
    return "nominal", 1e9 / max(period_ns, *(chip.scan_ns for chip in chips))
