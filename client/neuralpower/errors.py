"""The two ways in which a command ends badly."""

from __future__ import annotations

import os


class InputError(ValueError):
    """What the user gave cannot be used: one line that says what, where and what to do. Exit status 2."""


class DamagedFile(InputError):
    """A file that is not what it should be: its `path`, the `reason`, and the `advice`, each without the others."""

    def __init__(self, path: os.PathLike[str], reason: str, advice: str = "") -> None:
        self.path, self.reason, self.advice = path, reason, advice
        super().__init__(f"{path}: {self.what}")

    @property
    def what(self) -> str:
        """What is wrong and what to do, without the path."""
        return f"{self.reason}; {self.advice}" if self.advice else self.reason


class Failure(RuntimeError):
    """The input was good and the work could not be done: one line. Exit status 1."""
