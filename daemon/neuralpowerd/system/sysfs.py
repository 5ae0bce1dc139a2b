"""Reads single files of sysfs, procfs and the device tree, whatever is in them. A file that is none is as one that is absent."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 65536
"""Bytes of a file that are read: sysfs gives at most a page."""
LONGEST_LABEL = 48
"""Characters of a label that are kept: the kernel's have up to some twenty, and a line of a page has 120."""
_LARGEST = 2**63


def read_text(path: Path) -> str | None:
    """The stripped text of a sysfs or device-tree file (which ends in a zero byte); None where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # no pipe holds it up
    except (OSError, ValueError):
        return None
    try:
        return os.read(descriptor, LONGEST).rstrip(b"\0").decode("utf-8", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_int(path: Path) -> int | None:
    """The integer in a sysfs file, if 64 bits hold it; None where it cannot be read or is none."""
    return integer(read_text(path) or "")


def integer(text: str) -> int | None:
    """The integer that a driver wrote, if 64 bits hold it; None where the text is none."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if -_LARGEST <= value < _LARGEST else None


def read_label(path: Path) -> str | None:
    """What a driver or a device tree calls something, fit for a line: see :func:`clean`; None where it cannot be read."""
    text = read_text(path)
    return None if text is None else clean(text)


def clean(text: str, longest: int = LONGEST_LABEL) -> str:
    """The text in one line that moves no cursor: what cannot be printed is `?`, white space one blank, the rest cut off."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())[:longest]


def exists(path: Path) -> bool:
    """Whether the file is there; false too where one may not look or links go in a circle."""
    return os.path.exists(path)


def place_of(path: Path) -> Path:
    """Where the path leads when its links are followed; a circle of links is left as it stands."""
    return Path(os.path.realpath(path))
