"""Runs networks on the virtual device against a running daemon, with the profiler attached."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..documents import read_json
from ..errors import InputError
from ..experiment.experiment import ASIDE, Declares
from ..profiler import LayerProfiler
from ..profiler.marks import Marks
from .device.context import VirtualContext
from .device.device import IDLE_S, LEAD_MS, VirtualDevice
from .device.load import Load
from .device.plan import MEAN_PAUSE_NS
from .device.truth import Truth
from .networks.graph import Json
from .networks.known import build
from .repeats import probes_of
from .sweep import Probe, repeated, sweep

SWEEP, REPEAT = "sweep", "repeat:"
"""Single layers, each repeated: such as fill the space, and those of a network (`repeat:alexnet`)."""
SWEEP_SIZE = (44, 14, 12)
"""Convolutions, pools and fully connected layers of a sweep."""
SWEEP_SECONDS = 0.6
"""For each repeated layer: about 28 inferences of 20 ms, 700 scans at the 140 µs setting."""
AHEAD = 4
"""Engines planned beyond the one that runs: of the short ones of a sweep, more than the device's lead."""
BACKLOG = 512
"""With so many inferences that the daemon has not taken the next one waits: a service would drop, a simulation has time."""
NICE = -10
_DRAIN_S = 10.0
"""How long a restarting daemon is given to take more of what it has not yet acknowledged."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Workload:
    """An engine to run, for so many seconds or, if `runs` is given, so many inferences."""

    name: str
    inspector: Json
    seconds: float
    runs: int | None = None

    def inferences(self, load: Load) -> int:
        """How many inferences that makes, pauses included."""
        period_s = (float(load.duration_ns.sum()) + MEAN_PAUSE_NS) * 1e-9
        return self.runs if self.runs is not None else max(1, math.ceil(self.seconds / period_s))


def run_virtual(
    networks: Sequence[str],
    rundir: str | os.PathLike[str],
    seed: int,
    seconds_each: float = 5.0,
    on_progress: Progress | None = None,
    *,
    runs: int | None = None,
    sweep_size: tuple[int, int, int] = SWEEP_SIZE,
    sweep_seconds: float = SWEEP_SECONDS,
    lead_ms: float = LEAD_MS,
    idle_s: float = IDLE_S,
    truth_path: str | os.PathLike[str] | None = None,
) -> Truth:
    """Run each network in real time, one after another, with the rails idle before each and after the last.

    A host that is held up makes it take longer: what runs later for that, and is no gap of the engine's own, is marked as aside.

    Args:
        networks: names of the zoo, paths of engine JSON files, `sweep` for repeated-layer engines named `sweep/...`,
            `repeat:NETWORK` for those of its layers, named `repeat/...`.
        rundir: the daemon's runtime directory (source sim).
        seed: of the device's physics and all that is random in it.
        seconds_each, runs: how long to run each network, or how often. Without `runs`, one of the sweep runs `sweep_seconds`.
        on_progress: called with (done, total, name) before each engine and once after the last.
        idle_s: how long the rails idle before each engine.
        truth_path: where to store the truth, also when the run ends early.

    Raises:
        InputError: no timeline in `rundir`, an unknown network, an engine that cannot be simulated, a truth that cannot be
            written.
    """
    named = {name: engine_of(name.removeprefix(REPEAT)) for name in networks if name != SWEEP}
    probed = {name: probes_of(named[name], name.removeprefix(REPEAT)) for name in named if name.startswith(REPEAT)}
    total = sum(sum(sweep_size) if name == SWEEP else len(probed.get(name, (name,))) for name in networks)
    if truth_path is not None:
        check_writable(truth_path)
    with preferred(), VirtualDevice(Path(rundir) / "timeline", seed, lead_ms, idle_s=idle_s) as device:
        try:
            with device.kept_ahead(), contextlib.closing(Marks(rundir)) as marks:
                engines = _contexts(
                    device, networks, named, probed, seed, seconds_each, runs, sweep_size, sweep_seconds
                )
                # Engines are planned before their turn, so that between them the rails idle as long as stated, no longer.
                waiting = deque(islice(engines, AHEAD))
                for done in range(total):
                    context = waiting.popleft()
                    waiting.extend(islice(engines, 1))
                    if on_progress:
                        on_progress(done, total, context.load.name)
                    _execute(device, context, rundir)
                    declare_asides(device, marks)
                device.idle(idle_s)
            if on_progress:
                on_progress(total, total, "")
        finally:
            device.close()
            if truth_path is not None:
                device.truth.write(truth_path)
    return device.truth


def declare_asides(device: VirtualDevice, marks: Declares) -> None:
    """Put into the journal where the device was held up between inferences of an engine."""
    for begin_ns, end_ns in device.asides():
        marks.span(ASIDE, "held up", begin_ns, end_ns)
    marks.poll()


@contextlib.contextmanager
def preferred() -> Iterator[None]:
    """Let this thread go before others where that is permitted: a device that is held up takes longer, and may lose readings."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(before, NICE))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def check_writable(path: str | os.PathLike[str]) -> None:
    """InputError now, rather than after minutes of running, where `path` cannot be written."""
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def engine_of(network: str) -> Json:
    """The engine JSON of a name of the zoo or of a file."""
    if not network.endswith(".json") and not Path(network).is_file():
        return build(network)
    document = read_json(Path(network))
    if not isinstance(document, dict) or not isinstance(document.get("Layers"), list):
        raise InputError(f"{network}: not the JSON of a TensorRT engine inspector: it has no list Layers")
    return document


