"""What really happened on the virtual device: for judging estimates, never for making them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralpower_wire.files import replace_file

from .load import Floats, Load
from .plan import PLAIN, Chunk, Rest


@dataclass
class Totals:
    """Seconds (rows,) and joules (rows, rails) of so many runs."""

    runs: int = 0
    total_s: list[float] = field(default_factory=list)
    total_j: list[list[float]] = field(default_factory=list)

    def add(self, runs: int, seconds: Floats, joules: Floats) -> None:
        """Count more of them."""
        if self.runs:
            seconds, joules = seconds + np.array(self.total_s), joules + np.array(self.total_j)
        self.runs, self.total_s, self.total_j = self.runs + runs, seconds.tolist(), joules.tolist()


@dataclass
class EngineTruth:
    """One engine's executions, summed.

    A repeated-layer engine (`repeats` > 1) has one row for all its equal layers. Energies include idle power.
    `total_*` are of all planned inferences; begin_ns, end_ns and inference_j list each of them, from the first kernel's
    start to the last one's end; inference_j is {rail: [joules]}. `unprofiled` are the positions among them of those that ran
    without the profiler. `apart`: what of the runs and totals there was in inferences that were cold, while a governor held the clock
    down, and without the profiler: "cold", "stepped", "plain", "plain cold", "plain stepped".
    """

    name: str
    layers: list[str]
    rails: list[str]
    repeats: int = 1
    runs: int = 0
    total_s: list[float] = field(default_factory=list)
    total_j: list[list[float]] = field(default_factory=list)
    begin_ns: list[int] = field(default_factory=list)
    end_ns: list[int] = field(default_factory=list)
    inference_j: dict[str, list[float]] = field(default_factory=dict)
    unprofiled: list[int] = field(default_factory=list)
    apart: dict[str, Totals] = field(default_factory=dict)

    @property
    def runtime_s(self) -> Floats:
        """Mean duration of one execution of each row's layer."""
        return np.array(self.total_s) / max(1, self.runs * self.repeats)

    @property
    def energy_j(self) -> Floats:
        """(rows, rails): mean energy of one execution of each row's layer."""
        return np.array(self.total_j) / max(1, self.runs * self.repeats)

    @property
    def power_w(self) -> Floats:
        """(rows, rails): energy over time, nan where a layer takes none."""
        total_s = np.array(self.total_s)[:, None]
        power_w: Floats = np.array(self.total_j) / np.where(total_s > 0, total_s, np.nan)
        return power_w

    def _rows(self, load: Load, seconds: Floats, joules: Floats) -> tuple[Floats, Floats]:
        """Sums of the layers that take time as sums of the truth's rows."""
        every_s, every_j = np.zeros(len(load.layers)), np.zeros((len(load.layers), len(self.rails)))
        every_s[load.active], every_j[load.active] = seconds, joules
        if self.repeats > 1:
            return every_s.sum(keepdims=True), every_j.sum(axis=0, keepdims=True)
        return every_s, every_j

    def add(self, load: Load, chunk: Chunk, profiled: npt.NDArray[np.bool_] | None = None) -> None:
        """Count the inferences of `chunk`; `profiled` (n,) where some were not."""
        rows = len(self.layers)
        seconds, joules = self._rows(load, chunk.duration_s, chunk.energy_j)
        if not self.runs:
            self.total_s, self.total_j = [0.0] * rows, [[0.0] * len(self.rails)] * rows
        self.total_s = (np.array(self.total_s) + seconds).tolist()
        self.total_j = (np.array(self.total_j) + joules).tolist()
        plain = 0 if profiled is None else int(np.count_nonzero(~profiled))
        beside = self._rows(load, chunk.plain_s, chunk.plain_j)
        if plain:
            self.apart.setdefault(f"{PLAIN} {chunk.apart}".strip(), Totals()).add(plain, *beside)
        if chunk.apart and plain < len(chunk.begin_ns):
            rest = len(chunk.begin_ns) - plain
            self.apart.setdefault(chunk.apart, Totals()).add(rest, seconds - beside[0], joules - beside[1])
        if profiled is not None:
            self.unprofiled += (self.runs + np.flatnonzero(~profiled)).tolist()
        self.runs += len(chunk.begin_ns)
        self.begin_ns += chunk.begin_ns.tolist()
        self.end_ns += chunk.end_ns.tolist()
        for column, rail in enumerate(self.rails):
            self.inference_j.setdefault(rail, []).extend(chunk.inference_j[:, column].tolist())


