"""The board's power while an experiment runs, as the daemon publishes it."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
import numpy.typing as npt

from neuralpower_align.result.energy import energy_between
from neuralpower_wire import Epoch, Flag, ReadingState
from neuralpower_wire.power import stamps_ns

from ..address import AddressLike
from ..subscriber.client import Client
from ..subscriber.messages import Ticks
from .shown import Shown

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KEPT_S = 60.0
LONGEST_HOLE_NS = 50_000_000
_PATIENCE_S = 2.0


class PowerLog:
    """Follows the rails. Ask it between blocks, not within: taking messages costs this process time and power.

    Args:
        address: the daemon's runtime directory.
    """

    def __init__(self, address: AddressLike) -> None:
        self._client = Client(address, topics=("rails",))
        self._parts: deque[tuple[Ints, Floats]] = deque()
        self.epoch: Epoch | None = None

    def status(self) -> dict[str, object]:
        """The daemon's; Failure if none answers."""
        return self._client.status()

    def reach(self, t_ns: int) -> bool:
        """Take what was published until a tick at or after `t_ns` is there; False where none comes in time."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._parts or self._parts[-1][0][-1] < t_ns:
            if time.monotonic() > deadline:
                return False
            for message in self._client.poll(0.05):
                if isinstance(message, Ticks) and len(message):
                    self.epoch = message.epoch or self.epoch
                    part = _stamped(message) or (message.ticks["t_ns"].astype(np.int64), message.total_power_w())
                    if len(part[0]):
                        self._parts.append(part)
            while self._parts and self._parts[0][0][-1] < self._parts[-1][0][-1] - KEPT_S * 1e9:
                self._parts.popleft()
        return True

    def energy_j(self, begin_ns: int, end_ns: int, shown: Shown | None = None) -> float:
        """Joules between two moments; nan where they were not measured, a hole in the ticks included.

        With `shown`, what readings show of inferences is integrated exactly, whatever readings are missing there.
        """
        t_ns, power_w = self._readings()
        return energy_shown(t_ns, power_w, begin_ns, end_ns, shown) if len(t_ns) else float("nan")

    def readings(self, begin_ns: int, end_ns: int) -> tuple[Ints, Floats]:
        """Times and watts between two moments, those that were not read left out."""
        t_ns, power_w = self._readings()
        known = (t_ns >= begin_ns) & (t_ns <= end_ns) & np.isfinite(power_w)
        return t_ns[known], power_w[known]

    def mean_w(self, begin_ns: int, end_ns: int) -> float:
        """Mean watts of a steady state between two moments: of the readings there, whatever is missing between them."""
        known = self.readings(begin_ns, end_ns)[1]
        return float(known.mean()) if len(known) else float("nan")

    def _readings(self) -> tuple[Ints, Floats]:
        """Times and watts kept, each moment once."""
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros(0)
        t_ns, first = np.unique(np.concatenate([part[0] for part in self._parts]), return_index=True)
        return t_ns, np.concatenate([part[1] for part in self._parts])[first]

    def close(self) -> None:
        """Leave the daemon."""
        self._client.close()


def _stamped(message: Ticks) -> tuple[Ints, Floats] | None:
    """Times and watts of a total of one rail whose readings carry stamps (NVML): those that are new, when they were; None of any other.

    Several GPUs have stamps of their own; their sum is taken as of the ticks, which are later by what the source's queue makes them.
    """
    epoch = message.epoch
    if epoch is None or len(epoch.totals) != 1:
        return None
    of_total = [channel.rail == epoch.totals[0] and channel.quantity == "power_uw" for channel in epoch.channels]
    if True not in of_total:
        return None
    place = of_total.index(True)
    reading = message.ticks["readings"][:, place]
    if not np.any(reading["flags"] & Flag.STAMPED):
        return None
    stamps = stamps_ns(message.ticks, place)
    new = (stamps >= 0) & (reading["state"] == ReadingState.FRESH)
    return stamps[new], message.total_power_w()[new]


def energy_shown(t_ns: Ints, power_w: Floats, begin_ns: int, end_ns: int, shown: Shown | None) -> float:
    """Joules between two moments from readings (k,); nan where they were not measured.

    shown: what readings show of inferences, or None. Its size is fitted to the readings, it is subtracted from them before the
    integral, and its own integral added.
    """
    rest_w, extra_j = power_w, 0.0
    if shown is not None:
        inside = (t_ns >= begin_ns) & (t_ns <= end_ns) & np.isfinite(power_w)
        share = shown.share(t_ns)
        moved, power = share[inside], power_w[inside]
        moved = moved - moved.mean() if len(moved) else moved
        size = float(moved @ moved)
        height_w = float(moved @ power) / size if size else 0.0
        rest_w, extra_j = power_w - height_w * share, height_w * shown.seconds(begin_ns, end_ns)
    return float(energy_between(t_ns, rest_w, begin_ns, end_ns, LONGEST_HOLE_NS)) + extra_j
