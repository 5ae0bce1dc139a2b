"""Fuzz guided by coverage: what reads bytes from others in C (under ASan and UBSan, by libFuzzer), and the wire's codec (by atheris).

In C that is the sampler's sysfs text, I2C answers, files of rings and of power timelines, and the example client.

    python -m tests.fuzz.guided.run --minutes 10 [--harness NAME] [--seed N]

Needs Debian's clang, llvm and libclang-rt-dev; atheris comes from PyPI into a virtual environment under build/. Each harness runs for
`--minutes`, with the cases that it has found before. Prints how many cases ran, and how much of the lines that are meant they reach. A
case that was found stays in `build/fuzz-guided/NAME`. Exit status 1 where one was found, or where something cannot run here: then the
last line begins with "not run:".
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[2]
OUT = TOP / "build" / "fuzz-guided"
VENV = OUT / "venv"
ROOM, EXAMPLE = TOP / "sampler_c", TOP / "examples" / "subscriber"
CODEC = "codec"
MEANT = {
    "sysfs_text": ("sysfs_file.c", "source_hwmon.c", "source_iio.c"),
    "i2c_answers": ("i2c_reader.c", "scan_track.c"),
    "ring_attach": ("ring.c", "ring_file.c", "ring_read.c"),
    "timeline_attach": ("timeline.c",),
    "subscriber": ("msgpack.c", "wire.c", "zmtp.c", "subscriber.c"),
}
"""Harness -> the files that it is for, of the sampler or of the example client."""
PACKAGES = "clang llvm libclang-rt-dev"
PYTHON_PACKAGES = ("atheris==3.0.0", "numpy>=1.22", "msgpack>=1.0", "coverage>=7.10")
CFLAGS = ["-std=c11", "-g", "-pthread", f"-I{ROOM}/include", f"-I{ROOM}/src", f"-I{TOP}/tests/c", f"-I{EXAMPLE}"]
SANITIZED = ["-O1", "-fsanitize=fuzzer,address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
COUNTED = ["-O0", "-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"]
MEMORY_MIB, CASE_S, LONGEST = 1024, 10, 8192
"""Of the process with its sanitizers, of one case, and bytes of a case."""
INSTALL_S = 300.0


class NotRun(Exception):
    """This machine lacks something; the text says what to install."""


class Told(NamedTuple):
    """What a harness came to."""

    cases: int
    lines: str
    found: str


def tools() -> None:
    """NotRun where there is no compiler that fuzzes."""
    if not all(shutil.which(name) for name in ("clang", "llvm-cov", "llvm-profdata")):
        raise NotRun(f"missing: apt install {PACKAGES}")
    probe = OUT / "probe.c"
    probe.write_text("int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }\n")
    done = subprocess.run(["clang", *SANITIZED, probe, "-o", OUT / "probe"], capture_output=True, text=True)
    if done.returncode:
        raise NotRun(f"clang cannot make a fuzzer: apt install {PACKAGES}")


def built(name: str, flags: list[str], suffix: str = "-fuzzer") -> Path:
    """The harness, with the whole sampler, or with what of the example client it does not take in itself."""
    target = OUT / f"{name}{suffix}"
    room = [EXAMPLE / "msgpack.c", EXAMPLE / "wire.c"] if name == "subscriber" else sorted((ROOM / "src").glob("*.c"))
    sources = [HERE / f"{name}.c", *room]
    subprocess.run(["clang", *CFLAGS, *flags, "-o", target, *sources, "-lm", "-ldl"], check=True)
    return target


def path_of(source: str) -> Path:
    """Of a file that a harness is for."""
    return next(path for path in (ROOM / "src" / source, EXAMPLE / source) if path.exists())


def corpus_of(name: str) -> Path:
    """Where its cases are kept."""
    corpus = OUT / f"{name}.cases"
    corpus.mkdir(exist_ok=True)
    return corpus


def fuzzed(name: str, command: list[str | Path], environment: dict[str, str], seconds: float, seed: int) -> Told:
    """Run it; `lines` is empty still."""
    place = OUT / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        f"-max_len={LONGEST}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={CASE_S}",
        f"-artifact_prefix={place}/",
        "-print_final_stats=1",
    ]
    with (OUT / f"{name}.log").open("wb") as log:
        status = subprocess.run(
            [*command, corpus_of(name), *options], stdout=log, stderr=log, env=environment
        ).returncode
    text = (OUT / f"{name}.log").read_text(errors="replace")
    cases = re.search(r"number_of_executed_units: (\d+)", text)
    found = ""
    if status or not cases:
        said = re.search(r"(broken: .*|.*runtime error: .*|.*ERROR: .*|.*Error: .*)", text)
        found = said[0].strip() if said else f"ended with {status}"
    return Told(int(cases[1]) if cases else 0, "", found)


def c_harness(name: str, seconds: float, seed: int) -> Told:
    """One of those in C."""
    if name == "subscriber":
        environment = {**os.environ, "PYTHONPATH": str(TOP / "wire")}
        subprocess.run([sys.executable, HERE / "codec.py", "--messages", corpus_of(name)], env=environment, check=True)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    told = fuzzed(name, [built(name, SANITIZED)], environment, seconds, seed)
    if told.found:
        return told
    counted, raw, merged = built(name, COUNTED, "-counted"), OUT / f"{name}.profraw", OUT / f"{name}.profdata"
    environment = {**os.environ, "LLVM_PROFILE_FILE": str(raw)}
    subprocess.run([counted, corpus_of(name), "-runs=0"], env=environment, capture_output=True, check=True)
    subprocess.run(["llvm-profdata", "merge", "-o", merged, raw], check=True)
    meant = [path_of(each) for each in MEANT[name]]
    export = ["llvm-cov", "export", "-summary-only", f"-instr-profile={merged}", counted, *meant]
    files = json.loads(subprocess.run(export, capture_output=True, text=True, check=True).stdout)["data"][0]["files"]
    lines = [
        f"{Path(each['filename']).name} {each['summary']['lines']['covered']}/{each['summary']['lines']['count']}"
        for each in files
    ]
    return told._replace(lines=", ".join(lines))


def codec(seconds: float, seed: int) -> Told:
    """The wire's. NotRun where atheris cannot be had."""
    python = VENV / "bin" / "python"
    if not (VENV / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON_PACKAGES]
        try:
            done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            raise NotRun(f"{PYTHON_PACKAGES[0]} cannot be had: no answer for {INSTALL_S:.0f} s") from None
        if done.returncode:
            raise NotRun(
                f"{PYTHON_PACKAGES[0]} cannot be had: {(done.stderr.strip().splitlines() or [''])[-1].strip()}"
            )
        (VENV / "complete").touch()
    environment = {**os.environ, "PYTHONPATH": str(TOP / "wire")}
    harness = HERE / "codec.py"
    subprocess.run([python, harness, "--seeds", corpus_of(CODEC)], env=environment, capture_output=True, check=True)
    told = fuzzed(CODEC, [python, harness], environment, seconds, seed)
    if told.found:
        return told
    data = f"--data-file={OUT / 'codec.coverage'}"
    counted = [
        python,
        "-m",
        "coverage",
        "run",
        data,
        "--source=neuralpower_wire",
        harness,
        "--replay",
        corpus_of(CODEC),
    ]
    subprocess.run(counted, env={**environment, "COVERAGE_CORE": "ctrace"}, capture_output=True, check=True)
    report = [python, "-m", "coverage", "report", data, "--format=total"]
    share = subprocess.run(report, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    return told._replace(lines=f"{share} % of the wire's lines")


def main() -> int:
    """All harnesses, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for each harness (10)")
    parser.add_argument("--harness", choices=[CODEC, *MEANT], help="only this one")
    parser.add_argument("--seed", type=int, default=None, help="drawn from the clock")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    seed = (int(time.time()) if args.seed is None else args.seed) % 2**31
    failed, lacking = 0, ""
    for name in [args.harness] if args.harness else [CODEC, *MEANT]:
        try:
            if name != CODEC:
                tools()
            told = codec(60 * args.minutes, seed) if name == CODEC else c_harness(name, 60 * args.minutes, seed)
        except NotRun as reason:
            lacking = str(reason)
            print(f"{name}: not run here", flush=True)
            continue
        if told.found:
            failed += 1
            print(f"{name}: FOUND after {told.cases} cases: {told.found}; the case is in {OUT / name}", flush=True)
        else:
            print(f"{name}: {told.cases} cases in {args.minutes:g} min, nothing found; lines: {told.lines}", flush=True)
    if lacking and not failed:
        print(f"not run: {lacking}")
    return int(bool(failed or lacking))


if __name__ == "__main__":
    sys.exit(main())
