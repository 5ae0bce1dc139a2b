"""A recording in memory, with all that attribution asks of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuralpower_wire import Epoch, Record


@dataclass
class Memory:
    """A recording that was never on a disk."""

    epoch: Epoch
    rows: np.ndarray
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[Any] = field(default_factory=list)
    streams: list[bytes] = field(default_factory=lambda: [b"s" * 16])
    simulated: bool = True
    marks: list[Record] = field(default_factory=list)

    def records(self) -> list[Record]:
        return self.marks

    def ticks(self, stream: bytes | None = None) -> np.ndarray:
        return self.rows

    def epochs(self, stream: bytes | None = None) -> list[Epoch]:
        return [self.epoch]

    def inferences(self) -> list[Any]:
        return self.runs

    def engines(self) -> dict[str, dict[str, Any]]:
        return self.bodies
