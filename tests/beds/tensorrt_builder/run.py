"""Engines of TensorRT's real builder, where there is no GPU: TensorRT for RTX from PyPI, through this project's own `build.build`.

It goes into a virtual environment of its own under build/ (0.4 GB).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RTX = "tensorrt-rtx-cu13==1.7.1.116"
PACKAGES = (RTX, "onnx>=1.15", "numpy>=1.22", "msgpack>=1.0", "pyzmq>=24")
INSTALL_S = 400.0
"""95 MB of libraries to fetch; at 2 Mbit/s they take as long."""
CHECK_S = 500.0
HERE = Path(__file__).resolve().parent
TOP = HERE.parents[2]
PLACE = TOP / "build" / "builder"
RESULTS = TOP / "build" / "builder.json"


def installed() -> str:
    """Make the virtual environment if it is not there yet; returns which package cannot be had, empty where all are."""
    if (PLACE / "complete").exists() and (PLACE / "complete").read_text() == "\n".join(PACKAGES):
        return ""
    print(f"fetching {RTX} into {PLACE.relative_to(TOP)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PLACE)], check=True)
    pip = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for package in PACKAGES:
        try:
            done = subprocess.run([*pip, package], capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            return f"{package} (no answer for {INSTALL_S:.0f} s)"
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["pip told nothing"]
            return f"{package} ({said[-1].strip()})"
    (PLACE / "complete").write_text("\n".join(PACKAGES))
    return ""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the bed under TensorRT for RTX."""
    paths = [str(TOP), *(str(TOP / room) for room in ("client", "wire", "align"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [str(PLACE / "bin" / "python"), "-X", "faulthandler", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        try:
            out, wrong = ran.communicate(timeout=CHECK_S)
        except subprocess.TimeoutExpired:  # what was found until then counts
            ran.kill()
            out, wrong = ran.communicate()
            wrong += f"no end after {CHECK_S:.0f} s"
    return subprocess.CompletedProcess(command, ran.returncode, out, wrong)


def profiled() -> list[dict[str, Any]]:
    """What is checked of the profiler under every bindings, under these: IProfiler's trampoline and the names that are used."""
    done = python(str(HERE.parent / "tensorrt_bindings" / "check.py"), RTX.partition("==")[2], "tensorrt_rtx_bindings")
    try:
        checks: dict[str, str] = json.loads(done.stdout.splitlines()[-1])["checks"]
    except (IndexError, KeyError, ValueError):
        checks = {"ran to its end": f"status {done.returncode}: {done.stderr[-800:]}"}
    return [{"what": f"profiler: {name}", "seconds": 0, "bytes": 0, "wrong": why} for name, why in checks.items()]


def built() -> list[dict[str, Any]]:
    """Engines, and models that are refused."""
    done = python(str(HERE / "check.py"))
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    whole = bool(rows) and "version" in rows[-1] and done.returncode == 0
    rows = [row for row in rows if "what" in row]
    if not whole:
        rows.append({"what": "ran to its end", "wrong": f"status {done.returncode}: {done.stderr[-800:]}"})
    logged = [line for line in done.stderr.splitlines() if "[TRT] [E]" in line]  # as TensorRT's own logger writes
    rows.append({"what": "errors are told in our lines alone", "wrong": logged[0] if logged else ""})
    return rows


def main() -> int:
    """1 where a check failed; "not run: " where a package cannot be had."""
    missing = installed()
    if missing:
        print(f"not run: cannot be fetched: {missing}")
        return 1
    begin = time.monotonic()
    rows = [*profiled(), *built()]
    for row in rows:
        if not row["wrong"] and not row.get("bytes"):
            continue
        size = f", {row['bytes'] / 1e6:.1f} MB in {row['seconds']:.1f} s" if row.get("bytes") else ""
        print(
            f"  {'FAILED' if row['wrong'] else 'ok    '} {row['what']}{size}{': ' + row['wrong'] if row['wrong'] else ''}"
        )
    wrong = sum(bool(row["wrong"]) for row in rows)
    RESULTS.write_text(json.dumps({"package": RTX, "rows": rows}, indent=2) + "\n")
    engines = sum(bool(row.get("bytes")) for row in rows)
    print(
        f"{RTX}: {engines} engines built, {len(rows) - wrong} of {len(rows)} checks passed in {time.monotonic() - begin:.0f} s; "
        f"{RESULTS.relative_to(TOP)}"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
