"""Chips in software, live over a power timeline and in virtual time (docs/chip.md)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import numpy as np

from . import _source_calls
from ._calls import Handle
from .errors import SamplerError
from .sources import CERTAIN_READS, Freshness, Source
from .tick import Ticks

if TYPE_CHECKING:
    from typing_extensions import Unpack

CHANNELS = 3
QUANTITIES = ("bus_uv", "shunt_uv")
DEFAULT_NOISE_UV = 10.0
"""A quarter of the shunt register's step."""

Driver = Literal["continuous", "waiting", "iio", "i2c", "single-shot"]
DRIVERS: tuple[Driver, ...] = ("continuous", "waiting", "iio", "i2c", "single-shot")
"""In the order of enum np_driver."""


@dataclass(frozen=True)
class SimChip:
    """An INA3221 in software.

    Args:
        name: for errors.
        rails: up to three rails of the timeline, in the order of the channels; "" is a channel switched off.
        bus_uv: the voltage of each without load, in µV.
        shunt_uohm: the shunt of each, in µΩ.
        config: register 0; 0x7007 is 140 µs for all conversions without averaging, 0x7127 the reset value.
    """

    name: str
    rails: Sequence[str]
    bus_uv: Sequence[int]
    shunt_uohm: Sequence[int]
    config: int = 0x7007

    def __post_init__(self) -> None:
        lengths = {len(self.rails), len(self.bus_uv), len(self.shunt_uohm)}
        if len(lengths) != 1 or not 1 <= len(self.rails) <= CHANNELS:
            raise SamplerError(f"{self.name}: one to three channels, each with rail, bus_uv and shunt_uohm")
        if not 0 <= self.config <= 0xFFFF:
            raise SamplerError(f"{self.name}: config {self.config:#x} does not fit in 16 bits")
        for rail, bus, shunt in zip(self.rails, self.bus_uv, self.shunt_uohm, strict=True):
            if rail and (bus < 1 or shunt < 1):
                raise SamplerError(f"{self.name}: rail {rail} needs a bus voltage and a shunt above 0")


class SimError(NamedTuple):
    """Reads number `first` to `first + reads - 1` of a reading fail with `error`, again every `every` reads if not 0.

    `error` is an errno, as a driver gives EAGAIN, ENODATA, ETIMEDOUT, EIO; a waiting driver's ETIMEDOUT takes its time.
    """

    reading: int
    error: int
    first: int
    reads: int = 1
    every: int = 0


class SimSettings(TypedDict, total=False):
    """How simulated chips see the rails, keep time and are read; everything drawn follows from `seed`."""

    delay_ns: int
    """How much later the chips see the rails."""
    lag_ns: int
    """Time constant of one pole before them."""
    second_lag_ns: int
    """Time constant of a second pole behind the first; 0 (default): there is none."""
    noise_uv: float
    """Standard deviation at the shunt input per conversion; the bus has the same in its steps (× 200)."""
    offset_uv: float
    """At the shunt input; the bus has the same in its steps (× 200). The datasheet allows ± 80."""
    gain_ppm: float
    """Of both inputs. The datasheet allows ± 2500."""
    droop: int
    """Resistance of each supply in µΩ: the bus voltage falls with the current."""
    clock_ppm: float
    """How much longer the chips' periods are than nominal."""
    spread_ppm: float
    """Standard deviation of a further error that each chip draws."""
    swing_ppm: float
    """Amplitude of a sine in the period, as from temperature."""
    swing_s: float
    """Its period, 60 s if not given."""
    walk_ppm: float
    """What a random walk of the period gains in a second (standard deviation)."""
    seed: int
    """Of noise, scan phase and clocks."""
    driver: Driver
    """"continuous" (default) and "single-shot" are the newer hwmon driver, "waiting" the older one, "iio" JetPack 4's,
    "i2c" the registers as :class:`I2cSource` reads them."""
    bus_hz: int
    """Bit clock of the wire, 48 bits a transfer; 0 (default): transfers take no time."""
    accumulator: Literal["wide", "13-bit"]
    """What the recursive average is kept in; the datasheet leaves it open."""
    cvrf: Literal["scan", "averaging"]
    """Whether the conversion-ready flag comes with each scan or each N, N being the averaging; open in the datasheet."""
    errors: Sequence[SimError]
    """Reads that fail."""


