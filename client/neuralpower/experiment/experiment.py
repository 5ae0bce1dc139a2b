"""Runs a designed experiment on an engine: baselines, rounds of blocks, and what they show between them.

Works on a bench: that of a runtime on a GPU (`device_bench.py`) or the virtual device's. What each stretch of time was goes into the
journal as marks (kinds :data:`BASELINE`, :data:`BLOCK`, :data:`ASIDE`), so that whoever attributes the recording knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..profiler.layer_profiler import LayerProfiler
from .balance import Block, BlockMean, estimate, joules_of
from .design import PROFILED_GAPS, PROFILED_RUN, ExperimentDesign, InferenceOrder
from .shown import BlockReadings, Floats, Ints, Response, Shown, response_of
from .stopping import Progress, Stop

BASELINE, BLOCK, ASIDE = "baseline", "block", "aside"
"""Kinds of marks: power of a known state, inferences of one kind, and stretches in which this process did other things."""
DEVICE_IDLE, CONTEXT_IDLE, GAP = "device idle", "context idle", "gap"
BASELINES = (DEVICE_IDLE, CONTEXT_IDLE, GAP)
IDLE_S = 1.0
DRAIN_S = 10.0
BEFORE_NS = 5_000_000
"""A block's energy is counted from so long before its first inference: no reading is earlier than what it shows by more."""


class Bench(Protocol):
    """An engine that is ready to run, with its profiler."""

    simulated: bool
    profiler: LayerProfiler
    inference_s: float

    def lay(self, course: InferenceOrder) -> None:
        """Say what will run; a virtual device plans it."""
        ...

    def wait(self, pause_ns: int) -> None:
        """The host's waiting before an inference."""
        ...

    def infer(self, profiled: bool) -> tuple[int, int]:
        """Run one inference; returns its anchors."""
        ...

    def rest(self, seconds: float) -> None:
        """The host's waiting behind a round, as between inferences."""
        ...

    def idle(self, seconds: float) -> None:
        """Do nothing, with the engine loaded."""
        ...


class Declares(Protocol):
    """Where an experiment says what was when."""

    @property
    def pending(self) -> int:
        """What the daemon has not acknowledged."""
        ...

    def span(self, kind: str, name: str, begin_ns: int, end_ns: int, **more: Any) -> None:
        """Declare what a stretch of time was."""
        ...

    def poll(self) -> None:
        """Send what waits, and take answers."""
        ...


class Measures(Protocol):
    """What the board draws while an experiment runs; nan where nobody knows."""

    def reach(self, t_ns: int) -> bool:
        """Wait until it is known up to `t_ns`; False where that never comes."""
        ...

    def energy_j(self, begin_ns: int, end_ns: int, shown: Shown | None = None) -> float:
        """Joules between two moments."""
        ...

    def readings(self, begin_ns: int, end_ns: int) -> tuple[Ints, Floats]:
        """Times and watts between two moments."""
        ...

    def mean_w(self, begin_ns: int, end_ns: int) -> float:
        """Mean watts of a steady state."""
        ...


@dataclass
class Outcome:
    """What an experiment showed. Energies and powers are the whole board's, nan where no daemon measured them."""

    name: str
    layers: int
    simulated: bool
    inferences: int = 0
    unprofiled: int = 0
    acknowledged: int = 0
    rounds: int = 0
    seconds: float = 0.0
    reason: str = ""
    anchors: str = "host"
    blocks: list[Block] = field(default_factory=list)
    baselines: dict[str, BlockMean] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def energy(self) -> BlockMean:
        """Joules of a profiled inference back to back: with the most inferences in a block it is known best."""
        return joules_of(self.blocks, PROFILED_RUN)


