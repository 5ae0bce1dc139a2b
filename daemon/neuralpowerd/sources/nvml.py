"""Source nvml: power and energy of NVIDIA GPUs through NVIDIA's management library (docs/nvml.md).

NVML renews its values at a pace of its own, another one on each chip, and some take milliseconds to ask for. So each is measured
first, what it costs and how often it is new, and asked for no more often than it is worth.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from neuralpower_sampler import SamplerError, Source, clocks
from neuralpower_sampler.errors import Own
from neuralpower_sampler.nvml import CLOCKS, Gpu, Nvml, NvmlChannel, NvmlSource, NvmlValue
from neuralpower_wire import Channel, Chip
from neuralpower_wire.epoch import MAX_CHIPS

from ..config import Config
from ..errors import ConfigError, DaemonError
from .plan import Plan, wanted_rails
from .probe import Behaviour
from .registry import planner

POWER = ("samples", "instant", "average")
"""The power readings, the one that resolves most first: that is the GPU's rail."""
FIELDS = ("instant", "average")
"""Those that one call gives together."""
WORTH = ("samples", "energy", "instant", "average")
"""What is left out last, where there are more sensors than an epoch can hold."""
TRIES = 4
"""Of each reading, at the start."""
LOOK_S, LOOK_EVERY_S = 0.3, 0.005
"""Fields are watched so long at the start: three renewals of the chip that was measured (100 ms)."""
USUAL_RENEWAL_NS = 100_000_000
"""Where the look does not tell."""
PERIOD_NS, SHORTEST_PERIOD_NS = 20_000_000, 1_000_000
"""Of ticks: where there is no ring, and at least."""
FOLLOW = 0.8
"""Of the time between a ring's readings: ticks come a fifth faster, since they vary and one is played a tick."""
LONGEST = 0.9
"""Of that time, a wished period may be: the spacing is measured anew at each start, and what was named as possible must be so again."""
LOOKS_PER_RENEWAL = 2
"""Of a field: none is missed, and what it costs stays small."""
AGAIN_NS = 30_000_000
"""Between two looks at a counter: the ends of a minute's energy are then known to 0.05 %."""
MOST_EVERY = 65535
"""In the sampler; an epoch tells up to 255."""
REASONS = {
    0x1: "idle", 0x2: "application-clocks", 0x4: "software-power-cap", 0x8: "hardware-slowdown", 0x10: "sync-boost",
    0x20: "software-thermal", 0x40: "hardware-thermal", 0x80: "power-brake", 0x100: "display-clocks",
}  # fmt: skip
"""Bits of nvmlClocksThrottleReasons."""
NOT_SUPPORTED, NO_PERMISSION, NOT_LOADED, LOST, BLOCKED, OTHER_VERSION = (Own.NVML + n for n in (3, 4, 9, 15, 17, 18))
REMEDIES = {
    int(Own.NO_LIBRARY): "install NVIDIA's driver, or name its library in nvml.library",
    int(Own.NOT_NVML): "name libnvidia-ml.so.1 in nvml.library",
    NO_PERMISSION: "this user may not open the GPU: see ls -l /dev/nvidia*; for the service install neuralpowerd-nvml.conf",
    BLOCKED: "this user may not open the GPU: see ls -l /dev/nvidia*; for the service install neuralpowerd-nvml.conf",
    NOT_LOADED: "modprobe nvidia; dmesg says why it does not load",
    OTHER_VERSION: "the driver was updated while it ran: restart the machine",
    LOST: "restart the machine; dmesg names the XID",
}
"""By the sampler's own error number."""


@dataclass(frozen=True)
class GpuSensor:
    """One reading of a GPU as it was measured.

    `cost_ns` is what asking takes, `renewal_ns` the time between new values (0: not found); `stamped`: the driver stamps renewals.
    """

    gpu: int
    kind: str
    cost_ns: int
    renewal_ns: int = 0
    stamped: bool = False

    @property
    def name(self) -> str:
        """The name of the chip that stands for it in an epoch."""
        return f"gpu{self.gpu} {self.kind}"


