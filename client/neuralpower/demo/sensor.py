"""What the simulated sensor hides: drawn from a seed, given to the daemon, never to the estimator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONFIG_140_US = 0x7007
"""INA3221 configuration register: three channels, no averaging, 140 µs per conversion, shunt and bus, continuous."""


@dataclass(frozen=True)
class DrawnSensor:
    """Delay and lag between a rail and what the chip converts, and the period error of the chip's clock."""

    seed: int
    delay_us: float
    lag_us: float
    clock_ppm: float

    @classmethod
    def draw(cls, seed: int) -> DrawnSensor:
        """The sensor of `seed`: delay 0.1-0.9 ms, lag 0.1-1.5 ms, period off by up to 3 %, each uniform.

        These span what is plausible for a driver's read, a rail's capacitance, and the chip's untrimmed oscillator.
        """
        random = np.random.default_rng([seed, 0x5E])
        delay, lag, ppm = random.uniform([100, 100, -30_000], [900, 1500, 30_000])
        return cls(seed, round(float(delay), 1), round(float(lag), 1), round(float(ppm), 0))

    @property
    def nominal_scan_s(self) -> float:
        """Time of one scan if the chip's clock were right: six conversions."""
        return 6 * 140e-6

    def daemon_config(self, runtime_dir: Path) -> str:
        """The daemon's TOML: rails of this machine if it has any, else this sensor at 140 µs."""
        lines = [
            f'runtime_dir = "{runtime_dir}"',
            'source = "auto"',
            "history_seconds = 300",
            "journal = { mebibytes = 128 }",
            "[sim]",
            f"config = {CONFIG_140_US:#06x}",
            f"delay_us = {self.delay_us}",
            f"lag_us = {self.lag_us}",
            f"clock_ppm = {self.clock_ppm}",
            f"seed = {self.seed % 2**31}",
        ]
        return "\n".join(lines) + "\n"
