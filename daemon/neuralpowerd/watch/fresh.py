"""Follows how often the chips give new values, as far as the ticks can tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from neuralpower_align.readings.freshness import (
    UNKNOWN,
    Changes,
    FreshRate,
    Period,
    changes_of,
    estimated,
    filter_time_constant_s,
    nominal,
    scan_period,
)
from neuralpower_wire import Chip, Epoch, ReadingState, Ticks
from neuralpower_wire.tick import Flag

from ..logs.feeds import in_one

WINDOW_NS = 20_000_000_000
"""How far back the ticks are used."""
MOST_CHANGES = 400
"""Kept of each register: the oldest go."""
AGAIN_NS = 10_000_000_000
"""Between two estimates of a chip's period; a fifth of it until there is one."""


@dataclass
class _Register:
    """A channel's changes, newest last."""

    number: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))
    after_ns: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))
    until_ns: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))

    def add(self, changes: Changes) -> None:
        self.number.extend(changes.number.tolist())
        self.after_ns.extend(changes.after_ns.tolist())
        self.until_ns.extend(changes.until_ns.tolist())
        while self.until_ns and self.until_ns[0] < self.until_ns[-1] - WINDOW_NS:
            for each in (self.number, self.after_ns, self.until_ns):
                each.popleft()

    def changes(self) -> Changes:
        return Changes(*(np.array(each, np.int64) for each in (self.number, self.after_ns, self.until_ns)))


@dataclass(frozen=True)
class _Count:
    """Between two times: fresh values of each channel, and of which its freshness was unknown; scans that the source counted."""

    begin_ns: int
    end_ns: int
    fresh: tuple[int, ...]
    unknown: tuple[bool, ...]
    scans: tuple[int | None, ...]
    spans: tuple[int, ...]


