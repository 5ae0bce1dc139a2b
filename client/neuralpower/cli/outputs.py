"""Options that name a file to write."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..files import why_not_written


class OutputFile(argparse.Action):
    """Takes the path of a file, and refuses one that could not be written: now, not after minutes of work."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the path, or raise InputError."""
        if reason := why_not_written(str(values)):
            raise InputError(f"{option_string} {values}: {reason}")
        setattr(namespace, self.dest, values)
