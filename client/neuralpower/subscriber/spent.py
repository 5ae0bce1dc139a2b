"""What the daemon's history says of a stretch of time: joules of the whole board."""

from __future__ import annotations

import time

import numpy as np

from neuralpower_align.result.energy import energy_between
from neuralpower_wire import Epoch

from ..address import AddressLike
from ..errors import Failure
from .client import Client
from .messages import Ticks

PATIENCE_S = 2.0
MARGINS_S = (1.0, 6.0)
"""Asked for beyond the age of the beginning: a client reckons it back from the tick that is newest once it has connected, which on
a busy machine takes a while."""
LONGEST_HOLE_NS = 50_000_000
"""Energy is summed over no longer hole in the ticks than this."""
LONGEST_WAIT_NS = 2_000_000_000
"""A window's energy waits no longer for a slow filter to show its end; it is nan then."""
_SETTLE_S = 0.1
"""Ticks are published 50 ms after they were read, at most."""


def late_ns(epoch: Epoch | None) -> int:
    """By how much readings of the board's power show it late, as far as the chip's setting tells; 0 where it does not.

    A reading is held for a scan, so it is half a scan old in the mean; it is a mean over a conversion; and a filter over N scans
    is N - 1 scans late. What lies between a rail and the chip, and the way to the reader, come on top and are not known.
    """
    chips = [] if epoch is None else [c.chip for c in epoch.channels if c.rail in epoch.totals]
    found = [chip for chip in (epoch.chips if epoch else ()) if chip.name in chips]
    return max(
        (
            round(chip.scan_ns * (max(chip.averaging, 1) - 0.5) + chip.shunt_conversion_us * 500)
            for chip in found
            if chip.scan_ns
        ),
        default=0,
    )


def total_power_since(address: AddressLike, begin_ns: int) -> tuple[np.ndarray, np.ndarray, Epoch | None]:
    """Times (CLOCK_MONOTONIC, ns) and watts of the board from `begin_ns` on, as the daemon's history has them, and the last epoch.

    Empty where no daemon answers.
    """
    t_ns, power_w, epoch = np.zeros(0, np.int64), np.zeros(0), None
    for margin_s in MARGINS_S:
        try:
            t_ns, power_w, epoch = _last(address, (time.monotonic_ns() - begin_ns) * 1e-9 + margin_s)
        except Failure:
            break
        if len(t_ns) and t_ns[0] <= begin_ns:
            break
    return t_ns, power_w, epoch


def _last(address: AddressLike, seconds: float) -> tuple[np.ndarray, np.ndarray, Epoch | None]:
    times, watts, epoch = [np.zeros(0, np.int64)], [np.zeros(0)], None
    with Client(address, topics=("rails",), past=seconds) as client:
        for messages in client.catch_up(PATIENCE_S):
            for message in messages:
                if isinstance(message, Ticks):
                    times.append(message.ticks["t_ns"].astype(np.int64))
                    watts.append(message.total_power_w())
                    epoch = message.epoch or epoch
    t_ns, first = np.unique(np.concatenate(times), return_index=True)
    return t_ns, np.concatenate(watts)[first], epoch


def energy_between_moments(address: AddressLike, begin_ns: int, end_ns: int) -> float:
    """Joules of the board from `begin_ns` to `end_ns`, nan where the history does not hold all of it.

    Readings are taken for the power that they show, :func:`late_ns` earlier.
    """
    for _ in range(2):
        wait_s = _SETTLE_S - (time.monotonic_ns() - end_ns) * 1e-9
        if wait_s > 0:
            time.sleep(wait_s)
        t_ns, power_w, epoch = total_power_since(address, begin_ns)
        late = late_ns(epoch)
        if not len(t_ns) or end_ns + late <= t_ns[-1] or late > LONGEST_WAIT_NS:
            break
        time.sleep(late * 1e-9 + _SETTLE_S)
    if not len(t_ns):
        return float("nan")
    return float(energy_between(t_ns, power_w, begin_ns + late, end_ns + late, LONGEST_HOLE_NS))
