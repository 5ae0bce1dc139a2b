"""A network drawn, and when its layers run, inference after inference, between the anchors that the host sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .case import Case, RunCase

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

START_NS = 1_000_000_000_000
SLACK_CUT = 5.0
HOST_NS = 20e3
"""Mean of what enqueue and wake-up cost at random beside the slack."""
JITTER_CUT = 4.0
LOCKED_SHARE = 0.95
GAP_NS = 2e6
"""Of the fixed gap and of the scheduler's sleep."""


@dataclass(frozen=True)
class Network:
    """Nominal duration, ns, power over it, W, and share of stall of each layer (n,)."""

    duration_ns: Floats
    power_w: Floats
    stall_share: Floats
    context_idle_w: float

    @property
    def mean_power_w(self) -> float:
        """Over time."""
        return float(np.average(self.power_w, weights=self.duration_ns))


@dataclass(frozen=True)
class Run:
    """All inferences: anchors (m,), when the layers ran `edges_ns` (m, n + 1), which ones `order` (m, n), None: as numbered; what
    the profiler reports `reported_ns` (m, n), as numbered. `baselines`: kind, begin, end. ns."""

    begin_ns: Ints
    end_ns: Ints
    edges_ns: Ints
    order: Ints | None
    reported_ns: Ints
    baselines: tuple[tuple[str, int, int], ...]


def draw_network(case: Case, random: np.random.Generator, period_ns: float | None) -> Network:
    """Layers that are not too long together; with a period, that fit into it with their anchors."""
    drawn = case.network
    longest = drawn.longest_ms * 1e6
    most = drawn.layers[1]
    if period_ns is not None:
        slack = 2 * (SLACK_CUT * case.run.slack_us * 1e3 + HOST_NS)
        longest = LOCKED_SHARE * period_ns - slack
        mean = np.ptp(drawn.duration_us) / np.log(drawn.duration_us[1] / drawn.duration_us[0]) * 1e3
        most = int(np.clip(longest / mean, drawn.layers[0], most))
    while True:
        count = int(random.integers(drawn.layers[0], most, endpoint=True))
        duration = _log_uniform(drawn.duration_us, count, random) * 1e3
        if duration.sum() <= longest:
            break
    power = drawn.context_idle_w + _log_uniform(drawn.dynamic_w, count, random)
    return Network(duration, power, random.uniform(*case.run.stall_share, count), drawn.context_idle_w)


def _log_uniform(ends: tuple[float, float], count: int, random: np.random.Generator) -> Floats:
    return np.asarray(np.exp(random.uniform(np.log(ends[0]), np.log(ends[1]), count)), np.float64)


def draw_run(case: Case, network: Network, scan_ns: float, period_ns: float | None, random: np.random.Generator) -> Run:
    """Lay all inferences; `scan_ns` nominal, `period_ns` of locked ones."""
    run, layers = case.run, network.duration_ns.size
    durations = _jittered(run, network.duration_ns, random)
    order = None
    if run.permuted:
        order = np.argsort(random.random(durations.shape), axis=1)
        durations = np.take_along_axis(durations, order, axis=1)
    lead, tail = _anchors(run, random)
    span = lead + durations.sum(axis=1) + tail
    baseline = round(run.baselines_s * 1e9)
    first = START_NS + 3 * baseline
    begin = first + _begins(run, span, scan_ns, period_ns, random)
    end = begin + span
    edges = np.empty((run.inferences, layers + 1), np.int64)
    edges[:, 0] = begin + lead
    np.cumsum(durations, axis=1, out=edges[:, 1:])
    edges[:, 1:] += edges[:, :1]
    kinds = ("device-idle", "context-idle", "gap")
    baselines = [(kind, START_NS + i * baseline, START_NS + (i + 1) * baseline) for i, kind in enumerate(kinds)]
    baselines.append(("context-idle", int(end[-1]), int(end[-1]) + baseline))
    return Run(begin, end, edges, order, _reported(edges, order, run.event_step_us), tuple(baselines))


def _jittered(run: RunCase, nominal_ns: Floats, random: np.random.Generator) -> Ints:
    """(m, n): each inference has a factor of its own, and each of its layers another."""
    own = random.standard_normal((run.inferences, nominal_ns.size))
    np.clip(own, -JITTER_CUT, JITTER_CUT, out=own)
    common = np.clip(random.standard_normal((run.inferences, 1)), -JITTER_CUT, JITTER_CUT)
    own *= run.jitter_own
    own += 1 + run.jitter_common * common
    own *= nominal_ns
    return np.asarray(np.rint(own), np.int64)


def _anchors(run: RunCase, random: np.random.Generator) -> tuple[Ints, Ints]:
    """How long before the first layer and after the last the host looks at its clock, (m,) each."""
    slack = run.slack_us * 1e3
    shift = np.clip(slack * random.standard_normal(run.inferences), -SLACK_CUT * slack, SLACK_CUT * slack)
    middle = SLACK_CUT * slack + random.exponential(HOST_NS, run.inferences)
    return np.asarray(np.rint(middle - shift), np.int64), np.asarray(np.rint(middle + shift), np.int64)


def _begins(run: RunCase, span: Ints, scan_ns: float, period_ns: float | None, random: np.random.Generator) -> Ints:
    """Begin anchors after the first gap began, ns; the inference before is always over."""
    before = np.cumsum(span) - span
    if period_ns is not None:
        # The timer's next tick, or the end of the inference before where that is later.
        ticks = np.rint(np.arange(1, span.size + 1) * period_ns).astype(np.int64)
        return np.asarray(np.maximum.accumulate(ticks - before) + before, np.int64)
    return np.asarray(before + np.cumsum(np.rint(_gaps(run, scan_ns, span.size, random)).astype(np.int64)), np.int64)


def _gaps(run: RunCase, scan_ns: float, count: int, random: np.random.Generator) -> Floats:
    if run.gap == "random":
        reach = scan_ns + 2 * run.longest_lag_ms * 1e6
        return np.asarray(run.gap_shortest_us * 1e3 + reach * random.random(count), np.float64)
    if run.gap == "none":
        return np.asarray(random.exponential(5e3, count), np.float64)
    if run.gap == "fixed":
        return np.full(count, GAP_NS)
    if run.gap == "scheduler":
        late = 20e3 + random.exponential(50e3, count) + 1e6 * random.random(count) * (random.random(count) < 0.01)
        return np.asarray(GAP_NS + late, np.float64)
    raise ValueError(f"no gap {run.gap!r}")


def _reported(edges: Ints, order: Ints | None, event_step_us: float) -> Ints:
    """Differences of event time stamps, which count in steps, back in the order in which layers are numbered."""
    step = round(event_step_us * 1e3)
    durations = np.diff(edges // step, axis=1) * step
    if order is None:
        return np.asarray(durations, np.int64)
    reported = np.empty_like(durations)
    np.put_along_axis(reported, order, durations, axis=1)
    return np.asarray(reported, np.int64)
