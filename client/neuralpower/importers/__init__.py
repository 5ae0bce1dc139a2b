"""Other tools' measurements as datasets: one module per format, each with ``read(path) -> Imported``."""

from __future__ import annotations

FORMATS = ("edgeprofiler", "trtexec", "neurstrucenergy")
