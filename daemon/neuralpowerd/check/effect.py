"""What the daemon's sampling costs in power: measured with the loop on and off in turn, or not measured."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from neuralpower_sampler import Ring, Sampler

from ..config import Config
from ..sources.boards import FoundBoard
from ..sources.registry import make_plan
from .findings import BETTER, GOOD, UNKNOWN, Finding
from .rails import present

PAIRS = 10
BLOCK_S = 1.0
SETTLE_S = 0.2
READS = 10
T95 = 2.262
"""Student's t for 95 % and PAIRS - 1 = 9 degrees of freedom."""


def finding(config: Config, found: FoundBoard, busy: bool, wanted: bool) -> Finding:
    """The effect on the total's rails, or why it was not measured."""
    group, topic = "Daemon", "own effect on the rails"
    if not found.rails or config.source in ("sim", "replay"):
        advice = "it needs the board's own rails"
        return Finding(
            group, topic, "not measured: what is not of this machine does not feel what it draws", UNKNOWN, advice
        )
    if not found.total:
        advice = "see the total above; or look at one rail with neuralpower watch, daemon on and off"
        return Finding(group, topic, "not measured: there is no total", UNKNOWN, advice)
    if not wanted:
        advice = "neuralpowerd check --measure-effect takes 20 s and answers it"
        return Finding(group, topic, "not measured", UNKNOWN, advice)
    if busy:
        return Finding(group, topic, "not measured: others read the chip", UNKNOWN, "stop them, and the daemon, first")
    differences = measure(config, lambda: total_w(found), time.sleep)
    if not differences:
        return Finding(group, topic, "not measured: the rails cannot be read", UNKNOWN, "see the rails above")
    mean, half = interval(differences)
    value = f"{1000 * mean:+.0f} ± {1000 * half:.0f} mW with sampling on (95 %, {len(differences)} pairs)"
    if mean - half < 0.1:
        return Finding(group, topic, value, GOOD)
    return Finding(
        group, topic, value, BETTER, "a longer period_us, fewer rails, no spin and no wake-up latency held draw less"
    )


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval, of PAIRS paired differences."""
    return statistics.fmean(differences), T95 * statistics.stdev(differences) / len(differences) ** 0.5


def total_w(found: FoundBoard) -> float | None:
    """The board's power now."""
    powers = [present(rail).power_w for rail in found.rails if rail.name in found.total]
    known = [power for power in powers if power is not None]
    return sum(known) if len(known) == len(powers) else None


def measure(config: Config, power_w: Callable[[], float | None], sleep: Callable[[float], None]) -> list[float]:
    """Watts with the loop on less watts with it off, pair by pair; which comes first alternates. Empty: cannot be read."""
    with tempfile.TemporaryDirectory(prefix="neuralpower") as folder, ExitStack() as stack:
        plan = make_plan(replace(config, runtime_dir=folder, plan=replace(config.plan, allow_write=False)))
        source = plan.open()
        stack.callback(source.close)
        ring = Ring.create(Path(folder) / "ticks.ring", len(plan.channels), plan.period_ns, 10)
        stack.callback(ring.close)
        differences = []
        for pair in range(PAIRS):
            means: dict[bool, float] = {}
            for on in (pair % 2 == 0, pair % 2 == 1):
                priority = config.realtime.priority or None
                loop: AbstractContextManager[object] = nullcontext()
                if on:
                    loop = Sampler(ring, source, plan.period_ns, 1, priority, lock_memory=False)
                with loop:
                    mean = _mean(power_w, sleep)
                if mean is None:
                    return []
                means[on] = mean
            differences.append(means[True] - means[False])
        return differences


def _mean(power_w: Callable[[], float | None], sleep: Callable[[float], None]) -> float | None:
    """Mean power over a block, read slowly."""
    sleep(SETTLE_S)
    seen = []
    for _ in range(READS):
        power = power_w()
        if power is None:
            return None
        seen.append(power)
        sleep((BLOCK_S - SETTLE_S) / READS)
    return statistics.fmean(seen)
