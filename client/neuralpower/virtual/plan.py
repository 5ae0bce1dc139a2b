"""What the virtual device will do: inferences laid out in time with jitter, gaps and wander, many at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .hardware import Hardware
from .load import Floats, Load

Times = npt.NDArray[np.int64]

UNPROFILED_GAP = 0.3
"""Without the profiler, which records an event behind each layer, the gaps between kernels are so much shorter."""
EVENT_STEP_NS = 1024
"""CUDA events carry the time in steps of 1.024 µs; a duration is the difference of two."""
JITTER_OWN = 0.01
JITTER_COMMON = 0.01
"""Standard deviations of a layer's duration: its own in each execution, and one for all layers of an inference."""
GAP_JITTER = 0.3
TURNAROUND_NS = 30_000
"""From leaving synchronise to entering enqueue, at the least: back to back."""
PAUSE_NS = (500_000, 3_000_000)
BACK_TO_BACK = 0.25
"""The host pauses for a time drawn evenly from the range above, but in this share of the cases not at all."""
MEAN_PAUSE_NS = (PAUSE_NS[0] + PAUSE_NS[1]) / 2 * (1 - BACK_TO_BACK)
ENQUEUE_NS = 40_000
ENQUEUE_SPREAD_NS = 15_000
SYNC_RMS_NS = 30_000
"""Enqueue is entered 40 µs and the absolute value of a normal 15 µs before the first kernel starts; synchronise
returns the absolute value of a normal 30 µs after the last has ended."""
CONTEXT_W = (0.35, 0.25, 0.06)
"""What a loaded engine adds to each idle rail: clocks that stay up. On VDD_IN with the regulator's loss."""
WAITING_W = (0.50, 0.38, 0.05)
"""What the host adds to that while it waits between inferences and launches kernels. Nothing of this was measured on a board."""
STATE_SPREAD = 0.15
"""Standard deviation of both over devices, relative."""


class State(Enum):
    """What a board does that runs no layer; the values are the names of the baselines."""

    DEVICE_IDLE = "device idle"
    CONTEXT_IDLE = "context idle"
    GAP = "gap"


class Rest(NamedTuple):
    """A stretch without layers: its state, seconds and joules of each rail (3,)."""

    state: State
    seconds: float
    joules: Floats


@dataclass(frozen=True)
class Chunk:
    """n consecutive inferences of one engine with L layers, times in CLOCK_MONOTONIC.

    begin_ns, end_ns: of the GPU's work, (n,). enter_ns, leave_ns: the host's anchors around it, (n,). reported_ns:
    (n, L) what TensorRT will tell. start_ns, stop_ns, power_uw: the timeline's records, (m,), (m,), (m, 3).
    duration_s (A,) and energy_j (A, 3): true sums over the n inferences. inference_j (n, 3): true energy from begin to
    end. rests: what lies between them.
    """

    begin_ns: Times
    end_ns: Times
    enter_ns: Times
    leave_ns: Times
    reported_ns: Times
    start_ns: Times
    stop_ns: Times
    power_uw: Times
    duration_s: Floats
    energy_j: Floats
    inference_j: Floats
    rests: tuple[Rest, ...]


class Wander:
    """A slow random walk around 1 that is pulled back: exact steps of an Ornstein-Uhlenbeck process."""

    def __init__(self, deviation: float, tau_s: float, rng: np.random.Generator) -> None:
        self._deviation, self._tau_s, self._rng = deviation, tau_s, rng
        self._at_ns, self._value = 0, rng.normal(0.0, deviation)

    def at(self, t_ns: int) -> float:
        """The factor at `t_ns`, which must not go back."""
        keep = float(np.exp(-(t_ns - self._at_ns) * 1e-9 / self._tau_s))
        self._value = self._value * keep + self._rng.normal(0.0, self._deviation * (1 - keep**2) ** 0.5)
        self._at_ns = t_ns
        return 1.0 + self._value


