"""Files that a user names to be written: refused before the work where they cannot be, and replaced only by whole ones."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from neuralpower_wire.files import replace_file

from .errors import Failure


def why_not_written(path: str | os.PathLike[str]) -> str:
    """Why no file can be written at `path`, and what to do; "" where one can.

    A file is written beside its place and moved there, so a device or a pipe would be gone: as root even /dev/null.
    """
    target = Path(path)
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "a folder; name a file in it"
    if not stat.S_ISREG(mode):
        return "a device, a pipe or a socket, which a file would replace; name another file"
    if not target.parent.is_dir():
        return f"there is no folder {target.parent}; make it first"
    if not os.access(target.parent, os.W_OK | os.X_OK):
        return f"nothing may be written into {target.parent}; name a file elsewhere"
    return ""


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview, what: str) -> None:
    """Put `data` at `path`, which is replaced only once the new file is whole and on the disk.

    Raises Failure, which calls the data `what`, where it cannot be written; what was there before is left as it was.
    """
    target = Path(path)
    if reason := why_not_written(target):
        raise Failure(f"{target}: cannot write {what}: {reason}")
    try:
        replace_file(target, data)
    except OSError as error:
        raise Failure(f"{target}: cannot write {what}: {error.strerror or error}") from None
