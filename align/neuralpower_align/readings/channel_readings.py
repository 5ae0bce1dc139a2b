"""Ticks of one epoch as readings of a rail: its current, at the voltage that the supply has at that current.

`rail_readings` takes an epoch as a whole; `RailReadings` takes it in portions, with what the first ticks tell of supply and transfer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.clock.scan_clock import ChannelReadings, latched_ns, transfer_ns, waits
from neuralpower_align.errors import Unattributable
from neuralpower_align.readings.droop import Supply, supply
from neuralpower_wire import Channel, Chip, Epoch, Flag, ReadingState, Ticks
from neuralpower_wire.power import stamps_ns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LONGEST_TRANSFER = 0.25
"""Board: reads that all last longer than this share of a scan have waited for it, and say nothing of the transfer."""
FIRST_TICKS, HELD_TICKS = 2000, 12_000
"""Tuning: supply and transfer are told from so many ticks where readings come in portions, all of them since something ran: a board that idles does not
tell by how much its supply gives way. So many are held back for that."""
UNKNOWN_TRANSFER = "how long a read lasts on the wire is not known: registers are taken to be read when reads ended"


def rail_readings(epoch: Epoch, ticks: Ticks, rail: str, notes: list[str]) -> ChannelReadings | None:
    """One rail's readings in one epoch; None without any."""
    found = _Rail.of(epoch, ticks, rail)
    if found is None:
        return None
    made = found.readings(ticks)
    if not found.transfer_ns and UNKNOWN_TRANSFER not in notes and not (made and made.stamped):
        notes.append(UNKNOWN_TRANSFER)
    return made


class RailReadings:
    """Readings of one rail from portions of an epoch; the first are held back until the supply behind them is known.

    Nobody misses those from before anything ran: of them no more than the newest HELD_TICKS are kept, and a portion.
    """

    def __init__(self, epoch: Epoch, rail: str) -> None:
        if _place(epoch, rail) is None:
            raise Unattributable(f"rail {rail} has no reading of power")
        self._epoch, self._name = epoch, rail
        self._rail: _Rail | None = None
        self._first: deque[Ticks] = deque()
        self._held = 0

    def take(self, ticks: Ticks, ran_ns: int | None) -> ChannelReadings | None:
        """The readings of ticks that follow those before; None where there are none yet. `ran_ns`: when something first ran."""
        if self._rail is None:
            self._first.append(ticks)
            self._held += len(ticks)
            while self._held - len(self._first[0]) >= HELD_TICKS:
                self._held -= len(self._first.popleft())
            if ran_ns is None or sum(np.count_nonzero(each["t_ns"] >= ran_ns) for each in self._first) < FIRST_TICKS:
                return None
            # Where nothing at all was read in these, the next ones may tell.
            ticks, self._held = np.concatenate(self._first), 0
            self._first.clear()
            self._rail = _Rail.of(self._epoch, ticks, self._name)
        return None if self._rail is None else self._rail.readings(ticks)


@dataclass(frozen=True)
class _Rail:
    """What readings of a rail are made with: its channel and where that is among the epoch's, its chip, how the driver answers, the
    supply (None where power itself is read), and how long a register read lasts, 0 where that is not known."""

    epoch: Epoch
    position: int
    channel: Channel
    chip: Chip | None
    behaviour: str
    source: Supply | None
    transfer_ns: float

    @classmethod
    def of(cls, epoch: Epoch, ticks: Ticks, rail: str) -> _Rail | None:
        """From some ticks; None where nothing was read in them.

        Readings of current are kept also where the voltage was not read in the same tick: the supply is told from those that have both.
        """
        place = _place(epoch, rail)
        if place is None:
            return None
        position, channel, bus = place
        value = _value(ticks, position, channel)
        source = None
        if bus is not None:
            volts = _value(ticks, *bus)
            both = np.isfinite(value) & np.isfinite(volts)
            if not both.any():
                return None
            source = supply(volts[both], value[both])
        chip = next((chip for chip in epoch.chips if chip.name == channel.chip), None)
        behaviour = chip.behaviour if chip else "unknown"
        return cls(
            epoch, position, channel, chip, behaviour, source, _transfer_ns(epoch, ticks, channel.chip, chip, behaviour)
        )

    def readings(self, ticks: Ticks) -> ChannelReadings | None:
        """Those of some ticks; None without any."""
        epoch, channel, chip = self.epoch, self.channel, self.chip
        if np.any(ticks["readings"]["flags"][:, self.position] & Flag.STAMPED):
            return _stamped(ticks, self.position, channel)
        value = _value(ticks, self.position, channel)
        good = np.isfinite(value)
        if not good.any():
            return None
        power, volt = (value, 1.0) if self.source is None else (self.source.power_w(value), self.source.volt)
        seen, share = (
            (None, 1.0) if self.behaviour != "waiting" else _waits(epoch, ticks, channel, chip, self.transfer_ns)
        )
        reading = ticks["readings"][:, self.position][good]
        unit = 1 / channel.shunt_uohm if channel.quantity == "shunt_uv" and channel.shunt_uohm else 1e-6
        counted = bool(np.all(reading["flags"] & Flag.SCAN != 0))
        return ChannelReadings(
            read_ns=latched_ns(ticks["t_ns"][good] + reading["end_ns"].astype(np.int64), self.transfer_ns),
            power_w=power[good],
            window_ns=chip.shunt_conversion_us * 1e3 if chip else 0.0,
            scan_ns=float(chip.scan_ns) if chip else 0.0,
            averaging=max(chip.averaging, 1) if chip else 1,
            scan=reading["scan"].astype(np.int64) if counted else None,
            span=reading["span"].astype(np.int64) if counted else None,
            step_w=channel.lsb * unit * volt,
            register=reading["value"].astype(np.int64),
            waits_ns=seen,
            place=share,
        )


