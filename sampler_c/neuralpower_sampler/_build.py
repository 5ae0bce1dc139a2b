"""How cffi makes the extension `neuralpower_sampler._sampler`: run by setup.py, or by hand to build it in place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from cffi import FFI

PACKAGE = Path(__file__).resolve().parent
ROOM = PACKAGE.parent
HEADER = ROOM / "include" / "sampler.h"
# setuptools wants paths from the folder of setup.py; by hand, the compiler runs elsewhere.
IN_PLACE = __name__ == "__main__"


def _path(path: Path) -> str:
    return str(path) if IN_PLACE else os.path.relpath(path)


def _declarations() -> str:
    """The marked parts of the headers that `sampler.h` includes, in its order: what Python may call."""
    names = re.findall(r'^#include "(np_\w+\.h)"$', HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    texts = [(HEADER.parent / name).read_text(encoding="utf-8") for name in names]
    return "".join(text.partition("/* cffi begin */")[2].partition("/* cffi end */")[0] for text in texts)


ffibuilder = FFI()
ffibuilder.cdef(_declarations())
ffibuilder.set_source(
    "neuralpower_sampler._sampler",
    '#include "sampler.h"',
    sources=[_path(source) for source in sorted((ROOM / "src").glob("*.c"))],
    include_dirs=[_path(HEADER.parent)],
    depends=[_path(header) for header in sorted([*HEADER.parent.glob("*.h"), *(ROOM / "src").glob("*.h")])],
    extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden", "-pthread"],
    extra_link_args=["-pthread"],
    libraries=["m", "dl"],
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
