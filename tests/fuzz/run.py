"""Every reader of a user's files, on damaged files: it reads them, or refuses them in one line, whatever they hold and are called.

    python tests/fuzz/run.py --minutes 10 [--reader NAME] [--seed N]

Each reader has a process of its own and `--minutes` of time. A case is a sound file of some format, cut, mixed with another, encoded
otherwise, nested, blown up, with numbers that cannot be, under the name of another format. What is found stays in `build/fuzz/`: the
file, and what went wrong. The process may not grow beyond `MEMORY` and no case may take longer than `SECONDS`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.fuzz import recorded
from tests.fuzz.samples import fitted, samples

LARGEST = 4 << 20
"""Bytes of a case. Limits of size have tests of their own."""
MEMORY = 1 << 30
"""Bytes that a process may have grown by at the end: 256 for each of the largest case."""
SECONDS = 30
"""Of the processor's time, for one case; a case that waits instead has ten times as long."""
TOO_LONG = f"one case took longer than {SECONDS} s"
MOST_LINES = 20
"""Of a finding that are shown: the file has all, with the case in it."""
BATCH = 50
"""Cases between two looks at the clock."""

SUFFIXES = (".json", ".onnx", ".csv", ".parquet", ".log", ".txt", ".onnxtxt", ".textproto", ".pbtxt", ".graph.json", "")
NUMBERS = (
    "NaN",
    "Infinity",
    "-1",
    "-0.0",
    "1e999",
    "0",
    "9" * 30,
    "-9223372036854775809",
    '""',
    "null",
    "true",
    "[]",
    "{}",
    "4294967296",
    "5e-324",
    "1" * 5000,
)
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037")


# ---- Cases -------------------------------------------------------------------------------------


