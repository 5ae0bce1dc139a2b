"""Keeps processors from sleeping deeply while the loop runs, where that is asked for: wakes sooner, and draws power."""

from __future__ import annotations

import os
import struct

DEVICE = "/dev/cpu_dma_latency"
"""Holds the wake-up latency that the processors may have, in µs, for as long as it is open (kernel: PM QoS)."""


class LatencyHold:
    """`state` says what became of it: "not held", "held at 0 µs", or "refused: " and why, which `refused` is where it was."""

    def __init__(self, device: str = DEVICE) -> None:
        self._device = device
        self._file: int | None = None
        self.state, self.refused = "not held", False

    def want(self, wanted: bool) -> None:
        """Hold it, or let it go."""
        if not wanted:
            self.release()
        elif self._file is None:
            try:
                self._file = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
                os.write(self._file, struct.pack("=i", 0))
                self.state = "held at 0 µs"
            except OSError as error:
                self.release()
                self.state, self.refused = f"refused: {self._device}: {error.strerror}", True

    def release(self) -> None:
        """Let it go; a second time does nothing."""
        if self._file is not None:
            os.close(self._file)
        self._file = None
        self.state, self.refused = "not held", False