@dataclass(frozen=True)
class Seen:
    """What NVML offers: GPUs that tell their power, their sensors, the clock of the stamps; and why, for each GPU that does not."""

    gpus: tuple[Gpu, ...]
    sensors: tuple[GpuSensor, ...]
    clock: str | None
    refused: tuple[DaemonError, ...]


@dataclass(frozen=True)
class SensorPace:
    """A sensor, asked for in every `every`-th tick, and `again` ticks later as long as a counter's turn lasts."""

    sensor: GpuSensor
    every: int
    again: int

    def share(self, period_ns: int, together: int = 1) -> float:
        """What it takes of a processor, where so many sensors are asked together in one call."""
        calls = _looks(self.sensor, self.again * period_ns, self.every) / together
        return self.sensor.cost_ns * calls / (self.every * period_ns)


def remedy_of(errno: int | None) -> str:
    """What to do about an error of the sampler's."""
    return REMEDIES.get(errno or 0, "dmesg may say more")


def open_nvml(library: str) -> Nvml:
    """The library; DaemonError with one line that says what is wrong and what to do."""
    try:
        return Nvml(library)
    except SamplerError as error:
        raise DaemonError(str(error), remedy_of(error.errno), key="nvml.library") from None


def look(nvml: Nvml) -> Seen:
    """Measure what all GPUs offer; takes :data:`LOOK_S`."""
    gpus: list[Gpu] = []
    sensors: list[GpuSensor] = []
    refused: list[DaemonError] = []
    for number in range(nvml.count):
        try:
            gpu = nvml.gpu(number)
        except SamplerError as error:
            refused.append(DaemonError(str(error), remedy_of(error.errno)))
            continue
        found, why = _costs(nvml, number)
        if any(sensor.kind in POWER for sensor in found):
            gpus.append(gpu)
            sensors += found
        else:
            refused.append(_powerless(gpu, why))
    watched, clock = _watch(nvml, sensors)
    return Seen(tuple(gpus), tuple(watched), clock, tuple(refused))


def _costs(nvml: Nvml, gpu: int) -> tuple[list[GpuSensor], int]:
    """The readings that GPU `gpu` gives, with what they cost, and the error of the first that it refuses."""
    found: list[GpuSensor] = []
    refusal = 0
    for kind in WORTH:
        try:
            found.append(GpuSensor(gpu, kind, cost_ns(partial(nvml.read, gpu, kind))))
        except SamplerError as error:
            refusal = refusal or error.errno or 0
    return found, refusal


def cost_ns(read: Callable[[], NvmlValue]) -> int:
    """What a call takes: the least of those that nobody interrupted, since the first may open something.

    Where others take the processor away from each of them, what they took of it.
    """
    whole: list[int] = []
    own: list[int] = []
    for _ in range(TRIES):
        switches, busy_ns = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw, time.thread_time_ns()
        value = read()
        own.append(time.thread_time_ns() - busy_ns)
        if resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw == switches:
            whole.append(value.end_ns - value.begin_ns)
    return min(whole or own)


def _powerless(gpu: Gpu, why: int) -> DaemonError:
    name = f"GPU {gpu.number} ({gpu.name})"
    if gpu.slice:
        return DaemonError(
            f"{name} is a slice (MIG), which has no power of its own", "measure the whole GPU, outside of the container"
        )
    if why == NOT_SUPPORTED:
        return DaemonError(
            f"NVML knows no power of {name}", "on a Jetson the rails are the board's: use --source hwmon"
        )
    return DaemonError(f"NVML does not tell the power of {name}", remedy_of(why))


