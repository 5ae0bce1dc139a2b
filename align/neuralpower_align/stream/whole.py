"""Inferences without the profiler in the stream: the power of equal slices of them, from the readings that layers are not told from.

The sensor, its clock and the noise are those that the layers' fit has by now. Only powers are fitted here, so the sums are plain
normal equations about one fixed point, and what is told is the energy of a mean inference from anchor to anchor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Classes, EngineRuns, slices_of
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.fit.gls import Normal, accumulate
from neuralpower_align.fit.information import Information
from neuralpower_align.model.nuisance import DRIFTS, HELD, Model, prior
from neuralpower_align.model.rows import blocks_of, designs
from neuralpower_align.result.engine_power import engine_power
from neuralpower_align.result.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.stream.rail import Rail
from neuralpower_align.stream.told import EngineEstimate, Powers
from neuralpower_align.stream.window import RecentInferences

Floats = npt.NDArray[np.float64]


@dataclass
class Whole:
    """Sums of each rail for some engines: `profiled` by name, then `names`, in `slices` each."""

    profiled: tuple[str, ...]
    names: tuple[str, ...]
    slices: tuple[int, ...]
    classes: Classes
    models: list[Model]
    known: list[Information]

    @classmethod
    def of(
        cls,
        profiled: Mapping[str, EngineRuns],
        whole: Mapping[str, RecentInferences],
        rails: Sequence[Rail],
    ) -> Whole:
        """Of nothing yet."""
        slices = tuple(slices_of(each.span_ns / max(each.count, 1)) for each in whole.values())
        laid = [_sliced(each.mean(), count) for each, count in zip(whole.values(), slices, strict=True)]
        classes = Classes.of([*profiled.values(), *laid])
        models = [_model(rail, classes) for rail in rails]
        known = [Information.empty(model.index.size) for model in models]
        return cls(tuple(profiled), tuple(whole), slices, classes, models, known)

    def schedule(self, profiled: Sequence[EngineRuns], whole: Sequence[EngineRuns]) -> Schedule:
        """What ran when."""
        laid = [_sliced(each, count) for each, count in zip(whole, self.slices, strict=True)]
        return self.classes.schedule([*profiled, *laid], ())

    def feed(self, number: int, rail: Rail, plan: Schedule, readings: ChannelReadings) -> None:
        """Readings of a rail that saw such inferences; its own part of the stream has gone beyond them already."""
        piece, model = rail.placed(readings), self.models[number]
        if not piece.number.size:
            return
        before, kernel = self.known[number], rail.kernel(piece)
        plan = plan.placed(rail.model.layout.with_engines(self.classes.layout.engines))
        # Expanded where the estimate is, and so once more where there was none: slopes far from it scatter by more than noise.
        best = before.solve(*_prior(model)).off
        for _ in range(1 if before.rows else 2):
            off = best
            now = replace(model, power_w=model.power_w + off[model.index.power])
            normal = Normal.empty(model.index.size)
            for design in designs(plan, 0, piece, kernel, now.power_w, blocks_of(piece.number.size)):
                accumulate(normal, now, design, rail.noise, piece.averaging)
            best = before.add(normal, off).solve(*_prior(model)).off
        self.known[number] = before.add(normal, off, normal.gram @ (best - off))

    def aged(self, share: float) -> None:
        """What was learnt counts `share` of what it did."""
        self.known = [each.forget(share) for each in self.known]

    def told(self, inferences: Mapping[str, RecentInferences]) -> list[EngineEstimate]:
        """What is known of each engine: the energy of its mean inference."""
        count = self.classes.count
        powers = Powers(np.zeros(count), np.zeros((count, count)), np.zeros((count, count)))
        for model, known in zip(self.models, self.known, strict=True):
            found = known.solve(*_prior(model), scattered=True)
            powers.watts[:] += model.power_w + found.off[:count]
            powers.covariance[:] += found.covariance[:count, :count]
            powers.scattered[:] += found.scattered[:count, :count]
        return [
            self._told(name, number, powers, inferences[name])
            for number, name in enumerate(self.names, len(self.profiled))
            if name in inferences
        ]

    def _told(self, name: str, number: int, powers: Powers, inferences: RecentInferences) -> EngineEstimate:
        mean = _sliced(inferences.mean(), self.slices[number - len(self.profiled)])
        power = engine_power(
            powers.watts, powers.covariance, self.classes, number, mean, HALF_WIDTH, GROUP_ERROR, scattered=powers.scattered
        )  # fmt: skip
        seconds = float((mean.end_ns - mean.begin_ns)[0]) * 1e-9
        return EngineEstimate(name, "running", power.withheld, inferences.count, power, True, seconds)

    @property
    def nbytes(self) -> int:
        """What it takes, bytes."""
        return sum(each.nbytes for each in self.known)


def _sliced(engine: EngineRuns, slices: int) -> EngineRuns:
    return EngineRuns.sliced(engine.begin_ns, engine.end_ns, slices)


def _model(rail: Rail, classes: Classes) -> Model:
    """Powers alone, about the mean of the layers."""
    now = rail.model
    mean = float(np.mean(now.power_w[now.layer])) if np.any(now.layer) else 1.0
    return replace(
        now,
        power_w=np.full(classes.count, mean),
        layer=classes.is_layer(),
        splines=(),
        shift_us=(),
        stall_of=None,
        drift=np.zeros(DRIFTS),
        idle_drift=np.zeros(DRIFTS),
        own_phi=None,
        likely_w=None,
        stalls=False,
        sensor=False,
        centre_w=0.0,
    )


def _prior(model: Model) -> tuple[Floats, Floats]:
    """Drift is held at none: its functions span another time."""
    precision, away = prior(model)
    held = np.arange(model.index.drift.start, model.index.idle_drift.stop)
    precision[held, held] = 1 / HELD**2
    return precision, away