class Planner:
    """Draws the future from a seed.

    Args:
        hardware: the physics.
        idle_uw: (3,) what the rails of an idle device draw.
        seed: of everything random.
    """

    def __init__(self, hardware: Hardware, idle_uw: npt.ArrayLike, seed: int) -> None:
        self._gap_ns = hardware.gap_s * 1e9
        idle = np.asarray(idle_uw, dtype=np.float64)
        context, waiting = np.random.default_rng([seed, 3]).normal(1.0, STATE_SPREAD, 2)
        loaded = idle + 1e6 * abs(context) * np.array(CONTEXT_W)
        gap = loaded + 1e6 * abs(waiting) * np.array(WAITING_W)
        self._level_uw = {State.DEVICE_IDLE: idle, State.CONTEXT_IDLE: loaded, State.GAP: gap}
        self._rng = np.random.default_rng([seed, 2])
        self._clock = Wander(0.002, 20.0, self._rng)
        self._warmth = Wander(0.005, 30.0, self._rng)
        self._slack_ns = 0

    def level_uw(self, state: State, t_ns: int) -> Times:
        """(3,) of a device in `state` at `t_ns`, with the leakage of its temperature."""
        power: Times = np.rint(self._level_uw[state] * self._warmth.at(t_ns)).astype(np.int64)
        return power

    def rest(self, state: State, t_ns: int, length_ns: int) -> tuple[Times, Rest]:
        """Power (3,) of so long a rest from `t_ns` on, and what it comes to."""
        power_uw = self.level_uw(state, t_ns)
        joules = np.asarray(power_uw * (length_ns * 1e-15), np.float64)
        return power_uw, Rest(state, length_ns * 1e-9, joules)

    def inferences(
        self,
        load: Load,
        count: int,
        after_ns: int,
        pause_ns: int | None = None,
        *,
        pauses_ns: Times | None = None,
        profiled: npt.NDArray[np.bool_] | None = None,
    ) -> Chunk:
        """`count` inferences after `after_ns`, the first after `pause_ns` of context idle (a gap like the others if None).

        Launch gaps draw what gaps draw, and lie in the record of the layer behind them: they are far shorter than a conversion.

        pauses_ns: (count,) what the host waits before each, in place of pauses drawn. profiled: (count,) whether the profiler
        is attached; without it the gaps between kernels shrink to :data:`UNPROFILED_GAP` of themselves.
        """
        clock = self._clock.at(after_ns)
        loaded_uw, gap_uw = (self.level_uw(state, after_ns) for state in (State.CONTEXT_IDLE, State.GAP))
        duration, gap = self._times(load, count, clock)
        if profiled is not None:
            shrunk = np.rint(gap * UNPROFILED_GAP).astype(np.int64)
            gap = np.where(np.asarray(profiled, np.bool_)[:, None], gap, shrunk)
        done = np.cumsum(duration + gap, axis=1)
        idle, enqueue, slack = self._host(count, pause_ns, pauses_ns)
        begin = after_ns + np.cumsum(idle) + np.concatenate([[0], np.cumsum(done[:-1, -1])])
        stop = begin[:, None] + done
        start = stop - duration
        end = stop[:, -1]
        # Voltage follows the clock, so power goes with a little more than its square.
        power_w = loaded_uw * 1e-6 + load.power_w * clock**2.2
        first = load.slices
        edge = np.column_stack([begin, stop[:, np.append(first[1:], len(load.active)) - 1]])
        span = np.diff(edge, axis=1)
        work = np.add.reduceat(duration, first, axis=1)
        launch_uw = (span - work)[..., None] * gap_uw
        slice_uw = np.rint((work[..., None] * power_w[first] * 1e6 + launch_uw) / span[..., None]).astype(np.int64)
        inference_fj = (slice_uw * span[..., None]).sum(axis=1)
        idle_start = np.concatenate([[after_ns], end[:-1]])
        idle_rows = np.repeat(gap_uw[None, None], count, axis=0)
        if pause_ns is not None:
            idle_rows[0] = loaded_uw
        reported = np.zeros((count, len(load.layers)), np.int64)
        reported[:, load.active] = (stop // EVENT_STEP_NS - start // EVENT_STEP_NS) * EVENT_STEP_NS
        total_s = duration.sum(axis=0) * 1e-9
        return Chunk(
            begin_ns=begin,
            end_ns=end,
            enter_ns=begin - enqueue,
            leave_ns=end + slack,
            reported_ns=reported,
            start_ns=np.concatenate([idle_start[:, None], edge[:, :-1]], axis=1).ravel(),
            stop_ns=edge.ravel(),
            power_uw=np.concatenate([idle_rows, slice_uw], axis=1).reshape(-1, len(gap_uw)),
            duration_s=total_s,
            energy_j=total_s[:, None] * power_w,
            inference_j=inference_fj * 1e-15,
            rests=self._rests(idle, idle_rows[:, 0], pause_ns is not None),
        )

    def _rests(self, idle_ns: Times, power_uw: Times, apart: bool) -> tuple[Rest, ...]:
        """What lies before each inference (n,), (n, 3); `apart`: the first is no gap."""
        joules = idle_ns[:, None] * power_uw * 1e-15
        first = [Rest(State.CONTEXT_IDLE, idle_ns[0] * 1e-9, joules[0])] if apart else []
        rest = slice(len(first), None)
        return (*first, Rest(State.GAP, float(idle_ns[rest].sum()) * 1e-9, joules[rest].sum(axis=0)))

    def _times(self, load: Load, count: int, clock: float) -> tuple[Times, Times]:
        """Durations and the launch gaps before them, (n, A) each."""
        shape = (count, len(load.active))
        mean = load.duration_ns * (1 + load.compute_share * (1 / clock - 1))
        common = self._rng.normal(1.0, JITTER_COMMON, (count, 1))
        own = self._rng.normal(1.0, JITTER_OWN, shape)
        gap = self._gap_ns * np.maximum(self._rng.normal(1.0, GAP_JITTER, shape), 0)
        gap[:, 0] = 0
        return np.maximum(np.rint(mean * common * own), 500).astype(np.int64), np.rint(gap).astype(np.int64)

    def _host(self, count: int, pause_ns: int | None, pauses_ns: Times | None = None) -> tuple[Times, Times, Times]:
        """Idle time before each inference, enqueue before its begin, slack after its end: (n,) each."""
        enqueue = (ENQUEUE_NS + np.abs(self._rng.normal(0, ENQUEUE_SPREAD_NS, count))).astype(np.int64)
        slack = np.abs(self._rng.normal(0, SYNC_RMS_NS, count)).astype(np.int64)
        pause = self._rng.uniform(*PAUSE_NS, count) * (self._rng.random(count) >= BACK_TO_BACK)
        if pauses_ns is not None:
            pause = np.asarray(pauses_ns, np.float64)
        if pause_ns is not None:
            pause[0] = pause_ns
        idle = np.concatenate([[self._slack_ns], slack[:-1]]) + TURNAROUND_NS + enqueue + pause.astype(np.int64)
        self._slack_ns = int(slack[-1])
        return idle, enqueue, slack
