"""Whether the clocks stand still: power and time of a layer mean little while they move."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NVPMODEL_S = 5.0


@dataclass(frozen=True)
class ScaledClock:
    """A clock that can be scaled: its present, lowest and highest frequency in Hz."""

    name: str
    now_hz: int
    low_hz: int
    high_hz: int

    @property
    def locked(self) -> bool:
        """Whether it cannot move."""
        return self.low_hz == self.high_hz


@dataclass(frozen=True)
class ClocksFound:
    """What a look at the clocks and the power mode showed."""

    clocks: tuple[ScaledClock, ...]
    power_mode: str = ""

    @property
    def locked(self) -> bool | None:
        """Whether no clock can move; None where none can be seen."""
        return all(clock.locked for clock in self.clocks) if self.clocks else None

    def sentence(self) -> str:
        """One line for the user: what was found, and what to do where clocks move."""
        mode = f"power mode {self.power_mode}" if self.power_mode else "power mode not known"
        if not self.clocks:
            return f"clocks: none that scale were found under /sys/class/devfreq; {mode}"
        moving = [clock for clock in self.clocks if not clock.locked]
        if not moving:
            told = ", ".join(f"{clock.name} {clock.now_hz / 1e6:.0f} MHz" for clock in self.clocks)
            return f"clocks: locked ({told}); {mode}"
        told = ", ".join(f"{clock.name} {clock.low_hz / 1e6:.0f}-{clock.high_hz / 1e6:.0f} MHz" for clock in moving)
        return f"clocks: NOT locked ({told}): power and time will wander; lock them with jetson_clocks; {mode}"


def look(root: Path = Path("/")) -> ClocksFound:
    """Read the clocks of devfreq (GPU, memory) and of the processors under `root`, and ask nvpmodel for the mode."""
    clocks = [
        *_clocks(sorted(root.glob("sys/class/devfreq/*")), ("cur_freq", "min_freq", "max_freq"), 1),
        *_clocks(
            sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*")),
            ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq"),
            1000,
        ),
    ]
    return ClocksFound(tuple(clocks), _power_mode())


def _clocks(places: list[Path], files: tuple[str, str, str], unit_hz: int) -> list[ScaledClock]:
    found = []
    for place in places:
        try:
            now, low, high = (int((place / name).read_text()) * unit_hz for name in files)
        except (OSError, ValueError):
            continue
        found.append(ScaledClock(place.name, now, low, high))
    return found


def _power_mode() -> str:
    """As `nvpmodel -q` says, without its heading; empty where there is none."""
    if shutil.which("nvpmodel") is None:
        return ""
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=_NVPMODEL_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[0].removeprefix("NV Power Mode:").strip() if done.returncode == 0 and lines else ""
