"""What the virtual device will do: inferences laid out in time with jitter, gaps and wander, many at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .hardware import Hardware
from .load import Floats, Load
from .manner import Manner
from .wander import Governor, Wander

Times = npt.NDArray[np.int64]

PAUSE_NS = (500_000, 3_000_000)
BACK_TO_BACK = 0.25
"""The host pauses for a time drawn evenly from the range above, but in this share of the cases not at all."""
MEAN_PAUSE_NS = (PAUSE_NS[0] + PAUSE_NS[1]) / 2 * (1 - BACK_TO_BACK)
CONTEXT_W = (0.35, 0.25, 0.06)
"""What a loaded engine adds to each idle rail: clocks that stay up. On VDD_IN with the regulator's loss."""
WAITING_W = (0.50, 0.38, 0.05)
"""What the host adds to that while it waits between inferences and launches kernels. Nothing of this was measured on a board."""
STATE_SPREAD = 0.15
"""Standard deviation of both over devices, relative."""


COLD, STEPPED, PLAIN = "cold", "stepped", "plain"


class BoardState(Enum):
    """What a board does that runs no layer; the values are the names of the baselines."""

    DEVICE_IDLE = "device idle"
    CONTEXT_IDLE = "context idle"
    GAP = "gap"


class Rest(NamedTuple):
    """A stretch without layers: its state, seconds and joules of each rail (3,)."""

    state: BoardState
    seconds: float
    joules: Floats


