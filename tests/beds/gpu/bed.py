"""What every stage stands on: the daemon, its ring, the device, the time that is left, and rows of the table."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neuralpower.runtimes.options import Options
from neuralpower_sampler import RingReader
from neuralpower_wire import Epoch, ReadingState, Ticks
from neuralpower_wire.batch import unpack
from neuralpower_wire.power import stamps_ns

Found = TypeVar("Found")
TOP = Path(__file__).resolve().parents[3]
OUT = TOP / "build" / "gpu"
WARM_PIECES = 50
"""Matrix products whose time is taken before any wave, and so many before them: the very first loads a library, chooses kernels and
wakes the clocks, which takes as long as hundreds."""
GRACE_S = 10.0
"""What a stage has beyond its limit to end by itself, before it is ended."""
BEHIND_S = 2.5
"""How far the ring's readings may lie behind the tick that carries them: its whole depth."""


@dataclass
class Row:
    """A line of the table: what was measured, in which unit, what it is held against, and a word on it."""

    what: str
    value: float
    unit: str = ""
    beside: float | None = None
    note: str = ""


class Late(BaseException):
    """The time for a stage is over. What takes any `Exception` as a finding of its own lets this one pass."""


@dataclass
class Clock:
    """What is left of `whole_s`; each stage has a limit of its own, and the last keeps what the others leave.

    `longer` is how many times as long as on a GPU it may take: 1 there, more in a rehearsal.
    """

    whole_s: float
    began_s: float = field(default_factory=time.monotonic)
    longer: float = 1.0
    until_s: float = 0.0

    def begin(self, seconds: float) -> None:
        """A stage of at most so many seconds."""
        self.until_s = min(time.monotonic() + seconds, self.began_s + self.whole_s)

    @property
    def left_s(self) -> float:
        """Of the stage."""
        return self.until_s - time.monotonic()

    @property
    def spent_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began_s


class Device:
    """The GPU, or what stands for it (`work` is then the file that the stand-in for NVML reads)."""

    def __init__(self, work: Path | None) -> None:
        self.simulated = work is not None
        self._gpu: Any = None
        self._native: Any = None
        self._square: Any = None
        self._piece_s = 0.0
        if work is not None:
            from tests.worlds.gpu.gpu_stand_in import WorkingGpu, cuda_of

            self._gpu = WorkingGpu(work)
            self._native = cuda_of(self._gpu)

    def runtime(self, timing: str | None = None) -> Any:
        """PyTorch's."""
        from neuralpower.runtimes.torch.runtime import TorchRuntime

        return TorchRuntime(timing=timing, native=self._native, cupti=self._gpu.cupti if self._gpu else None)

    @property
    def options(self) -> Options:
        """Half precision; in a rehearsal single, which a CPU computes faster."""
        return Options("fp32" if self.simulated else "fp16")

    def quickly(self) -> AbstractContextManager[Any]:
        """In a rehearsal, around what PyTorch would really compute beside its stream: only the sizes of the answers are made."""
        return self._native.stream(None) if self._native is not None else nullcontext()

    def busy(self, seconds: float) -> tuple[int, int]:
        """Work for about so long without a pause; when that began and ended, ns of CLOCK_MONOTONIC, by events on the GPU from the launch on."""
        native = self._cuda()
        if self._piece_s == 0.0:
            self._worked(native, WARM_PIECES)
            self._piece_s = self._worked(native, WARM_PIECES)[1] / WARM_PIECES
        begin_ns, took_s = self._worked(native, max(1, round(seconds / self._piece_s)))
        return begin_ns, begin_ns + round(took_s * 1e9)

    def _worked(self, native: Any, pieces: int) -> tuple[int, float]:
        """So many matrix products in a row: when they were launched, and what they took."""
        first, last = (native.Event(enable_timing=True) for _ in range(2))
        begin_ns = time.monotonic_ns()
        first.record(native.current_stream())
        for _ in range(pieces):
            self._piece()
        last.record(native.current_stream())
        native.current_stream().synchronize()
        return begin_ns, first.elapsed_time(last) * 1e-3

    def _cuda(self) -> Any:
        if self._native is not None:
            return self._native
        import torch

        return torch.cuda

    def _piece(self) -> None:
        """One product of matrices, below a millisecond on any GPU that is worth the name."""
        if self._gpu is not None:
            self._gpu.launch("busy", 1e6)
            return
        import torch

        if self._square is None:
            self._square = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
        _ = self._square @ self._square


