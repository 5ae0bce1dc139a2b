"""The device's clock held against this machine's: one question, and when it was asked and answered."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class ClockComparison:
    """The device's CLOCK_MONOTONIC showed `device_ns` at some time between `asked_ns` and `answered_ns` of this machine's clock.

    `stream` is that of the device's ticks, `boot` names the boot of this machine, `wall_ns` is its wall time when the answer was there.
    """

    stream: bytes
    boot: bytes
    asked_ns: int
    device_ns: int
    answered_ns: int
    wall_ns: int

    @property
    def bracket_ns(self) -> int:
        """How far apart question and answer are: half of it is what the comparison can be wrong by."""
        return self.answered_ns - self.asked_ns


def now_ns() -> int:
    """This machine's clock that devices are held against: CLOCK_BOOTTIME, which goes on while it sleeps, where there is one."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


@cache
def boot() -> bytes:
    """16 bytes that name this boot, or where the machine has no such name this process."""
    try:
        return bytes.fromhex(_BOOT.read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return os.urandom(16)
