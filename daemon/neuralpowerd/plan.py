"""Decides where readings come from and says so: the channels, chips and totals of an epoch, and how to open the source."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralpower_sampler import HwmonInput, HwmonSource, ReplaySource, SimChip, SimSource, Source
from neuralpower_wire import Channel, Chip, Epoch, Timeline, WireError, create_timeline

from .boards import Found, find
from .config import Config, Sim
from .errors import DaemonError

CONVERSION_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
AVERAGING = (1, 4, 16, 64, 128, 256, 512, 1024)
"""INA3221 datasheet (SBOS576B), tables 4 and 3: what the fields of the configuration register mean."""


@dataclass(frozen=True)
class Plan:
    """What an epoch will say of its source, and `open`, which opens it; nothing is touched before that."""

    source: str
    simulated: bool
    board: str
    channels: tuple[Channel, ...]
    chips: tuple[Chip, ...]
    totals: tuple[str, ...]
    freshness: str
    fresh_rate_hz: float | None
    driver: str
    note: str
    open: Callable[[], Source]
    timeline: Path | None = None

    def epoch(self, number: int, first_index: int, period_ns: int, t0_ns: int) -> Epoch:
        """The epoch of this plan from tick `first_index` on."""
        return Epoch(
            number, first_index, period_ns, t0_ns, self.source, self.simulated, self.board, self.channels, self.chips,
            self.totals, self.freshness, self.fresh_rate_hz, self.driver, self.note[:256],
        )  # fmt: skip


def make_plan(config: Config) -> Plan:
    """The plan for this configuration and machine; DaemonError where the source asked for is not there."""
    if config.source == "replay":
        return _replay(Path(config.replay))
    found = find(Path(config.sysfs_root)) if config.source in ("auto", "hwmon") else None
    if found and found.rails:
        return _hwmon(found)
    if config.source == "hwmon":
        where = f"{config.sysfs_root.rstrip('/')}/sys"
        raise DaemonError(f"no power rail found under {where}; load the ina3221 driver, or use --source sim")
    return _sim(config.sim, Path(config.runtime_dir) / "timeline")


def _hwmon(found: Found) -> Plan:
    channels, inputs = [], []
    for rail in found.rails:
        for item in rail.inputs:
            shunt_uohm = rail.shunt_uohm if item.quantity == "shunt_uv" else 0
            channels.append(Channel(rail.name, item.quantity, rail.chip, rail.channel, shunt_uohm, 0, item.lsb))
            inputs.append(HwmonInput(str(item.path), item.scale))
    chips = []
    for monitor in found.monitors:
        scan_ns = (monitor.update_interval_ms or 0) * 1_000_000
        freshness = "nominal" if scan_ns else "unknown"
        chips.append(Chip(monitor.name, averaging=monitor.samples or 0, scan_ns=scan_ns, freshness=freshness))
    slowest = max((chip.scan_ns for chip in chips), default=0)
    known = slowest > 0 and all(chip.scan_ns for chip in chips)
    return Plan(
        source="iio" if all(monitor.driver == "ina3221x" for monitor in found.monitors) else "hwmon",
        simulated=False,
        board=found.board,
        channels=tuple(channels),
        chips=tuple(chips),
        totals=found.total,
        freshness="nominal" if known else "unknown",
        fresh_rate_hz=1e9 / slowest if known else None,
        driver=", ".join(sorted({monitor.driver for monitor in found.monitors})),
        note=found.note,
        open=lambda: HwmonSource(inputs),
    )


def _sim(sim: Sim, timeline: Path) -> Plan:
    bus_uv, shunts_uohm = _each(sim.bus_uv, sim.rails), _each(sim.shunts_uohm, sim.rails)
    chips: list[Chip] = []
    sim_chips: list[SimChip] = []
    channels: list[Channel] = []
    sim_channels: list[tuple[int, int, str]] = []
    shunt_us, bus_us = CONVERSION_US[sim.config >> 3 & 7], CONVERSION_US[sim.config >> 6 & 7]
    for first in range(0, len(sim.rails), 3):
        rails = sim.rails[first : first + 3]
        name = f"sim@{len(chips)}"
        sim_chips.append(SimChip(name, rails, bus_uv[first : first + 3], shunts_uohm[first : first + 3], sim.config))
        enabled = sum(sim.config >> (14 - place) & 1 for place in range(len(rails)))
        scan_ns = enabled * (shunt_us + bus_us) * 1000
        chips.append(Chip(name, shunt_us, bus_us, AVERAGING[sim.config >> 9 & 7], scan_ns, "nominal"))
        for place, rail in enumerate(rails):
            shunt_uohm = shunts_uohm[first + place]
            channels.append(Channel(rail, "bus_uv", name, place + 1, 0, 0, 8000))
            channels.append(Channel(rail, "shunt_uv", name, place + 1, shunt_uohm, 0, 40))
            sim_channels += [(len(sim_chips) - 1, place + 1, "bus_uv"), (len(sim_chips) - 1, place + 1, "shunt_uv")]

    def open_source() -> Source:
        _prepare_timeline(timeline, sim)
        return SimSource(
            timeline,
            sim_chips,
            sim_channels,
            delay_ns=round(sim.delay_us * 1000),
            lag_ns=round(sim.lag_us * 1000),
            clock_ppm=sim.clock_ppm,
            noise_uv=sim.noise_uv,
            seed=sim.seed,
        )

    slowest = max(chip.scan_ns for chip in chips)
    note = "simulated power monitor over a power timeline"
    return Plan(
        "sim", True, "simulated", tuple(channels), tuple(chips), tuple(sim.total), "nominal",
        1e9 / slowest if slowest else None, "sim", note, open_source, timeline,
    )  # fmt: skip


def _each(values: Sequence[int], rails: Sequence[str]) -> list[int]:
    return list(values) * len(rails) if len(values) == 1 else list(values)


def _prepare_timeline(path: Path, sim: Sim) -> None:
    """Keep a timeline of these rails, which a virtual device may be writing; make one where there is none."""
    idle_uw = _each(sim.idle_uw, sim.rails)
    try:
        timeline = Timeline(path)
        same = timeline.rails == list(sim.rails) and timeline.idle_uw == idle_uw
        timeline.close()
        if same:
            return
    except WireError:
        pass
    create_timeline(path, sim.rails, idle_uw)


def _replay(path: Path) -> Plan:
    """Ticks recorded before, each tick once; the epoch that explains them lies beside as .json."""
    try:
        ticks = np.load(path, allow_pickle=False)
        epoch = Epoch.from_dict(json.loads(path.with_suffix(".json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise DaemonError(
            f"{path}: cannot be replayed: {error}; it takes a .npy of ticks and its epoch as .json"
        ) from None
    if (
        ticks.dtype.names is None
        or "readings" not in ticks.dtype.names
        or ticks["readings"].shape[1:] != (len(epoch.channels),)
    ):
        raise DaemonError(
            f"{path}: cannot be replayed: its ticks do not have the epoch's {len(epoch.channels)} readings"
        )
    note = f"replay of {path.name}"
    return Plan(
        "replay", epoch.simulated, epoch.board, epoch.channels, epoch.chips, epoch.totals, epoch.freshness,
        epoch.fresh_rate_hz, epoch.driver, note, lambda: ReplaySource(ticks),
    )  # fmt: skip