def _watch(nvml: Nvml, sensors: Sequence[GpuSensor]) -> tuple[list[GpuSensor], str | None]:
    """Find how often each is new, and which clock the stamps are on."""
    fields = [sensor for sensor in sensors if sensor.kind in FIELDS]
    seen: dict[str, list[NvmlValue]] = {sensor.name: [] for sensor in fields}
    end_ns = time.monotonic_ns() + round(LOOK_S * 1e9)
    while fields and time.monotonic_ns() < end_ns:
        for sensor in fields:
            seen[sensor.name].append(_read(nvml, sensor))
        time.sleep(LOOK_EVERY_S)
    found = []
    stamps = [values[-1].stamp_us for values in seen.values() if values]
    for sensor in sensors:
        if sensor.kind in FIELDS:
            renewal_ns, stamped = renewal(seen[sensor.name])
        elif sensor.kind == "samples":
            ring = nvml.samples(sensor.gpu)
            stamps += [ring[-1].stamp_us] if ring else []
            renewal_ns, stamped = _spacing_ns([each.stamp_us for each in ring]), True
        else:
            renewal_ns, stamped = 0, False
        found.append(GpuSensor(sensor.gpu, sensor.kind, sensor.cost_ns, renewal_ns, stamped))
    return found, clock_of(stamps)


def _read(nvml: Nvml, sensor: GpuSensor) -> NvmlValue:
    try:
        return nvml.read(sensor.gpu, sensor.kind)
    except SamplerError as error:
        raise DaemonError(str(error), "it was readable a moment ago, dmesg may say more") from None


def renewal(values: Sequence[NvmlValue]) -> tuple[int, bool]:
    """The time between new values of a field in ns, 0 where these do not tell, and whether the stamps are those of renewals.

    Stamps that differ in nearly each reading are of the call; then only values tell, and not all of them: an equal one may be new.
    """
    if len(values) < 3:
        return 0, False
    stamps = sorted({value.stamp_us for value in values})
    if stamps[0] > 0 and len(stamps) <= 0.5 * len(values):
        return _spacing_ns(stamps), True
    changed = [late.end_ns for early, late in pairwise(values) if late.value != early.value]
    if len(changed) < 2 or len(changed) > 0.5 * len(values):
        return 0, False
    return (changed[-1] - changed[0]) // (len(changed) - 1), False


def _spacing_ns(stamps_us: Sequence[int]) -> int:
    return (stamps_us[-1] - stamps_us[0]) * 1000 // (len(stamps_us) - 1) if len(stamps_us) > 1 else 0


def clock_of(stamps_us: Sequence[int]) -> str | None:
    """Which of the system's clocks these stamps, taken within the last seconds, are on; None where none fits."""
    monotonic_ns, boottime_ns, realtime_ns, _ = clocks()
    now = {"realtime": realtime_ns, "monotonic": monotonic_ns, "boottime": boottime_ns}
    fitting = [name for name in CLOCKS if all(-100e6 < now[name] - 1000 * each < 10e9 for each in stamps_us if each)]
    return fitting[0] if any(stamps_us) and fitting else None


# ---- The plan ----------------------------------------------------------------------------------------------------


@planner("nvml")
def nvml_plan(config: Config, _prober: object = None) -> Plan:
    """The GPUs that NVML knows the power of.

    Raises:
        DaemonError: no library, no GPU, or none that tells its power.
        ConfigError: a rail that is not there, or ticks too seldom for the ring.
    """
    nvml = open_nvml(config.nvml.library)
    seen = look(nvml)
    if not seen.gpus:
        none = DaemonError("NVML finds no GPU", "nvidia-smi -L lists those that it knows")
        raise seen.refused[0] if seen.refused else none
    rails = rails_of(fitting(seen.sensors))
    wanted = wanted_rails(config, list(rails))
    chosen = [(rail, sensor) for rail in wanted for sensor in rails[rail]]
    sensors = [sensor for _, sensor in chosen]
    period_ns = period_of(config, sensors)
    paces = paced(sensors, period_ns, config.nvml.share)
    rows = [
        NvmlChannel(each.sensor.gpu, each.sensor.kind, each.every, each.again, each.sensor.stamped) for each in paces
    ]

    def open_source() -> Source:
        return NvmlSource(nvml, rows, seen.clock)

    numbers = sorted({sensor.gpu for sensor in sensors})
    return Plan(
        source="nvml",
        simulated=nvml.simulated,
        board=_board([gpu for gpu in seen.gpus if gpu.number in numbers]),
        channels=tuple(_channel(rail, pace) for (rail, _), pace in zip(chosen, paces, strict=True)),
        chips=tuple(Chip(sensor.name, behaviour="continuous") for sensor in sensors),
        totals=tuple(rail for rail in wanted if rail in {f"gpu{number}" for number in numbers}),
        driver=f"NVML, driver {nvml.driver}",
        note=_note(nvml, [gpu for gpu in seen.gpus if gpu.number in numbers], seen.refused),
        open=open_source,
        period_ns=period_ns,
        behaviours={
            pace.sensor.name: Behaviour("continuous", pace.sensor.cost_ns, why=told(pace, period_ns)) for pace in paces
        },
        conditions=lambda: dict(_conditions(nvml, numbers)),
        news=lambda: _news(nvml, numbers),
    )