@dataclass
class Truth:
    """All engines by content hash, and how the device itself fared.

    `idle_w` is what each rail of `rails` draws when idle; `total` is the rail that feeds the board. `rests` has for each baseline
    (device idle, context idle, gap) the seconds spent in it and the joules of each rail. `late_writes` counts
    plans published with less than the stated lead; `lost` the inferences that the daemon never got. `held_up` lists stretches
    [begin_ns, end_ns] of idling that was put in because the host was held up, and `unpublished_s` is for how long nothing was
    published of what the rails were drawing, so that the chip had to wait and ticks went without readings.
    """

    seed: int
    rails: list[str]
    total: str
    idle_w: list[float]
    lead_ms: float
    late_writes: int = 0
    least_lead_ms: float = 0.0
    held_up: list[list[int]] = field(default_factory=list)
    unpublished_s: float = 0.0
    lost: int = 0
    engines: dict[str, EngineTruth] = field(default_factory=dict)
    rests: dict[str, list[float]] = field(default_factory=dict)
    simulated: bool = True

    def baseline_w(self, name: str) -> float:
        """Mean power of the board in a baseline, W; nan where the device never was in it."""
        seconds, *joules = self.rests.get(name, [0.0] * (1 + len(self.rails)))
        return joules[self.rails.index(self.total)] / seconds if seconds else float("nan")

    def held_up_note(self) -> str:
        """One sentence on how often the device was held up, for how long, and what that cost; empty where it never was."""
        parts = []
        if self.held_up:
            seconds = sum(end_ns - begin_ns for begin_ns, end_ns in self.held_up) * 1e-9
            times = "once" if len(self.held_up) == 1 else f"{len(self.held_up)} times"
            parts.append(
                f"this computer held the virtual device up {times}, and its inferences ran {seconds:.1f} s later"
            )
        if self.unpublished_s:
            parts.append(f"for {self.unpublished_s:.3f} s its power came too late, and ticks went without readings")
        return "; ".join(parts)

    def rest(self, rest: Rest) -> None:
        """Count a stretch without layers."""
        before = self.rests.setdefault(rest.state.value, [0.0] * (1 + len(self.rails)))
        here = (rest.seconds, *rest.joules.tolist())
        self.rests[rest.state.value] = [old + new for old, new in zip(before, here, strict=True)]

    def add(self, load: Load, chunk: Chunk, profiled: npt.NDArray[np.bool_] | None = None) -> None:
        """Count the inferences of `chunk`, which belong to the engine of `load`; `profiled` (n,) where some were not."""
        if load.hash not in self.engines:
            layers = load.layers[:1] if load.repeats > 1 else load.layers
            self.engines[load.hash] = EngineTruth(load.name, layers, self.rails, load.repeats)
        self.engines[load.hash].add(load, chunk, profiled)
        for rest in chunk.rests:
            self.rest(rest)

    def named(self, name: str) -> EngineTruth:
        """The engine called `name`; KeyError where none is."""
        found = [engine for engine in self.engines.values() if engine.name == name]
        if not found:
            raise KeyError(name)
        return found[0]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Store as JSON."""
        replace_file(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Truth:
        """Load what :meth:`write` stored."""
        document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        engines = {}
        for key, engine in document.pop("engines").items():
            apart = {name: Totals(**totals) for name, totals in engine.pop("apart", {}).items()}
            engines[key] = EngineTruth(**engine, apart=apart)
        return cls(**document, engines=engines)
