"""How the daemon refuses: one clear line, and the exit status that goes with it."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration that cannot be used; the line names file, key and remedy. Exit status 2."""


class DaemonError(RuntimeError):
    """The daemon cannot do its work here; the line says why and what to do. Exit status 1."""