def fitting(sensors: Sequence[GpuSensor]) -> list[GpuSensor]:
    """All of them, or as many kinds as an epoch can hold for all GPUs."""
    kinds = [kind for kind in WORTH if any(sensor.kind == kind for sensor in sensors)]
    while True:
        found = [sensor for sensor in sensors if sensor.kind in kinds]
        if len(found) <= MAX_CHIPS or len(kinds) == 1:
            return found[:MAX_CHIPS]
        kinds.pop()


def rails_of(sensors: Sequence[GpuSensor]) -> dict[str, list[GpuSensor]]:
    """Rail → its sensors: gpuN has the power that resolves most and the counter, gpuN.KIND each other power."""
    rails: dict[str, list[GpuSensor]] = {}
    for gpu in sorted({sensor.gpu for sensor in sensors}):
        mine = {sensor.kind: sensor for sensor in sensors if sensor.gpu == gpu}
        powers = [mine[kind] for kind in POWER if kind in mine]
        rails[f"gpu{gpu}"] = [*powers[:1], *([mine["energy"]] if "energy" in mine else [])]
        rails.update({f"gpu{gpu}.{sensor.kind}": [sensor] for sensor in powers[1:]})
    return rails


def period_of(config: Config, sensors: Sequence[GpuSensor]) -> int:
    """The time between ticks: the wished one, or one that keeps up with the fastest ring; ConfigError where the wish cannot."""
    rings = [sensor.renewal_ns for sensor in sensors if sensor.kind == "samples" and sensor.renewal_ns]
    good_ns = min((max(SHORTEST_PERIOD_NS, int(FOLLOW * each)) for each in rings), default=PERIOD_NS)
    good_ns = min(PERIOD_NS, good_ns) // 1_000_000 * 1_000_000
    wished_ns = config.period_us * 1000
    if wished_ns > good_ns and any(wished_ns > LONGEST * each for each in rings):
        raise ConfigError(
            f"{config.period_us} µs is too long: a tick takes one reading of NVML's ring, which has a new one each "
            f"{min(rings) / 1e6:.1f} ms",
            f"possible: period_us = {good_ns // 1000}, or plan.rails without the ring's",
            key="period_us",
        )
    return wished_ns or good_ns


def paced(sensors: Sequence[GpuSensor], period_ns: int, share: float) -> list[SensorPace]:
    """How often each is asked for: as often as it is new, as far as its part of `share` of a processor allows.

    Power comes first; counters, which are dear and lose nothing between two looks, get what is left.
    """
    left = share
    paces: dict[int, SensorPace] = {}
    for at in sorted(range(len(sensors)), key=lambda at: sensors[at].kind == "energy"):
        fields = sum(each.gpu == sensors[at].gpu and each.kind in FIELDS for each in sensors)
        together = fields if sensors[at].kind in FIELDS else 1
        pace = _pace(sensors[at], period_ns, left / (len(sensors) - len(paces)), together)
        left = max(0.0, left - pace.share(period_ns, together))
        paces[at] = pace
    return [paces[at] for at in range(len(sensors))]


