"""`neuralpowerd check`: what this machine offers, found without changing anything or disturbing a daemon that runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import zmq

from neuralpower_wire import tick_dtype
from neuralpower_wire.address import HISTORY, Address
from neuralpower_wire.errors import WireError
from neuralpower_wire.history import Reply, Request

from ..config import AUTO, Config
from ..errors import ConfigError, DaemonError
from ..sources.boards import find
from ..sources.plan import Plan
from ..sources.probe import KINDS, Behaviour, probe
from ..sources.registry import make_plan
from ..system.devicetree import bus_clock_hz
from ..system.sysfs import clean
from . import effect, i2c, machine, nvml, rails, sensor
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

DAEMON = "Daemon"
PATIENCE_MS = 500
SLOW_S = 2.0
"""A client that takes nothing for so long is slow; after 30 s it is cut."""
USUAL_READINGS = 6
"""Voltage and current of three rails: where there is no plan to tell."""


def examine(config: Config, measure_effect: bool = False) -> dict[str, Any]:
    """Board, rails with their present values, total, and the findings."""
    root = Path(config.sysfs_root)
    found = find(root)
    status = ask_status(config)
    others, names = sensor.readers(found, root, (status or {}).get("pid"))
    clocks = {monitor.name: bus_clock_hz(monitor.directory, root) for monitor in found.monitors}
    behaviours = {
        monitor.name: _behaviour(monitor.name, status)
        if status
        else Behaviour(why=f"not probed, since {', '.join(names)} reads it")
        if names
        else probe(monitor, clocks[monitor.name])
        for monitor in found.monitors
    }
    now = rails.examine(found)
    # What GPUs offer has a page of its own, which measures it.
    plan, refusal = _planned(config, behaviours) if config.source != "nvml" else (None, None)
    findings = [
        *(rails.rails(found, now, config.source) if found.rails or config.source != "nvml" else ()),
        *sensor.drivers(found, behaviours, config),
        *sensor.bus(found, clocks, behaviours),
        *sensor.reach(found, clocks, behaviours),
        *([_wish(config, plan, refusal)] if found.rails or refusal or config.source == "i2c" else []),
        *i2c.registers(config, found.entry),
        *nvml.gpus(config, found),
        *([others] if found.monitors else []),
        *machine.realtime(config, len(plan.channels) if plan else USUAL_READINGS, plan.period_ns if plan else 0),
        *machine.machine(config),
        *machine.software(),
        _daemon(status),
        _history(
            config, len(plan.channels) if plan else USUAL_READINGS, plan.period_ns if plan else 1_000_000, status or {}
        ),
        *_clients(status or {}),
        _estimates(config, status),
        effect.finding(config, found, bool(status or names), measure_effect),
    ]
    return {
        "board": found.board,
        "source": config.source if config.source != AUTO else "rails" if found.rails else "sim",
        "rails": [each.as_dict() for each in now],
        "total": list(rails.total_of(found).rails),
        "covers": rails.total_of(found).covers,
        "doubted": [each.rail.name for each in now if each.doubt],
        "missing": [missing.label for missing in found.missing],
        "findings": [asdict(each) for each in findings],
    }


def title(examined: dict[str, Any]) -> str:
    """The page's first line."""
    count, source = len(examined["rails"]), examined["source"]
    shown = f"{count} rail{'s' * (count != 1)}" if count else "no power rail"
    if source == "sim":
        shown = (
            "no power rail: readings will be simulated"
            if not count
            else f"{count} rails, and source sim, which simulates its own"
        )
    elif source == "nvml":
        shown = "GPUs through NVML"
    elif source in ("i2c", "replay"):
        shown = f"source {source}"
    return f"neuralpowerd check · {examined['board']} · {shown}"


def _planned(
    config: Config, behaviours: Mapping[str, Behaviour]
) -> tuple[Plan | None, ConfigError | DaemonError | None]:
    """What the daemon would do, or its refusal."""
    try:
        return make_plan(config, lambda monitor, clock: behaviours[monitor.name]), None
    except (ConfigError, DaemonError) as error:
        return None, error


def _wish(config: Config, plan: Plan | None, refusal: ConfigError | DaemonError | None) -> Finding:
    """Whether the daemon would start with this period and these rails, and how often voltages are read then."""
    if refusal is not None:
        return Finding(sensor.SENSOR, "period", refusal.what, PROBLEM, refusal.remedy)
    if plan is None:
        return Finding(sensor.SENSOR, "period", "not known", UNKNOWN)
    period_ns, budget = plan.period_ns, plan.budget
    if budget is None:
        return Finding(sensor.SENSOR, "period", f"{period_ns // 1000} µs", GOOD)
    seldom = f", each voltage in one tick of {budget.every}" if budget.every > 1 else ""
    advice = f"period_us = {replace(budget, every=1).shortest_ns // 1000} has time for all of them" if seldom else ""
    asked = "is possible" if config.period_us else "will be chosen"
    return Finding(sensor.SENSOR, "period", f"{period_ns // 1000} µs {asked}{seldom}", GOOD, advice)


