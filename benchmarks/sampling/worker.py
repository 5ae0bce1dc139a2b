"""Our loop in a process of its own: takes one job a line on stdin, answers each with one line of JSON on stdout.

The answer has the form of the reference loops': ticks, slots, cpu_ns, elapsed_ns, and lateness as [low, high, count].
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower_sampler import HwmonInput, HwmonSource, ReplaySource, Ring, Sampler, Source, tick_dtype

WARM_UP_S = 0.1
MAX_KEPT_BYTES = 32 << 20
UNPACED_NS = 1
"""With a period of 1 ns the next deadline has always passed: the loop never sleeps."""
UNPACED_TICKS = 65536

SPIN = next((name for name in inspect.signature(Sampler).parameters if "spin" in name), None)
"""The sampler's option to spin before a deadline, in ns; None where it has none."""


def _source(paths: list[str]) -> Source:
    """Six kept-open files; without files a replay of one reading, which costs a copy."""
    if paths:
        return HwmonSource([HwmonInput(path, 1000) for path in paths])
    return ReplaySource(np.zeros(1, tick_dtype(1)), repeat=True)


def _by_microsecond(ring: Ring, first: int) -> list[list[int]]:
    """Lateness of every tick from index `first` on, in the bins that cyclictest has: whole µs."""
    ticks = np.concatenate([part.ticks for part in _slices(ring, first)])
    late = ticks["t_ns"] - (ring.t0_ns + ticks["slot"].astype("<i8") * ring.period_ns)
    values, counts = np.unique(late // 1000, return_counts=True)
    return [[int(v) * 1000, (int(v) + 1) * 1000, int(c)] for v, c in zip(values, counts, strict=True)]


def _slices(ring: Ring, first: int) -> Any:
    from neuralpower_sampler import RingReader

    with RingReader(ring.path) as reader:
        while len((part := reader.read(first)).ticks):
            first = part.first + len(part.ticks)
            yield part


def _by_stats(sampler: Sampler, before: Any) -> list[list[int]]:
    """Lateness in the loop's own bins, where the ring cannot hold every tick."""
    stats = sampler.stats()
    counts = stats.lateness_counts - before.lateness_counts
    edges = [*stats.lateness_bins_ns.tolist(), max(stats.lateness_max_ns, 2 * int(stats.lateness_bins_ns[-1]))]
    return [[edges[i], edges[i + 1], int(counts[i])] for i in np.flatnonzero(counts)]


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One block: the loop for `seconds` after a warm-up."""
    period_ns, seconds = job["period_ns"] or UNPACED_NS, job["seconds"]
    source = _source(job["files"])
    kept_s = (seconds + WARM_UP_S + 1) if job["period_ns"] else UNPACED_TICKS / 1e9
    keep_all = bool(job["period_ns"]) and kept_s * 1e9 / period_ns * (40 + 24 * source.readings) < MAX_KEPT_BYTES
    spin: dict[str, Any] = {SPIN: period_ns // 2} if SPIN and job.get("spin") else {}
    ring = Ring.create(
        folder / "ticks.ring", source.readings, period_ns, kept_s if keep_all else UNPACED_TICKS / 1e9 * period_ns
    )
    try:
        sampler = Sampler(ring, source, period_ns, 1, job["priority"] or None, job["cpu"], **spin)
        with sampler:
            time.sleep(WARM_UP_S)
            before, first, begin = sampler.stats(), ring.next_index, time.monotonic_ns()
            time.sleep(seconds)
            after, elapsed_ns = sampler.stats(), time.monotonic_ns() - begin
        return {
            "ticks": after.ticks - before.ticks,
            "slots": after.last_slot - before.last_slot,
            "cpu_ns": after.thread_cpu_ns - before.thread_cpu_ns,
            "elapsed_ns": elapsed_ns,
            "lateness": _by_microsecond(ring, first) if keep_all else _by_stats(sampler, before),
            "policy": after.policy,
            "lock_note": after.lock_note,
        }
    finally:
        ring.close()
        source.close()
        for left in folder.iterdir():
            left.unlink()


def main() -> None:
    """Serve until stdin ends."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="npbench") as folder:
        for line in sys.stdin:
            print(json.dumps(run(json.loads(line), Path(folder))), flush=True)


if __name__ == "__main__":
    main()