def _pace(sensor: GpuSensor, period_ns: int, part: float, together: int) -> SensorPace:
    again, natural_ns = 1, period_ns
    if sensor.kind == "energy":
        again = min(MOST_EVERY, -(-AGAIN_NS // period_ns))
    elif sensor.kind in FIELDS:
        natural_ns = round((sensor.renewal_ns or USUAL_RENEWAL_NS) / LOOKS_PER_RENEWAL)
    every = max(1, natural_ns // period_ns)
    while every < MOST_EVERY and SensorPace(sensor, every, again).share(period_ns, together) > part:
        every += max(1, every // 16)
    return SensorPace(sensor, min(every, MOST_EVERY), again)


def _looks(sensor: GpuSensor, again_ns: int, every: int) -> float:
    """Calls in a turn: a counter is looked at until it changes, after half a renewal in the mean."""
    return 1 if sensor.kind != "energy" or every == 1 else 2 + USUAL_RENEWAL_NS / 2 / again_ns


def told(pace: SensorPace, period_ns: int) -> str:
    """What was measured and planned, in words."""
    sensor = pace.sensor
    each = f"asked for each {pace.every * period_ns / 1e6:.0f} ms"
    if sensor.kind == "energy":
        return f"a read takes {sensor.cost_ns / 1000:.0f} µs; {each}, until it changes"
    new = f"new each {sensor.renewal_ns / 1e6:.0f} ms" if sensor.renewal_ns else "how often it is new was not seen"
    stamps = "" if sensor.stamped else ", its stamps do not tell when"
    return f"a read takes {sensor.cost_ns / 1000:.0f} µs; {new}{stamps}; {each}"


def _channel(rail: str, pace: SensorPace) -> Channel:
    sensor = pace.sensor
    quantity = "energy_uj" if sensor.kind == "energy" else "power_uw"
    # The ring has a reading in each tick, whenever it was asked.
    every = 1 if sensor.kind == "samples" else min(pace.every, 255)
    return Channel(rail, quantity, sensor.name, 1, lsb=1000, every=every)


def _board(gpus: Sequence[Gpu]) -> str:
    names = [gpu.name for gpu in gpus]
    return " + ".join(
        f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)
    )[:256]


def _note(nvml: Nvml, gpus: Sequence[Gpu], refused: Sequence[DaemonError]) -> str:
    parts = ["simulated by a stand-in for NVML"] if nvml.simulated else []
    parts.append("the total is what the GPUs draw, not the machine")
    parts += [f"gpu{gpu.number} is divided (MIG): its power is that of all slices" for gpu in gpus if gpu.mig]
    parts += [f"left out: {line}" for line in refused]
    return "; ".join(parts)


def reasons_of(mask: int) -> str:
    """Why clocks are lower than they could be, in words; "none"."""
    return ", ".join(name for bit, name in REASONS.items() if mask & bit) or "none"


def _conditions(nvml: Nvml, gpus: Sequence[int]) -> Iterator[tuple[str, float | int | str]]:
    for gpu in gpus:
        now = nvml.conditions(gpu)
        found: Mapping[str, tuple[int, float | int | str]] = {
            f"clock_hz.gpu{gpu}.sm": (now.sm_mhz, now.sm_mhz * 1_000_000),
            f"clock_hz.gpu{gpu}.memory": (now.memory_mhz, now.memory_mhz * 1_000_000),
            f"temperature_c.gpu{gpu}": (now.temperature_c, now.temperature_c),
            f"power_limit_w.gpu{gpu}": (now.limit_mw, now.limit_mw / 1000),
            f"throttle_reasons.gpu{gpu}": (now.reasons, reasons_of(now.reasons)),
        }
        yield from ((name, value) for name, (told_, value) in found.items() if told_ >= 0)


def _news(nvml: Nvml, gpus: Sequence[int]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        ("gpu-error", f"gpu{gpu}: the driver reports XID {xid}; dmesg has the details", {"gpu": gpu, "xid": xid})
        for gpu, xid in nvml.xids()
        if gpu in gpus
    ]