def _behaviour(chip: str, status: dict[str, Any]) -> Behaviour:
    """What a running daemon found out: asking it disturbs nothing."""
    told = status.get("behaviour")
    seen = told.get(chip) if isinstance(told, dict) else None
    if not isinstance(seen, dict) or seen.get("kind") not in KINDS:
        return Behaviour(why="not probed, since a daemon runs")
    read_ns, why = seen.get("read_ns"), clean(str(seen.get("why")), 160)
    return Behaviour(
        seen["kind"], read_ns if isinstance(read_ns, int) else 0, why=f"{why} (told by the running daemon)"
    )


def _daemon(status: dict[str, Any] | None) -> Finding:
    if not status:
        return Finding(DAEMON, "running", "no daemon answers in this runtime directory", GOOD)
    rate, missed = _number(status, "tick_rate_hz"), _number(status, "missed_slots")
    share = missed / max(1, missed + _number(status, "sampled"))
    fresh, kind = _number(status, "fresh_rate_hz"), clean(str(status.get("freshness", "unknown")))
    freshness = f"{fresh:.1f} Hz {kind}" if fresh else kind
    value = f"pid {_number(status, 'pid'):.0f}, {rate:.0f} ticks/s, fresh {freshness}, {missed:.0f} slots missed"
    if share > 0.001:
        return Finding(DAEMON, "running", value, BETTER, "slots were missed: see Real time, or take a longer period")
    if fresh:
        return Finding(DAEMON, "running", value, GOOD)
    advice = "the fresh rate shows after a few hundred changed values, if the rails' power changes at all"
    return Finding(DAEMON, "running", value, UNKNOWN, advice)


def _history(config: Config, readings: int, period_ns: int, status: Mapping[str, Any]) -> Finding:
    """How far back a client that comes late may ask, and what that takes."""
    ring = config.history_seconds * 10**9 // period_ns * tick_dtype(readings).itemsize
    value = f"{config.history_seconds} s of ticks in {ring / 1e6:.0f} MB, a journal of {(config.journal.mebibytes << 20) / 1e6:.0f} MB"
    ticks, journal = status.get("ticks"), status.get("journal")
    if isinstance(ticks, dict) and isinstance(journal, dict):
        value += f"; holds the last {_number(ticks, 'held_s'):.0f} s of ticks and {_number(journal, 'held_s'):.0f} s of the journal"
    return Finding(DAEMON, "history", value, GOOD, "history_seconds and journal.mebibytes make it longer")


def _clients(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Who is connected, where a daemon runs; who reads too slowly is named."""
    clients = [each for each in status.get("clients", ()) if isinstance(each, dict)]
    if "clients" not in status:
        return
    slow = [each for each in clients if _number(each, "waiting_s") > SLOW_S]
    value = (
        f"{len(clients)} connections, {sum(_number(each, 'bytes_out') for each in clients) / 1e6:.1f} MB went to them"
    )
    if not slow:
        yield Finding(DAEMON, "clients", value, GOOD)
    for each in slow:
        who = clean(f"{each.get('peer')}, process {each.get('process') or 'on another machine'}", 120)
        told = (
            f"{who} has read nothing from {clean(str(each.get('socket')), 20)} for {_number(each, 'waiting_s'):.0f} s"
        )
        yield Finding(DAEMON, "clients", told, BETTER, "what it misses it may ask the history for, or it is lost to it")


def _number(status: Mapping[str, Any], key: str) -> float:
    """A number of the status; 0 where another version gives none."""
    value = status.get(key)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else 0


def _estimates(config: Config, status: dict[str, Any] | None) -> Finding:
    """What the process that estimates may take, and has taken."""
    if not config.estimates.enabled:
        return Finding(DAEMON, "estimates", "off: no process of their own", GOOD)
    told = (status or {}).get("estimates", {})
    share = float(told.get("most_cpu", config.estimates.most_cpu))
    value = f"at most {share:.0%} of one processor, at the lowest priority, with the first inference"
    if told.get("running"):
        why = f", {told['why']}" if told.get("why") else ""
        value = f"{told.get('cpu_s', 0.0):.0f} s of processor time so far, at most {share:.0%} of one; {told.get('state')}{why}"
    return Finding(DAEMON, "estimates", value, GOOD)


def ask_status(config: Config) -> dict[str, Any] | None:
    """The status of a daemon in this runtime directory, or None where none answers."""
    address = Address(config.runtime_dir)
    if not address.file(HISTORY).exists():
        return None
    with zmq.Context() as context, context.socket(zmq.DEALER) as end:
        end.linger = 0
        end.connect(address.history)
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
