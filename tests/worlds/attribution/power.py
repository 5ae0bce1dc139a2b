"""The power of the rail while a network runs: records of a timeline, and what energy went where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_sampler.sim import RECORD

from .case import Case, RunCase
from .network import Network, Run

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BASELINE_STEP_NS = 5_000_000
NOISE_STEP_NS = 1_000_000
NOISE_BLOCK = 1000


@dataclass(frozen=True)
class Power:
    """The timeline's records, and energy (n,), J, and time (n,), s, of the layers in them, as numbered; `total_j` of all records.

    Launch, tail and gap: mean power, W.
    """

    records: npt.NDArray[np.void]
    layer_j: Floats
    layer_s: Floats
    launch_w: float
    tail_w: float
    gap_w: float
    undeclared_j: float
    total_j: float
    inferences: int


def draw_power(case: Case, network: Network, run: Run, random: np.random.Generator) -> Power:
    """Lay the power: baselines; then for each inference the gap before it, launch, layers and tail; then the last baseline."""
    inferences, layers = run.edges_ns.shape[0], run.edges_ns.shape[1] - 1
    idle = _pieces(run.baselines[:-1]), _pieces(run.baselines[-1:])
    sizes = [idle[0][0].size, inferences * (layers + 3), idle[1][0].size]
    records = np.zeros(sum(sizes), RECORD)
    before, running, after = np.split(records, np.cumsum(sizes)[:2])
    for part, (start, end, _) in zip((before, after), idle, strict=True):
        part["start_ns"], part["end_ns"] = start, end
    table = running.reshape(inferences, layers + 3)
    _lay(table, run)
    draw = _Draw(case, network, run, random)
    for part, (_, _, kind) in zip((before, after), idle, strict=True):
        part["power_uw"][:, 0] = draw.idle_uw(part["start_ns"], kind)
    power, undeclared_w = draw.running_uw(table["start_ns"], np.diff(run.edges_ns, axis=1))
    table["power_uw"][:, :, 0] = power
    return _summed(records, table, power, run.order, undeclared_w)


def _summed(
    records: npt.NDArray[np.void], table: npt.NDArray[np.void], power: Ints, order: Ints | None, undeclared_w: Floats
) -> Power:
    seconds = (table["end_ns"] - table["start_ns"]) * 1e-9
    energy = seconds * power * 1e-6
    layers = power.shape[1] - 3
    layer_j, layer_s = (_per_layer(each[:, 2:-1], order, layers) for each in (energy, seconds))
    gap_w, launch_w, tail_w = (float(energy[:, i].sum() / max(seconds[:, i].sum(), 1e-12)) for i in (0, 1, -1))
    total = float(((records["end_ns"] - records["start_ns"]) * 1e-9) @ (records["power_uw"][:, 0] * 1e-6))
    undeclared = float(seconds[:, 0] @ undeclared_w)
    return Power(records, layer_j, layer_s, launch_w, tail_w, gap_w, undeclared, total, power.shape[0])


def laid_power_w(run: Run, records: npt.NDArray[np.void]) -> Floats:
    """Mean power (n,), W, in the windows of each label: its reported durations laid in the middle between the anchors."""
    total = run.reported_ns.sum(axis=1)
    first = run.begin_ns + (run.end_ns - run.begin_ns - total) // 2
    edges = first[:, None] + np.pad(np.cumsum(run.reported_ns, axis=1), ((0, 0), (1, 0)))
    energy = np.cumsum((records["end_ns"] - records["start_ns"]) * (records["power_uw"][:, 0] * 1e-6))
    at_edges = np.interp(edges, records["end_ns"], energy)
    return np.asarray(np.diff(at_edges, axis=1).sum(axis=0) / run.reported_ns.sum(axis=0), np.float64)


def _per_layer(values: Floats, order: Ints | None, layers: int) -> Floats:
    """Sum (m, n), in the order in which layers ran, for each layer as numbered."""
    if order is None:
        return np.asarray(values.sum(axis=0), np.float64)
    return np.asarray(np.bincount(order.ravel(), values.ravel(), layers), np.float64)


def _pieces(stretches: tuple[tuple[str, int, int], ...]) -> tuple[Ints, Ints, npt.NDArray[np.str_]]:
    """Start, end and kind of the pieces into which stretches of idling are cut."""
    starts = [np.arange(begin, end, BASELINE_STEP_NS, dtype=np.int64) for _, begin, end in stretches]
    ends = [np.append(each[1:], stretch[2]) for each, stretch in zip(starts, stretches, strict=True)]
    kinds = [np.full(each.size, stretch[0]) for each, stretch in zip(starts, stretches, strict=True)]
    return np.concatenate(starts), np.concatenate(ends).astype(np.int64), np.concatenate(kinds)


def _lay(table: npt.NDArray[np.void], run: Run) -> None:
    """Start and end of the records of inferences, (m, 1 gap + 1 launch + n + 1 tail)."""
    start, end = table["start_ns"], table["end_ns"]
    start[0, 0] = run.baselines[-2][2]
    start[1:, 0] = run.end_ns[:-1]
    start[:, 1] = run.begin_ns
    start[:, 2:] = run.edges_ns
    end[:, :-1] = start[:, 1:]
    end[:, -1] = run.end_ns


class _Draw:
    """The power at any time of a run."""

    def __init__(self, case: Case, network: Network, run: Run, random: np.random.Generator) -> None:
        self.case, self.network, self.run = case, network, run
        self.first_ns, last_ns = run.baselines[0][1], run.baselines[-1][2]
        length = last_ns - self.first_ns
        self.drift_period_ns, self.drift_phase = length * random.uniform(1, 3), random.random()
        steps = length // NOISE_STEP_NS + 1
        keep = float(np.exp(-NOISE_STEP_NS * 1e-6 / case.power.slow_noise_ms))
        self.noise_uw = 1e6 * case.power.slow_noise_w * wandering(steps, keep, random)
        self.random = random

    def drift(self, t_ns: Ints) -> Floats:
        """The relative change of the power."""
        turns = (t_ns - self.first_ns) / self.drift_period_ns + self.drift_phase
        return np.asarray(self.case.power.drift * np.sin(2 * np.pi * turns), np.float64)

    def idle_uw(self, t_ns: Ints, kind: npt.NDArray[np.str_]) -> Ints:
        """Of the baselines."""
        run, idle = self.case.run, self.network.context_idle_w
        level = np.select([kind == "device-idle", kind == "gap"], [run.device_idle_w, idle + run.gap_w], idle)
        return self._rounded(1e6 * (level + idle * self.drift(t_ns)), t_ns)

    def running_uw(self, start_ns: Ints, durations_ns: Ints) -> tuple[Ints, Floats]:
        """Of the records of inferences, (m, n + 3), µW, and what of that in each gap (m,), W, is undeclared."""
        run, network = self.case.run, self.network
        drift = self.drift(start_ns[:, :1])
        power = np.empty(start_ns.shape)
        between = network.context_idle_w * (1 + drift)
        undeclared_w = self._undeclared_w(start_ns[:, 0])
        power[:, :1] = between + run.gap_w + undeclared_w[:, None]
        power[:, 1:2] = between + run.launch_w
        power[:, -1:] = between + run.tail_w
        power[:, 2:-1] = self._layers_w(durations_ns) * (1 + drift)
        power *= 1e6
        return self._rounded(power, start_ns), undeclared_w

    def _layers_w(self, durations_ns: Ints) -> Floats:
        """(m, n) in the order in which layers ran: what of a longer time is stall adds no energy."""
        network, order = self.network, self.run.order
        steady_w, stall_w_ns = network.power_w * (1 - network.stall_share), network.power_w * network.stall_share
        stall_w_ns = stall_w_ns * network.duration_ns
        if order is not None:
            return np.asarray(steady_w[order] + stall_w_ns[order] / durations_ns, np.float64)
        return np.asarray(steady_w + stall_w_ns / durations_ns, np.float64)

    def _undeclared_w(self, t_ns: Ints) -> Floats:
        """(m,): on and off in turn, for exponential times."""
        run: RunCase = self.case.run
        if run.undeclared_w == 0:
            return np.zeros(t_ns.size)
        dwell_ns = run.undeclared_dwell_s * 1e9
        count = int(3 * (t_ns[-1] - t_ns[0]) / dwell_ns) + 10
        changes = t_ns[0] + np.cumsum(self.random.exponential(dwell_ns, count))
        return np.asarray(run.undeclared_w * (np.searchsorted(changes, t_ns) % 2), np.float64)

    def _rounded(self, power_uw: Floats, start_ns: Ints) -> Ints:
        noisy = power_uw + self.noise_uw[(start_ns - self.first_ns) // NOISE_STEP_NS]
        return np.asarray(np.rint(np.maximum(noisy, 0, out=noisy), out=noisy), np.int64)


def wandering(steps: int, keep: float, random: np.random.Generator) -> Floats:
    """An Ornstein-Uhlenbeck process of deviation 1 at even times, (steps,): x' = keep x + sqrt(1 - keep^2) e.

    In blocks, x_k = keep^k (x_0 + sum_i keep^-i e_i), as long as keep^-k stays small.
    """
    blocks = -(-steps // NOISE_BLOCK)
    powers = keep ** np.arange(1, NOISE_BLOCK + 1)
    shocks = np.sqrt(1 - keep * keep) * random.standard_normal((blocks, NOISE_BLOCK))
    own = np.cumsum(shocks / powers, axis=1) * powers
    before = np.empty(blocks)
    last = float(random.standard_normal())
    for block in range(blocks):
        before[block] = last
        last = powers[-1] * last + own[block, -1]
    return np.asarray((own + before[:, None] * powers).ravel()[:steps], np.float64)
