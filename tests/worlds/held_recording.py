"""A recording in memory, with all that attribution asks of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_wire import Epoch, Kind, Record


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

    def write(self, folder: Path) -> Path:
        """The same as a recording on the disk."""
        rows = self.rows.copy()
        rows["commit"], rows["slot"], rows["n"] = rows["index"] + 1, rows["index"], rows["readings"].shape[1]
        stream = self.streams[0]
        writer = Writer(folder, "ipc:///run/neuralpower")
        writer.keep(Ticks(stream, rows, self.epoch))
        journal = [Record(Kind.EPOCH, 1, {**self.epoch.to_dict(), "stream": stream})]
        journal += [Record(Kind.ENGINE, 1, body) for body in self.bodies.values()]
        for seq, run in enumerate(self.runs):
            body = {"session": b"S" * 16, "seq": seq, **vars(run)}
            journal.append(Record(Kind.INFERENCE, run.end_ns, body))
        writer.keep(Records(b"J" * 16, 0, journal))
        writer.finish()
        return folder
