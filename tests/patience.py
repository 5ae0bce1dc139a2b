"""How tests wait for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""A machine that is busy elsewhere stands still for seconds. Waiting ends when the condition holds, so patience costs nothing."""


def until(condition: Callable[[], object], every_s: float = 0.01) -> None:
    """Wait for a condition that must come true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(every_s)
