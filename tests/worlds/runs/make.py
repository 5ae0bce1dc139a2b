"""Makes a user's run in virtual time: the experiment, the journal, the ticks, a recording's folder, and apart from it the truth."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower.errors import InputError
from neuralpower.experiment.around import Around
from neuralpower.experiment.stopping import Seconds
from neuralpower.profiler.session import Session
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber import messages
from neuralpower.virtual.bench import load_of, run_loads
from neuralpower.virtual.device.device import VirtualDevice
from neuralpower.virtual.device.held_timeline import HeldTimeline
from neuralpower.virtual.device.manner import Manner
from neuralpower.virtual.device.truth import Truth
from neuralpower_sampler import simulate
from neuralpower_sampler.sim import SimSettings
from neuralpower_wire import Epoch, Record, Ticks
from neuralpowerd.config import Config, SimTable

from .daemon import DaemonClock, DirectMarks, HeldDaemon, UnreadPower, sim_channels

START_NS = 1_000_000_000_000
BEFORE_S, BEHIND_S = 1.0, 0.1
"""The recorder is there so long before the command and after it."""
LATE_NS, LATE_MORE_NS = 15e3, 50e3
"""A tick is late by the first and an exponential of the second."""
MOST_LATE = 0.9
"""Of the period."""
BUS_HZ = 400_000
"""Of the wire, at which a read takes 120 µs: about as long as the chip in software takes in real time. Without it reads would take
none, and how long they take is among what the estimator goes by."""
PART = 4096
"""Ticks or records of a message, as a recorder gets them."""


@dataclass(frozen=True)
class UserRun:
    """What is run, by whom it is measured, and how the device behaves. `sensor`: as the chip in software takes it."""

    seed: int
    networks: tuple[str, ...]
    seconds: float
    config: int = 0x7007
    sensor: SimSettings = field(default_factory=SimSettings)
    manner: Manner = field(default_factory=Manner)
    idle_s: float = 0.0
    """How long nothing runs behind the experiment."""


@dataclass(frozen=True)
class Made:
    """What a run has left: `ticks` of a stream under an epoch, the journal's `records`, and the truth."""

    run: UserRun
    stream: bytes
    epoch: Epoch
    ticks: Ticks
    records: list[Record]
    truth: Truth
    ended_ns: int
    """When the command was over."""


def make(run: UserRun) -> Made:
    """Run it. The same run gives the same ticks, anchors and durations; names of streams and sessions follow from the seed too."""
    clock = DaemonClock(START_NS)
    config = Config(source="sim", sim=SimTable(config=run.config, seed=run.seed, bus_hz=BUS_HZ))
    stream = hashlib.sha256(f"ticks {run.seed}".encode()).digest()[:16]
    with tempfile.TemporaryDirectory(prefix="neuralpower-run-") as folder:
        daemon = HeldDaemon(config, clock, stream, Path(folder))
        timeline = HeldTimeline(config.sim.rails, config.sim.idle_uw)
        clock.sleep(BEFORE_S)
        truth = _profile(run, daemon, timeline)
        ended_ns = clock.now_ns
        clock.sleep(max(BEHIND_S, run.idle_s))
        daemon.close()
    ticks = _ticks(run, daemon.epoch, config, timeline, clock.now_ns)
    return Made(run, stream, daemon.epoch, ticks, daemon.records, truth, ended_ns)


def _profile(run: UserRun, daemon: HeldDaemon, timeline: HeldTimeline) -> Truth:
    """`neuralpower profile --seconds` on the virtual device."""
    clock = daemon.clock

    def session(name: str) -> Session:
        return Session(name=name, carrier=daemon.carrier)

    with VirtualDevice(timeline, run.seed, clock_ns=clock, sleep=clock.sleep, manner=run.manner) as device:
        loads = [load_of(name, device.hardware) for name in run.networks]
        with Around(
            DirectMarks(daemon),
            UnreadPower(daemon),
            device.idle,
            lambda engine: Seconds(run.seconds),
            seed=run.seed,
            clock_ns=clock,
            show=_quiet,
        ) as around:
            for outcome in run_loads(device, loads, around, "", session):
                if outcome.acknowledged != outcome.inferences + outcome.unprofiled:
                    raise RuntimeError(f"{outcome.name}: inferences were refused by the daemon's checks")
    return device.truth


@contextlib.contextmanager
def _quiet(label: str) -> Iterator[Callable[[float, str], None]]:
    yield lambda done, note: None


def _ticks(run: UserRun, epoch: Epoch, config: Config, timeline: HeldTimeline, end_ns: int) -> Ticks:
    """What the loop would have read: on its grid, late by what a wake-up takes."""
    grid = np.arange(epoch.t0_ns, end_ns, epoch.period_ns)
    late = LATE_NS + np.random.default_rng([run.seed, 20]).exponential(LATE_MORE_NS, grid.size)
    t_ns: npt.NDArray[np.int64] = np.asarray(grid + np.minimum(late, MOST_LATE * epoch.period_ns), np.int64)
    chips, channels = sim_channels(epoch, config)
    idle_uw = dict(zip(timeline.rails, timeline.idle_uw, strict=True))
    settings: Any = {"noise_uv": config.sim.noise_uv, "bus_hz": BUS_HZ, "seed": run.seed, **run.sensor}
    return simulate(timeline.records(), idle_uw, chips, channels, t_ns, epoch=epoch.number, **settings)


def write(made: Made, folder: Path) -> None:
    """Put it into a recording's folder as a recorder does. InputError where there is one: two runs are no recording."""
    if folder.exists():
        raise InputError(f"{folder}: is there already; name another folder, or remove it")
    writer = Writer(folder, "virtual time")
    for first in range(0, len(made.records), PART):
        writer.keep(messages.Records(made.stream, first, made.records[first : first + PART]))
    for first in range(0, len(made.ticks), PART):
        writer.keep(messages.Ticks(made.stream, made.ticks[first : first + PART], made.epoch))
    writer.finish()
