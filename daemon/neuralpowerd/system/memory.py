"""Memory: what there is for the logs, and giving back what the allocator only keeps."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from .sysfs import read_int, read_text

GIVE_BACK_S = 10.0
"""After a flood the allocator holds what it was; a look takes a millisecond."""


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory of this machine, or what the service's control group may take of it, where that is less."""
    of_machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = (read_text(root / "proc/self/cgroup") or "").rpartition(":")[2]
    limit = read_int(root / "sys/fs/cgroup" / group.lstrip("/") / "memory.max")
    return min(of_machine, limit) if limit else of_machine


class GiveBack:
    """Returns free memory to the machine now and then; does nothing where the C library cannot."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._trim = None
        with suppress(OSError, AttributeError):
            self._trim = ctypes.CDLL(None).malloc_trim

    def look(self, now_s: float) -> None:
        """To be called about once a second."""
        if self._trim is not None and now_s >= self._next_s:
            self._next_s = now_s + GIVE_BACK_S
            self._trim(0)
