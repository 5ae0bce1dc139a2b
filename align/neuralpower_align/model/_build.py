"""How cffi makes the extension `neuralpower_align.model._overlap`: run by setup.py, or by hand to build it in place."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from cffi import FFI

PACKAGE = Path(__file__).resolve().parent
SOURCE = PACKAGE.parent.parent / "src" / "overlap.c"
HEADER = SOURCE.with_suffix(".h")
# setuptools wants paths from the folder of setup.py; by hand, the compiler runs elsewhere.
IN_PLACE = __name__ == "__main__"


def _path(path: Path) -> str:
    return str(path) if IN_PLACE else os.path.relpath(path)


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


def build_in_place() -> Path:
    """Compile and put the extension beside this file, in one step: a process that has the old one loaded keeps it."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(ffibuilder.compile(tmpdir=folder))
        fresh = PACKAGE / f"{built.name}.new"
        shutil.copy2(built, fresh)
    return fresh.replace(PACKAGE / built.name)


if __name__ == "__main__":
    print(build_in_place())
