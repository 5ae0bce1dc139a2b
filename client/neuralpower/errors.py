"""The two ways in which a command ends badly."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used: one line that says what, where and what to do. Exit status 2."""


class Failure(RuntimeError):
    """The input was good and the work could not be done: one line. Exit status 1."""
