"""What the daemon's history says of a stretch of time: joules of the whole board."""

from __future__ import annotations

import os
import time

import numpy as np

from neuralpower_align.energy import energy_between

from ..errors import Failure
from ..subscriber.client import Client
from ..subscriber.messages import Ticks

PATIENCE_S = 2.0
MARGINS_S = (1.0, 6.0)
"""Asked for beyond the age of the beginning: a client reckons it back from the tick that is newest once it has connected, which on
a busy machine takes a while."""
LONGEST_HOLE_NS = 50_000_000
"""Energy is summed over no longer hole in the ticks than this."""
_SETTLE_S = 0.1
"""Ticks are published 50 ms after they were read, at most."""


def total_power_since(address: str | os.PathLike[str], begin_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Times (CLOCK_MONOTONIC, ns) and watts of the board from `begin_ns` on, as the daemon's history has them.

    Empty where no daemon answers.
    """
    folder = os.fspath(address).removeprefix("ipc://").rstrip("/")
    folder = os.path.dirname(folder) if folder.endswith(".ipc") else folder
    t_ns, power_w = np.zeros(0, np.int64), np.zeros(0)
    for margin_s in MARGINS_S:
        try:
            t_ns, power_w = _last(f"ipc://{folder}", (time.monotonic_ns() - begin_ns) * 1e-9 + margin_s)
        except Failure:
            break
        if len(t_ns) and t_ns[0] <= begin_ns:
            break
    return t_ns, power_w


def _last(address: str, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    times, watts = [np.zeros(0, np.int64)], [np.zeros(0)]
    with Client(address, topics=("rails",), past=seconds) as client:
        for messages in client.catch_up(PATIENCE_S):
            for message in messages:
                if isinstance(message, Ticks):
                    times.append(message.ticks["t_ns"].astype(np.int64))
                    watts.append(message.total_power_w())
    t_ns, first = np.unique(np.concatenate(times), return_index=True)
    return t_ns, np.concatenate(watts)[first]


def energy_between_moments(address: str | os.PathLike[str], begin_ns: int, end_ns: int) -> float:
    """Joules of the board from `begin_ns` to `end_ns`, nan where the history does not hold all of it."""
    late_s = _SETTLE_S - (time.monotonic_ns() - end_ns) * 1e-9
    if late_s > 0:
        time.sleep(late_s)
    t_ns, power_w = total_power_since(address, begin_ns)
    return float(energy_between(t_ns, power_w, begin_ns, end_ns, LONGEST_HOLE_NS)) if len(t_ns) else float("nan")
