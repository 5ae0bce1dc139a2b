"""Numbers for all that draws power in a recording: layers of engines, what lies between them, idling; and what ran when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.durations import UsualDurations
from neuralpower_align.activity.layout import GAP_CENTRE_US, US, Layout, Room, Rooms, UsualRoom, most_gap_us, room_ns
from neuralpower_align.activity.schedule import Laid, Schedule, Stretch, schedule
from neuralpower_align.activity.windows import launch_gap_ns, layer_windows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BASELINES = ("device-idle", "context-idle", "gap", "aside")
SLICES, SHORTEST_SLICE_NS = 16, 100_000
"""Tuning: an inference without the profiler is laid in so many equal slices, or fewer that are no shorter, since its power is not the same all the time."""


@dataclass(frozen=True)
class Usual:
    """What an engine's inferences are like, by which each of them is laid."""

    durations: UsualDurations
    room: UsualRoom

    @classmethod
    def of(cls, begin_ns: Ints, end_ns: Ints, durations_ns: Ints) -> Usual:
        """From anchors (m,) and durations (m, n)."""
        durations = UsualDurations.of(durations_ns)
        return cls(durations, UsualRoom.of(begin_ns, end_ns, durations.likely_ns(durations_ns)))


@dataclass(frozen=True)
class EngineRuns:
    """All inferences of one engine: anchors (m,), durations (m, n), ns; `alike` (n,) numbers layers 0, 1, .. in the order
    of first appearance, with one number for layers known to be the same.

    `whole`: nobody knows what ran within its inferences, and the durations are slices of all of the time between the anchors.
    `known`: what its inferences are like, where these are a part of them; None: as these are.
    """

    begin_ns: Ints
    end_ns: Ints
    durations_ns: Ints
    alike: Ints
    whole: bool = False
    known: Usual | None = None

    @classmethod
    def sliced(cls, begin_ns: Ints, end_ns: Ints, slices: int) -> EngineRuns:
        """Inferences (m,) without the profiler, in equal slices of all of their time."""
        edges = (end_ns - begin_ns)[:, None] * np.arange(slices + 1) // slices
        return cls(begin_ns, end_ns, np.diff(edges, axis=1), np.arange(slices), whole=True)

    @property
    def usual(self) -> Usual:
        """What its inferences are like."""
        return self.known or Usual.of(self.begin_ns, self.end_ns, self.durations_ns)

    @property
    def room(self) -> Room | None:
        """What moves its layers; None where nobody knows when they ran."""
        if self.whole:
            return None
        usual = self.usual
        return Room.of(self.begin_ns, self.end_ns, usual.durations.likely_ns(self.durations_ns), usual.room)

    def windows_ns(self) -> Ints:
        """Layers one after another (m, n, 2), from half the median room behind the begin anchor on; slices between the anchors."""
        if self.whole or not len(self.durations_ns):
            return layer_windows(self.begin_ns, self.end_ns, self.durations_ns)
        usual = self.usual
        spent, middle = usual.durations.likely_ns(self.durations_ns), round(usual.room.middle_ns / 2)
        ends = (self.begin_ns + middle)[:, None] + np.cumsum(spent, axis=1)
        return np.stack([ends - spent, ends], axis=-1)


def slices_of(mean_ns: float) -> int:
    """In how many slices inferences without the profiler are laid that last so long in the mean."""
    return int(np.clip(mean_ns / SHORTEST_SLICE_NS, 1, SLICES))


@dataclass(frozen=True)
class Baseline:
    """A stretch of which the recording says what it was (one of BASELINES), outside all inferences; `engine`: whose gap.

    "aside": something else ran, which is no baseline of anything.
    """

    kind: str
    begin_ns: int
    end_ns: int
    engine: int = 0


@dataclass(frozen=True)
class Classes:
    """Numbers for all unknowns: the layers of each engine, its launch, its tail, its gap, its gap measured alone; idling last."""

    layers: tuple[Ints, ...]
    launch: Ints
    tail: Ints
    gap: Ints
    gap_alone: Ints
    idle: int
    device_idle: int
    context_idle: int
    aside: int
    layout: Layout
    """Where layers are laid before anything is fitted."""

    @classmethod
    def of(cls, engines: Sequence[EngineRuns]) -> Classes:
        """Number them."""
        layers, others, at = [], [], 0
        for engine in engines:
            size = int(engine.alike.max()) + 1 if engine.alike.size else 0
            layers.append(np.arange(at, at + size))
            others.append(np.arange(at + size, at + size + 4))
            at += size + 4
        table = np.array(others, np.int64).reshape(-1, 4)
        which = [number for number, e in enumerate(engines) if not e.whole and len(e.begin_ns)]
        told = [engines[number] for number in which]
        rooms = [room_ns(e.begin_ns, e.end_ns, e.durations_ns) for e in told]
        launches = [max(int(np.median((e.durations_ns > 0).sum(axis=1))) - 1, 0) for e in told]
        most = min((most_gap_us(room, e.durations_ns) for room, e in zip(rooms, told, strict=True)), default=np.inf)
        middle = [float(np.median(room)) for room in rooms]
        slope = launch_gap_ns(middle, launches) / US
        layout = replace(
            Layout.usual(len(engines), slope or GAP_CENTRE_US, most),
            rooms=Rooms(np.array(middle) / US, np.array(launches, np.float64), np.array(which, np.int64)),
        )
        return cls(
            layers=tuple(layers), launch=table[:, 0], tail=table[:, 1], gap=table[:, 2], gap_alone=table[:, 3],
            idle=at, device_idle=at + 1, context_idle=at + 2, aside=at + 3, layout=layout,
        )  # fmt: skip

    @property
    def count(self) -> int:
        """How many."""
        return self.aside + 1

    def is_layer(self) -> Bools:
        """Which are layers (c,)."""
        found = np.zeros(self.count, bool)
        found[np.concatenate(self.layers)] = True
        return found

    def schedule(self, engines: Sequence[EngineRuns], baselines: Sequence[Baseline]) -> Schedule:
        """What ran when."""
        laid = [
            Laid(
                e.windows_ns(), layers[e.alike], int(self.gap[i]), e.begin_ns, e.end_ns, int(self.launch[i]),
                int(self.tail[i]), e.room,
            )
            for i, (e, layers) in enumerate(zip(engines, self.layers, strict=True))
        ]  # fmt: skip
        numbers = {"device-idle": self.device_idle, "context-idle": self.context_idle, "aside": self.aside}
        named = [Stretch(numbers.get(b.kind, int(self.gap_alone[b.engine])), b.begin_ns, b.end_ns) for b in baselines]
        return schedule(laid, self.idle, self.count, named=named).placed(self.layout)
