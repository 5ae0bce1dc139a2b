"""What a stream tells of its engines: the powers of all rails together, and of each engine what it draws or what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.classes import Classes, EngineRuns
from neuralpower_align.layer_power import GAP_STEP_NS, gap_of, possible_w
from neuralpower_align.model.drifts import drift_means
from neuralpower_align.result.engine_power import Gap, engine_power, seconds_of
from neuralpower_align.result.levels import levels
from neuralpower_align.result.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.result.results import EnginePower
from neuralpower_align.result.trust import inflation_of
from neuralpower_align.sensor.excitation import Excitation
from neuralpower_align.stream.rail import Rail
from neuralpower_align.stream.window import RecentInferences

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EngineEstimate:
    """What is known of an engine now. `state`: waiting (for a full window), acquiring, running; `why`: what it waits for, or why its
    power is withheld. `power` is None until it runs. `whole`: it ran without the profiler; of its power only the energy of the window counts,
    `seconds` being how long that lasts in the mean."""

    engine: str
    state: str
    why: str
    inferences: int
    power: EnginePower | None = None
    whole: bool = False
    seconds: float = float("nan")


@dataclass(frozen=True)
class Powers:
    """Of all classes, all rails together: powers (c,) W, covariance and that from the scatter of seconds (c, c) W^2, and the
    covariance if all but powers were known; `doubt`: why the fit cannot be believed, "" if it can; `gaps`: between the
    kernels of each engine, as the first rail has them; `range_w`: what a layer can draw."""

    watts: Floats
    covariance: Floats
    scattered: Floats
    held: Floats | None = None
    doubt: str = ""
    gaps: tuple[Gap, ...] = ()
    range_w: tuple[float, float] = (-np.inf, np.inf)


def together(rails: Sequence[Rail], classes: Classes) -> Powers:
    """The sum of some rails over the time in which each class ran, errors taken as independent."""
    count = classes.count
    power, (covariance, scattered, alone) = np.zeros(count), (np.zeros((count, count)) for _ in range(3))
    gaps: tuple[Gap, ...] = ()
    for rail in rails:
        model, found = rail.solved()
        inflation = inflation_of(rail.known.clusters, found.covariance, found.scattered, classes)
        told = levels(model, drift_means(rail.spent), found.covariance, found.scattered)
        gaps = gaps or tuple(
            gap_of(model, found.covariance, told, number, inflation) for number in range(len(classes.layers))
        )
        power += told.power_w
        covariance += inflation * told.covariance
        alone += inflation * told.held
        scattered += told.scattered
    doubt = next((rail.doubt for rail in rails if rail.doubt), "")
    range_w = possible_w(power, classes, sum(rail.highest_w for rail in rails))
    return Powers(power, covariance, scattered, alone, doubt, gaps, range_w)


def running(
    name: str, number: int, inferences: RecentInferences, classes: Classes, powers: Powers, cover: Mapping[str, Floats]
) -> EngineEstimate:
    """Of engine `number` of the classes, as the batch tells it; `cover`: how often windows lay where in inferences of each engine."""
    seen = cover.get(name)
    excited = [Excitation(seen / seen.mean())] if seen is not None and seen.any() else []
    mean = inferences.mean()
    power = engine_power(
        powers.watts, powers.covariance, classes, number, mean, HALF_WIDTH, GROUP_ERROR, excited, powers.doubt,
        scattered=powers.scattered, held=powers.held, variances_j2=_variances_j2(classes, number, mean, powers),
        gap=powers.gaps[number], range_w=powers.range_w,
    )  # fmt: skip
    return EngineEstimate(name, "running", power.withheld, inferences.count, power)


def _variances_j2(classes: Classes, number: int, mean: EngineRuns, powers: Powers) -> Floats:
    """Of both energies of a mean inference (2,), J^2: of the powers, by what says more of model and scatter, and of the gaps between kernels."""
    gap = powers.gaps[number]
    seconds = seconds_of(classes, number, mean, gap.ns)
    by_gap = (seconds_of(classes, number, mean, gap.ns + GAP_STEP_NS) - seconds) @ powers.watts / GAP_STEP_NS
    said = [np.einsum("ec,cd,ed->e", seconds, each, seconds) for each in (powers.covariance, powers.scattered)]
    more = 2 * by_gap * (seconds @ gap.with_power) + by_gap**2 * gap.variance
    return np.asarray(np.maximum(np.maximum(*said) + more, 0.0), np.float64)


def not_running(
    name: str, inferences: RecentInferences, enough: int, why: str, acquiring: bool, whole: bool = False
) -> EngineEstimate:
    """Of an engine of which nothing is known yet; `why`: what all wait for, `acquiring`: whether that is a sensor."""
    if inferences.count < enough:
        return EngineEstimate(name, "waiting", f"{enough} inferences", inferences.count, whole=whole)
    return EngineEstimate(name, "acquiring" if acquiring else "waiting", why, inferences.count, whole=whole)
