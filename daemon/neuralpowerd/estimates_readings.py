"""Ticks of one epoch as readings of the rails of the total, as attribution wants them: one channel each, at the supply's voltage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuralpower_align.droop import Supply, supply
from neuralpower_align.scan_clock import ChannelReadings, latched_ns, transfer_ns
from neuralpower_wire import Channel, Epoch, Flag, State, Ticks

from .feeds import in_one

Floats = npt.NDArray[np.float64]

FIRST_TICKS = 2000
"""The supply, and how long a transfer lasts, are told from so many ticks, and then taken to stay what they are."""


class RailReadings:
    """Makes readings of one rail; the first ones are held back until the supply behind them is known."""

    def __init__(self, epoch: Epoch, rail: str) -> None:
        of = {c.quantity: (i, c) for i, c in enumerate(epoch.channels) if c.rail == rail}
        place = next((of[name] for name in ("shunt_uv", "current_ua", "power_uw") if name in of), None)
        if place is None or (place[1].quantity != "power_uw" and "bus_uv" not in of):
            raise ValueError(f"rail {rail} has no reading of power")
        self._at, self._channel = place
        self._bus = of.get("bus_uv")
        self._chip = next((chip for chip in epoch.chips if chip.name == self._channel.chip), None)
        self._supply: Supply | None = None
        self._transfer_ns: float | None = None
        self._first: list[Ticks] = []

    def take(self, ticks: Ticks) -> ChannelReadings | None:
        """The readings of ticks of the epoch; None where there are none yet."""
        if self._transfer_ns is None:
            self._first.append(ticks)
            if sum(len(each) for each in self._first) < FIRST_TICKS:
                return None
            ticks = in_one(self._first)
            self._first = []
        value = _value(ticks, self._at, self._channel)
        good = np.isfinite(value)
        if not good.any():
            return None
        reading = ticks["readings"][:, self._at]
        begin_ns, end_ns = (ticks["t_ns"] + reading[name].astype(np.int64) for name in ("begin_ns", "end_ns"))
        if self._transfer_ns is None:
            self._transfer_ns = transfer_ns(begin_ns[good], end_ns[good])
        power, volt = value, 1.0
        if self._channel.quantity != "power_uw":
            source = self._source(ticks, value)
            if source is None:
                return None
            power, volt = source.power_w(value), source.volt
        chip, channel = self._chip, self._channel
        unit = 1 / channel.shunt_uohm if channel.quantity == "shunt_uv" and channel.shunt_uohm else 1e-6
        counted = bool(np.all(reading["flags"][good] & Flag.SCAN != 0))
        return ChannelReadings(
            read_ns=latched_ns(end_ns[good], self._transfer_ns),
            power_w=power[good],
            window_ns=chip.shunt_conversion_us * 1e3 if chip else 0.0,
            scan_ns=float(chip.scan_ns) if chip else 0.0,
            averaging=max(chip.averaging, 1) if chip else 1,
            scan=reading["scan"][good].astype(np.int64) if counted else None,
            span=reading["span"][good].astype(np.int64) if counted else None,
            step_w=channel.lsb * unit * volt,
            register=reading["value"][good].astype(np.int64),
        )

    def _source(self, ticks: Ticks, value: Floats) -> Supply | None:
        """The supply behind the rail, from the first ticks that have both."""
        if self._supply is None and self._bus is not None:
            bus = _value(ticks, *self._bus)
            both = np.isfinite(value) & np.isfinite(bus)
            self._supply = supply(bus[both], value[both]) if both.any() else None
        return self._supply


def _value(ticks: Ticks, position: int, channel: Channel) -> Floats:
    """The channel's quantity in SI units, nan where it is missing; a shunt voltage becomes the current through the shunt."""
    reading = ticks["readings"][:, position]
    value = (reading["value"] + np.int64(channel.offset)) * 1e-6
    if channel.quantity == "shunt_uv":
        value = value / (channel.shunt_uohm * 1e-6) if channel.shunt_uohm else np.full(len(ticks), np.nan)
    missing = (reading["state"] == State.MISSING) | (reading["flags"] & Flag.HELD != 0)
    return np.asarray(np.where(missing, np.nan, value), np.float64)