def _stamped(ticks: Ticks, position: int, channel: Channel) -> ChannelReadings | None:
    """Readings of a channel whose driver tells when each was: those that are new, at their own times, none twice. Freshness is known from the stamps, so
    two equal values at two times are two readings."""
    reading = ticks["readings"][:, position]
    new = (reading["flags"] & Flag.STAMPED != 0) & (reading["state"] == ReadingState.FRESH)
    stamps = stamps_ns(ticks, position)[new]
    if not stamps.size:
        return None
    watts = _value(ticks, position, channel)[new]
    stamps, first = np.unique(stamps, return_index=True)
    return ChannelReadings(
        read_ns=stamps,
        power_w=watts[first],
        window_ns=0.0,
        scan_ns=0.0,
        step_w=channel.lsb * 1e-6,
        register=reading["value"][new][first].astype(np.int64),
        stamped=True,
    )


def _place(epoch: Epoch, rail: str) -> tuple[int, Channel, tuple[int, Channel] | None] | None:
    """The channel that tells a rail's current or power, and that of its voltage where one is needed; None where a rail has no power."""
    of = {c.quantity: (i, c) for i, c in enumerate(epoch.channels) if c.rail == rail}
    place = next((of[name] for name in ("shunt_uv", "current_ua", "power_uw") if name in of), None)
    if place is None:
        return None
    if place[1].quantity == "power_uw":
        return (*place, None)
    return (*place, of["bus_uv"]) if "bus_uv" in of else None


def _transfer_ns(epoch: Epoch, ticks: Ticks, name: str, chip: Chip | None, behaviour: str) -> float:
    """How long a register read of a chip lasts, ns; 0 where the reads do not tell."""
    begin, end = _reads(epoch, ticks, name)
    scan_ns = float(chip.scan_ns) if chip else 0.0
    if behaviour == "single-shot" or not begin.size:
        return 0.0
    if behaviour == "waiting":
        return transfer_ns(begin, end, scan_ns * max(chip.averaging, 1)) if chip and scan_ns else 0.0
    found = transfer_ns(begin, end)
    return found if not scan_ns or found < LONGEST_TRANSFER * scan_ns else 0.0


def _waits(
    epoch: Epoch, ticks: Ticks, channel: Channel, chip: Chip | None, transfer: float
) -> tuple[Floats | None, float]:
    """When the driver saw scans end, and where in the scan the channel's conversion ends; None where it is not known where.

    A scan converts the shunt and then the bus of each channel that is on, in their order.
    """
    pair_ns = (chip.shunt_conversion_us + chip.bus_conversion_us) * 1e3 if chip else 0.0
    if chip is None or not pair_ns or not chip.scan_ns:
        return None, 1.0
    on, inputs = round(chip.scan_ns / pair_ns), sorted({c.input for c in epoch.channels if c.chip == chip.name})
    if on != len(inputs) and on != 3:
        return None, 1.0  # some that nobody reads are on, and it is not known which
    before = (channel.input - 1 if on == 3 else inputs.index(channel.input)) * pair_ns
    return waits(*_reads(epoch, ticks, chip.name), transfer), (before + chip.shunt_conversion_us * 1e3) / chip.scan_ns


def _reads(epoch: Epoch, ticks: Ticks, name: str) -> tuple[Ints, Ints]:
    """Begin and end of all reads of a chip that gave something, in the order of time, ns; several quantities of one file are one."""
    of = [i for i, channel in enumerate(epoch.channels) if channel.chip == name]
    reading = ticks["readings"][:, of]
    made = (reading["state"] != ReadingState.MISSING) & (reading["flags"] & Flag.HELD == 0)
    begin, end = ((ticks["t_ns"][:, None] + reading[each].astype(np.int64))[made] for each in ("begin_ns", "end_ns"))
    begin, first = np.unique(begin, return_index=True)
    return begin, end[first]


def _value(ticks: Ticks, position: int, channel: Channel) -> Floats:
    """The channel's quantity in SI units, nan where it was not read; a shunt voltage becomes the current through the shunt."""
    reading = ticks["readings"][:, position]
    value = (reading["value"] + np.int64(channel.offset)) * 1e-6
    if channel.quantity == "shunt_uv":
        value = value / (channel.shunt_uohm * 1e-6) if channel.shunt_uohm else np.full(len(ticks), np.nan)
    missing = (reading["state"] == ReadingState.MISSING) | (reading["flags"] & Flag.HELD != 0)
    return np.asarray(np.where(missing, np.nan, value), np.float64)


def volt_of(readings: Sequence[ChannelReadings], channel: Channel) -> float:
    """The voltage by which a step of the channel's register was turned into power; nan where the step is not known."""
    step = max(piece.step_w for piece in readings)
    return step / channel.lsb * channel.shunt_uohm if channel.lsb else float("nan")
