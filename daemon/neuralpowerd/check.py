"""What this machine offers, found by looking and without changing anything."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from neuralpower_sampler import AVAILABLE, REINSTALL

from .boards import Found, find
from .config import Config
from .monitors import Rail, read_int

NOT_PROBED = "not probed"


def examine(config: Config) -> dict[str, Any]:
    """Board, rails with their present values, total, rights; what is not looked at yet says so."""
    found = find(Path(config.sysfs_root))
    return {
        "board": found.board,
        "rails": [_rail(rail) for rail in found.rails],
        "total": list(found.total),
        "note": found.note,
        "missing": list(found.missing),
        "source": config.source if config.source != "auto" else "hwmon" if found.rails else "sim",
        "sampler": "ready" if AVAILABLE else f"missing; reinstall with: {REINSTALL}",
        "realtime": _realtime(config.realtime.priority),
        "memory_lock": _memory_lock(),
        "kernel": os.uname().release,
        "drivers": _drivers(found),
        "driver_behaviour": NOT_PROBED,
        "bus_clock": NOT_PROBED,
        "fresh_rate": NOT_PROBED,
        "power_mode": NOT_PROBED,
        "other_readers": NOT_PROBED,
    }


def _rail(rail: Rail) -> dict[str, Any]:
    values = {item.quantity: _value(item.path, item.scale) for item in rail.inputs}
    amperes = None
    if values.get("shunt_uv") is not None and rail.shunt_uohm:
        amperes = values["shunt_uv"] / rail.shunt_uohm
    elif values.get("current_ua") is not None:
        amperes = values["current_ua"] / 1e6
    watts = None
    if values.get("power_uw") is not None:
        watts = values["power_uw"] / 1e6
    elif amperes is not None and values.get("bus_uv") is not None:
        watts = amperes * values["bus_uv"] / 1e6
    return {
        "rail": rail.name,
        "chip": rail.chip,
        "channel": rail.channel,
        "shunt_uohm": rail.shunt_uohm,
        **values,
        "power_w": watts,
    }


def _value(path: Path, scale: int) -> Any:
    value = read_int(path)
    return None if value is None else value * scale


def _drivers(found: Found) -> list[dict[str, Any]]:
    return [
        {"chip": monitor.name, "update_interval_ms": monitor.update_interval_ms, "samples": monitor.samples}
        for monitor in found.monitors
    ]


def _realtime(priority: int) -> str:
    if not priority:
        return "not wanted (realtime.priority is 0)"
    if os.geteuid() == 0:
        return f"may be granted: running as root, SCHED_FIFO {priority} is tried at start"
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    if limit == resource.RLIM_INFINITY or limit >= priority:
        return f"allowed: LimitRTPRIO covers {priority}"
    return f"not allowed: LimitRTPRIO is {limit}, {priority} is wanted"


def _memory_lock() -> str:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit} bytes"


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    shown = [f"board            {found['board']}", f"rails            {len(found['rails'])}"]
    for rail in found["rails"]:
        power = "cannot be read" if rail["power_w"] is None else f"{rail['power_w']:.3f} W"
        shown.append(f"  {rail['rail']:<20} {power:>14}   {rail['chip']} channel {rail['channel']}")
    shown.append(f"total            {' + '.join(found['total']) or 'unknown'}")
    if found["note"]:
        shown.append(f"                 {found['note']}")
    if found["missing"]:
        shown.append(f"missing rails    {', '.join(found['missing'])}")
    source = "sim: readings will be simulated" if found["source"] == "sim" else found["source"]
    shown.append(f"source           {source}")
    for driver in found["drivers"]:
        interval = driver["update_interval_ms"]
        shown.append(
            f"driver           {driver['chip']}: update_interval {'unknown' if interval is None else f'{interval} ms'}"
        )
    for key in (
        "sampler",
        "realtime",
        "memory_lock",
        "kernel",
        "driver_behaviour",
        "bus_clock",
        "fresh_rate",
        "power_mode",
        "other_readers",
    ):
        shown.append(f"{key.replace('_', ' '):<16} {found[key]}")
    return shown
