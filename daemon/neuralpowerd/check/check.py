"""`neuralpowerd check`: what this machine offers, found without changing anything or disturbing a daemon that runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import zmq

from neuralpower_wire.errors import WireError
from neuralpower_wire.history import Reply, Request

from ..config import AUTO, Config
from ..errors import ConfigError
from ..sources.boards import Found, find
from ..sources.plan import period_for
from ..sources.probe import Behaviour, probe
from ..sources.rails import rail_costs
from ..system.devicetree import bus_clock_hz
from . import effect, i2c, machine, nvml, sensor
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

DAEMON = "Daemon"
PATIENCE_MS = 500


def examine(config: Config, measure_effect: bool = False) -> dict[str, Any]:
    """Board, rails with their present values, total, and the findings."""
    root = Path(config.sysfs_root)
    found = find(root)
    status = ask_status(config)
    others, names = sensor.readers(found, root)
    clocks = {monitor.name: bus_clock_hz(monitor.directory, root) for monitor in found.monitors}
    behaviours = {
        monitor.name: _behaviour(monitor.name, status)
        if status
        else Behaviour(why=f"not probed, since {', '.join(names)} reads it")
        if names
        else probe(monitor, clocks[monitor.name])
        for monitor in found.monitors
    }
    values = [sensor.present(rail) for rail in found.rails]
    findings = [
        *(sensor.rails(found, values) if found.rails or config.source != "nvml" else ()),
        *sensor.drivers(found, behaviours),
        *sensor.bus(found, clocks, behaviours),
        *sensor.reach(found, clocks, behaviours),
        *([_wish(config, found, clocks, behaviours)] if found.rails else []),
        *i2c.registers(config),
        *nvml.gpus(config, found),
        *([others] if found.monitors else []),
        *machine.realtime(config),
        *machine.machine(config),
        *machine.software(),
        _daemon(status),
        effect.finding(config, found, bool(status or names), measure_effect),
    ]
    return {
        "board": found.board,
        "source": config.source if config.source != AUTO else "rails" if found.rails else "sim",
        "rails": values,
        "total": list(found.total),
        "missing": list(found.missing),
        "findings": [asdict(each) for each in findings],
    }


def title(examined: dict[str, Any]) -> str:
    """The page's first line."""
    count = len(examined["rails"])
    what = {"sim": "no power rail: readings will be simulated", "nvml": "GPUs through NVML"}.get(examined["source"])
    return f"neuralpowerd check · {examined['board']} · {what or f'{count} rails'}"


def _wish(config: Config, found: Found, clocks: dict[str, int | None], behaviours: dict[str, Behaviour]) -> Finding:
    """Whether the configured period is possible, and how often voltages are read then."""
    rails = [rail for rail in found.rails if rail.name in config.plan.rails or not config.plan.rails]
    costs = rail_costs(rails or found.rails, found.monitors, clocks, behaviours)
    try:
        period_ns, budget = period_for(config, costs, found.total)
    except ConfigError as error:
        wish, _, remedy = str(error).removeprefix("period_us: ").partition("; possible: ")
        return Finding(sensor.SENSOR, "period", wish, PROBLEM, remedy)
    seldom = f", each voltage in one tick of {budget.every}" if budget.every > 1 else ""
    advice = f"period_us = {replace(budget, every=1).shortest_ns // 1000} has time for all of them" if seldom else ""
    asked = "is possible" if config.period_us else "will be chosen"
    return Finding(sensor.SENSOR, "period", f"{period_ns // 1000} µs {asked}{seldom}", GOOD, advice)


def _behaviour(chip: str, status: dict[str, Any]) -> Behaviour:
    """What a running daemon found out: asking it disturbs nothing."""
    seen = status.get("behaviour", {}).get(chip)
    if not isinstance(seen, dict):
        return Behaviour(why="not probed, since a daemon runs")
    return Behaviour(str(seen["kind"]), int(seen["read_ns"]), why=f"{seen['why']} (told by the running daemon)")


def _daemon(status: dict[str, Any] | None) -> Finding:
    if not status:
        return Finding(DAEMON, "running", "no daemon answers in this runtime directory", GOOD)
    rate, missed = status.get("tick_rate_hz") or 0.0, status.get("missed_slots", 0)
    share = missed / max(1, missed + status.get("sampled", 0))
    fresh = status.get("fresh_rate_hz")
    freshness = f"{fresh:.1f} Hz {status['freshness']}" if fresh else status.get("freshness", "unknown")
    value = f"pid {status.get('pid')}, {rate:.0f} ticks/s, fresh {freshness}, {missed} slots missed"
    if share > 0.001:
        return Finding(DAEMON, "running", value, BETTER, "slots were missed: see Real time, or take a longer period")
    return Finding(DAEMON, "running", value, GOOD if fresh else UNKNOWN)


def ask_status(config: Config) -> dict[str, Any] | None:
    """The status of a daemon in this runtime directory, or None where none answers."""
    path = Path(config.runtime_dir) / "history.ipc"
    if not path.exists():
        return None
    with zmq.Context() as context, context.socket(zmq.DEALER) as end:
        end.linger = 0
        end.connect(f"ipc://{path}")
        end.send(Request(1, "status").encode())
        if not end.poll(PATIENCE_MS):
            return None
        try:
            return dict(Reply.decode(end.recv_multipart()).body or {}) or None
        except WireError:
            return None


def as_json(examined: dict[str, Any]) -> str:
    """For machines."""
    return json.dumps(examined, indent=2, ensure_ascii=False)