@dataclass(frozen=True)
class Chunk:
    """n consecutive inferences of one engine with L layers, times in CLOCK_MONOTONIC.

    begin_ns, end_ns: of the GPU's work, (n,). enter_ns, leave_ns: the host's anchors around it, (n,). reported_ns:
    (n, L) what TensorRT will tell. start_ns, stop_ns, power_uw: the timeline's records, (m,), (m,), (m, 3).
    duration_s (A,) and energy_j (A, 3): true sums over the n inferences; plain_s, plain_j: over those of them without the profiler,
    whose gaps are shorter. inference_j (n, 3): true energy from begin to
    end. rests: what lies between them. Where reported durations hold the gaps before kernels, so do a layer's time and energy.
    apart: what all of them were beside usual ones, :data:`COLD` or :data:`STEPPED`, "" if nothing.
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
    plain_s: Floats
    plain_j: Floats
    inference_j: Floats
    rests: tuple[Rest, ...]
    apart: str = ""


class DevicePlanner:
    """Draws the future from a seed.

    Args:
        hardware: the physics.
        idle_uw: (3,) what the rails of an idle device draw.
        seed: of everything random.
        manner: how host and GPU behave. Each of its effects that is off by default draws from a stream of its own, so that the
            others' draws stay what they are.
    """

    def __init__(self, hardware: Hardware, idle_uw: npt.ArrayLike, seed: int, manner: Manner | None = None) -> None:
        self._manner = manner = manner or Manner()
        self._seed = seed
        self._gap_ns = (hardware.gap_s if manner.gap_s is None else manner.gap_s) * 1e9
        idle = np.asarray(idle_uw, dtype=np.float64)
        context, waiting = np.random.default_rng([seed, 3]).normal(1.0, STATE_SPREAD, 2)
        loaded = idle + 1e6 * abs(context) * np.array(CONTEXT_W)
        gap = loaded + 1e6 * abs(waiting) * np.array(WAITING_W)
        self._level_uw = {BoardState.DEVICE_IDLE: idle, BoardState.CONTEXT_IDLE: loaded, BoardState.GAP: gap}
        self._rng = np.random.default_rng([seed, 2])
        self._clock = Wander(manner.clock_wander, manner.clock_wander_s, self._rng)
        self._warmth = Wander(manner.warmth, manner.warmth_s, self._rng)
        self._waking = np.random.default_rng([seed, 4])
        self._governor = Governor(manner.step_every_s, manner.step_s, np.random.default_rng([seed, 5]))
        self._stall: dict[str, Floats] = {}
        self._slack_ns = 0

    def level_uw(self, state: BoardState, t_ns: int) -> Times:
        """(3,) of a device in `state` at `t_ns`, with the leakage of its temperature."""
        power: Times = np.rint(self._level_uw[state] * self._warmth.at(t_ns)).astype(np.int64)
        return power

    def rest(self, state: BoardState, t_ns: int, length_ns: int) -> tuple[Times, Rest]:
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
        ran: int | None = None,
    ) -> Chunk:
        """`count` inferences after `after_ns`, the first after `pause_ns` of context idle (a gap like the others if None).

        Launch gaps draw what gaps draw, and lie in the record of the layer behind them: they are far shorter than a conversion.

        pauses_ns: (count,) what the host waits before each, in place of pauses drawn. profiled: (count,) whether the profiler
        is attached; without it the gaps between kernels shrink. ran: how many inferences of the engine did before, None: so many
        that it is warm.
        """
        manner, stepped = self._manner, self._governor.at(after_ns)
        clock = self._clock.at(after_ns) * (1 - manner.step * stepped)
        loaded_uw, gap_uw = (self.level_uw(state, after_ns) for state in (BoardState.CONTEXT_IDLE, BoardState.GAP))
        usual_ns, duration, gap = self._times(load, count, clock, ran)
        if profiled is not None:
            shrunk = np.rint(gap * manner.unprofiled_gap).astype(np.int64)
            gap = np.where(np.asarray(profiled, np.bool_)[:, None], gap, shrunk)
        done = np.cumsum(duration + gap, axis=1)
        idle, enqueue, slack = self._host(count, pause_ns, pauses_ns)
        begin = after_ns + np.cumsum(idle) + np.concatenate([[0], np.cumsum(done[:-1, -1])])
        stop = begin[:, None] + done
        start = stop - duration
        end = stop[:, -1]
        # Voltage follows the clock, so power goes with a little more than its square.
        dynamic_w = load.power_w * clock**2.2
        power_w = loaded_uw * 1e-6 + dynamic_w
        first = load.slices
        edge = np.column_stack([begin, stop[:, np.append(first[1:], len(load.active)) - 1]])
        span = np.diff(edge, axis=1)
        work = np.add.reduceat(duration, first, axis=1)
        launch_uw = (span - work)[..., None] * gap_uw
        each = duration[..., None] * power_w
        if manner.stall != (0.0, 0.0):
            # Energy that stays as it is in an execution of the usual length.
            each += (self._stalls(load) * (usual_ns - duration))[..., None] * dynamic_w
        work_fj = np.add.reduceat(each, first, axis=1) * 1e6
        slice_uw = np.rint((work_fj + launch_uw) / span[..., None]).astype(np.int64)
        inference_fj = (slice_uw * span[..., None]).sum(axis=1)
        idle_start = np.concatenate([[after_ns], end[:-1]])
        idle_rows = np.repeat(gap_uw[None, None], count, axis=0)
        if pause_ns is not None:
            idle_rows[0] = loaded_uw
        reported = np.zeros((count, len(load.layers)), np.int64)
        if manner.gap_in_duration:
            start = start - gap
            duration, each = duration + gap, each + gap[..., None] * (gap_uw * 1e-6)
        plain = np.zeros(count, bool) if profiled is None else ~np.asarray(profiled, np.bool_)
        step_ns = manner.event_step_ns
        reported[:, load.active] = (stop // step_ns - start // step_ns) * step_ns
        return Chunk(
            begin_ns=begin,
            end_ns=end,
            enter_ns=begin - enqueue,
            leave_ns=end + slack,
            reported_ns=reported,
            start_ns=np.concatenate([idle_start[:, None], edge[:, :-1]], axis=1).ravel(),
            stop_ns=edge.ravel(),
            power_uw=np.concatenate([idle_rows, slice_uw], axis=1).reshape(-1, len(gap_uw)),
            duration_s=duration.sum(axis=0) * 1e-9,
            energy_j=each.sum(axis=0) * 1e-9,
            plain_s=duration[plain].sum(axis=0) * 1e-9,
            plain_j=each[plain].sum(axis=0) * 1e-9,
            inference_j=inference_fj * 1e-15,
            rests=self._rests(idle, idle_rows[:, 0], pause_ns is not None),
            apart=COLD if self.is_cold(ran) else STEPPED if stepped else "",
        )

    def _rests(self, idle_ns: Times, power_uw: Times, apart: bool) -> tuple[Rest, ...]:
        """What lies before each inference (n,), (n, 3); `apart`: the first is no gap."""
        joules = idle_ns[:, None] * power_uw * 1e-15
        first = [Rest(BoardState.CONTEXT_IDLE, idle_ns[0] * 1e-9, joules[0])] if apart else []
        rest = slice(len(first), None)
        return (*first, Rest(BoardState.GAP, float(idle_ns[rest].sum()) * 1e-9, joules[rest].sum(axis=0)))

    def _times(self, load: Load, count: int, clock: float, ran: int | None) -> tuple[Floats, Times, Times]:
        """Durations without anything random (A,), as they are, and the launch gaps before them, (n, A) each."""
        manner, shape = self._manner, (count, len(load.active))
        usual = load.duration_ns * (1 + load.compute_share * (1 / clock - 1))
        common = self._rng.normal(1.0, manner.jitter_common, (count, 1))
        own = self._rng.normal(1.0, manner.jitter_own, shape)
        gap = self._gap_ns * np.maximum(self._rng.normal(1.0, manner.gap_spread, shape), 0)
        gap[:, 0] = 0
        if ran is not None and self.is_cold(ran):
            cold = np.maximum(1 - (ran + np.arange(count)) / manner.cold_runs, 0)
            common = common * (1 + manner.cold_slower * cold)[:, None]
        duration = np.maximum(np.rint(usual * common * own), 500).astype(np.int64)
        return usual, duration, np.rint(gap).astype(np.int64)

    def is_cold(self, ran: int | None) -> bool:
        """Whether an engine's next inference is still cold after so many."""
        return ran is not None and ran < self._manner.cold_runs

    def _stalls(self, load: Load) -> Floats:
        """How much of its dynamic energy each layer (A,) keeps where it takes longer: of the engine, not of the time."""
        if load.hash not in self._stall:
            rng = np.random.default_rng([self._seed, 6, int(load.hash[:8], 16)])
            each = rng.uniform(*self._manner.stall, 1 if load.repeats > 1 else len(load.active))
            self._stall[load.hash] = np.broadcast_to(each, len(load.active))
        return self._stall[load.hash]

    def _host(self, count: int, pause_ns: int | None, pauses_ns: Times | None = None) -> tuple[Times, Times, Times]:
        """Idle time before each inference, enqueue before its begin, slack after its end: (n,) each."""
        manner = self._manner
        enqueue = (manner.enqueue_ns + np.abs(self._rng.normal(0, manner.enqueue_spread_ns, count))).astype(np.int64)
        waking = manner.wake_ns + np.abs(self._rng.normal(0, manner.wake_spread_ns, count))
        if manner.wake_median_ns:
            waking = waking + manner.wake_median_ns * self._waking.lognormal(0.0, manner.wake_sigma, count)
        if manner.wake_rare_share:
            rare = self._waking.random(count) < manner.wake_rare_share
            waking = waking + rare * self._waking.exponential(manner.wake_rare_ns, count)
        slack = waking.astype(np.int64)
        pause = self._rng.uniform(*PAUSE_NS, count) * (self._rng.random(count) >= BACK_TO_BACK)
        if pauses_ns is not None:
            pause = np.asarray(pauses_ns, np.float64)
        if pause_ns is not None:
            pause[0] = pause_ns
        idle = np.concatenate([[self._slack_ns], slack[:-1]]) + manner.turnaround_ns + enqueue + pause.astype(np.int64)
        self._slack_ns = int(slack[-1])
        return idle, enqueue, slack
