"""GPUs through NVIDIA's management library (NVML), which is opened at run time: what there is, and a source of power and energy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import _source_calls
from .sources import Source

KINDS = ("instant", "average", "energy", "samples")
"""What is read of a GPU: fields 186 and 185, the energy counter, the ring of samples. In the order of enum np_nvml_kind."""
CLOCKS = {"realtime": time.CLOCK_REALTIME, "monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME}
"""What the driver's time stamps may be on."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as NVML tells it. `mig`: it is divided, and its power is that of all slices; `slice`: it is such a slice."""

    number: int
    name: str
    uuid: str
    mig: bool
    slice: bool


class NvmlValue(NamedTuple):
    """A reading: µW, or µJ of the counter; the driver's stamp in µs on a clock that is not said, 0 without one; when the call
    began and ended, ns of CLOCK_MONOTONIC."""

    value: int
    stamp_us: int
    begin_ns: int
    end_ns: int


class NvmlConditions(NamedTuple):
    """What a GPU's power depends on: MHz, °C, mW, and bits of nvmlClocksThrottleReasons. -1: not told."""

    sm_mhz: int
    memory_mhz: int
    temperature_c: int
    limit_mw: int
    reasons: int


class Nvml:
    """The library, opened and started.

    Attributes:
        driver: the driver's version.
        simulated: the library is a stand-in, and what it tells is simulated.
        count: GPUs; at most 16 are looked at.

    Raises:
        SamplerError: there is no such library (Own.NO_LIBRARY), it is another one (Own.NOT_NVML), or NVML refuses to start
            (Own.NVML + its own number).
    """

    def __init__(self, library: str) -> None:
        self._handle = _source_calls.nvml_open(library)
        self.count, self.simulated, self.driver = _source_calls.nvml_describe(self._handle)

    def gpu(self, number: int) -> Gpu:
        """What GPU number `number` is; SamplerError where NVML does not say."""
        name, uuid, mig, is_slice = _source_calls.nvml_gpu(self._handle, number)
        return Gpu(number, name, uuid, mig, is_slice)

    def read(self, number: int, kind: str) -> NvmlValue:
        """One reading of GPU `number`, now; of the ring its newest. SamplerError with Own.NVML + n where NVML refuses."""
        return NvmlValue(*_source_calls.nvml_read(self._handle, number, KINDS.index(kind)))

    def samples(self, number: int, since_us: int = 0) -> list[NvmlValue]:
        """What the ring holds with a stamp after `since_us`, oldest first. SamplerError as above."""
        return [NvmlValue(*each) for each in _source_calls.nvml_samples(self._handle, number, since_us)]

    def conditions(self, number: int) -> NvmlConditions:
        """Clocks, temperature, power limit, throttle reasons."""
        return NvmlConditions(*_source_calls.nvml_conditions(self._handle, number))

    def xids(self) -> list[tuple[int, int]]:
        """Critical errors since the last call: GPU and XID of each."""
        return _source_calls.nvml_xids(self._handle)

    def close(self) -> None:
        """Let the library go; a source made from it goes on. A second time does nothing."""
        self._handle.close()


class NvmlChannel(NamedTuple):
    """One reading of a tick: `kind` of GPU `gpu`, asked for in every `every`-th tick.

    again: of the counter: ticks between two looks of a turn, which ends when the counter has changed between two.
    stamped: of a field: the driver stamps when the value was renewed, not when it was asked for.
    """

    gpu: int
    kind: str
    every: int = 1
    again: int = 1
    stamped: bool = False


class NvmlSource(Source):
    """Power and energy of GPUs; docs/nvml.md says what its readings know.

    Args:
        nvml: the library; it may be closed before the source.
        channels: one for each reading.
        clock: of :data:`CLOCKS`, what the driver's stamps are on; None: no stamp is told.

    Raises:
        SamplerError: no channel, more than 64, a GPU that is not there, an impossible number.
    """

    def __init__(self, nvml: Nvml, channels: Sequence[NvmlChannel], clock: str | None = None) -> None:
        rows = [(each.gpu, KINDS.index(each.kind), each.every, each.again, each.stamped) for each in channels]
        handle = _source_calls.source_nvml(nvml._handle, rows, -1 if clock is None else CLOCKS[clock])
        certain = all(each.stamped or each.kind in ("energy", "samples") for each in channels)
        super().__init__(handle, len(rows), "known" if certain else "unknown")
