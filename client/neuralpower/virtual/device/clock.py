"""A clock that stands still but for being slept on: with it a run of minutes takes as long as its computing."""

from __future__ import annotations

import math


class VirtualClock:
    """As CLOCK_MONOTONIC and time.sleep, in virtual time."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        """The time, ns."""
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        """Let at least so much time pass."""
        self.now_ns += max(1, math.ceil(seconds * 1e9))
