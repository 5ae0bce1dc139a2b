"""Check the tick ring's protocol in a weak memory model: the shipped source must hold, and each weakened one must be found out.

The source itself is compiled, over a stand-in for <stdatomic.h>; a weakening is an edit of a copy. Exit status 1 where
the shipped protocol fails, a weakening is not judged as expected, or the bed cannot run: then a line begins with "not run:".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from weakenings import WEAKENINGS, Weakening

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SAMPLER = ROOT / "sampler_c"
BUILD = ROOT / "build" / "memory_model"
SOURCES = ("ring.c", "ring.h", "ring_read.c")
C = [
    os.environ.get("CC", "cc"),
    "-std=c11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-U_FORTIFY_SOURCE",
    "-ffunction-sections",
]
CXX = [os.environ.get("CXX", "c++"), "-std=c++14", "-O2", "-w"]
EXECUTIONS = int(os.environ.get("EXECUTIONS", "50000"))
"""Of Relacy, for each scenario."""
NEEDED = {
    "gcc": shutil.which(C[0]),
    "g++": shutil.which(CXX[0]),
    "relacy-dev": Path("/usr/include/relacy/relacy.hpp").exists(),
}


def compile_or_exit(command: list[str]) -> None:
    """Run a compiler; its words and exit status 1 where it fails."""
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"memory model: failed: {' '.join(command)}")


def build_engines() -> None:
    """The two engines know nothing of the ring and are built once."""
    compile_or_exit([*C, f"-I{HERE}", "-c", "-o", f"{BUILD}/exhaustive.o", f"{HERE}/exhaustive.c"])
    compile_or_exit([*CXX, f"-I{HERE}", "-c", "-o", f"{BUILD}/relacy.o", f"{HERE}/relacy.cpp"])


def build(folder: Path, weakening: Weakening | None) -> None:
    """Copy the ring's source, edit the copy, and link it with each engine."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {name: (SAMPLER / "src" / name).read_text() for name in SOURCES}
    for name, old, new in weakening.edits if weakening else ():
        if texts[name].count(old) != 1:
            sys.exit(
                f"memory model: {weakening.name if weakening else ''}: the following is {texts[name].count(old)} times "
                f"in {name}; bring weakenings.py up to the source:\n{old}"
            )
        texts[name] = texts[name].replace(old, new)
    for name, text in texts.items():
        (folder / name).write_text(text)
    paths = ["-iquote", str(folder), f"-I{HERE}/shim", f"-I{HERE}", f"-I{SAMPLER}/include", f"-I{SAMPLER}/src"]
    compile_or_exit([*C, "-Wno-unused", *paths, "-c", "-o", f"{folder}/protocol.o", f"{HERE}/protocol.c"])
    for engine in ("exhaustive", "relacy"):
        objects = [f"{folder}/protocol.o", f"{BUILD}/{engine}.o"]
        compile_or_exit([CXX[0], "-Wl,--gc-sections", "-o", f"{folder}/{engine}", *objects])


def judge(folder: Path, engine: str) -> tuple[str, int]:
    """Run one engine. Returns what it found ("" for nothing) and how many executions it looked at."""
    command = [str(folder / engine), *([str(EXECUTIONS)] if engine == "relacy" else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (folder / f"{engine}.log").write_text(done.stdout + done.stderr)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    executions = sum(int(row[1]) for row in rows)
    if done.returncode == 0:
        return "", executions
    if done.returncode != 1 or not rows or not rows[-1][2]:
        sys.exit(f"memory model: {engine} itself failed: see {folder}/{engine}.log")
    return f"{rows[-1][2]} ({rows[-1][0]})", executions


def main() -> int:
    """Print one row for each protocol; returns the exit status."""
    missing = [package for package, found in NEEDED.items() if not found]
    if missing:
        print(f"not run: missing: apt install {' '.join(missing)}", file=sys.stderr)
        return 1
    BUILD.mkdir(parents=True, exist_ok=True)
    build_engines()
    wrong = 0
    print(f"{'protocol':40} {'must':5} {'all executions':>15} {'relacy':>14}  what a reader sees, or why nothing")
    for weakening in (None, *WEAKENINGS):
        name = weakening.name if weakening else "as shipped"
        folder = BUILD / "".join(letter if letter.isalnum() else "_" for letter in name)
        build(folder, weakening)
        must_hold = weakening is None or bool(weakening.unneeded)
        columns = []
        seen = ""
        for engine in ("exhaustive", "relacy"):
            found, executions = judge(folder, engine)
            columns.append(f"{'fails' if found else 'holds'} {executions:>8}")
            seen = seen or found
            if bool(found) == must_hold:
                wrong += 1
                columns[-1] = "WRONG " + columns[-1]
        note = seen or (weakening.unneeded if weakening else "whole ticks and epochs only, and every one announced")
        print(f"{name:40} {'hold' if must_hold else 'fail':5} {columns[0]:>15} {columns[1]:>14}  {note}", flush=True)
    print(f"{len(WEAKENINGS) + 1} protocols, {wrong} judgements not as they must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