class Experiment:
    """One engine's experiment.

    Args:
        bench: what runs it.
        design: what to run.
        stop: when to end.
        marks: where to declare what was when.
        power: the board's power; None where no daemon can be asked.
        advance: told (inferences, note) after each round.
        clock_ns: CLOCK_MONOTONIC; virtual time brings its own.
    """

    def __init__(
        self,
        bench: Bench,
        design: ExperimentDesign,
        stop: Stop,
        marks: Declares,
        power: Measures | None = None,
        advance: Callable[[int, str], None] = lambda done, note: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._bench, self._design, self._stop = bench, design, stop
        self._marks, self._power, self._advance = marks, power, advance
        self._clock_ns = clock_ns
        engine = bench.profiler.engine
        self.outcome = Outcome(engine.name, len(engine.layers), bench.simulated, anchors=bench.profiler.anchors)
        self.outcome.notes += design.warnings()
        self.outcome.notes += [f"{region.name}: one group: {region.reason}" for region in bench.profiler.regions]
        self._watts: dict[str, list[float]] = {}
        self._rested_ns = 0
        self._response: Response | None = None

    def run(self) -> Outcome:
        """Rounds until the rule says that it is enough; an interrupted experiment keeps what it has."""
        began_ns = self._clock_ns()
        found = self.outcome
        while not found.reason:
            self._rest()
            left = None if self._stop.most is None else self._stop.most - found.inferences
            self._round(self._design.round(left))
            found.seconds = (self._clock_ns() - began_ns) * 1e-9
            found.reason = self._stop.enough(Progress(found.inferences, found.seconds, found.rounds, found.energy))
            self._advance(found.inferences, f"{found.inferences} inferences, {found.rounds} rounds")
        self._rest()
        self._settle()
        found.baselines.update({name: estimate(watts) for name, watts in self._watts.items()})
        found.acknowledged = self._bench.profiler.counts.acknowledged
        return found

    def baseline(self, name: str, begin_ns: int, end_ns: int, settle_ns: int = 0) -> tuple[int, int]:
        """Declare a stretch in which the board was in a known state, note what it drew once the sensor had settled, and return that part."""
        declare_baseline(self._marks, name, begin_ns, end_ns, self.outcome.name)
        settled = min(begin_ns + settle_ns, end_ns), end_ns
        self._watts.setdefault(name, []).append(self._mean_w(*settled))
        return settled

    def _rest(self) -> None:
        """Context idle."""
        settle_ns = int(self._design.sensor.rest_s / 2 * 1e9)
        begin_ns = self._clock_ns()
        if self._rested_ns:
            self._marks.span(ASIDE, "between rounds", self._rested_ns, begin_ns)
        self._bench.idle(self._design.sensor.rest_s / 2 + IDLE_S)
        end_ns = self._clock_ns()
        if self._power is not None:
            self._power.reach(end_ns)
        self.baseline(CONTEXT_IDLE, begin_ns, end_ns, settle_ns)
        self._marks.span(ASIDE, "between rounds", end_ns, self._clock_ns())

    def _settle(self) -> None:
        """Let the daemon take what is under way, until it has taken nothing for :data:`DRAIN_S`; marks too, where its history answers."""
        profiler, patience_ns = self._bench.profiler, int(DRAIN_S * 1e9)
        before, deadline_ns = self._pending(), self._clock_ns() + patience_ns
        while before and self._clock_ns() < deadline_ns:
            self._bench.idle(0.01)
            profiler.poll()
            self._marks.poll()
            if (left := self._pending()) < before:
                before, deadline_ns = left, self._clock_ns() + patience_ns
        profiler.poll()

    def _pending(self) -> int:
        return self._bench.profiler.pending + (self._marks.pending if self._power else 0)

    def _round(self, course: InferenceOrder) -> None:
        bench = self._bench
        anchors = np.zeros((len(course), 2), np.int64)
        laid_ns = self._clock_ns()
        bench.lay(course)
        for at, (pause_ns, profiled) in enumerate(zip(course.pause_ns.tolist(), course.profiled.tolist(), strict=True)):
            bench.wait(pause_ns)
            anchors[at] = bench.infer(profiled)
        bench.rest(course.rest_ns * 1e-9)
        self._rested_ns = int(anchors[-1, 1]) + course.rest_ns
        began_ns = int(anchors[0, 0]) - course.rest_ns - BEFORE_NS
        if began_ns > laid_ns + BEFORE_NS:  # a virtual device plans ahead, and does nothing until its plan begins
            declare_baseline(self._marks, CONTEXT_IDLE, laid_ns, began_ns, self.outcome.name)
        if self._power is not None:
            self._power.reach(self._clock_ns())
        self.outcome.rounds += 1
        self.outcome.inferences += int(course.profiled.sum())
        self.outcome.unprofiled += int((~course.profiled).sum())
        self._blocks(course, anchors)

    def _blocks(self, course: InferenceOrder, anchors: Ints) -> None:
        """Declare the round's blocks and the rests around them, and weigh them."""
        settle_ns = course.rest_ns // 2
        parts = [anchors[course.block == number] for number in range(len(course.kinds))]
        ends = [int(parts[0][0, 0]) - course.rest_ns, *(int(part[-1, 1]) for part in parts)]
        begins = [*(int(part[0, 0]) - BEFORE_NS for part in parts), self._rested_ns]
        rests = [self.baseline(GAP, end, max(end, begin), settle_ns) for end, begin in zip(ends, begins, strict=True)]
        if self._response is None and self._power is not None:
            gaps = [part for kind, part in zip(course.kinds, parts, strict=True) if kind == PROFILED_GAPS]
            sensor = self._design.sensor
            self._response = response_of([self._seen(part, settle_ns) for part in gaps], sensor.scan_s, sensor.lag_s)
        for number, (kind, part) in enumerate(zip(course.kinds, parts, strict=True)):
            self._marks.span(
                BLOCK, kind, int(part[0, 0]), int(part[-1, 1]), engine=self.outcome.name, inferences=len(part)
            )
            watts = estimate(self._mean_w(*rest) for rest in rests[number : number + 2]).value
            joules = self._joules(part, watts, settle_ns)
            spent_s = float(np.diff(part, axis=1).mean()) * 1e-9
            self.outcome.blocks.append(Block(kind, len(part), spent_s, joules))

    def _seen(self, part: Ints, settle_ns: int) -> BlockReadings:
        assert self._power is not None
        readings = self._power.readings(int(part[0, 0]) - BEFORE_NS, int(part[-1, 1]) + settle_ns)
        return BlockReadings(*readings, part[:, 0], part[:, 1])

    def _joules(self, part: Ints, rest_w: float, settle_ns: int) -> float:
        """Energy of an inference of the block between its anchors: all of it, less what the waiting drew."""
        if self._power is None:
            return math.nan
        begin_ns, end_ns = int(part[0, 0]) - BEFORE_NS, int(part[-1, 1]) + settle_ns
        shown = None if self._response is None else Shown(self._response, part[:, 0], part[:, 1])
        waiting_s = (end_ns - begin_ns - int(np.diff(part, axis=1).sum())) * 1e-9
        return (self._power.energy_j(begin_ns, end_ns, shown) - rest_w * waiting_s) / len(part)

    def _mean_w(self, begin_ns: int, end_ns: int) -> float:
        return math.nan if self._power is None else self._power.mean_w(begin_ns, end_ns)


def declare_baseline(marks: Declares, name: str, begin_ns: int, end_ns: int, engine: str = "") -> None:
    """Put a baseline into the journal; one without length says nothing and is left out."""
    if end_ns > begin_ns:
        marks.span(BASELINE, name, begin_ns, end_ns, **({"engine": engine} if engine else {}))
