"""What a check finds of GPUs through NVML: the library, each GPU's power, what readings cost and how often they are new."""

from __future__ import annotations

from collections.abc import Iterator

from neuralpower_sampler import AVAILABLE, SamplerError
from neuralpower_sampler.errors import Own
from neuralpower_sampler.nvml import Gpu, Nvml

from ..config import AUTO, Config
from ..errors import ConfigError, DaemonError
from ..sources.boards import FoundBoard
from ..sources.nvml import (
    Seen,
    SensorPace,
    fitting,
    look,
    paced,
    period_of,
    rails_of,
    reasons_of,
    remedy_of,
    told,
)  # fmt: skip
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

GROUP = "GPU (NVML)"
OFFER = 'these are the GPU\'s own power: neuralpowerd run --source nvml, or source = "nvml"'
SLOWED = 0x8 | 0x20 | 0x40 | 0x80
"""Throttle reasons that a measurement suffers from: heat and power supply."""


def gpus(config: Config, found: FoundBoard) -> Iterator[Finding]:
    """What NVML offers, where the source is nvml, or might be since there are no rails. Reads for 0.3 s and changes nothing."""
    asked = config.source == "nvml"
    if not AVAILABLE or not (asked or (config.source == AUTO and not found.rails)):
        return
    try:
        nvml = Nvml(config.nvml.library)
    except SamplerError as error:
        if asked or error.errno != Own.NO_LIBRARY:
            verdict = PROBLEM if asked else BETTER
            yield Finding(GROUP, "library", str(error), verdict, remedy_of(error.errno))
        return
    simulated = ", simulated by a stand-in" if nvml.simulated else ""
    yield Finding(GROUP, "library", f"{config.nvml.library}, driver {nvml.driver}{simulated}", GOOD)
    try:
        seen = look(nvml)
    except DaemonError as error:
        yield Finding(GROUP, "readings", str(error), PROBLEM)
        return
    for refused in seen.refused:
        yield Finding(GROUP, "power", refused.what, PROBLEM if asked else BETTER, refused.remedy)
    if not seen.gpus:
        if not seen.refused:
            yield Finding(
                GROUP, "GPUs", "none", PROBLEM if asked else BETTER, "nvidia-smi -L lists those that it knows"
            )
        return
    for gpu in seen.gpus:
        yield from _gpu(nvml, gpu, seen)
    yield from _plan(config, seen, asked)


def _gpu(nvml: Nvml, gpu: Gpu, seen: Seen) -> Iterator[Finding]:
    rail = f"gpu{gpu.number}"
    try:
        watts = nvml.read(gpu.number, rails_of(seen.sensors)[rail][0].kind).value / 1e6
    except SamplerError as error:
        yield Finding(GROUP, rail, str(error), PROBLEM, remedy_of(error.errno))
        return
    advice = "it is divided (MIG): this is the power of all slices" if gpu.mig else ""
    yield Finding(GROUP, rail, f"{watts:8.3f} W   {gpu.name}", GOOD, advice)
    now = nvml.conditions(gpu.number)
    parts = [f"{now.sm_mhz} MHz"] if now.sm_mhz >= 0 else []
    parts += [f"{now.temperature_c} °C"] if now.temperature_c >= 0 else []
    parts += [f"limit {now.limit_mw / 1000:g} W"] if now.limit_mw >= 0 else []
    parts += [f"clocks lowered by: {reasons_of(now.reasons)}"] if now.reasons >= 0 else []
    slowed = now.reasons >= 0 and bool(now.reasons & SLOWED)
    advice = "measurements while heat or the supply hold the clocks down do not compare" if slowed else ""
    value = ", ".join(parts) or "it does not tell clocks, temperature or limits"
    yield Finding(GROUP, f"{rail} state", value, BETTER if slowed else GOOD if parts else UNKNOWN, advice)


def _plan(config: Config, seen: Seen, asked: bool) -> Iterator[Finding]:
    sensors = fitting(seen.sensors)
    try:
        period_ns = period_of(config, sensors)
    except ConfigError as error:
        yield Finding(GROUP, "period", error.what, PROBLEM, error.remedy)
        return
    paces = paced(sensors, period_ns, config.nvml.share)
    for pace in paces:
        yield Finding(GROUP, pace.sensor.name, told(pace, period_ns), _verdict(pace))
    left_out = len(seen.sensors) - len(sensors)
    advice = f"{left_out} readings are left out: an epoch holds {len(sensors)}; plan.rails chooses" if left_out else ""
    yield Finding(GROUP, "period", f"{period_ns / 1000:.0f} µs", GOOD, advice or ("" if asked else OFFER))
    if seen.clock is None:
        yield Finding(GROUP, "time stamps", "on no clock that is known here", UNKNOWN, "readings then tell no stamp")
    yield Finding(GROUP, "total", "what the GPUs draw, not the machine", GOOD)


def _verdict(pace: SensorPace) -> str:
    return GOOD if pace.sensor.kind == "energy" or pace.sensor.stamped else UNKNOWN
