"""Puts back what the daemon changed on the machine, also after it was killed.

What a file held is stored, and on the disk, before the file is written. A stop of the daemon restores it, the unit's
ExecStopPost does, and the next start does.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..errors import DaemonError

log = logging.getLogger(__name__)

SAVED_FILES, SAVED_REGISTERS = "saved.json", "i2c.saved"
"""Names in the runtime directory."""


@dataclass(frozen=True)
class Change:
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


def restore_files(saved: Path) -> list[str]:
    """Write back what `saved` holds, and forget it; a line for each file."""
    lines = []
    left = _load(saved)
    for path, text in list(left.items()):
        try:
            if Path(path).exists():
                Path(path).write_text(f"{text}\n", "ascii")
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
    lines = restore_files(folder / SAVED_FILES)
    if (folder / SAVED_REGISTERS).exists():
        from neuralpower_sampler import i2c_restore

        lines += i2c_restore(folder / SAVED_REGISTERS)
    return lines


def _load(saved: Path) -> dict[str, str]:
    try:
        body = json.loads(saved.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    # The runtime directory is the service's, and this may be run by root: nothing but what the daemon can have changed.
    known = body.items() if isinstance(body, dict) else ()
    return {
        path: text
        for path, text in known
        if Path(path).name == "update_interval" and isinstance(text, str) and text.isdigit()
    }


def _store(saved: Path, body: Mapping[str, str]) -> None:
    fresh = saved.with_name(saved.name + ".new")
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(body, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(saved)
