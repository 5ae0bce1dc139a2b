"""What goes wrong, in one line for the user."""

from __future__ import annotations


class SamplerError(RuntimeError):
    """One clear line: what, where, what to do. `errno` is the system's error number, or None."""

    def __init__(self, line: str, errno: int | None = None) -> None:
        super().__init__(line)
        self.errno = errno
