"""What docs/decisions/0008 draws: a run is a function of its row and its seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neuralpower.virtual.device.manner import Manner
from neuralpower.virtual.networks.known import LATER, NETWORKS, build
from neuralpower_sampler.sim import SimSettings

from .make import UserRun

DEVELOPMENT, QUOTED = 7000, 9371
"""First seeds."""
FAST, RESET = 0x7007, 0x7127
COUNTS, COUNT_SHARES = (1, 4, 10), (0.6, 0.3, 0.1)
SECONDS = (5.0, 10.0, 30.0)
STREAM_SECONDS = (200.0, 240.0)
STREAM_LAYERS = 160
"""More are not told in a stream."""
STREAM_IDLE_S = 48.0
"""Nothing runs so long behind a stream: what lies before is worked on after 18 s, and 30 s more are looked at."""


@dataclass(frozen=True)
class Row:
    """A row of the table: how its runs are drawn, how many by default, and what estimates them beside the batch."""

    name: str
    says: str
    draws: int
    config: int = FAST
    streamed: bool = False


ROWS = (
    Row("run", "as profiled, 140 µs for each conversion", 40),
    Row("run-reset", "the same at the chip's reset setting, 1100 µs", 20, RESET),
    Row("stream", "one network profiled for 200 to 240 s, while it runs", 6, FAST, streamed=True),
)


def row_named(name: str) -> Row:
    """The row of this name; KeyError says which there are."""
    for row in ROWS:
        if row.name == name:
            return row
    raise KeyError(f"no row {name!r}; there are {', '.join(row.name for row in ROWS)}")


def draw(row: Row, seed: int) -> UserRun:
    """Run number `seed` of a row. Rows of one seed share the device and the sensor."""
    rng = np.random.default_rng([seed, 40])
    count, seconds = int(rng.choice(COUNTS, p=COUNT_SHARES)), float(rng.choice(SECONDS))
    names = tuple(str(name) for name in rng.permutation(list(NETWORKS | LATER)))
    run = UserRun(seed, names[:count], seconds, row.config, drawn_sensor(seed), drawn_manner(seed))
    if not row.streamed:
        return run
    few = next(name for name in names if len(build(name)["Layers"]) <= STREAM_LAYERS)
    return replace(run, networks=(few,), seconds=float(rng.uniform(*STREAM_SECONDS)), idle_s=STREAM_IDLE_S)


def drawn_manner(seed: int) -> Manner:
    """How the host and the GPU behave."""
    rng = np.random.default_rng([seed, 41])

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    enqueue_ns = log_uniform(10e3, 200e3)
    long_tail = bool(rng.random() < 0.5)
    median_ns, sigma = log_uniform(10e3, 60e3), float(rng.uniform(0.4, 1.0))
    spread_ns, share, rare_ns = log_uniform(10e3, 60e3), log_uniform(0.01, 0.2), log_uniform(50e3, 500e3)
    steps, stalls = rng.random() < 0.25, rng.random() < 0.5
    return Manner(
        gap_s=log_uniform(0.2e-6, 5e-6),
        gap_spread=float(rng.uniform(0.1, 0.5)),
        unprofiled_gap=float(rng.uniform(0.1, 1.0)),
        gap_in_duration=bool(rng.random() < 0.5),
        jitter_own=log_uniform(0.003, 0.02),
        jitter_common=log_uniform(0.003, 0.02),
        stall=(0.0, 1.0) if stalls else (0.0, 0.0),
        enqueue_ns=round(enqueue_ns),
        enqueue_spread_ns=round(enqueue_ns * rng.uniform(0.1, 0.6)),
        wake_spread_ns=0 if long_tail else round(spread_ns),
        wake_median_ns=median_ns if long_tail else 0.0,
        wake_sigma=sigma if long_tail else 0.0,
        wake_rare_share=0.0 if long_tail else share,
        wake_rare_ns=0.0 if long_tail else rare_ns,
        cold_runs=int(rng.integers(5, 20, endpoint=True)),
        cold_slower=float(rng.uniform(0.05, 0.30)),
        step=float(rng.uniform(0.05, 0.10)),
        step_every_s=float(rng.uniform(20, 60)) if steps else 0.0,
        clock_wander=log_uniform(0.0005, 0.004),
        clock_wander_s=log_uniform(5, 60),
        warmth=log_uniform(0.001, 0.01),
        warmth_s=log_uniform(10, 120),
    )


def drawn_sensor(seed: int) -> SimSettings:
    """How the chip sees the rail."""
    rng = np.random.default_rng([seed, 42])
    short = bool(rng.random() < 1 / 3)
    lag_us = rng.uniform(0, 50) if short else rng.uniform(50, 2000)
    return SimSettings(
        delay_ns=round(float(rng.uniform(0, 1e6))),
        lag_ns=round(float(lag_us) * 1e3),
        noise_uv=float(np.exp(rng.uniform(np.log(10), np.log(60)))),
        clock_ppm=float(rng.uniform(-3e4, 3e4)),
        swing_ppm=50.0,
        swing_s=60.0,
        walk_ppm=1.0,
    )
