"""`make test-gpu`: what can be known of one GPU in six minutes, on a machine without network. docs/measured.md says what each figure is worth.

With `--stand-in` the same plan runs whole over stand-ins for NVML, CUDA and CUPTI, in real time: all of that is simulated, and says so.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
OUT = TOP / "build" / "gpu"
ROOMS = ("client", "align", "wire", "daemon", "sampler_c")
MINUTES = 6.0
LONGER = 10.0
"""Of a rehearsal: a CPU that others use too plays both the GPU and its host. What is done earlier ends earlier."""
STAGES_S = (("1 sensor", 40.0), ("2 repeated layers", 95.0), ("3 networks", 150.0), ("4 models", 45.0))
"""Together 330 s; building and starting take the rest."""
TO_END_S = 25.0
"""Beyond all, before what hangs is left where it is."""


def fits(wheel: str) -> bool:
    """Whether a wheel of this name is for this Python: of its version, of the stable interface of it or an older one, or of any."""
    python, interface, _ = wheel.removesuffix(".whl").split("-")[-3:]
    mine = sys.version_info.minor
    for each in python.split("."):
        if each in ("py3", f"cp3{mine}") or (interface == "abi3" and each[:3] == "cp3" and int(each[3:]) <= mine):
            return True
    return False


def unpacked() -> list[str]:
    """The folder of what the machine lacks: wheels of this Python that were carried in build/gpu/wheels, unpacked; no pip is needed for that."""
    site = OUT / f"site-3.{sys.version_info.minor}"
    for wheel in sorted((OUT / "wheels").glob("*.whl")):
        if fits(wheel.name) and not (site / f".{wheel.name}").exists():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            (site / f".{wheel.name}").touch()
    return [str(site)] if site.exists() else []


def prepared() -> None:
    """Paths of this process and of those that it starts, with what was carried; the sampler, built where it is not."""
    paths = [str(TOP), *(str(TOP / room) for room in ROOMS), *unpacked()]
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


def summed(bed: Bed) -> int:
    """The table, and what it cost; 1 where something failed or was not run."""
    table(rows_of(bed), bed.simulated)
    wrong = sum(row.note.startswith(("FAILED", "NOT RUN")) for row in bed.rows)
    minutes, most = bed.clock.spent_s / 60, bed.clock.whole_s / 60
    print(f"\n{minutes:.1f} of at most {most:.0f} min; {wrong} failed or not run; {OUT.relative_to(TOP)}/*.json")
    if bed.simulated:
        print(
            f"on a GPU at most {most / bed.clock.longer:.0f} min: what needs longer is a row there; all of this is SIMULATED"
        )
    return int(wrong > 0)


def give_up(bed: Bed) -> None:
    """Something hangs that no signal ends (a driver, a library): what was found is told, and all that was started is killed."""
    bed.add(Row("the rest", math.nan, note="FAILED: it hangs, and was left"))
    bed.keep("table", {"seconds": bed.clock.spent_s, "rows": rows_of(bed)})
    summed(bed)
    sys.stdout.flush()
    for child in bed.children:
        child.kill()
    os._exit(1)


def run(clock: Clock, simulated: bool, wanted: str) -> int:
    """All stages, or those whose numbers are `wanted`; 1 where one failed or was not run."""
    import layers
    import modelled
    import networks
    import square_wave

    works = (square_wave.run, layers.run, networks.run, modelled.run)
    bed = Bed(clock, simulated)
    end = threading.Timer(clock.began_s + clock.whole_s + TO_END_S - time.monotonic(), give_up, [bed])
    end.daemon = True
    end.start()
    with bed:
        for (name, seconds), work in zip(STAGES_S, works, strict=True):
            if name[0] not in wanted:
                continue
            stage(bed, name, seconds, work)
            bed.keep("table", {"seconds": clock.spent_s, "rows": rows_of(bed)})
    end.cancel()
    return summed(bed)


def main() -> int:
    """On the GPU, or over the stand-ins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stand-in", action="store_true", help="rehearse over stand-ins for NVML, CUDA and CUPTI (simulated)"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--stages", default="1234", help="numbers of those to run, as 13 (all)")
    args = parser.parse_args()
    print(
        f"{args.minutes:.0f} min of a GPU at most"
        + (f", here {LONGER:.0f} times as long: SIMULATED" if args.stand_in else ""),
        flush=True,
    )
    longer = LONGER if args.stand_in else 1.0
    try:
        return run(Clock(60 * args.minutes * longer, BEGAN_S, longer), args.stand_in, args.stages)
    except RuntimeError as error:  # no daemon, nothing to measure with
        print(f"FAILED: {error}")
        return 1


if __name__ == "__main__":
    BEGAN_S = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    for kept in OUT.glob("*.error"):
        kept.unlink()
    prepared()
    from bed import Bed, Clock, Row, rows_of, stage

    print(f"prepared in {time.monotonic() - BEGAN_S:.0f} s", flush=True)
    sys.exit(main())
