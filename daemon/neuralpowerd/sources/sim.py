"""Source sim: chips in software over a power timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuralpower_sampler import SimChip, SimSource, Source
from neuralpower_wire import Channel, Chip, Timeline, WireError, create_timeline

from ..config import AUTO, Config, SimTable
from .boards import find
from .budget import TRANSFER_BITS, RailCost
from .chiptimes import CONVERSION_US, averaging_of_config, scan_of_config
from .plan import Plan, decimated, period_for, slowest_rate, wanted_rails, wanted_total
from .probe import Behaviour
from .rails import no_rail
from .registry import Turn, planner

_BEHAVIOUR = {"iio": "continuous", "i2c": "continuous"}


@planner("sim", turn=Turn.LAST)
def sim_plan(config: Config, _prober: object = None) -> Plan:
    """A board of `sim.rails`, three to a chip, each with voltage and current."""
    sim = config.sim
    wanted = wanted_rails(config, sim.rails)
    bus_uv, shunts_uohm = _each(sim.bus_uv, sim.rails), _each(sim.shunts_uohm, sim.rails)
    second = "current_ua" if sim.driver == "iio" else "shunt_uv"
    chips: list[Chip] = []
    sim_chips: list[SimChip] = []
    channels: list[Channel] = []
    sim_channels: list[tuple[int, int, str]] = []
    costs: list[RailCost] = []
    for first in range(0, len(sim.rails), 3):
        rails = sim.rails[first : first + 3]
        name = f"sim@{len(chips)}"
        sim_chips.append(SimChip(name, rails, bus_uv[first : first + 3], shunts_uohm[first : first + 3], sim.config))
        chips.append(_chip(name, sim, len(rails)))
        for place, rail in enumerate(rails):
            if rail not in wanted:
                continue
            shunt_uohm = shunts_uohm[first + place] if second == "shunt_uv" else 0
            channels.append(Channel(rail, "bus_uv", name, place + 1, 0, 0, 8000))
            channels.append(Channel(rail, second, name, place + 1, shunt_uohm, 0, 40 if shunt_uohm else 0))
            sim_channels += [(len(sim_chips) - 1, place + 1, quantity) for quantity in ("bus_uv", second)]
            waits_ns = chips[-1].scan_ns if sim.driver in ("waiting", "single-shot") else 0
            apart = int(sim.driver != "iio")  # whose one file gives voltage and current
            costs.append(RailCost(rail, name, 2, sim.bus_hz or None, 0, waits_ns, apart))

    def open_source() -> Source:
        timeline = Path(config.runtime_dir) / "timeline"
        _prepare_timeline(timeline, sim)
        words: Any = {"driver": sim.driver, "cvrf": sim.cvrf}  # the configuration allows the same words
        source = SimSource(
            timeline,
            sim_chips,
            sim_channels,
            delay_ns=round(sim.delay_us * 1000),
            lag_ns=round(sim.lag_us * 1000),
            clock_ppm=sim.clock_ppm,
            noise_uv=sim.noise_uv,
            seed=sim.seed,
            bus_hz=sim.bus_hz,
            **words,
        )
        return decimated(source, channels)

    total = wanted_total(sim.total, wanted)
    flags = len(chips) * TRANSFER_BITS * 10**9 // sim.bus_hz if sim.bus_hz and sim.driver == "i2c" else 0
    period_ns, budget = period_for(config, costs, sim.total, flags)
    if sim.driver != "iio":
        channels = [replace(each, every=budget.every) if each.quantity == "bus_uv" else each for each in channels]
    freshness, rate = slowest_rate(chips, period_ns)
    kind = _BEHAVIOUR.get(sim.driver, sim.driver)
    return Plan(
        source="sim",
        simulated=True,
        board="simulated",
        channels=tuple(channels),
        chips=tuple(chips),
        totals=total,
        driver=f"sim, {'registers' if sim.driver == 'i2c' else kind}",
        note=f"simulated power monitor over a power timeline{_why_simulated(config)}",
        open=open_source,
        period_ns=period_ns,
        freshness=freshness,
        fresh_rate_hz=rate,
        budget=budget,
        behaviours={chip.name: Behaviour(kind, why="simulated so") for chip in chips},
        bus_hz={chip.name: sim.bus_hz or None for chip in chips},
        timeline=Path(config.runtime_dir) / "timeline",
    )


def _why_simulated(config: Config) -> str:
    """Where nobody asked for it, why there is no rail to read."""
    return f", since {no_rail(find(Path(config.sysfs_root)), AUTO)[0]}" if config.source == AUTO else ""


def _chip(name: str, sim: SimTable, channels: int) -> Chip:
    shunt_us, bus_us = CONVERSION_US[sim.config >> 3 & 7], CONVERSION_US[sim.config >> 6 & 7]
    scan_ns = scan_of_config(sim.config, channels).ns
    return Chip(
        name=name,
        shunt_conversion_us=shunt_us,
        bus_conversion_us=bus_us,
        averaging=averaging_of_config(sim.config),
        scan_ns=scan_ns,
        freshness="nominal",
        behaviour="registers" if sim.driver == "i2c" else _BEHAVIOUR.get(sim.driver, sim.driver),
    )


def _each(values: Sequence[int], rails: Sequence[str]) -> list[int]:
    return list(values) * len(rails) if len(values) == 1 else list(values)


def _prepare_timeline(path: Path, sim: SimTable) -> None:
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
