"""How cffi makes the extension `neuralpower_align.model._overlap`: run by setup.py."""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "overlap.c"
HEADER = SOURCE.with_suffix(".h")


def _path(path: Path) -> str:
    """As setuptools wants it: from the folder of setup.py."""
    return os.path.relpath(path)


ffibuilder = FFI()
ffibuilder.cdef(HEADER.read_text(encoding="utf-8").partition("/* cffi begin */")[2].partition("/* cffi end */")[0])
ffibuilder.set_source(
    "neuralpower_align.model._overlap",
    '#include "overlap.h"',
    sources=[_path(SOURCE)],
    include_dirs=[_path(SOURCE.parent)],
    depends=[_path(HEADER)],
    # Products are rounded before they are added, as numpy does it: else machines that fuse both would tell other numbers.
    extra_compile_args=["-std=c11", "-O2", "-ffp-contract=off", "-fvisibility=hidden"],
    py_limited_api=True,
)
