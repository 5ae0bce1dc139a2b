"""INA3221 registers over /dev/i2c-N: who is there, who else reads it, and putting back what was changed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _source_calls
from ._calls import Handle
from .errors import SamplerError
from .sources import Source

CONFIG, MANUFACTURER, DIE = 0x00, 0xFE, 0xFF
IDENTITY = (0x5449, 0x3220)
"""INA3221 datasheet (SBOS576B): registers 0xFE, "TI", and 0xFF."""
QUANTITIES = ("bus_uv", "shunt_uv")
RESET_BIT = 0x8000


@dataclass(frozen=True)
class I2cChip:
    """An INA3221 on the bus.

    Args:
        address: 0x40 to 0x43.
        shunt_uohm: of each channel, in µΩ; for those who derive the current, the source does not.
        offset_uv: of each channel, from the device tree's shunt-volt-offset-uv: lessens the amount of the shunt voltage.
        config: register 0 to write at the start, restored at the end; None leaves it as it is found.
    """

    address: int
    shunt_uohm: Sequence[int] = (0, 0, 0)
    offset_uv: Sequence[int] = (0, 0, 0)
    config: int | None = None

    def __post_init__(self) -> None:
        if not 0x40 <= self.address <= 0x43:
            raise SamplerError(f"an INA3221 has an address from 0x40 to 0x43, not {self.address:#04x}")
        if len(self.shunt_uohm) != 3 or len(self.offset_uv) != 3:
            raise SamplerError(f"the chip at {self.address:#04x} needs shunt_uohm and offset_uv of three channels")
        if self.config is not None and not 0 <= self.config < RESET_BIT:
            raise SamplerError(f"config {self.config:#x} of {self.address:#04x} is not in 0 to 0x7fff")


class I2cSource(Source):
    """Registers of INA3221 chips. Each tick looks at the conversion-ready flag and reads the registers in scan order.

    Readings say whether they are new, from which scans their value can come (Flag.SCAN), and whether voltage and current
    of a channel can be of different ones (Flag.MIXED); all of that holds while nobody else reads the flag.

    Args:
        device: "/dev/i2c-N".
        chips: up to four.
        channels: per reading (chip's position, channel 1 to 3, "bus_uv" or "shunt_uv").
        force: go on beside a driver that is bound to a chip.
        saved: file for the original config, written before the first write to a chip; what an earlier run left in it is
            restored first. Needed where a chip has a config.
        wait_ns: how long a tick may wait for the next end of a scan, so that all its readings are of that scan; 0: not.

    Attributes:
        configs: register 0 of each chip, as it now stands.

    Raises:
        SamplerError: no such bus, another chip at the address, a driver bound to it, an impossible channel.
    """

    def __init__(
        self,
        device: str,
        chips: Sequence[I2cChip],
        channels: Sequence[tuple[int, int, str]],
        force: bool = False,
        saved: str | os.PathLike[str] | None = None,
        wait_ns: int = 0,
    ) -> None:
        for place, channel, quantity in channels:
            if not 0 <= place < len(chips) or not 1 <= channel <= 3 or quantity not in QUANTITIES:
                raise SamplerError(f"no channel {channel} with {quantity} on chip {place} of {device}")
        self._saved = Path(saved) if saved is not None else None
        if self._saved is None and any(chip.config is not None for chip in chips):
            raise SamplerError(f"{device}: writing a config needs a file to save the original in")
        if self._saved is not None:
            i2c_restore(self._saved)
        bus = _source_calls.i2c_open(device)
        try:
            for chip in chips:
                _identify(bus, device, chip.address, force)
            self.configs = self._configure(bus, device, chips)
            options = [
                _source_calls.I2cChipOptions(chip.address, config, chip.offset_uv)
                for chip, config in zip(chips, self.configs, strict=True)
            ]
            places = [(place, channel - 1, _source_calls.QUANTITIES[quantity]) for place, channel, quantity in channels]
            super().__init__(_source_calls.source_i2c(bus, options, places, wait_ns), len(channels), "known")
        except BaseException:
            if not bus.closed:
                bus.close()
            if self._saved is not None:
                i2c_restore(self._saved)
            raise

    def _configure(self, bus: Handle, device: str, chips: Sequence[I2cChip]) -> list[int]:
        found = [_source_calls.i2c_read(bus, chip.address, CONFIG) for chip in chips]
        changed = {
            chip.address: config
            for chip, config in zip(chips, found, strict=True)
            if chip.config is not None and chip.config != config
        }
        if changed and self._saved is not None:
            _save(self._saved, device, changed)
        for chip in chips:
            if chip.address in changed and chip.config is not None:
                _source_calls.i2c_write(bus, chip.address, CONFIG, chip.config)
        return [config if chip.config is None else chip.config for chip, config in zip(chips, found, strict=True)]

    def close(self) -> None:
        """Close the bus and put the original config back; a second time does nothing.

        Raises:
            SamplerError: a running sampler reads it, or the chip could not be written; the file stays then.
        """
        if self._handle.closed:
            return
        super().close()
        if self._saved is not None:
            i2c_restore(self._saved)


def i2c_restore(saved: str | os.PathLike[str]) -> list[str]:
    """Put back the config that an :class:`I2cSource` stored in `saved`, and remove the file.

    Returns:
        a line per chip that was written; none where there is no file.

    Raises:
        SamplerError: the file is not one of ours, or a chip could not be written; the file stays.
    """
    path = Path(saved)
    try:
        device, configs = _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise SamplerError(f"{path}: no saved config ({error}); remove it once the chip's config is right") from None
    with closing(_source_calls.i2c_open(device)) as bus:
        for address, config in configs.items():
            _source_calls.i2c_write(bus, address, CONFIG, config)
    path.unlink()
    _sync_folder(path)
    return [f"{device}: config {config:#06x} restored at {address:#04x}" for address, config in configs.items()]


def _identify(bus: Handle, device: str, address: int, force: bool) -> None:
    try:
        _source_calls.i2c_claim(bus, address)
    except SamplerError as error:
        if error.errno != errno.EBUSY:
            raise
        if not force:
            raise SamplerError(
                f"{device}: a driver is bound to the chip at {address:#04x}; reading beside it takes the conversion-ready "
                "flag away from both, and the driver does not see a changed config: use the hwmon source, unbind the "
                "driver, or set force",
                errno.EBUSY,
            ) from None
    found = _source_calls.i2c_read(bus, address, MANUFACTURER), _source_calls.i2c_read(bus, address, DIE)
    if found != IDENTITY:
        raise SamplerError(
            f"{device}: no INA3221 at {address:#04x}: registers 0xfe, 0xff are {found[0]:#06x}, {found[1]:#06x}"
        )


def _save(path: Path, device: str, configs: dict[int, int]) -> None:
    """Whole or not at all, and on the disk before this returns."""
    document = {"device": device, "configs": {f"{address:#04x}": config for address, config in configs.items()}}
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "x", encoding="utf-8") as file:  # no link in a folder of others is followed
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parse(document: Any) -> tuple[str, dict[int, int]]:
    configs = {int(address, 16): int(config) for address, config in document["configs"].items()}
    if not isinstance(document["device"], str) or not all(0 <= config <= 0xFFFF for config in configs.values()):
        raise ValueError("not a device and its configs")
    return document["device"], configs
