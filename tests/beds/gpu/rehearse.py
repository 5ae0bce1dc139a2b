"""`make test-gpu` where there is no GPU: fetches PyTorch for the CPU into build/gpu/venv and runs the plan over stand-ins.

`--wheels 3.12` fetches, for another machine without network, what it may lack: carry build/gpu/wheels with the checkout.
"""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
PLACE = TOP / "build" / "gpu" / "venv"
TORCH = "torch==2.13.0+cpu"
INDEX = "https://download.pytorch.org/whl/cpu"
CARRIED = ("pyzmq>=24", "cffi>=1.15", "pycparser", "setuptools>=77", "msgpack>=1.0", "rich>=13", "markdown-it-py", "mdurl", "pygments",
           "threadpoolctl>=3.5", "jinja2>=3.1", "markupsafe>=2", "cupti-python==13.0.*", "pyelftools")  # fmt: skip
"""What a GPU machine with PyTorch and scikit-learn lacks, or may lack. CUPTI's for the CUDA of its PyTorch: records have another form in others."""
FETCH_S = 900.0


def fetched(*words: str, python: Path) -> str:
    """Run pip; the last line where it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S)
    except subprocess.TimeoutExpired:
        return f"no answer for {FETCH_S:.0f} s"
    return (done.stderr.strip().splitlines() or ["pip told nothing"])[-1] if done.returncode else ""


def wheels(version: str) -> int:
    """Into build/gpu/wheels; each that cannot be had is named."""
    folder = TOP / "build" / "gpu" / "wheels"
    for old in (folder, *folder.parent.glob("site-*")):  # two versions of a package would lie in one another
        shutil.rmtree(old, ignore_errors=True)
    missing = 0
    for package in CARRIED:
        platform = ["--python-version", version, "--only-binary=:all:", "--no-deps", "-d", str(folder)]
        if why := fetched("download", *platform, package, python=Path(sys.executable)):
            print(f"cannot be fetched: {package} ({why})")
            missing += 1
    print(f"{len(list(folder.glob('*.whl')))} wheels in {folder.relative_to(TOP)}")
    return int(missing > 0)


def installed() -> str:
    """PyTorch beside this environment's packages; which package cannot be had, empty where it can."""
    python = PLACE / "bin" / "python"
    if (PLACE / "complete").exists():
        return ""
    print(f"fetching {TORCH} into {PLACE.relative_to(TOP)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PLACE)], check=True)
    if why := fetched("install", "--quiet", "--extra-index-url", INDEX, TORCH, python=python):
        return f"{TORCH} ({why})"
    (target,) = PLACE.glob("lib/python*/site-packages")
    (target / "beside.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    (PLACE / "complete").touch()
    return ""


def main() -> int:
    """1 where the plan fails; "not run: " where a package cannot be had."""
    if "--wheels" in sys.argv:
        return wheels(sys.argv[sys.argv.index("--wheels") + 1])
    if missing := installed():
        print(f"not run: cannot be fetched: {missing}")
        return 1
    command = [str(PLACE / "bin" / "python"), str(Path(__file__).with_name("run.py")), "--stand-in", *sys.argv[1:]]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
