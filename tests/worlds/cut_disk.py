"""What a disk holds after a power cut: of each file what was synced, and of each folder the names that were there when it was synced.

POSIX promises no more. What was not synced may be on the disk nevertheless, in any order, so there are three disks to a cut: one
that kept nothing else, one that kept all names, and one that kept all bytes.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

KEPT = ("what was synced", "all names too", "all bytes too")


class CutDisk:
    """Stands in for the syncs of a process; everything in `root`, which must be there and empty, counts."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._names: dict[int, dict[str, int]] = {root.stat().st_ino: {}}
        self._data: dict[int, bytes] = {}
        self._held: dict[int, int] = {}
        """A descriptor of each inode that was ever seen, so that no other file gets its number."""
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._sync)

    def _sync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self._hold(f"/proc/self/fd/{descriptor}", found.st_ino)
        if stat.S_ISDIR(found.st_mode):
            folder = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            self._names[found.st_ino] = {name: self._hold(folder / name) for name in os.listdir(folder)}
        else:
            self._data[found.st_ino] = self._now(found.st_ino)

    def _hold(self, path: str | Path, inode: int | None = None) -> int:
        number = os.stat(path).st_ino if inode is None else inode
        if number not in self._held:
            self._held[number] = os.open(path, os.O_RDONLY)
        return number

    def _now(self, inode: int) -> bytes:
        descriptor = self._held[inode]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def cut(self, kept: str, target: Path) -> Path:
        """Put what is there after a cut now into `target`, which is made."""
        self._copy(self.root.stat().st_ino, self.root, kept, target)
        return target

    def _copy(self, inode: int, folder: Path | None, kept: str, target: Path) -> None:
        target.mkdir(parents=True)
        names = dict(self._names.get(inode, {}))
        if kept == KEPT[1] and folder is not None:
            names = {name: self._hold(folder / name) for name in os.listdir(folder)}
        for name, number in names.items():
            if stat.S_ISDIR(os.fstat(self._held[number]).st_mode):
                self._copy(number, folder / name if folder else None, kept, target / name)
            else:
                data = self._now(number) if kept == KEPT[2] else self._data.get(number, b"")
                (target / name).write_bytes(data)

    def close(self) -> None:
        """Let go of all files."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()
