"""One question to a recording, in a process of its own: `python -m benchmarks.daemon.asked_recording FOLDER QUESTION BEGIN_NS`.

Prints the seconds that it took, on the clock and of the processor, and the memory that the process has held at most. Modules are
imported before, Arrow where the question needs it; the recording is opened anew. `began` is how many seconds ago the process began.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower import parquet
from neuralpower.cli.analysing.info import recording_facts
from neuralpower.recordings.files import layout
from neuralpower.recordings.recording import Recording
from neuralpower_wire import tick_dtype

NS = 1_000_000_000
HOUR_NS, MINUTE_NS = 3600 * NS, 60 * NS
MINUTES = 60


def facts(folder: Path, begin_ns: int) -> int:
    """All that `neuralpower info` tells; gives the number of ticks."""
    return int(recording_facts(Recording(folder))["streams"][0]["ticks"])


def hour(folder: Path, begin_ns: int) -> int:
    """An hour's energy, to the tick at both ends; gives millijoules."""
    return round(1e3 * Recording(folder).between(begin_ns, begin_ns + HOUR_NS).energy().total_j)


def minute(folder: Path, begin_ns: int) -> int:
    """A minute's ticks, which lie in two segments; gives their number."""
    return len(Recording(folder).between(begin_ns, begin_ns + MINUTE_NS).ticks())


def columns(folder: Path, begin_ns: int) -> int:
    """What others would do: pyarrow reads all columns of as many segments as an hour has; gives the number of ticks."""
    found = layout.segments(folder, "ticks")[:MINUTES]
    tables = [parquet.read_table(segment.path) for segment in found]
    return sum(table.num_rows for table in tables)


def main() -> None:
    """Ask, and print what it took."""
    folder, question, begin = sys.argv[1:4]
    questions: dict[str, Any] = {each.__name__: each for each in (facts, hour, minute, columns)}
    if question != facts.__name__:
        importlib.import_module("neuralpower.recordings.files.segments").ticks_to_table(np.zeros(0, tick_dtype(1)))
        importlib.import_module("pyarrow.parquet")
    wall, cpu = time.perf_counter(), time.process_time()
    answer = questions[question](Path(folder), int(begin))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # getrusage has what the process was before it became this one
    most = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    began = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    print(json.dumps({"wall": wall, "cpu": cpu, "megabytes": most, "began": began, "answer": answer}))


if __name__ == "__main__":
    main()
