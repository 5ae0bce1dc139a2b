"""Ticks of one epoch as readings of the rails of the total, as attribution wants them: one channel each, at the supply's voltage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neuralpower_align.droop import Supply, supply
from neuralpower_align.scan_clock import ChannelReadings
from neuralpower_wire import Channel, Epoch, Flag, State, Ticks

Floats = npt.NDArray[np.float64]

SUPPLY_TICKS = 2000
"""The supply is told from so many ticks, and then taken to stay what it is."""


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
        self._first: list[Ticks] = []

    def take(self, ticks: Ticks) -> ChannelReadings | None:
        """The readings of ticks of the epoch; None where there are none yet."""
        if self._channel.quantity != "power_uw" and self._supply is None:
            self._first.append(ticks)
            if sum(len(each) for each in self._first) < SUPPLY_TICKS:
                return None
            ticks = np.concatenate(self._first)
            self._first = []
        value = _value(ticks, self._at, self._channel)
        good = np.isfinite(value)
        power, volt = value, 1.0
        if self._channel.quantity != "power_uw":
            assert self._bus is not None
            if self._supply is None:
                bus = _value(ticks, *self._bus)
                both = good & np.isfinite(bus)
                if not both.any():
                    return None
                self._supply = supply(bus[both], value[both])
            power, volt = self._supply.power_w(value), self._supply.volt
        if not good.any():
            return None
        return self._readings(ticks, power, volt, good)

    def _readings(self, ticks: Ticks, power: Floats, volt: float, good: npt.NDArray[np.bool_]) -> ChannelReadings:
        chip, channel = self._chip, self._channel
        reading = ticks["readings"][:, self._at]
        unit = 1 / channel.shunt_uohm if channel.quantity == "shunt_uv" and channel.shunt_uohm else 1e-6
        counted = bool(np.all(reading["flags"][good] & Flag.SCAN != 0))
        return ChannelReadings(
            read_ns=(ticks["t_ns"] + reading["end_ns"].astype(np.int64))[good],
            power_w=power[good],
            window_ns=chip.shunt_conversion_us * 1e3 if chip else 0.0,
            scan_ns=float(chip.scan_ns) if chip else 0.0,
            averaging=max(chip.averaging, 1) if chip else 1,
            scan=reading["scan"][good].astype(np.int64) if counted else None,
            span=reading["span"][good].astype(np.int64) if counted else None,
            step_w=channel.lsb * unit * volt,
        )


def _value(ticks: Ticks, position: int, channel: Channel) -> Floats:
    """The channel's quantity in SI units, nan where it is missing; a shunt voltage becomes the current through the shunt."""
    reading = ticks["readings"][:, position]
    value = (reading["value"] + np.int64(channel.offset)) * 1e-6
    if channel.quantity == "shunt_uv":
        value = value / (channel.shunt_uohm * 1e-6) if channel.shunt_uohm else np.full(len(ticks), np.nan)
    missing = (reading["state"] == State.MISSING) | (reading["flags"] & Flag.HELD != 0)
    return np.asarray(np.where(missing, np.nan, value), np.float64)
