"""A GPU with a clock of its own beside the host's, in which the true times of events are known (simulated)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower.profiler.events import EventClock

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EventWorld:
    """How a GPU's clock runs beside the host's, and how long each waits for the other."""

    seed: int = 0
    ppm: float = 0.0
    wander: float = 0.0
    """By how many ppm the rate changes in 1 s at most."""
    wave_s: float = 30.0
    """The rate wanders as a sine of this period."""
    tail: str = "normal"
    wake_ns: float = 30_000
    """How much later than at its floor a wake-up is, typically."""
    floor_ns: float = 8_000
    queue_ns: float = 15_000
    gap_ns: float = 5e6
    stamp_ns: float = 1024
    """Times of events are multiples of it."""
    jump_ns: float = 0.0
    """By how much the GPU's clock jumps in the middle."""


class EventGpu:
    """A GPU with a clock of its own; each inference has a true begin and end on the host's clock."""

    def __init__(self, world: EventWorld, jump_at_ns: float = math.inf) -> None:
        random = np.random.default_rng([world.seed, 1])
        self.world, self.jump_at_ns = world, jump_at_ns
        self.offset, self.phase = random.uniform(-1e12, 1e12), random.uniform(0, 2 * math.pi)
        self.last_end: float | None = None
        self.pair = (0.0, 0.0)

    def clock(self, t_ns: float) -> float:
        """What its clock shows at a time of the host's."""
        world, per_s = self.world, 2 * math.pi / self.world.wave_s
        wandered = world.wander * 1e-6 / per_s**2 * math.sin(per_s * t_ns * 1e-9 + self.phase) * 1e9
        shown = t_ns + (t_ns - 1e12) * world.ppm * 1e-6 + wandered + self.offset
        return (shown + world.jump_ns * (t_ns >= self.jump_at_ns)) // world.stamp_ns * world.stamp_ns

    def run(self, begin_ns: float, end_ns: float) -> None:
        self.pair = self.clock(begin_ns), self.clock(end_ns)

    def begin(self, stream: Any) -> None: ...

    def end(self, stream: Any) -> None: ...

    def elapsed_ms(self) -> tuple[float, float]:
        begin, end = self.pair
        pause = math.nan if self.last_end is None else float(np.float32((begin - self.last_end) * 1e-6))
        self.last_end = end
        return pause, float(np.float32((end - begin) * 1e-6))


def drawn(random: np.random.Generator, tail: str, scale_ns: float) -> float:
    """A delay above its floor."""
    if tail == "normal":
        return abs(random.normal(0, scale_ns))
    if tail == "exponential":
        return random.exponential(scale_ns)
    if tail == "lognormal":
        return scale_ns * random.lognormal(0, 1)
    return min(scale_ns * random.pareto(1.2), 1e9)


@dataclass(frozen=True)
class Found:
    """By how much the host's and the events' anchors of the end are late, and how certain the latter were said to be, all ns."""

    host: Floats
    late: Floats
    early_at_most: Floats
    late_at_most: Floats


def found_in(world: EventWorld, count: int = 400) -> Found:
    """Inferences in that world, one after another; anchors never leave the host's, nor do they turn round."""
    random = np.random.default_rng(world.seed)
    now, rows = 1e12, []
    gpu = EventGpu(world)
    clock = EventClock(gpu)
    for number in range(count):
        if number == count // 2:
            gpu.jump_at_ns = now
        before = now
        begin = before + 40_000 + drawn(random, world.tail, world.queue_ns)
        end = begin + random.uniform(1.5e6, 2.5e6)
        after = end + world.floor_ns + drawn(random, world.tail, world.wake_ns)
        gpu.run(begin, end)
        first, last = clock.anchors(round(before), round(after))
        assert round(before) <= first < last <= round(after)
        rows.append((after - end, last - end, *clock.uncertainty_ns))
        now = after + random.uniform(0, world.gap_ns)
    return Found(*np.array(rows).T)
