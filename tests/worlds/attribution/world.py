"""A network drawn, run and measured in simulation: what a recording of it has, and apart from that the truth.

    from tests.worlds.attribution.case import load
    from tests.worlds.attribution.world import draw

    world = draw(load().case("fast"), seed=1000)
    world.recording    # all that an estimate may see: readings with their times, anchors, durations, baselines, the chip's config
    world.truth        # power per layer, delay, lags, clock: for scores alone
    conversions.shunt_ends(world)  # when the conversions of the rail's shunt really ended, for scores alone

Everything follows from the case and the seed. Times are int64 ns on the host's clock. The power of the rail is laid out piece by
piece (network.py and power.py draw it), and the chip in software of neuralpower_sampler reads it in virtual time. Nothing here comes
from neuralpower_align: the simulation and the estimate share no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from neuralpower_sampler import SimChip, simulate
from neuralpower_sampler.sim import Driver, SimSettings

from .case import Case
from .network import Network, Run, draw_network, draw_run
from .power import Power, draw_power, laid_power_w

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RAILS = ("total", "second", "third")
SHIFT_NS = 2_000_000
"""The timeline is laid so much before the host's clock and the chip looks so much later: its delay is never below 0, ours may be."""
CONVERSION_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
AVERAGES = (1, 4, 16, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Chip:
    """What the daemon's epoch says of the chip: times nominal, ns. Of three channels the first is read, whose shunt is converted
    first in the scan and its bus second; `conversion_ns` is that of both. `bus_hz`: bit clock of the wire, 48 bits a transfer."""

    config: int
    averaging: int
    conversion_ns: float
    scan_ns: float
    shunt_uohm: int
    driver: str
    bus_hz: int


@dataclass(frozen=True)
class Reading:
    """One quantity of the total rail in each tick (k,): µV, and when its read began and ended."""

    value_uv: Ints
    begin_ns: Ints
    end_ns: Ints


@dataclass(frozen=True)
class Baseline:
    """A stretch before or after the run: "device-idle", "context-idle" or "gap" (the host waits as between inferences)."""

    kind: str
    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class Recording:
    """What a recording has: ticks t_ns (k,), bus and shunt voltage; anchors (m,), durations (m, n); baselines."""

    chip: Chip
    t_ns: Ints
    bus: Reading
    shunt: Reading
    begin_ns: Ints
    end_ns: Ints
    durations_ns: Ints
    baselines: tuple[Baseline, ...]

    @property
    def power_w(self) -> Floats:
        """Current times voltage of each tick, (k,) W; they are converted one after the other."""
        ampere = self.shunt.value_uv / self.chip.shunt_uohm
        return np.asarray(ampere * self.bus.value_uv * 1e-6, np.float64)


@dataclass(frozen=True)
class Truth:
    """Per layer (n,): energy over time, W, and mean time, s. Delay and lags, ns; `scan_ns`: mean scan before swing and walk.

    Under permuted labels `power_w` is of what ran in the windows laid for a label, `named_w` of the layer that has its name.
    `energy_j`: of all layers of a mean inference. Powers of launch, tail and gap are means over the run. `total_j`: of the whole
    timeline; `undeclared_j` what the undeclared state took of it.
    """

    power_w: Floats
    named_w: Floats
    time_s: Floats
    stall_share: Floats
    delay_ns: float
    lags_ns: tuple[float, ...]
    scan_ns: float
    droop_ohm: float
    energy_j: float
    launch_w: float
    tail_w: float
    gap_w: float
    context_idle_w: float
    undeclared_j: float
    total_j: float

    @property
    def lag_ns(self) -> float:
        """All lags together."""
        return sum(self.lags_ns)


@dataclass(frozen=True)
class World:
    """A drawn network with its recording and its truth, to which the simulated chip's settings and its start belong."""

    case: Case
    seed: int
    recording: Recording
    truth: Truth
    settings: SimSettings
    started_ns: int


@dataclass(frozen=True)
class _Sensor:
    """What is drawn of the sensor."""

    delay_ns: int
    lag_ns: int
    second_lag_ns: int
    clock_ppm: float
    droop_uohm: int


def draw(case: Case, seed: int, given: Network | None = None) -> World:
    """Draw network number `seed` of a case, or take the one given; run it, measure it."""
    chip = chip_of(case)
    sensor_random = np.random.default_rng((seed, 1))
    clock_ppm = float(sensor_random.uniform(-1, 1)) * case.sensor.clock * 1e6
    scan_ns = chip.scan_ns * (1 + clock_ppm * 1e-6)
    locked_ns = scan_ns * case.run.locked_ratio * (1 + 1e-5 * float(sensor_random.uniform(-1, 1)))
    period_ns = locked_ns if case.run.gap == "locked" else None
    network = given or draw_network(case, np.random.default_rng((seed, 0)), period_ns)
    run = draw_run(case, network, chip.scan_ns, period_ns, np.random.default_rng((seed, 2)))
    power = draw_power(case, network, run, np.random.default_rng((seed, 3)))
    ran_w = laid_power_w(run, power.records) if case.run.permuted else power.layer_j / power.layer_s
    sensor = _draw_sensor(case, network, clock_ppm, sensor_random)
    settings = _settings(case, sensor, seed)
    ticks = tick_times(run, case.sensor.period_ms, np.random.default_rng((seed, 4)))
    recording = _record(case, chip, run, power, settings, ticks)
    return World(case, seed, recording, _truth(network, power, ran_w, sensor, scan_ns), settings, int(ticks[0]))


def chip_of(case: Case) -> Chip:
    """What the config register says, as a daemon reads it."""
    config = int(case.sensor.config, 16)
    bus, shunt = CONVERSION_US[config >> 6 & 7], CONVERSION_US[config >> 3 & 7]
    if bus != shunt or config >> 12 != 7 or config & 7 != 7:
        raise ValueError(f"config {config:#x}: only three channels, shunt and bus for the same time, continuously")
    scan_ns = len(RAILS) * (bus + shunt) * 1e3
    sensor = case.sensor
    averaging = AVERAGES[config >> 9 & 7]
    return Chip(config, averaging, shunt * 1e3, scan_ns, sensor.shunt_uohm, sensor.driver, sensor.bus_hz)


def _draw_sensor(case: Case, network: Network, clock_ppm: float, random: np.random.Generator) -> _Sensor:
    sensor, volt = case.sensor, case.power.supply_v
    delay_ms, lag_ms = random.uniform(*sensor.delay_ms), random.uniform(*sensor.lag_ms)
    droop = random.uniform(*case.power.droop)
    # v (v0 - v) = r p with v = v0 (1 - droop)
    droop_ohm = volt * volt * droop * (1 - droop) / network.mean_power_w
    second_ns = round(sensor.second_lag_ms * 1e6)
    return _Sensor(round(delay_ms * 1e6), round(lag_ms * 1e6), second_ns, clock_ppm, round(droop_ohm * 1e6))


def _settings(case: Case, drawn: _Sensor, seed: int) -> SimSettings:
    sensor = case.sensor
    return SimSettings(
        delay_ns=drawn.delay_ns + SHIFT_NS,
        lag_ns=drawn.lag_ns,
        second_lag_ns=drawn.second_lag_ns,
        noise_uv=sensor.noise_mw * 1e-3 / case.power.supply_v * sensor.shunt_uohm,
        droop=drawn.droop_uohm,
        clock_ppm=drawn.clock_ppm,
        swing_ppm=sensor.swing_ppm,
        swing_s=sensor.swing_s,
        walk_ppm=sensor.walk_ppm,
        seed=seed,
        driver=cast(Driver, sensor.driver),
        bus_hz=sensor.bus_hz,
        accumulator="wide" if sensor.accumulator == "wide" else "13-bit",
    )


def _record(case: Case, chip: Chip, run: Run, power: Power, settings: SimSettings, ticks: Ints) -> Recording:
    sim_chip = SimChip(
        "chip", RAILS, [round(case.power.supply_v * 1e6)] * len(RAILS), [chip.shunt_uohm] * len(RAILS), chip.config
    )
    power.records["start_ns"] -= SHIFT_NS
    power.records["end_ns"] -= SHIFT_NS
    read = simulate(
        power.records, dict.fromkeys(RAILS, 0), [sim_chip], [(0, 1, "bus_uv"), (0, 1, "shunt_uv")], ticks, **settings
    )
    read = read[(read["readings"]["error"] == 0).all(axis=1)]
    bus, shunt = (_reading(read, column) for column in range(2))
    baselines = tuple(Baseline(*each) for each in run.baselines)
    return Recording(
        chip, read["t_ns"].astype(np.int64), bus, shunt, run.begin_ns, run.end_ns, run.reported_ns, baselines
    )


def tick_times(run: Run, period_ms: float, random: np.random.Generator) -> Ints:
    """When the reader looks: on a grid, late by what a wake-up takes."""
    first, last = run.baselines[0][1], run.baselines[-1][2]
    period = period_ms * 1e6
    # The first tenth of a second is idling, in which the chip finds its place; the timeline ends early by the shift.
    grid = np.arange(first + 1e8, last - 2 * SHIFT_NS, period)
    late = 15e3 + random.exponential(50e3, grid.size)
    return np.asarray(grid + np.minimum(late, 0.9 * period), np.int64)


def _reading(ticks: npt.NDArray[np.void], column: int) -> Reading:
    one: Any = ticks["readings"][:, column]
    t_ns = ticks["t_ns"]
    return Reading(one["value"].astype(np.int64), t_ns + one["begin_ns"], t_ns + one["end_ns"])


def _truth(network: Network, power: Power, ran_w: Floats, sensor: _Sensor, scan_ns: float) -> Truth:
    lags = (float(sensor.lag_ns), float(sensor.second_lag_ns)) if sensor.second_lag_ns else (float(sensor.lag_ns),)
    return Truth(
        power_w=ran_w,
        named_w=power.layer_j / power.layer_s,
        time_s=power.layer_s / power.inferences,
        stall_share=network.stall_share,
        delay_ns=float(sensor.delay_ns),
        lags_ns=lags,
        scan_ns=scan_ns,
        droop_ohm=sensor.droop_uohm * 1e-6,
        energy_j=float(power.layer_j.sum()) / power.inferences,
        launch_w=power.launch_w,
        tail_w=power.tail_w,
        gap_w=power.gap_w,
        context_idle_w=network.context_idle_w,
        undeclared_j=power.undeclared_j,
        total_j=power.total_j,
    )
