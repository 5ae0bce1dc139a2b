"""Logging to standard error; with sd-daemon priorities when that is the journal."""

from __future__ import annotations

import logging
import os
import sys


class _Journal(logging.Formatter):
    """Puts the sd-daemon(3) priority before each line, which journald turns into the record's level."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 4 if record.levelno >= logging.WARNING else 6
        return f"<{priority}>" + super().format(record).replace("\n", " | ")


def set_up() -> None:
    """Log to standard error: plain lines at a terminal, prefixed ones for journald (JOURNAL_STREAM is set)."""
    handler = logging.StreamHandler(sys.stderr)
    journal = "JOURNAL_STREAM" in os.environ
    handler.setFormatter(_Journal("%(message)s") if journal else logging.Formatter("neuralpowerd: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
