"""What the daemon says of itself in the log when it is asked by SIGUSR1: bounded, a line for each thing, and nothing secret."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..config import Config, keys

MOST_LINE = 500
"""Characters: journald keeps 48 KiB of a line, and people read less."""
MOST_LINES = 100
"""A status has some fifty keys."""


def state_lines(config: Config, status: Mapping[str, Any]) -> Iterator[str]:
    """The keys that are not as by default, then each key of the status. Neither holds a secret: keys are files, and named by their folder."""
    changed = (f"{name} = {json.dumps(value)}" for name, value in _changed(config))
    lines = [f"state: {cut(f'configuration: {line}')}" for line in changed]
    lines += [f"state: {cut(f'{name}: {json.dumps(value, default=_plain)}')}" for name, value in status.items()]
    yield from lines[:MOST_LINES]
    yield f"state: {len(lines)} lines" if len(lines) <= MOST_LINES else f"state: {len(lines) - MOST_LINES} lines more"


def cut(line: str) -> str:
    """The line, at most MOST_LINE characters of it."""
    return line if len(line) <= MOST_LINE else f"{line[: MOST_LINE - 1]}…"


def _changed(config: Config) -> Iterator[tuple[str, Any]]:
    for name, item in keys():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        default = item.default if item.default is not dataclasses.MISSING else None
        if value != default:
            yield name, value


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
