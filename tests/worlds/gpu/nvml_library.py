"""The stand-in for NVIDIA's library, built once for a test run; what it tells is simulated."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from tests.worlds.gpu.nvml_stand_in import build

_folder = tempfile.TemporaryDirectory(prefix="np-nvml")


@cache
def stand_in(signed: bool = True) -> Path:
    """Path of the library."""
    folder = Path(_folder.name) / ("signed" if signed else "unsigned")
    folder.mkdir(exist_ok=True)
    return build(folder, signed)
