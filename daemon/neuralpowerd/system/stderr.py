"""Logging to standard error; with sd-daemon priorities when that is the journal."""

from __future__ import annotations

import logging
import os
import sys


def visible(line: str) -> str:
    """The line as one line of visible characters: names in it are somebody else's, and neither end it nor move a cursor."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line.replace("\n", " | ")
    )


class _Plain(logging.Formatter):
    """For a terminal or a file."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _Journal(logging.Formatter):
    """Puts the sd-daemon(3) priority before each line, which journald turns into the record's level."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 4 if record.levelno >= logging.WARNING else 6
        return f"<{priority}>" + visible(super().format(record))


def set_up() -> None:
    """Log to standard error: plain lines at a terminal, prefixed ones for journald (JOURNAL_STREAM is set)."""
    handler = logging.StreamHandler(sys.stderr)
    journal = "JOURNAL_STREAM" in os.environ
    handler.setFormatter(_Journal("%(message)s") if journal else _Plain("neuralpowerd: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
