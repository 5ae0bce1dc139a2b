"""How long an INA3221 takes for a scan, from its register or from what its driver says of it."""

from __future__ import annotations

from dataclasses import dataclass

CONVERSION_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
AVERAGING = (1, 4, 16, 64, 128, 256, 512, 1024)
"""INA3221 datasheet (SBOS576B), tables 4 and 3: what the fields of the configuration register mean."""


@dataclass(frozen=True)
class ScanTime:
    """A scan takes `ns`, and between `low_ns` and `high_ns` where what is known fits several settings; all 0: not known."""

    ns: int = 0
    low_ns: int = 0
    high_ns: int = 0
    conversion_us: int = 0


def scan_of_config(config: int, channels: int = 3) -> ScanTime:
    """The scan of a configuration register; `channels` of the chip are connected."""
    enabled = sum(config >> (14 - place) & 1 for place in range(channels))
    ns = enabled * 1000 * (CONVERSION_US[config >> 3 & 7] + CONVERSION_US[config >> 6 & 7])
    return ScanTime(ns, ns, ns)


def averaging_of_config(config: int) -> int:
    """How many conversions the recursive filter of a configuration register weighs."""
    return AVERAGING[config >> 9 & 7]


def scan_of_interval(interval_ms: int | None, channels: int, samples: int = 1) -> ScanTime:
    """The scan behind `update_interval`, which the driver rounds to ms and, in its older form, multiplies by the samples.

    The driver sets one conversion time for shunt and bus; of the eight, those are taken whose interval reads as it does.
    """
    if interval_ms is None or channels < 1:
        return ScanTime()
    fitting = [
        us
        for us in CONVERSION_US
        if any(abs(2 * channels * us * factor / 1000 - interval_ms) < 1 for factor in {1, max(1, samples)})
    ]
    if not fitting:
        ns = interval_ms * 1_000_000
        return ScanTime(ns, ns, ns) if ns else ScanTime()
    exact = [us for us in fitting if round(2 * channels * us / 1000) == interval_ms] or fitting
    low, high = 2000 * channels * exact[0], 2000 * channels * exact[-1]
    return ScanTime((low + high) // 2, low, high, exact[0] if low == high else 0)


def interval_for(scan_ns: int, channels: int) -> tuple[int, int]:
    """The `update_interval` in ms, and its scan in ns, with the longest conversions whose scan is at most `scan_ns`."""
    chosen = [us for us in CONVERSION_US if 2000 * channels * us <= scan_ns] or [CONVERSION_US[0]]
    scan = 2000 * channels * chosen[-1]
    return (0 if chosen[-1] == CONVERSION_US[0] else scan // 1_000_000), scan
