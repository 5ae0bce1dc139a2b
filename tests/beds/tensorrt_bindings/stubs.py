"""Shared objects that let TensorRT's Python bindings be imported where TensorRT is not.

The bindings link against libraries that only a machine with TensorRT has. Empty ones of the same sonames satisfy the loader; a
function for each symbol that is missing ends the process with its name on stderr, so that nothing reaches TensorRT unnoticed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_NEEDED = re.compile(r"\(NEEDED\).*\[(libnv[^\]]+)\]")
_TRAP = """
#include <stdio.h>
#include <stdlib.h>
static void trap(const char *name) {{ fprintf(stderr, "trap: %s was called\\n", name); abort(); }}
{functions}
"""


def build(bindings: Path, folder: Path) -> list[str]:
    """Make in `folder` what the shared object `bindings` misses; returns the sonames made."""
    names = needed(bindings)
    functions = "\n".join(f'void {name}(void) {{ trap("{name}"); }}' for name in undefined(bindings))
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        source = folder / f"{name}.c"
        source.write_text(_TRAP.format(functions=functions) if number == 0 else "int empty;\n")
        flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{name}"]
        subprocess.run(["gcc", *flags, "-o", str(folder / name), str(source)], check=True)
    return names


def needed(bindings: Path) -> list[str]:
    """The sonames of TensorRT's libraries that `bindings` needs."""
    return _NEEDED.findall(_output("readelf", "-d", str(bindings)))


def undefined(bindings: Path) -> list[str]:
    """The functions that must come from TensorRT: undefined, not weak, of no versioned library and not Python's."""
    rows = (line.split() for line in _output("nm", "-D", "--undefined-only", str(bindings)).splitlines())
    names = [row[-1] for row in rows if row[-2] == "U"]
    return [name for name in names if "@" not in name and not name.startswith(("Py", "_Py"))]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
