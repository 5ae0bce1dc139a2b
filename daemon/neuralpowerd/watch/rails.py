"""Notices rails that stop giving values and rails that give them again: once each, however many ticks are missing."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import numpy as np

from neuralpower_wire import Epoch, ReadingState, Ticks

QUIET_NS = 2_000_000_000
"""A rail has recovered when it has missed nothing for this long."""


@dataclass(frozen=True)
class RailChange:
    """A rail began to fail, for the reason `error` (an errno's name), or recovered (no error)."""

    rail: str
    error: str


class RailWatch:
    """Follows the ticks of one epoch."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._last_missing_ns: dict[str, int] = {}

    @property
    def failing(self) -> list[str]:
        """Rails that fail now."""
        return list(self._last_missing_ns)

    def see(self, ticks: Ticks) -> list[RailChange]:
        """What changed with these ticks, which follow the ones before."""
        missing = ticks["readings"]["state"] == ReadingState.MISSING
        changes: list[RailChange] = []
        for position in np.flatnonzero(missing.any(axis=0)):
            rail = self._epoch.channels[position].rail
            last = int(np.flatnonzero(missing[:, position])[-1])
            if rail not in self._last_missing_ns:
                changes.append(RailChange(rail, error_name(int(ticks["readings"]["error"][last, position]))))
            self._last_missing_ns[rail] = int(ticks["t_ns"][last])
        quiet = [rail for rail, t_ns in self._last_missing_ns.items() if int(ticks["t_ns"][-1]) - t_ns > QUIET_NS]
        for rail in quiet:
            del self._last_missing_ns[rail]
        return changes + [RailChange(rail, "") for rail in quiet]


def error_name(number: int) -> str:
    """EAGAIN for 11, and so on."""
    return errno.errorcode.get(number, str(number))
