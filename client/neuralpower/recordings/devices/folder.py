"""A folder with a recording of each of several devices: finding them, and the one that is meant."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import InputError
from ..files import layout

SHOWN = 8
"""Names listed in a line."""


def devices_in(folder: Path) -> dict[str, Path]:
    """Name -> recording of each device, sorted; empty where the folder is itself a recording, or holds none."""
    if is_recording(folder):
        return {}
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    return {name: folder / name for name in names if is_recording(folder / name)}


def is_recording(folder: Path) -> bool:
    """Whether a folder is one recording, its document lost or not."""
    return (folder / layout.DOCUMENT).is_file() or (folder / layout.FACTS).is_file()


def one_of(folder: Path, device: str | None = None) -> Path:
    """The recording that is meant: the folder itself or, of several below it, that of `device`.

    Raises InputError: several and none named; no such device; a device named where there is one recording.
    """
    found = devices_in(folder)
    if not found:
        if device is not None:
            raise InputError(f"{folder}: not a folder of several devices' recordings: leave out --device {device}")
        return folder
    names = ", ".join(list(found)[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    if device is None and len(found) > 1:
        raise InputError(f"{folder}: holds recordings of {len(found)} devices ({names}): name one with --device")
    if device is not None and device not in found:
        raise InputError(f"{folder}: has no recording of a device {device!r}; there are {names}")
    return next(iter(found.values())) if device is None else found[device]
