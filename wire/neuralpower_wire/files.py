"""Files that are replaced: a reader, and whoever comes after a crash, finds the old one or the new one, whole.

The one place that daemon and client both stand on, so it lies here, beside the power timeline, which is such a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LEFT = "*.tmp"
"""What a kill in the middle may leave beside the file: to be removed by whoever owns the folder."""


def replace_file(path: str | os.PathLike[str], data: bytes | memoryview, mode: int | None = None) -> None:
    """Put `data` at `path` as :func:`replacing` does."""
    with replacing(path, mode) as file:
        file.write(data)


@contextmanager
def replacing(path: str | os.PathLike[str], mode: int | None = None) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends: written aside, synced, renamed, its folder synced.

    `mode`: of the new file; None keeps that of the old one, or makes one as the umask has it. No link is followed: not at the name
    aside, which nobody can foresee, and one at `path` is itself replaced. Of two at once each has a file of its own, and the last one stays.

    Raises OSError. Whatever is raised, in the block too, what was at `path` is as it was and nothing is left beside it.
    """
    target = Path(path)
    aside = target.with_name(f"{target.name}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            wanted = _mode_of(target) if mode is None else mode
            if wanted is not None:
                os.fchmod(descriptor, wanted)
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the creation, renaming and removal of files in `folder` durable, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system whose folders have nothing to sync
            raise
    finally:
        os.close(descriptor)


def _mode_of(path: Path) -> int | None:
    try:
        found = path.lstat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(found) & 0o777 if stat.S_ISREG(found) else None
