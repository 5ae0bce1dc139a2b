"""`make test-gpu`: what can be known of one GPU in six minutes, on a machine without network. docs/measured.md says what each figure is worth.

With `--stand-in` the same plan runs whole over stand-ins for NVML, CUDA and CUPTI, in real time: all of that is simulated, and says so.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
OUT = TOP / "build" / "gpu"
ROOMS = ("client", "align", "wire", "daemon", "sampler_c")
MINUTES = 6.0
LONGER = 4.0
"""Of a rehearsal: a CPU that others use too plays both the GPU and its host."""
STAGES_S = (("1 sensor", 50.0), ("2 repeated layers", 95.0), ("3 networks", 135.0), ("4 models", 45.0))
"""Together 325 s; building and starting take the rest."""


def unpacked() -> list[str]:
    """The folder of what the machine lacks: wheels of this Python that were carried in build/gpu/wheels, unpacked; no pip is needed for that."""
    site = OUT / "site"
    tags = (f"-cp{sys.version_info.major}{sys.version_info.minor}-", "-py3-none-any", "-py2.py3-none-any")
    for wheel in sorted((OUT / "wheels").glob("*.whl")):
        if any(tag in wheel.name for tag in tags) and not (site / f".{wheel.name}").exists():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            (site / f".{wheel.name}").touch()
    return [str(site)] if site.exists() else []


def prepared(carried: bool) -> None:
    """Paths of this process and of those that it starts, with what was `carried`; the sampler, built where it is not."""
    paths = [str(TOP), *(str(TOP / room) for room in ROOMS), *(unpacked() if carried else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.path[:0] = paths
    room = TOP / "sampler_c"
    built = sorted((room / "neuralpower_sampler").glob("_sampler*.so"))
    sources = [*(room / "src").glob("*.[ch]"), *(room / "include").glob("*.h")]
    if not built or built[-1].stat().st_mtime < max(each.stat().st_mtime for each in sources):
        subprocess.run([sys.executable, str(room / "neuralpower_sampler" / "_build.py")], check=True)


def table(bed_rows: list[dict[str, object]], simulated: bool) -> None:
    """All that was found."""
    print(f"\n{'what':64} {'value':>10} {'beside':>10} unit  note" + ("  (SIMULATED)" if simulated else ""))
    for row in bed_rows:
        beside = "" if row["beside"] is None else f"{row['beside']:10.4g}"
        print(f"{str(row['what'])[:64]:64} {row['value']:10.4g} {beside:>10} {row['unit']:5} {row['note']}")


def run(simulated: bool, minutes: float) -> int:
    """All stages; 1 where one failed or was not run."""
    import wave

    import layers
    import modelled
    import networks
    from bed import Bed, Clock, rows_of, stage

    longer = LONGER if simulated else 1.0
    clock = Clock(60 * minutes * longer)
    works = (wave.run, layers.run, networks.run, modelled.run)
    with Bed(clock, simulated) as bed:
        for (name, seconds), work in zip(STAGES_S, works, strict=True):
            stage(bed, name, seconds * longer, work)
            bed.keep("table", {"seconds": clock.spent_s, "rows": rows_of(bed)})
    table(rows_of(bed), simulated)
    wrong = sum(row.note.startswith(("FAILED", "NOT RUN")) for row in bed.rows)
    print(
        f"\n{clock.spent_s:.0f} s; {wrong} failed or not run; {OUT.relative_to(TOP)}/*.json"
        + ("; all of it SIMULATED" if simulated else "")
    )
    return int(wrong > 0)


def main() -> int:
    """On the GPU, or over the stand-ins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stand-in", action="store_true", help="rehearse over stand-ins for NVML, CUDA and CUPTI (simulated)"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    prepared(carried=not args.stand_in)
    print(f"prepared in {time.monotonic() - begin:.0f} s", flush=True)
    # What hangs (a driver, a library) must not eat the minutes: the process ends, with what is in build/gpu.
    signal.alarm(round(60 * args.minutes * (LONGER if args.stand_in else 1.0)) + 30)
    return run(args.stand_in, args.minutes)


if __name__ == "__main__":
    sys.exit(main())