class FreshWatch:
    """Takes the ticks of one epoch, and makes of them a rate per chip once a second."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._waiting: list[Ticks] = []
        self._last: Ticks | None = None
        self._registers = [_Register() for _ in epoch.channels]
        self._counts: deque[_Count] = deque()
        self._periods: dict[str, Period | None] = {}
        self._tried_ns: dict[str, int] = {}
        self.chips = {chip.name: self._nominal(chip) for chip in epoch.chips}
        """How fresh each chip is."""

    def see(self, ticks: Ticks) -> None:
        """Take ticks that follow the ones before."""
        self._waiting.append(ticks)

    def update(self) -> None:
        """Work off what was seen."""
        parts = ([self._last] if self._last is not None else []) + self._waiting
        self._waiting = []
        ticks = in_one(parts) if parts else None
        if ticks is None or len(ticks) < 2:
            self._last = ticks
            return
        first, self._last = self._last is None, ticks[-1:]
        if first:  # while a source finds its place in the scan, its count is unsure
            return
        self._count(ticks)
        known = {chip.name: self._known(chip) for chip in self._epoch.chips}
        # Where each reading says whether it is new, nobody asks when a register changed: a third of what this costs.
        self._note_changes(ticks, [known[channel.chip] is None for channel in self._epoch.channels])
        for chip in self._epoch.chips:
            self.chips[chip.name] = known[chip.name] or self._estimate(chip, int(ticks["t_ns"][-1]))

    @property
    def rate(self) -> FreshRate:
        """The slowest chip's; unknown where one of them is unknown. Counters are left out: how often one is looked at is no rate of power."""
        of = {channel.chip for channel in self._epoch.channels if channel.quantity != "energy_uj"}
        chips = [rate for name, rate in self.chips.items() if name in of]
        if not chips or any(each.rate_hz is None for each in chips):
            return UNKNOWN
        return min(chips, key=lambda each: each.rate_hz or 0.0)

    @property
    def filter_s(self) -> float | None:
        """The longest time constant of the chips' own filters; None where scan or averaging is unknown."""
        constants = []
        for chip in self._epoch.chips:
            period = self._periods.get(chip.name)
            scan_ns = period.period_ns if period else chip.scan_ns
            if not scan_ns or not chip.averaging:
                return None
            constants.append(filter_time_constant_s(scan_ns, chip.averaging))
        return max(constants, default=None)

    def ready_flag(self, chip: Chip) -> str:
        """Whether a chip whose flag is read sets it with each scan or each N: told by the rate, where N is not 1."""
        rate = self.chips[chip.name]
        if rate.kind != "known" or not rate.rate_hz or chip.averaging <= 1 or not chip.scan_ns:
            return "not known"
        scans = 1e9 / chip.scan_ns / rate.rate_hz
        return "per scan" if scans < 2 else "per N scans" if 0.5 < scans / chip.averaging < 2 else "not known"

    def _nominal(self, chip: Chip) -> FreshRate:
        return nominal(chip.scan_ns, self._epoch.period_ns)

    def _channels(self, chip: Chip) -> list[int]:
        return [at for at, channel in enumerate(self._epoch.channels) if channel.chip == chip.name]

    def _count(self, ticks: Ticks) -> None:
        readings = ticks["readings"]
        state = readings["state"][1:]
        fresh = tuple(np.count_nonzero(state == ReadingState.FRESH, axis=0).tolist())
        unknown = tuple(np.any(state == ReadingState.UNKNOWN, axis=0).tolist())
        counting = ((readings["flags"][[0, -1]] & Flag.SCAN) != 0).all(axis=0)
        gained = readings["scan"][-1].astype(np.int64) - readings["scan"][0]
        # Scans that end between two ticks give one new value: there are no more of those than slots.
        most = round(int(ticks["t_ns"][-1] - ticks["t_ns"][0]) / self._epoch.period_ns)
        scans = tuple(
            min(int(more) % 2**32, most) if known else None for more, known in zip(gained, counting, strict=True)
        )
        spans = tuple(np.where(counting, readings["span"][[0, -1]].max(axis=0), 0).tolist())
        self._counts.append(_Count(int(ticks["t_ns"][0]), int(ticks["t_ns"][-1]), fresh, unknown, scans, spans))
        while self._counts[0].end_ns < self._counts[-1].end_ns - WINDOW_NS:
            self._counts.popleft()

    def _note_changes(self, ticks: Ticks, wanted: Sequence[bool]) -> None:
        if not any(wanted):
            return
        value = ticks["readings"]["value"]
        changing = (value[1:] != value[:-1]).any(axis=0).tolist()
        number, t_ns = ticks["slot"].astype(np.int64), ticks["t_ns"].astype(np.int64)
        for at, register in enumerate(self._registers):
            if not wanted[at] or not changing[at]:
                continue
            reading = ticks["readings"][:, at]
            valid = (reading["state"] != ReadingState.MISSING) & (reading["flags"] & Flag.HELD == 0)
            register.add(
                changes_of(number, reading["value"], valid, t_ns + reading["begin_ns"], t_ns + reading["end_ns"])
            )

    def _known(self, chip: Chip) -> FreshRate | None:
        """Counted, if the source counts scans or knew the freshness of every reading of the window."""
        places = self._channels(chip)
        main = [at for at in places if self._epoch.channels[at].quantity != "bus_uv"] or places
        span_s = sum(count.end_ns - count.begin_ns for count in self._counts) / 1e9
        rates = [self._new_values(at) for at in main]
        if not rates or span_s <= 0 or any(rate is None for rate in rates):
            return None
        fresh = min(rate for rate in rates if rate is not None)
        if not fresh:
            return UNKNOWN
        unsure = 1 + 2 * max(count.spans[at] for count in self._counts for at in main)
        return FreshRate("known", fresh / span_s, max(0, fresh - unsure) / span_s, (fresh + unsure) / span_s)

    def _new_values(self, at: int) -> int | None:
        """New values of a channel in the window; None where some of them may have gone unnoticed."""
        scans = [count.scans[at] for count in self._counts]
        if all(each is not None for each in scans):
            return sum(each or 0 for each in scans)
        return (
            None if any(count.unknown[at] for count in self._counts) else sum(count.fresh[at] for count in self._counts)
        )

    def _estimate(self, chip: Chip, now_ns: int) -> FreshRate:
        wait_ns = AGAIN_NS if self._periods.get(chip.name) else AGAIN_NS // 5
        if now_ns - self._tried_ns.get(chip.name, 0) > wait_ns:
            self._tried_ns[chip.name] = now_ns
            registers = [self._registers[at].changes() for at in self._channels(chip)]
            before = self._periods.get(chip.name)
            self._periods[chip.name] = scan_period(registers, self._epoch.period_ns, before)
        found = estimated(self._periods[chip.name])
        return found if found.kind == "estimated" else self._nominal(chip)
