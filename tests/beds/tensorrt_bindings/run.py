"""The profiler against TensorRT's own Python bindings of several versions, where there is neither a GPU nor TensorRT.

The bindings come from PyPI (a few MB, without TensorRT's libraries) into a cache; stubs.py makes the libraries that they
link against, and check.py runs in a process of its own for each version. A version that cannot be had is named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import stubs

VERSIONS = (
    ("tensorrt-bindings", "8.6.1"),
    ("tensorrt-cu12-bindings", "10.3.0"),
    ("tensorrt-cu12-bindings", "10.13.3.9"),
    ("tensorrt-cu13-bindings", "11.4.0.106"),
)
"""Of JetPack 6.0, 6.1 and 6.2, 7, and what was announced after it."""
EVENTS = (("cuda-bindings", "13.5.0"), ("cuda-pathfinder", "1.9.0"))
"""What records CUDA events, and what it needs to be imported."""
FETCH_S = 120.0
CHECK_S = 120.0
HERE = Path(__file__).resolve().parent
TOP = HERE.parents[2]
RESULTS = TOP / "build" / "bindings.json"


def cache() -> Path:
    """Where wheels are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "neuralpower" / "bindings"


def fetch(package: str, version: str) -> Path | None:
    """The unpacked wheel of this Python and machine, from the cache or from PyPI; None where it cannot be had."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = cache() / f"{package}-{version}-{tag}"
    if (folder / "complete").exists():
        return folder
    wheels = folder.parent / f"{folder.name}.wheel"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--only-binary=:all:", "-d", str(wheels), f"{package}=={version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S)
    except subprocess.TimeoutExpired:
        print(f"  pip gave no answer for {FETCH_S:.0f} s")
        return None
    found = sorted(wheels.glob("*.whl"))
    if done.returncode or not found:
        print(f"  {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no wheel'}")
        return None
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(folder)
    (folder / "complete").touch()
    return folder


def check_bindings(folders: list[Path], version: str) -> subprocess.CompletedProcess[str]:
    """Run check.py with the bindings in the folder."""
    (library,) = (folders[0] / "tensorrt_bindings").glob("tensorrt*.so")
    stubs.build(library, folders[0] / "stubs")
    return _python(["check.py", version, "tensorrt_bindings"], folders, folders[0] / "stubs")


def check_events(folders: list[Path], version: str) -> subprocess.CompletedProcess[str]:
    """Run check_events.py with cuda-bindings and a driver that knows events alone."""
    place = folders[0] / "stubs"
    place.mkdir(exist_ok=True)
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libcuda.so.1"]
    subprocess.run(["gcc", *flags, "-o", str(place / "libcuda.so.1"), str(HERE / "libcuda.c"), "-ldl"], check=True)
    return _python(["check_events.py", version], folders, place)


def _python(program: list[str], folders: list[Path], libraries: Path) -> subprocess.CompletedProcess[str]:
    paths = [*map(str, folders), *(str(TOP / room) for room in ("client", "wire", "align"))]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-X", "faulthandler", str(HERE / program[0]), *program[1:]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        try:
            out, wrong = ran.communicate(timeout=CHECK_S)
        except subprocess.TimeoutExpired:  # a version that hangs is one that failed, and the others go on
            ran.kill()
            out, wrong = ran.communicate()
            wrong += f"no end after {CHECK_S:.0f} s"
    return subprocess.CompletedProcess(command, ran.returncode, out, wrong)


def row_of(done: subprocess.CompletedProcess[str], package: str, version: str) -> dict[str, Any]:
    """What a check told, or how it died."""
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        told = {"version": version, "checks": {"ran to its end": f"status {done.returncode}: {done.stderr[-800:]}"}}
    wrong = [name for name, why in told["checks"].items() if why]
    for name, why in told["checks"].items():
        print(f"  {'FAILED' if why else 'ok    '} {name}{': ' + why if why else ''}")
    print(f"  {len(told['checks']) - len(wrong)} of {len(told['checks'])}", flush=True)
    return {**told, "package": package, "passed": not wrong}


def main() -> int:
    """1 where a check failed or a version could not be had."""
    rows, missing = [], []
    for wanted, check in [*(((each,), check_bindings) for each in VERSIONS), (EVENTS, check_events)]:
        package, version = wanted[0]
        print(f"{package} {version}", flush=True)
        folders = [fetch(*each) for each in wanted]
        had = [folder for folder in folders if folder is not None]
        if len(had) < len(folders):
            missing.append(f"{package} {version}")
        else:
            rows.append(row_of(check(had, version), package, version))
    failed = sum(not row["passed"] for row in rows)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{len(rows) - failed} versions passed, {failed} failed, {len(missing)} missing; {RESULTS.relative_to(TOP)}")
    if missing:
        # CI takes the words below for a bed that could not run, so they are not said where one ran and failed.
        print(f"{'also missing' if failed else 'not run'}: cannot be fetched: {', '.join(missing)}")
    return int(bool(failed or missing))


if __name__ == "__main__":
    sys.exit(main())
