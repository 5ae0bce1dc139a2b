"""Other tools' measurements as datasets: one module per format, each with ``read(path) -> Imported``."""

from __future__ import annotations

FORMATS = ("table", "networks", "edgeprofiler", "trtexec", "tegrastats", "neurstrucenergy", "measured")
MAPPED = ("table", "networks")
"""Of these, those with columns that can be named otherwise: ``read(path, mapping)``."""