class Bed:
    """A daemon with source nvml, its ring, and the device. A context in which they run."""

    def __init__(self, clock: Clock, simulated: bool) -> None:
        self.clock, self.simulated = clock, simulated
        self.rows: list[Row] = []
        self.children: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Bed:
        self.folder = Path(tempfile.mkdtemp(prefix="np-gpu-"))  # a socket's path must be short
        lines = ['source = "nvml"', f'runtime_dir = "{self.folder}"', "history_seconds = 900"]
        environment = {**os.environ}
        work = None
        if self.simulated:
            from tests.worlds.gpu import gpu_stand_in, nvml_stand_in

            work = self.folder / "work"
            work.touch()
            lines += ["[nvml]", f'library = "{nvml_stand_in.build(self.folder)}"']
            environment |= {**gpu_stand_in.ENVIRONMENT, gpu_stand_in.WORK: str(work)}
        (self.folder / "daemon.toml").write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(self.folder / "daemon.toml")]
        self._log = (OUT / "daemon.log").open("w")
        self._daemon = self.child(command, stderr=self._log, env=environment)
        self.ring = self._opened()
        self.device = Device(work)
        return self

    def child(self, command: list[str], **how: Any) -> subprocess.Popen[Any]:
        """A process that is killed where the bed must end at once."""
        made = subprocess.Popen(command, **how)
        self.children.append(made)
        return made

    def _opened(self) -> RingReader:
        path = self.folder / "ticks.ring"
        until = time.monotonic() + 30
        while time.monotonic() < until and self._daemon.poll() is None:
            if path.exists() and (self.folder / "history.ipc").exists():
                reader = RingReader(path)
                if reader.next_index > 0:
                    return reader
                reader.close()
            time.sleep(0.05)
        self._closed()
        raise RuntimeError(f"the daemon takes no ticks: {(OUT / 'daemon.log').read_text().strip()[-400:]}")

    def __exit__(self, *raised: object) -> None:
        self.ring.close()
        self._closed()

    def _closed(self) -> None:
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
        for child in self.children:  # none is left behind by a part that failed
            if child.poll() is None:
                child.kill()
                child.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def epoch(self) -> Epoch:
        """Of the newest ticks."""
        return Epoch.from_dict(unpack(self.ring.epochs()[-1][2]))

    def ticks(self, begin_ns: int, end_ns: int) -> Ticks:
        """Those that may carry readings of this time, once they are there."""
        until = time.monotonic() + BEHIND_S + 2
        while int(self._newest()["t_ns"][0]) < end_ns + round(BEHIND_S * 1e9) and time.monotonic() < until:
            time.sleep(0.05)
        period_ns = self.epoch.period_ns
        back = (time.monotonic_ns() - begin_ns) // period_ns + 200
        first = max(self.ring.oldest, self.ring.next_index - int(back))
        return self.ring.read(first, self.ring.next_index - first).ticks

    def _newest(self) -> Ticks:
        return self.ring.read(self.ring.next_index - 1, 1).ticks

    def channels(self) -> dict[str, int]:
        """The power readings of GPU 0 by the name of their kind, and `energy`: the place in a tick."""
        return {
            each.chip.removeprefix("gpu0 "): at
            for at, each in enumerate(self.epoch.channels)
            if each.chip.startswith("gpu0 ")
        }

    def readings(self, ticks: Ticks, place: int) -> tuple[np.ndarray, np.ndarray]:
        """(stamps ns, W) of the fresh ones; where there are no stamps, the tick's time."""
        state = ticks["readings"]["state"][:, place]
        stamps = stamps_ns(ticks, place)
        when = np.where(stamps >= 0, stamps, ticks["t_ns"].astype(np.int64))
        fresh = state == ReadingState.FRESH
        return when[fresh], ticks["readings"]["value"][:, place][fresh] * 1e-6

    @property
    def best(self) -> str:
        """The reading that resolves most."""
        found = self.channels()
        return next(kind for kind in ("samples", "instant", "average") if kind in found)

    def mean_w(self, ticks: Ticks, begin_ns: int, end_ns: int) -> tuple[float, int]:
        """Mean of the best reading in a time, and of how many; nan of none."""
        when, watts = self.readings(ticks, self.channels()[self.best])
        inside = (when >= begin_ns) & (when <= end_ns)
        return (float(watts[inside].mean()) if inside.any() else float("nan")), int(inside.sum())

    def add(self, *rows: Row) -> None:
        """Rows of the table."""
        self.rows += rows

    def keep(self, name: str, document: dict[str, Any]) -> Path:
        """Write build/gpu/NAME.json."""
        path = OUT / f"{name}.json"
        path.write_text(json.dumps({"simulated": self.simulated, **document}, indent=1) + "\n")
        return path

    def started(self, *words: str) -> subprocess.Popen[str]:
        """`neuralpower` with these words, to be :meth:`told`."""
        command = [sys.executable, "-m", "neuralpower.cli", *words]
        return self.child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=OUT)

    def told(self, made: subprocess.Popen[str], seconds: float) -> str:
        """What it prints; RuntimeError with its last line where it fails or takes longer."""
        name = f"neuralpower {made.args[3]}"  # type: ignore[index]  # the list above
        try:
            said, wrong = made.communicate(timeout=max(5.0, seconds))
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{name}: not done in time, with {max(0.0, seconds):.0f} s of it left") from None
        finally:
            made.kill()
        if made.returncode:
            last = (wrong.strip().splitlines() or ["nothing said"])[-1]
            raise RuntimeError(f"{name}: status {made.returncode}: {last}")
        return said

    def command(self, *words: str) -> str:
        """Both, within what is left of the stage."""
        return self.told(self.started(*words), self.clock.left_s)

    def attempt(self, name: str, work: Callable[..., Found], *given: Any) -> Found | None:
        """A part of a stage: what goes wrong in it is a row and a file NAME.error, and the others go on."""
        try:
            return work(*given)
        except Exception as error:
            self.failed(name, error)
            return None

    def failed(self, name: str, error: BaseException) -> None:
        """Write that down."""
        (OUT / f"{name.replace('/', ' ')}.error").write_text("".join(traceback.format_exception(error)))
        said = str(error).splitlines() or [""]
        self.add(Row(name, math.nan, note=f"FAILED: {type(error).__name__}: {said[0][:160]}"))


def stage(bed: Bed, name: str, seconds: float, work: Callable[[Bed], None]) -> None:
    """One stage: what goes wrong in it is a row, and the next goes on, also where it comes to no end."""
    bed.clock.begin(seconds * bed.clock.longer)
    begin, limit_s = time.monotonic(), bed.clock.left_s
    if limit_s <= 0:
        bed.add(Row(name, math.nan, note="NOT RUN: no time was left"))
        return
    print(f"-- {name}: {limit_s:.0f} s at most", flush=True)

    def late(number: int, frame: object) -> None:
        raise Late(f"no end after {time.monotonic() - begin:.0f} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
    try:
        work(bed)
    except (Exception, Late) as error:
        bed.failed(name, error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took_s = time.monotonic() - begin
    bed.add(Row(f"{name}: took", took_s, "s", limit_s, "beside: at most"))
    print(f"   {took_s:.0f} s", flush=True)


def rows_of(bed: Bed) -> list[dict[str, Any]]:
    """The table as plain values."""
    return [asdict(row) for row in bed.rows]
