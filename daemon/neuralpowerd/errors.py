"""How the daemon refuses: one clear line, and the exit status that goes with it."""

from __future__ import annotations


class _Line(Exception):
    """A line that says `what` is wrong, with which `key` where it is one of the configuration's, and the `remedy` where that stands apart."""

    def __init__(self, what: str, remedy: str = "", key: str = "") -> None:
        super().__init__("".join((key and f"{key}: ", what, remedy and f"; {remedy}")))
        self.what, self.remedy, self.key = what, remedy, key


class ConfigError(_Line, ValueError):
    """A configuration that cannot be used; the line names file, key and remedy. Exit status 2."""


class DaemonError(_Line, RuntimeError):
    """The daemon cannot do its work here; the line says why and what to do. Exit status 1."""
