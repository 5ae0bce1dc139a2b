"""A virtual device in a time that the test makes pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower.virtual.device.device import VirtualDevice
from neuralpower.virtual.device.hardware import RAILS
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.networks.known import build
from neuralpower_wire import Timeline, create_timeline

IDLE_UW = [3_000_000, 600_000, 900_000]


class Time:
    """A clock that only sleeping moves; `stall_ns` is how much longer each sleep takes."""

    def __init__(self) -> None:
        self.now_ns, self.stall_ns = 10**12, 0

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9) + self.stall_ns


class Bench:
    """A device on a fresh timeline."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "timeline"
        create_timeline(self.path, RAILS, IDLE_UW)
        self.time = Time()
        self.device = VirtualDevice(self.path, 1, clock_ns=self.time, sleep=self.time.sleep, **options)

    def context(self, name: str = "lenet5", runs: int = 20) -> Any:
        return self.device.load(Load.of(name, build(name), self.device.hardware), runs)

    def run(self, context: Any, each: Callable[[], None] = lambda: None) -> None:
        while context.remaining:
            context.execute_async_v3(self.device.stream.handle)
            self.device.stream.synchronize()
            each()

    def records(self) -> np.ndarray:
        timeline = Timeline(self.path)
        records: np.ndarray = timeline._records[: timeline.count].copy()
        timeline.close()
        return records