def damaged(known: dict[str, bytes], own: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """A content: mostly of the reader's own formats, damaged in up to four ways."""
    mine, all_of_them = st.sampled_from(own), st.sampled_from(sorted(known))
    base = st.one_of(mine, mine, all_of_them).map(known.__getitem__)
    return st.tuples(base, st.lists(st.one_of(*ways(known)), max_size=4)).map(apply)


def apply(case: tuple[bytes, list[Callable[[bytes], bytes]]]) -> bytes:
    content, changes = case
    for change in changes:
        content = change(content)[:LARGEST]
    return content


def ways(known: dict[str, bytes]) -> list[st.SearchStrategy[Callable[[bytes], bytes]]]:
    share = st.floats(0, 1)
    return [
        share.map(lambda end: lambda content: content[: int(end * len(content))]),
        st.tuples(share, st.binary(min_size=1, max_size=8)).map(lambda d: lambda c: put(c, d[0], d[1], len(d[1]))),
        st.tuples(share, st.binary(min_size=1, max_size=64)).map(lambda d: lambda c: put(c, d[0], d[1], 0)),
        st.tuples(share, share).map(lambda d: lambda c: c[: int(min(d) * len(c))] + c[int(max(d) * len(c)) :]),
        st.tuples(share, share, st.integers(2, 3000)).map(lambda d: lambda c: repeated(c, *d)),
        st.tuples(share, st.sampled_from(sorted(known))).map(lambda d: lambda c: c[: int(d[0] * len(c))] + known[d[1]]),
        st.tuples(share, st.sampled_from(NUMBERS)).map(lambda d: lambda c: other_number(c, *d)),
        st.tuples(share, share).map(lambda d: lambda c: swapped_words(c, *d)),
        st.sampled_from(ENCODINGS).map(lambda name: lambda c: encoded(c, name)),
        st.integers(1, 3000).map(lambda deep: lambda c: b"[" * deep + c + b"]" * deep),
        st.integers(1, 300).map(lambda deep: lambda c: b'{"graph":{"node":' * deep + c + b"}}" * deep),
        st.integers(1, 5).map(lambda times: lambda c: quoted(c, times)),
        st.just(lambda c: c.replace(b'"', b"'")),
        st.just(lambda c: c.replace(b"\n", b"\r\n")),
        st.just(lambda c: c.replace(b",", b";")),
        st.just(lambda c: c.replace(b"a", b"\\ud800").replace(b"e", b"\x1e")),
        st.just(lambda c: c + b"\0" * 64),
        st.just(recorded.sealed),
        st.tuples(share, st.binary(min_size=1, max_size=8)).map(lambda d: lambda c: recorded.redrawn(c, *d)),
    ]  # fmt: skip


def put(content: bytes, share: float, what: bytes, over: int) -> bytes:
    at = int(share * len(content))
    return content[:at] + what + content[at + over :]


def repeated(content: bytes, begin: float, end: float, times: int) -> bytes:
    low, high = (int(each * len(content)) for each in sorted((begin, end)))
    part = content[low:high]
    return content[:low] + part * min(times, LARGEST // max(len(part), 1)) + content[high:]


def other_number(content: bytes, share: float, number: str) -> bytes:
    """The first number behind a place, replaced."""
    at = int(share * len(content))
    while at < len(content) and not content[at : at + 1].isdigit():
        at += 1
    end = at
    while end < len(content) and content[end : end + 1] in b"0123456789.":
        end += 1
    return content[:at] + number.encode() + content[end:]


def swapped_words(content: bytes, first: float, second: float) -> bytes:
    words = content.split(b" ")
    a, b = (min(int(each * len(words)), len(words) - 1) for each in (first, second))
    words[a], words[b] = words[b], words[a]
    return b" ".join(words)


def encoded(content: bytes, name: str) -> bytes:
    return content.decode("utf-8", errors="replace").encode(name, errors="replace")


def quoted(content: bytes, times: int) -> bytes:
    text = content.decode("utf-8", errors="replace")
    for _ in range(times):
        text = json.dumps(text)[:LARGEST]
    return text.encode()


# ---- Readers -----------------------------------------------------------------------------------


def written(imported: Any, folder: Path) -> None:
    """What was imported is written and read again: names of any kind must be fit for a file."""
    from neuralpower.dataset import read_dataset, write_dataset

    write_dataset(imported.dataset.table, folder / "out.parquet", imported.dataset.provenance)
    assert len(read_dataset(folder / "out.parquet")) == len(imported.dataset)
    json.dumps([imported.read, imported.skipped])


def network(path: Path, folder: Path) -> None:
    from neuralpower.cli.modelling.features import document
    from neuralpower.features.network import load_network

    json.dumps(document(load_network(path, 4 if path.stat().st_size % 2 else 1)))


def dataset(path: Path, folder: Path) -> None:
    from neuralpower.dataset import read_dataset

    read = read_dataset(path)
    assert read.implausible is not None and read.withheld is not None


def model(path: Path, folder: Path) -> None:
    from neuralpower.models import store

    store.load(path)


def accuracies(path: Path, folder: Path) -> None:
    from neuralpower.cli.modelling.rank import read_errors

    read_errors(path)


def recording(path: Path, folder: Path) -> None:
    """All that `info` tells and `export` writes, and what attribution reads, whole or past what is damaged."""
    from neuralpower.attribution.sources import rails_of
    from neuralpower.cli.analysing.info import recording_facts
    from neuralpower.recordings.exports.exporting import write_csv
    from neuralpower.recordings.exports.perfetto import write_perfetto
    from neuralpower.recordings.recording import Recording

    past_damage = bool(sum(each.stat().st_size for each in path.rglob("*") if each.is_file()) % 2)
    read = Recording(path / "rec" if (path / "rec").is_dir() else path, past_damage)
    json.dumps(recording_facts(read))
    write_csv(read, folder / "tables")
    write_perfetto(read, folder / "trace")
    for stream in read.streams:
        read.arrow_ticks(stream), read.total_power_w(stream)
    rails_of(read, None, [])


def imports(name: str) -> Callable[[Path, Path], None]:
    def read(path: Path, folder: Path) -> None:
        import importlib

        written(importlib.import_module(f"neuralpower.importers.{name}").read(path), folder)

    return read


ENGINE = ("engine-trt10", "engine-trt8", "engine-trt11", "engine-myelin")
READERS: dict[str, tuple[Callable[[Path, Path], None], tuple[str, ...]]] = {
    "network": (network, (*ENGINE, "onnx", "onnx-text", "onnx-json", "onnx-syntax", "onnx-outside")),
    "table": (imports("table"), ("table", "parquet", "dataset")),
    "networks": (imports("networks"), ("networks",)),
    "edgeprofiler": (imports("edgeprofiler"), ("latency", "desktop", "log", "tegrastats", "mapping", "idle", *ENGINE)),
    "trtexec": (imports("trtexec"), ("profile", *ENGINE)),
    "tegrastats": (imports("tegrastats"), ("tegrastats", "tegrastats-nano", "log")),
    "neurstrucenergy": (imports("neurstrucenergy"), ("neurstrucenergy",)),
    "measured": (imports("measured"), ("measured",)),
    "dataset": (dataset, ("dataset", "parquet")),
    "model": (model, ("model",)),
    "accuracies": (accuracies, ("accuracies", "table")),
    "recording": (recording, tuple(kind for _, kind in recorded.PLACES)),
}
PLACES = {
    "edgeprofiler": (
        ("net/trt_profiling/trt_layer_latency.json", "latency"),
        ("net/trt_profiling/trt_engine_info.json", "engine-trt10"),
        ("net/net_power_log.log", "log"),
        ("idling_power.json", "idle"),
        ("table/power_runtime_mapping_layerwise.csv", "mapping"),
        ("table/trt_engine_info.json", "engine-trt8"),
        ("desktop/trt_profiling/trt_layer_latency.json", "desktop"),
        ("desktop/trt_profiling/trt_engine_info.json", "engine-trt10"),
    ),
    "trtexec": (("a/net.graph.json", "engine-trt10"), ("a/net.profile.json", "profile"), ("b/net.graph.json", "engine-trt8"), ("b/net.profile.json", "profile")),
    "recording": recorded.PLACES,
}  # fmt: skip
"""Readers of folders: their files and what they hold, of which one or two are damaged."""


def laid(folder: Path, name: str, known: dict[str, bytes], contents: list[tuple[int, bytes]], suffix: str) -> Path:
    """The case on the disk, and the path to name."""
    if name not in PLACES:
        path = folder / f"net{suffix}"
        path.write_bytes(contents[0][1])
        return path
    places = PLACES[name]
    changed = {at % len(places): content for at, content in contents}
    for at, (place, kind) in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(changed.get(at, known[kind]))
    # One network alone is refused where it is broken; of several it is left out.
    alone = folder / places[next(iter(changed))][0].partition("/")[0]
    return alone if len(contents) == 1 and alone.is_dir() else folder


# ---- Running -----------------------------------------------------------------------------------


def fuzz(name: str, minutes: float, start: int, folder: Path) -> int:
    """Run one reader for so long; the number of findings, 0 or 1."""
    from neuralpower.errors import Failure, InputError

    read, own = READERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    known, case = samples(folder), folder / "case"
    if "model" in own:
        known["model"] = fitted(folder)
    if name == "recording":
        known |= recorded.recording(folder)
    ends = Counter[str]()
    strategy = st.tuples(
        st.lists(st.tuples(st.integers(0, 7), damaged(known, own)), min_size=1, max_size=2), st.sampled_from(SUFFIXES)
    )

    def one(drawn: tuple[list[tuple[int, bytes]], str]) -> None:
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        path = laid(case, name, known, *drawn)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(10 * SECONDS)
        late.clear()
        try:
            read(path, folder)
            ends["read"] += 1
        except (InputError, Failure) as error:
            assert str(error).strip() and "\n" not in str(error), f"not one line: {error!r}"
            ends["refused"] += 1
        finally:
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        assert not late, TOO_LONG  # what was raised in a callback of the interpreter's is lost

    def too_long(number: int, frame: Any) -> None:
        late.append(number)
        raise TimeoutError(TOO_LONG)

    late: list[int] = []
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, too_long)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end = time.monotonic() + 60 * minutes
    number = start
    profile = settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    while time.monotonic() < end:
        try:
            seed(number)(profile(given(strategy)(one)))()
        except BaseException:
            shutil.copytree(case, folder / "found", dirs_exist_ok=True)
            (folder / "found.txt").write_text(f"reader {name}, seed {number}\n{traceback.format_exc()}")
            told = "\n".join(line[:200] for line in traceback.format_exc(limit=-4).splitlines()[:MOST_LINES])
            print(f"{name}: FOUND with seed {number}: {folder / 'found.txt'}\n{told}", flush=True)
            return 1
        number += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    print(f"{name}: {ends['read']} read, {ends['refused']} refused, memory +{grown >> 20} MiB", flush=True)
    if grown > MEMORY:
        print(f"{name}: FOUND: grown by more than {MEMORY >> 20} MiB", flush=True)
    return int(grown > MEMORY)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for each reader (10)")
    parser.add_argument("--reader", choices=READERS, help="only this one, in this process")
    parser.add_argument("--seed", type=int, default=None, help="of the first batch (drawn from the clock)")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    args = parser.parse_args()
    start = int(time.time()) if args.seed is None else args.seed
    if args.reader:
        faulthandler.enable()
        return fuzz(args.reader, args.minutes, start, args.folder / args.reader)
    failed = []
    for name in READERS:
        shutil.rmtree(args.folder / name, ignore_errors=True)
        words = ["--minutes", str(args.minutes), "--reader", name, "--seed", str(start), "--folder", str(args.folder)]
        status = subprocess.run([sys.executable, "-m", "tests.fuzz.run", *words]).returncode
        if status:
            failed.append(name)
        if status < 0:
            print(f"{name}: FOUND: ended by signal {-status}; the case is {args.folder / name / 'case'}", flush=True)
    print(f"fuzz: {len(READERS) - len(failed)} of {len(READERS)} readers without a finding, seed {start}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
