"""Where readings come from: files of a driver, chips in software, a recording."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import _calls
from .errors import SamplerError
from .tick import READING, Ticks

CHANNELS = 3
QUANTITIES = ("bus_uv", "shunt_uv")
DEFAULT_NOISE_UV = 10.0
"""A quarter of the shunt register's step."""


class Source:
    """What a :class:`Sampler` reads; `readings` is how many values a tick of it has."""

    def __init__(self, handle: _calls.Handle, readings: int) -> None:
        self._handle = handle
        self.readings = readings

    def revive(self) -> int:
        """Open again what is gone or was replaced; call it about once a second, beside the loop.

        Calls less than a second apart do nothing. Returns how many files were opened.
        """
        return _calls.source_revive(self._handle)

    @property
    def underruns(self) -> int:
        """Reads for which the power timeline came too late; 0 for other sources."""
        return _calls.source_underruns(self._handle)

    def close(self) -> None:
        """Close its files; a second time does nothing.

        Raises:
            SamplerError: a running sampler reads it.
        """
        self._handle.close()


class HwmonInput(NamedTuple):
    """A file that holds one integer; the reading's value is that integer × `scale` (mV to µV: 1000)."""

    path: str
    scale: int


class HwmonSource(Source):
    """sysfs files, kept open. A file that cannot be read is a missing reading, whatever the reason.

    Raises:
        SamplerError: no input, or more than 64.
    """

    def __init__(self, inputs: Sequence[HwmonInput]) -> None:
        paths = [os.fspath(entry.path) for entry in inputs]
        super().__init__(_calls.source_hwmon(paths, [entry.scale for entry in inputs]), len(paths))


class ReplaySource(Source):
    """Readings of recorded ticks, one row a tick; then ENODATA, or from the start again with `repeat`.

    Raises:
        SamplerError: no ticks.
    """

    def __init__(self, ticks: Ticks, repeat: bool = False) -> None:
        rows = np.ascontiguousarray(ticks["readings"])
        if rows.dtype != READING or rows.ndim != 2 or not rows.size:
            raise SamplerError(f"cannot replay ticks of shape {rows.shape}")
        super().__init__(_calls.source_replay(rows, len(rows), rows.shape[1], repeat), rows.shape[1])


@dataclass(frozen=True)
class SimChip:
    """An INA3221 in software.

    Args:
        name: for errors.
        rails: up to three rails of the timeline, in the order of the channels; "" is a channel switched off.
        bus_uv: the voltage of each, stiff, in µV.
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


class SimSource(Source):
    """Simulated chips that observe the power timeline at `timeline`.

    A read gives the register as it stands, as the newer hwmon driver does; a reading past the published horizon
    is missing with ESTALE and counted in `underruns`.

    Args:
        timeline: path of the timeline file.
        chips: up to eight.
        channels: per reading (chip's position, channel 1 to 3, "bus_uv" or "shunt_uv").
        delay_ns: how much later the chips see the rails.
        lag_ns: time constant of one pole before them.
        clock_ppm: how much longer their periods are than nominal.
        noise_uv: standard deviation at the shunt input per conversion; the bus has the same in its steps (× 200).
        seed: of the noise and the phase of the scan.

    Raises:
        SamplerError: no such timeline or rail, an impossible chip or channel.
    """

    def __init__(
        self,
        timeline: str | os.PathLike[str],
        chips: Sequence[SimChip],
        channels: Sequence[tuple[int, int, str]],
        delay_ns: int = 0,
        lag_ns: int = 0,
        clock_ppm: float = 0.0,
        noise_uv: float = DEFAULT_NOISE_UV,
        seed: int = 0,
    ) -> None:
        line = _calls.timeline_open(timeline)
        names = {name for chip in chips for name in chip.rails if name}
        columns = {name: _calls.timeline_rail(line, name) for name in names}
        for name, column in columns.items():
            if column is None:
                raise SamplerError(f"{os.fspath(timeline)}: no rail called {name}")
        rails = {name: column for name, column in columns.items() if column is not None}
        options = _calls.SimOptions(delay_ns, lag_ns, clock_ppm, noise_uv, _seed(seed))
        super().__init__(sim_handle(line, rails, chips, channels, options), len(channels))


def sim_handle(
    line: _calls.Handle,
    rails: Mapping[str, int],
    chips: Sequence[SimChip],
    channels: Sequence[tuple[int, int, str]],
    options: _calls.SimOptions,
) -> _calls.Handle:
    """The chips over a timeline, which they take over; `rails` gives the column of each name."""
    for chip, channel, quantity in channels:
        if not 0 <= chip < len(chips) or not 1 <= channel <= CHANNELS or quantity not in QUANTITIES:
            raise SamplerError(f"no channel {channel} with {quantity} on simulated chip {chip}")
    places = [(chip, channel - 1, quantity == "bus_uv") for chip, channel, quantity in channels]
    return _calls.source_sim(line, [_chip_options(chip, rails) for chip in chips], places, options)


def _chip_options(chip: SimChip, rails: Mapping[str, int]) -> _calls.ChipOptions:
    missing = [0] * (CHANNELS - len(chip.rails))
    try:
        columns = [rails[name] if name else -1 for name in chip.rails]
    except KeyError as error:
        raise SamplerError(f"{chip.name}: no rail called {error.args[0]} in the timeline") from None
    return _calls.ChipOptions(
        config=chip.config,
        rail=columns + [-1] * len(missing),
        bus_uv=[*map(int, chip.bus_uv), *missing],
        shunt_uohm=[*map(int, chip.shunt_uohm), *missing],
    )


def _seed(seed: int) -> int:
    return seed % (1 << 64)


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
    delay_ns: int = 0,
    lag_ns: int = 0,
    clock_ppm: float = 0.0,
    noise_uv: float = DEFAULT_NOISE_UV,
    seed: int = 0,
    epoch: int = 0,
) -> Ticks:
    """What a sampler that read the chips at each of `t_ns` would have written; the same C code, in virtual time.

    Args:
        records: (m,) with the fields start_ns, end_ns, power_uw (rails,) of the timeline, in time order.
        idle_uw: rail → µW where no record lies; its order is the order of power_uw's columns.
        t_ns: (n,) times of the ticks, rising.
        chips, channels, delay_ns, lag_ns, clock_ppm, noise_uv, seed: as in :class:`SimSource`.

    Returns:
        (n,) ticks of tick_dtype(len(channels)), slot and index from 0.

    Raises:
        SamplerError: more than 8 rails, an unknown rail, an impossible chip, times that fall.
    """
    times = np.ascontiguousarray(t_ns, dtype="<i8")
    if len(idle_uw) > 8:
        raise SamplerError(f"a timeline has at most 8 rails, not {len(idle_uw)}")
    if np.any(np.diff(times) < 0):
        raise SamplerError("the times of a simulation must not fall")
    rows = np.zeros(len(records), RECORD)
    rows["start_ns"], rows["end_ns"] = records["start_ns"], records["end_ns"]
    rows["power_uw"][:, : records["power_uw"].shape[1]] = records["power_uw"]
    line = _calls.timeline_memory(rows, [*idle_uw.values()] + [0] * (8 - len(idle_uw)))
    rails = {name: column for column, name in enumerate(idle_uw)}
    options = _calls.SimOptions(delay_ns, lag_ns, clock_ppm, noise_uv, _seed(seed))
    source = sim_handle(line, rails, chips, channels, options)
    try:
        return _calls.simulate(source, times, len(channels), epoch)
    finally:
        source.close()
