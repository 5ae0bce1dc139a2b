"""The stand-in for NVIDIA's library (tests/c/stand_in/nvml.c): built, and the truth of its GPU. All of it is simulated."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

SOURCE = Path(__file__).resolve().parents[2] / "c" / "stand_in" / "nvml.c"
SAMPLES_HZ, FIELDS_HZ = 1e3 / 21, 1e3 / 101
"""New readings a second of its ring, and of its fields and counter."""
LOW_W, FAST_W, FAST_NS, SLOW_W, SLOW_NS = 80.0, 120.0, 77_000_000, 100.0, 7_000_000_000
"""Its power: a floor, and two waves that add so much in the first half of each."""


def build(folder: Path, signed: bool = True) -> Path:
    """Compile it into `folder`; OSError where there is no compiler or it refuses. Only what is not `signed` passes for a real one."""
    library = folder / "libnvidia-ml.so.1"
    command = [os.environ.get("CC", "gcc"), "-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"]
    command += [] if signed else ["-DUNSIGNED"]
    done = subprocess.run([*command, "-o", library, SOURCE, "-lm"], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{SOURCE.name} does not compile: {done.stderr.strip().splitlines()[0]}")
    return library


def energy_j(t_ns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What GPU 0 has drawn up to these times (ns of CLOCK_MONOTONIC), since its clock was 0: J."""
    t = np.asarray(t_ns, np.int64)
    return LOW_W * t * 1e-9 + FAST_W * _high_s(t, FAST_NS) + SLOW_W * _high_s(t, SLOW_NS)


def _high_s(t_ns: npt.NDArray[np.int64], wave_ns: int) -> npt.NDArray[np.float64]:
    """Time in the first halves of a wave, s."""
    return np.asarray((t_ns // wave_ns * (wave_ns // 2) + np.minimum(t_ns % wave_ns, wave_ns // 2)) * 1e-9, np.float64)