class SimSource(Source):
    """Simulated chips that observe the power timeline at `timeline`.

    A reading past the published horizon is missing with ESTALE and counted in `underruns`. Transfers and a driver's waits
    take real time in the loop.

    Args:
        timeline: path of the timeline file.
        chips: up to eight.
        channels: per reading (chip's position, channel 1 to 3, quantity): "bus_uv" or "shunt_uv", and "current_ua" or
            "power_uw" with driver "iio".
        settings: see :class:`SimSettings`.

    Raises:
        SamplerError: no such timeline or rail, an impossible chip, channel or setting.
    """

    def __init__(
        self,
        timeline: str | os.PathLike[str],
        chips: Sequence[SimChip],
        channels: Sequence[tuple[int, int, str]],
        **settings: Unpack[SimSettings],
    ) -> None:
        line = _source_calls.timeline_open(timeline)
        names = {name for chip in chips for name in chip.rails if name}
        columns = {name: _source_calls.timeline_rail(line, name) for name in names}
        for name, column in columns.items():
            if column is None:
                raise SamplerError(f"{os.fspath(timeline)}: no rail called {name}")
        rails = {name: column for name, column in columns.items() if column is not None}
        handle = _open(line, rails, chips, channels, settings)
        super().__init__(handle, len(channels), _freshness(channels, settings.get("driver", "continuous")))


def _freshness(channels: Sequence[tuple[int, int, str]], driver: Driver) -> Freshness:
    """What a source over this driver could know."""
    if driver == "waiting":
        reads = Counter(chip for chip, _, _ in channels)
        return "known" if min(reads.values()) >= CERTAIN_READS else "unknown"
    return "known" if driver in ("i2c", "single-shot") else "unknown"


def _open(
    line: Handle,
    rails: Mapping[str, int],
    chips: Sequence[SimChip],
    channels: Sequence[tuple[int, int, str]],
    settings: SimSettings,
) -> Handle:
    """The chips over a timeline, which they take over; `rails` gives the column of each name."""
    unknown = settings.keys() - SimSettings.__annotations__.keys()
    if unknown:
        raise SamplerError(f"a simulated chip has no setting {', '.join(sorted(unknown))}")
    quantities = (*QUANTITIES, "current_ua", "power_uw") if settings.get("driver") == "iio" else QUANTITIES
    for chip, channel, quantity in channels:
        if not 0 <= chip < len(chips) or not 1 <= channel <= CHANNELS or quantity not in quantities:
            raise SamplerError(f"no channel {channel} with {quantity} on simulated chip {chip}")
    places = [(chip, channel - 1, _source_calls.QUANTITIES[quantity]) for chip, channel, quantity in channels]
    errors = settings.get("errors", ())
    return _source_calls.source_sim(
        line, [_chip_options(chip, rails) for chip in chips], places, _options(settings), errors
    )


def _chip_options(chip: SimChip, rails: Mapping[str, int]) -> _source_calls.ChipOptions:
    missing = [0] * (CHANNELS - len(chip.rails))
    try:
        columns = [rails[name] if name else -1 for name in chip.rails]
    except KeyError as error:
        raise SamplerError(f"{chip.name}: no rail called {error.args[0]} in the timeline") from None
    return _source_calls.ChipOptions(
        config=chip.config,
        rail=columns + [-1] * len(missing),
        bus_uv=[*map(int, chip.bus_uv), *missing],
        shunt_uohm=[*map(int, chip.shunt_uohm), *missing],
    )


