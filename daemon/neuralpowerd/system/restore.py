"""Puts back what the daemon changed on the machine, also after it was killed.

What a file held is stored, and on the disk, before the file is written. A stop of the daemon restores it, the unit's
ExecStopPost does, and the next start does.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuralpower_wire.files import replace_file

from ..config import Config
from ..errors import DaemonError
from .sysfs import exists, place_of, read_text

log = logging.getLogger(__name__)

SAVED_FILES, SAVED_REGISTERS = "saved.json", "i2c.saved"
"""Names in the runtime directory."""
SETTING = "update_interval"
"""The one file of sysfs that the daemon writes."""
_INTERVAL = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True)
class SettingChange:
    """A setting to write, the scan in ns that follows from it, and a line about it."""

    path: Path
    value: str
    scan_ns: int
    text: str


def change_files(saved: Path, changes: Mapping[Path, str]) -> None:
    """Write each text to its file after storing what it holds in `saved`; DaemonError where that is impossible."""
    if not changes:
        return
    before = _load(saved)
    for path, text in changes.items():
        before.setdefault(str(path), path.read_text("ascii").strip())
        _store(saved, before)
        try:
            path.write_text(f"{text}\n", "ascii")
        except OSError as error:
            raise DaemonError(f"{path}: cannot be written: {error.strerror}; set plan.allow_write = false") from None


def restore_files(saved: Path, root: Path = Path("/")) -> list[str]:
    """Write back what `saved` holds to files of the sysfs below `root`, and forget it; a line for each file."""
    lines = []
    left = _load(saved)
    for path, text in list(left.items()):
        try:
            if _is_setting(place_of(Path(path)), root):
                _write(place_of(Path(path)), text)
                lines.append(f"{path}: {text} again")
            del left[path]
        except OSError as error:
            lines.append(f"{path}: cannot be restored to {text}: {error.strerror}")
            log.error("%s", lines[-1])
    if left:
        _store(saved, left)
    else:
        saved.unlink(missing_ok=True)
    return lines


def restore_all(config: Config) -> list[str]:
    """Everything that a daemon with this configuration may have left changed; a line for each."""
    folder = Path(config.runtime_dir)
    lines = restore_files(folder / SAVED_FILES, Path(config.sysfs_root))
    if (folder / SAVED_REGISTERS).exists():
        from neuralpower_sampler import i2c_restore

        lines += i2c_restore(folder / SAVED_REGISTERS)
    return lines


def _is_setting(place: Path, root: Path) -> bool:
    """Whether this, without a link in it, is what the daemon may change: in sysfs nobody else can lay links.

    The runtime directory is the service's, and whoever restores may be root: what is stored there may name any file.
    """
    return place.name == SETTING and place.is_relative_to(place_of(root / "sys")) and exists(place)


def _write(place: Path, text: str) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{text}\n".encode("ascii"))
    finally:
        os.close(descriptor)


def _load(saved: Path) -> dict[str, str]:
    try:
        body = json.loads(read_text(saved) or "")
    except (ValueError, RecursionError):
        return {}
    known = body.items() if isinstance(body, dict) else ()
    return {
        path: text for path, text in known if path.isprintable() and isinstance(text, str) and _INTERVAL.match(text)
    }


def _store(saved: Path, body: Mapping[str, str]) -> None:
    replace_file(saved, json.dumps(body).encode(), 0o640)
