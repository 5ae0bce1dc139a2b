"""The loops that are compared: ours, the bare C loop, the Python loop, cyclictest. Each runs one block and returns the same."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..machine import CPU, HERE, MEMORY, OUT, PERIOD_NS, PRIORITY, ROOT, Missing
from ..statistics import Histogram, quantile


@dataclass(frozen=True)
class Block:
    """What one run of a loop gave."""

    ticks: int
    slots: int
    """Grid points that went by, taken or missed."""
    cpu_ns: int
    elapsed_ns: int
    lateness: Histogram
    policy: str = ""

    def metrics(self) -> dict[str, float]:
        """CPU per tick and lateness, in µs."""
        return {
            "cpu": self.cpu_ns / max(1, self.ticks) / 1e3,
            "p50": quantile(self.lateness, 0.50) / 1e3,
            "p99": quantile(self.lateness, 0.99) / 1e3,
        }


@dataclass(frozen=True)
class Job:
    """How a loop is to run. A period of 0 is unpaced: without sleeping, and without real-time priority."""

    seconds: float
    files: Sequence[str] = ()
    period_ns: int = PERIOD_NS
    spin: bool = False

    @property
    def priority(self) -> int:
        """A real-time loop that never sleeps would be throttled."""
        return PRIORITY if self.period_ns else 0

    def arguments(self) -> list[str]:
        """For the reference loops."""
        return [str(self.period_ns), str(self.seconds), str(self.priority), str(CPU), *self.files]


class Ours:
    """The shipped sampler in a process of its own, started once and idle while others run."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.sampling.worker"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, job: Job) -> Block:
        """Run one block."""
        assert self._process.stdin and self._process.stdout
        order = {**job.__dict__, "files": list(job.files), "priority": job.priority, "cpu": CPU}
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Missing("our loop ended: its reason is above")
        answer = json.loads(line)
        if job.priority and answer["policy"] != f"fifo {PRIORITY}":
            raise Missing(f"no real-time priority: {answer['policy']}; run as root")
        answer.pop("lock_note")
        return Block(**answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(10)


@contextmanager
def ours() -> Iterator[Ours]:
    """Our loop's process for a part."""
    worker = Ours()
    try:
        yield worker
    finally:
        worker.close()


def bare(job: Job) -> Block:
    """The bare C loop: sleeps, reads, stores nothing. Build it first."""
    return _run([str(OUT / "bare_loop"), *job.arguments()])


def python(job: Job) -> Block:
    """A Python loop that opens, reads and closes each file."""
    return _run([sys.executable, "-I", str(HERE / "sampling" / "python_loop.py"), *job.arguments()])


def _run(command: list[str]) -> Block:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{done.stderr.strip()}; run as root")
    return Block(**json.loads(done.stdout))


def cyclictest(program: str, seconds: float, *, shallow: bool) -> Block:
    """cyclictest with our period, priority, processor and locking; `shallow` lets it hold /dev/cpu_dma_latency at 0."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        options = f"-q -m -a {CPU} -t 1 -p {PRIORITY} --policy=fifo -i {PERIOD_NS // 1000} -h 100000 --json={out.name}"
        command = [program, *options.split(), "-D", f"{max(1, round(seconds))}", *([] if shallow else ["--laptop"])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"cyclictest failed: {(done.stderr or done.stdout).strip()}; run as root")
        thread = json.loads(Path(out.name).read_text())["thread"]["0"]
    late = [[int(us) * 1000, (int(us) + 1) * 1000, count] for us, count in thread["histogram"].items()]
    return Block(thread["cycles"], thread["cycles"], 0, round(seconds * 1e9), late)


@contextmanager
def six_files() -> Iterator[list[str]]:
    """Voltage and shunt voltage of three rails, as sysfs would have them, in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as folder:
        paths = [Path(folder) / f"in{number}_input" for number in range(1, 7)]
        for number, path in enumerate(paths):
            path.write_text(f"{5000 + number}\n" if number < 3 else f"{1000 + number}\n")
        yield [str(path) for path in paths]
