"""What goes wrong, in one line for the user."""

from __future__ import annotations

from enum import IntEnum


class Own(IntEnum):
    """The sampler's own error numbers, above any of the system's: those of `enum np_error` in np_reading.h (a test compares them)."""

    NOT_A_RING = 1001
    VERSION = 1002
    TRUNCATED = 1003
    HELD = 1004
    NOT_A_TIMELINE = 1005
    FORKED = 1006
    CPU = 1007
    NO_LIBRARY = 1008
    NOT_NVML = 1009
    NVML = 2000
    """NVML + n: NVML answered with its nvmlReturn_t n."""


class SamplerError(RuntimeError):
    """One clear line: what, where, what to do. `errno` is the system's error number or one of :class:`Own`, or None."""

    def __init__(self, line: str, errno: int | None = None) -> None:
        super().__init__(line)
        self.errno = errno
