"""Power out of a tick: each rail's readings as watts, and the total. What attribution makes of a rail's current stands in align (`droop.py`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .epoch import Channel, Epoch
from .errors import WireError
from .tick import Flag, ReadingState, Ticks

Series = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


def rail_power_w(epoch: Epoch, ticks: Ticks) -> dict[str, Series]:
    """Power of each rail at each tick, in watts, nan where a reading it needs is missing.

    P = bus · shunt / R where the chip gives the shunt voltage (INA3221 datasheet, SBOS576B, 8.3), bus · current where
    the driver gives the current, or the power itself. A rail without such a set of readings is nan throughout.

    Args:
        epoch: the epoch of all these ticks; its channels are in the order of the readings.
        ticks: (n,) structured array of :func:`neuralpower_wire.tick_dtype`.

    Raises:
        WireError: the ticks have other readings than the epoch.
    """
    readings = ticks["readings"].shape[1]
    if readings != len(epoch.channels):
        raise WireError(f"epoch {epoch.number} has {len(epoch.channels)} channels, its ticks {readings} readings")
    by_rail: dict[str, dict[str, Series]] = {rail: {} for rail in epoch.rails()}
    for position, channel in enumerate(epoch.channels):
        by_rail[channel.rail][channel.quantity] = _quantity(channel, ticks, position)
    return {rail: _power(quantities, len(ticks)) for rail, quantities in by_rail.items()}


def total_power_w(epoch: Epoch, ticks: Ticks, rails: Mapping[str, Series] | None = None) -> Series:
    """Power of the board at each tick: (n,) watts, nan where a rail of the total is missing or no total is known.

    rails: what :func:`rail_power_w` gave of these ticks, where the caller has it.
    """
    if not epoch.totals:
        return np.full(len(ticks), np.nan)
    rails = rail_power_w(epoch, ticks) if rails is None else rails
    total: Series = np.sum([rails[name] for name in epoch.totals], axis=0)
    return total


def stamps_ns(ticks: Ticks, position: int) -> Times:
    """When the driver says that the readings of channel `position` were: (n,) ns of CLOCK_MONOTONIC, -1 where it does not say."""
    reading = ticks["readings"][:, position]
    told = reading["flags"] & Flag.STAMPED != 0
    stamps: Times = np.where(told, ticks["t_ns"] - reading["scan"].astype(np.int64), -1)
    return stamps


def counted(ticks: Ticks, position: int) -> tuple[Times, Times, Times]:
    """What an energy counter (channel `position`) was, and when it got to that.

    A counter that changed between two looks was renewed between them, for the last time. Looks of a turn are close together
    (docs/nvml.md), so the narrow ones say when.

    Returns:
        (n,) ns of CLOCK_MONOTONIC before and after which it was renewed, and (n,) µJ.
    """
    reading = ticks["readings"][:, position]
    looks = np.flatnonzero((reading["flags"] & Flag.HELD == 0) & (reading["state"] != ReadingState.MISSING))
    seen = reading[looks]
    begin_ns, end_ns = (ticks["t_ns"][looks] + seen[each].astype(np.int64) for each in ("begin_ns", "end_ns"))
    fresh = np.flatnonzero(seen["state"][1:] == ReadingState.FRESH) + 1
    return begin_ns[fresh - 1], end_ns[fresh], seen["value"][fresh]


def _quantity(channel: Channel, ticks: Ticks, position: int) -> Series:
    """The channel's quantity in SI units; a shunt voltage becomes the current through the shunt."""
    reading = ticks["readings"][:, position]
    value = (reading["value"] + np.int64(channel.offset)) * 1e-6
    if channel.quantity == "shunt_uv":
        value = value / (channel.shunt_uohm * 1e-6) if channel.shunt_uohm else np.full(len(ticks), np.nan)
    return np.where(reading["state"] == ReadingState.MISSING, np.nan, value)


def _power(quantities: dict[str, Series], count: int) -> Series:
    if "power_uw" in quantities:
        return quantities["power_uw"]
    current = quantities.get("shunt_uv", quantities.get("current_ua"))
    if current is None or "bus_uv" not in quantities:
        return np.full(count, np.nan)
    return current * quantities["bus_uv"]