def _contexts(
    device: VirtualDevice,
    networks: Sequence[str],
    named: dict[str, Json],
    probed: dict[str, list[Probe]],
    seed: int,
    seconds_each: float,
    runs: int | None,
    sweep_size: tuple[int, int, int],
    sweep_seconds: float,
) -> Iterator[VirtualContext]:
    """One loaded context after another; each is made when it is asked for, because making many takes longer than the lead."""
    for name in networks:
        if name != SWEEP and name not in probed:
            title = Path(name).stem if name.endswith(".json") else name
            yield _load(device, Workload(title, named[name], seconds_each, runs))
            continue
        kind = REPEAT.rstrip(":") if name in probed else SWEEP
        for probe in probed.get(name) or sweep(seed, *sweep_size):
            engine = repeated(probe, device.hardware, seed)
            device.pump()
            yield _load(device, Workload(f"{kind}/{probe.name}", engine, sweep_seconds, runs))


def _load(device: VirtualDevice, work: Workload) -> VirtualContext:
    load = Load.of(work.name, work.inspector, device.hardware)
    return device.load(load, work.inferences(load))


def _execute(device: VirtualDevice, context: VirtualContext, rundir: str | os.PathLike[str]) -> None:
    """Run all that is planned for `context`, and let the daemon take it."""
    profiler = LayerProfiler(context, address=rundir, clock_ns=context.clock_ns)
    try:
        device.pump()
        while context.remaining:
            with profiler.inference(device.stream):
                context.execute_async_v3(device.stream.handle)
            if profiler.pending >= BACKLOG:
                drain(profiler, device)
        drain(profiler, device)
    finally:
        profiler.close(0)
        device.truth.lost += profiler.counts.offered - profiler.counts.acknowledged


def drain(profiler: LayerProfiler, device: VirtualDevice) -> None:
    """Let the daemon take what is under way, however long, as long as it goes on taking."""
    pending, deadline = profiler.pending, time.monotonic() + _DRAIN_S
    while pending and time.monotonic() < deadline:
        device.idle(0.01)
        profiler.poll()
        if profiler.pending < pending:
            pending, deadline = profiler.pending, time.monotonic() + _DRAIN_S
