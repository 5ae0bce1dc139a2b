"""What the machine was like: clocks, temperatures, power mode, load, throttling. Read only; what is absent is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .sysfs import read_int, read_text

Value = float | int | str | bool
MOST = 16
"""Of a kind: devices, zones, processors' policies."""
MAX_TEXT = 64
_NO_THROTTLES = ("fan", "lcd", "backlight", "wifi")
"""Cooling devices that slow no processor down, by a part of their type in lower case."""


@dataclass(frozen=True)
class Clock:
    """A clock that frequency scaling moves: files of its present, lowest and highest frequency, and the unit's Hz."""

    name: str
    directory: Path
    now: str
    low: str
    high: str
    unit_hz: int

    def hz(self) -> int | None:
        """The present frequency."""
        value = read_int(self.directory / self.now)
        return None if value is None else value * self.unit_hz

    def locked(self) -> bool | None:
        """Whether it cannot move; None where the limits cannot be read."""
        low, high = read_int(self.directory / self.low), read_int(self.directory / self.high)
        return None if low is None or high is None else low == high


class Machine:
    """The files of one sysfs root, looked for once."""

    def __init__(self, root: Path, power_mode: str = "") -> None:
        self._root = root
        self._power_mode = root / power_mode.lstrip("/") if power_mode else None
        self.clocks = [*_devfreq(root), *_cpufreq(root)]
        self._zones = _named(root, "sys/class/thermal/thermal_zone*")
        coolers = _named(root, "sys/class/thermal/cooling_device*")
        self._coolers = [
            (name, place) for name, place in coolers if not any(part in name.lower() for part in _NO_THROTTLES)
        ]
        self._overcurrent = sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt"))[:MOST]

    def read(self) -> dict[str, Value]:
        """Name to value, at most about 60 of them. Hz, °C, counts."""
        found: dict[str, Value] = dict(self._read())
        return {name[:MAX_TEXT]: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in found.items()}

    def _read(self) -> Iterator[tuple[str, Value]]:
        for clock in self.clocks:
            hz = clock.hz()
            if hz is not None:
                yield f"clock_hz.{clock.name}", hz
        locked = self.clocks_locked()
        if locked is not None:
            yield "clocks_locked", locked
        for name, place in self._zones:
            millidegrees = read_int(place / "temp")
            if millidegrees is not None:
                yield f"temperature_c.{name}", millidegrees / 1000
        for name, place in self._coolers:
            state = read_int(place / "cur_state")
            if state is not None:
                yield f"throttling.{name}", state
        for path in self._overcurrent:
            count = read_int(path)
            if count is not None:
                yield f"overcurrent.{path.name.partition('_')[0]}", count
        mode = self.power_mode()
        if mode:
            yield "power_mode", mode
        load = (read_text(self._root / "proc/loadavg") or "").split()
        if load:
            yield "load_1min", float(load[0])

    def power_mode(self) -> str | None:
        """What the power mode's file says, as "pmode:0000"."""
        text = read_text(self._power_mode) if self._power_mode else None
        return text.splitlines()[0][:MAX_TEXT] if text else None

    def clocks_locked(self) -> bool | None:
        """Whether no clock can move; None where there are none."""
        known = [locked for clock in self.clocks if (locked := clock.locked()) is not None]
        return all(known) if known else None


def _devfreq(root: Path) -> list[Clock]:
    """The GPU's and the memory's clocks, and whatever else scales."""
    places = sorted(root.glob("sys/class/devfreq/*"))[:MOST]
    return [Clock(place.name, place, "cur_freq", "min_freq", "max_freq", 1) for place in places]


def _cpufreq(root: Path) -> list[Clock]:
    places = sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*"))[:MOST]
    return [
        Clock(f"cpu.{place.name}", place, "scaling_cur_freq", "scaling_min_freq", "scaling_max_freq", 1000)
        for place in places
    ]


def _named(root: Path, pattern: str) -> list[tuple[str, Path]]:
    """Folders that say their kind in `type`, each with a name of its own."""
    found: dict[str, Path] = {}
    for place in sorted(root.glob(pattern))[:MOST]:
        name = read_text(place / "type") or place.name
        found[name if name not in found else f"{name}.{place.name}"] = place
    return list(found.items())
