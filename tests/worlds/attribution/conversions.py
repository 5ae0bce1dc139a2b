"""When the simulated chip's conversions of the total rail's shunt really ended: the truth that an acquired scan clock is held against.

The chip's clock is drawn in C as a function of the seed and a position (draw.h, chip_clock.c); this is the same in numpy,
checked against the chip in tests/unit/test_accuracy_world.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .world import RAILS, World

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
CHIP, START, PHASE, WALK = 0, 0, 2, 3
"""Positions at which the chip draws."""


def shunt_ends(world: World) -> Floats:
    """End of every conversion of channel 1's shunt, from the chip's start to the last tick, ns on the host's clock."""
    chip, settings = world.recording.chip, world.settings
    seed = _bits(np.uint64(settings["seed"]), np.array([CHIP], np.uint64))[0]
    error = settings["clock_ppm"] * 1e-6
    ahead = chip.scan_ns * (1 + _uniform(seed, START)) * (1 + error) * 1.01
    last = world.recording.t_ns[-1]
    began = world.started_ns - np.ceil(ahead)
    count = int((last - began) / (chip.conversion_ns * (1 + error - 1e-3))) + 2
    ppm = settings["walk_ppm"] * np.sqrt(chip.conversion_ns * 1e-9) * np.cumsum(_deviate(_bits_at(seed, WALK), count))
    phase = _uniform(seed, PHASE)
    ends = began + np.cumsum(np.full(count, chip.conversion_ns * (1 + error)))
    for _ in range(3):  # the swing at the beginning of each conversion depends on the ones before, but little
        begins = np.append(began, ends[:-1])
        swing = settings["swing_ppm"] * np.sin(2 * np.pi * (begins * 1e-9 / settings["swing_s"] + phase))
        ends = began + np.cumsum(chip.conversion_ns * (1 + error + 1e-6 * (swing + ppm)))
    shunts = ends[:: 2 * len(RAILS)]
    return np.asarray(shunts[shunts <= last], np.float64)


def _bits(seed: np.uint64, number: Bits) -> Bits:
    """splitmix64's output function at each number, (k,)."""
    with np.errstate(over="ignore"):
        x = seed ^ (number * GOLDEN)
        for _ in range(2):
            x = x + GOLDEN
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
    return np.asarray(x, np.uint64)


def _bits_at(seed: np.uint64, number: int) -> np.uint64:
    bits: np.uint64 = _bits(seed, np.array([number], np.uint64))[0]
    return bits


def _uniform(seed: np.uint64, number: int) -> float:
    return float(int(_bits_at(seed, number)) >> 11) * 2.0**-53


def _deviate(seed: np.uint64, count: int) -> Floats:
    """The first `count` deviates: sums of four uniforms of 16 bits."""
    bits = _bits(seed, np.arange(count, dtype=np.uint64))
    parts = [((bits >> np.uint64(16 * i)) & np.uint64(0xFFFF)).astype(np.float64) + 0.5 for i in range(4)]
    return np.asarray((sum(parts) / 65536 - 2) * np.sqrt(3.0), np.float64)
