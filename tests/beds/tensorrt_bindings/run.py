"""The profiler against TensorRT's own Python bindings of several versions, where there is neither a GPU nor TensorRT.

The bindings come from PyPI (a few MB, without TensorRT's libraries) into a cache; stubs.py makes the libraries that they
link against, and check.py runs in a process of its own for each version. A version that cannot be had is named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import stubs

VERSIONS = (
    ("tensorrt-bindings", "8.6.1"),
    ("tensorrt-cu12-bindings", "10.3.0"),
    ("tensorrt-cu12-bindings", "10.13.3.9"),
    ("tensorrt-cu13-bindings", "11.4.0.106"),
)
"""Of JetPack 6.0, 6.1 and 6.2, 7, and what was announced after it."""
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
    if (folder / "tensorrt_bindings" / "__init__.py").exists():
        return folder
    wheels = folder.with_suffix(".wheel")
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
    return folder


def check(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """Run check.py with the bindings in `folder`."""
    (library,) = (folder / "tensorrt_bindings").glob("tensorrt*.so")
    stubs.build(library, folder / "stubs")
    paths = [str(folder), str(TOP / "client"), str(TOP / "wire"), str(TOP / "align")]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / "stubs"), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-X", "faulthandler", str(HERE / "check.py"), version]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CHECK_S)


def main() -> int:
    """1 where a check failed or a version could not be had."""
    rows, missing, failed = [], [], 0
    for package, version in VERSIONS:
        print(f"{package} {version}", flush=True)
        begin, folder = time.monotonic(), fetch(package, version)
        if folder is None:
            missing.append(f"{package} {version}")
            continue
        done = check(folder, version)
        try:
            row = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            row = {"version": version, "checks": {"ran to its end": f"status {done.returncode}: {done.stderr[-800:]}"}}
        wrong = {name: why for name, why in row["checks"].items() if why}
        failed += bool(wrong)
        rows.append({**row, "package": package, "passed": not wrong})
        for name, why in row["checks"].items():
            print(f"  {'FAILED' if why else 'ok    '} {name}{': ' + why if why else ''}")
        print(
            f"  {len(row['checks']) - len(wrong)} of {len(row['checks'])} in {time.monotonic() - begin:.1f} s",
            flush=True,
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{len(rows) - failed} versions passed, {failed} failed, {len(missing)} missing; {RESULTS.relative_to(TOP)}")
    if missing:
        # CI takes the words below for a bed that could not run, so they are not said where one ran and failed.
        print(f"{'also missing' if failed else 'not run'}: cannot be fetched: {', '.join(missing)}")
    return int(bool(failed or missing))


if __name__ == "__main__":
    sys.exit(main())