def _options(settings: SimSettings) -> _source_calls.SimOptions:
    driver = settings.get("driver", "continuous")
    if driver not in DRIVERS:
        raise SamplerError(f"no driver {driver}, only {', '.join(DRIVERS)}")
    return _source_calls.SimOptions(
        delay_ns=settings.get("delay_ns", 0),
        lag_ns=settings.get("lag_ns", 0),
        noise_uv=settings.get("noise_uv", DEFAULT_NOISE_UV),
        offset_uv=settings.get("offset_uv", 0.0),
        gain_ppm=settings.get("gain_ppm", 0.0),
        droop_uohm=settings.get("droop", 0),
        clock_ppm=settings.get("clock_ppm", 0.0),
        spread_ppm=settings.get("spread_ppm", 0.0),
        swing_ppm=settings.get("swing_ppm", 0.0),
        swing_s=settings.get("swing_s", 60.0),
        walk_ppm=settings.get("walk_ppm", 0.0),
        seed=settings.get("seed", 0) % (1 << 64),
        driver=DRIVERS.index(driver),
        bus_hz=settings.get("bus_hz", 0),
        narrow=_one_of("accumulator", settings.get("accumulator", "wide"), ("wide", "13-bit")),
        averaged_ready=_one_of("cvrf", settings.get("cvrf", "scan"), ("scan", "averaging")),
        second_lag_ns=settings.get("second_lag_ns", 0),
    )


def _one_of(setting: str, value: str, choices: tuple[str, ...]) -> int:
    if value not in choices:
        raise SamplerError(f"{setting} is one of {', '.join(choices)}, not {value}")
    return choices.index(value)


RECORD = np.dtype(
    [("index", "<u8"), ("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", (8,)), ("check", "<u8")]
)
"""A record of the power timeline."""


def simulate(
    records: Any,
    idle_uw: Mapping[str, int],
    chips: Sequence[SimChip],
    channels: Sequence[tuple[int, int, str]],
    t_ns: Any,
    *,
    epoch: int = 0,
    every: Sequence[int] | None = None,
    **settings: Unpack[SimSettings],
) -> Ticks:
    """What a sampler that read the chips at each of `t_ns` would have written; the same C code, in virtual time.

    Args:
        records: (m,) with the fields start_ns, end_ns, power_uw (rails,) of the timeline, in time order.
        idle_uw: rail → µW where no record lies; its order is the order of power_uw's columns.
        t_ns: (n,) times of the ticks, rising.
        every: as :meth:`Source.decimate` takes it.
        chips, channels, settings: as in :class:`SimSource`.

    Returns:
        (up to n,) ticks of tick_dtype(len(channels)). `index` counts from 0; `slot` is the position in `t_ns`. As in the loop,
        a time that passes while the read before goes on is a missed slot; reads that take no time miss none.

    Raises:
        SamplerError: more than 8 rails, an unknown rail, an impossible chip or setting, times that fall.
    """
    times = np.ascontiguousarray(t_ns, dtype="<i8")
    if len(idle_uw) > 8:
        raise SamplerError(f"a timeline has at most 8 rails, not {len(idle_uw)}")
    if np.any(np.diff(times) < 0):
        raise SamplerError("the times of a simulation must not fall")
    rows = np.zeros(len(records), RECORD)
    rows["start_ns"], rows["end_ns"] = records["start_ns"], records["end_ns"]
    rows["power_uw"][:, : records["power_uw"].shape[1]] = records["power_uw"]
    line = _source_calls.timeline_memory(rows, [*idle_uw.values()] + [0] * (8 - len(idle_uw)))
    rails = {name: column for column, name in enumerate(idle_uw)}
    source = _open(line, rails, chips, channels, settings)
    try:
        if every is not None:
            _source_calls.source_decimate(source, every)
        return _source_calls.simulate(source, times, len(channels), epoch)
    finally:
        source.close()
