"""Numbers for all that draws power in a recording: layers of engines, what lies between them, idling; and what ran when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.schedule import Laid, Schedule, Stretch, schedule
from neuralpower_align.windows import launch_gap_ns, layer_windows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BASELINES = ("device-idle", "context-idle", "gap", "aside")


@dataclass(frozen=True)
class Engine:
    """All inferences of one engine: anchors (m,), durations (m, n), ns; `alike` (n,) numbers layers 0, 1, .. in the order
    of first appearance, with one number for layers known to be the same.

    `whole`: nobody knows what ran within its inferences, and the durations are slices of all of the time between the anchors.
    """

    begin_ns: Ints
    end_ns: Ints
    durations_ns: Ints
    alike: Ints
    whole: bool = False


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
    between_ns: float

    @classmethod
    def of(cls, engines: Sequence[Engine]) -> Classes:
        """Number them."""
        layers, others, at = [], [], 0
        for engine in engines:
            size = int(engine.alike.max()) + 1 if engine.alike.size else 0
            layers.append(np.arange(at, at + size))
            others.append(np.arange(at + size, at + size + 4))
            at += size + 4
        table = np.array(others, np.int64).reshape(-1, 4)
        told = [e for e in engines if not e.whole]
        slack = [float(np.median(e.end_ns - e.begin_ns - e.durations_ns.sum(axis=1))) for e in told]
        launches = [max(int(np.median((e.durations_ns > 0).sum(axis=1))) - 1, 0) for e in told]
        return cls(
            layers=tuple(layers), launch=table[:, 0], tail=table[:, 1], gap=table[:, 2], gap_alone=table[:, 3],
            idle=at, device_idle=at + 1, context_idle=at + 2, aside=at + 3, between_ns=launch_gap_ns(slack, launches),
        )  # fmt: skip

    @property
    def count(self) -> int:
        """How many."""
        return self.aside + 1

    def launch_gap_ns(self, engine: Engine) -> float:
        """The gap laid before each further layer of an engine."""
        return 0.0 if engine.whole else self.between_ns

    def is_layer(self) -> Bools:
        """Which are layers (c,)."""
        found = np.zeros(self.count, bool)
        found[np.concatenate(self.layers)] = True
        return found

    def schedule(self, engines: Sequence[Engine], baselines: Sequence[Baseline]) -> Schedule:
        """What ran when."""
        laid = [
            Laid(
                layer_windows(e.begin_ns, e.end_ns, e.durations_ns, between_ns=self.launch_gap_ns(e)),
                layers[e.alike], int(self.gap[i]), e.begin_ns, e.end_ns, int(self.launch[i]), int(self.tail[i]),
            )
            for i, (e, layers) in enumerate(zip(engines, self.layers, strict=True))
        ]  # fmt: skip
        numbers = {"device-idle": self.device_idle, "context-idle": self.context_idle, "aside": self.aside}
        named = [Stretch(numbers.get(b.kind, int(self.gap_alone[b.engine])), b.begin_ns, b.end_ns) for b in baselines]
        return schedule(laid, self.idle, self.count, named=named)
