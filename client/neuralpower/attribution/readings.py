"""Ticks of one epoch as readings of a rail: its current, at the voltage that the supply has at that current."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_align.droop import supply
from neuralpower_align.scan_clock import ChannelReadings, latched_ns, transfer_ns, waits
from neuralpower_wire import Channel, Chip, Epoch, Flag, State, Ticks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BEHAVIOURS = ("waiting", "continuous", "single-shot", "unknown", "registers")
"""Last words of a driver in an epoch's text, which names each driver of its chips once."""
LONGEST_TRANSFER = 0.25
"""Reads that all last longer than this share of a scan have waited for it, and say nothing of the transfer."""


def rail_readings(epoch: Epoch, ticks: Ticks, rail: str, notes: list[str]) -> ChannelReadings | None:
    """One rail's readings in one epoch; None without any.

    Readings of current are kept also where the voltage was not read in the same tick: the supply is told from those that have both.
    """
    of = {c.quantity: (i, c) for i, c in enumerate(epoch.channels) if c.rail == rail}
    place = next((of[name] for name in ("shunt_uv", "current_ua", "power_uw") if name in of), None)
    if place is None or (place[1].quantity != "power_uw" and "bus_uv" not in of):
        return None
    position, channel = place
    value = _value(ticks, position, channel)
    good = np.isfinite(value)
    power, volt = value, 1.0
    if channel.quantity != "power_uw":
        bus = _value(ticks, *of["bus_uv"])
        both = good & np.isfinite(bus)
        if not both.any():
            return None
        source = supply(bus[both], value[both])
        power, volt = source.power_w(value), source.volt
    if not good.any():
        return None
    chip = next((chip for chip in epoch.chips if chip.name == channel.chip), None)
    behaviour = _behaviour(epoch.driver)
    transfer = _transfer_ns(epoch, ticks, channel.chip, chip, behaviour)
    if not transfer:
        _once(notes, "how long a read lasts on the wire is not known: registers are taken to be read when reads ended")
    seen, share = (None, 1.0) if behaviour != "waiting" else _waits(epoch, ticks, channel, chip, transfer)
    reading = ticks["readings"][:, position][good]
    unit = 1 / channel.shunt_uohm if channel.quantity == "shunt_uv" and channel.shunt_uohm else 1e-6
    counted = bool(np.all(reading["flags"] & Flag.SCAN != 0))
    return ChannelReadings(
        read_ns=latched_ns(ticks["t_ns"][good] + reading["end_ns"].astype(np.int64), transfer),
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


def _behaviour(driver: str) -> str:
    """How the drivers of an epoch answer reads, "" if not all alike."""
    found = {part.split()[-1] for part in driver.split(", ") if part.strip()} & set(BEHAVIOURS)
    return found.pop() if len(found) == 1 else ""


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
    made = (reading["state"] != State.MISSING) & (reading["flags"] & Flag.HELD == 0)
    begin, end = ((ticks["t_ns"][:, None] + reading[each].astype(np.int64))[made] for each in ("begin_ns", "end_ns"))
    begin, first = np.unique(begin, return_index=True)
    return begin, end[first]


def _value(ticks: Ticks, position: int, channel: Channel) -> Floats:
    """The channel's quantity in SI units, nan where it was not read; a shunt voltage becomes the current through the shunt."""
    reading = ticks["readings"][:, position]
    value = (reading["value"] + np.int64(channel.offset)) * 1e-6
    if channel.quantity == "shunt_uv":
        value = value / (channel.shunt_uohm * 1e-6) if channel.shunt_uohm else np.full(len(ticks), np.nan)
    missing = (reading["state"] == State.MISSING) | (reading["flags"] & Flag.HELD != 0)
    return np.asarray(np.where(missing, np.nan, value), np.float64)


def _once(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def volt_of(readings: Sequence[ChannelReadings], channel: Channel) -> float:
    """The voltage by which a step of the channel's register was turned into power; nan where the step is not known."""
    step = max(piece.step_w for piece in readings)
    return step / channel.lsb * channel.shunt_uohm if channel.lsb else float("nan")
