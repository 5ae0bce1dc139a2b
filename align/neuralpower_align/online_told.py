"""What a stream tells of its engines: the powers of all rails together, and of each engine what it draws or what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.classes import Classes
from neuralpower_align.engine_power import engine_power
from neuralpower_align.excitation import Excitation
from neuralpower_align.hierarchy import held
from neuralpower_align.online_rail import Rail
from neuralpower_align.online_window import RecentInferences
from neuralpower_align.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.results import EnginePower
from neuralpower_align.trust import FEWEST_CLUSTERS

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
    covariance if all but powers were known; `doubt`: why another sensor would do as well, "" if none would."""

    watts: Floats
    covariance: Floats
    scattered: Floats
    held: Floats | None = None
    doubt: str = ""


def together(rails: Sequence[Rail], done_ns: Sequence[float], classes: Classes) -> Powers:
    """The sum of some rails, errors taken as independent; `done_ns`: up to where each is read."""
    count = classes.count
    power, (covariance, scattered, alone) = np.zeros(count), (np.zeros((count, count)) for _ in range(3))
    layers = np.concatenate(classes.layers)
    for rail, done in zip(rails, done_ns, strict=True):
        model, found = rail.solved(float(done) - rail.delay_ns)
        inflation = 1.0
        if rail.known.clusters >= FEWEST_CLUSTERS and found.scattered is not None:
            ratio = np.diag(found.scattered)[layers] / np.maximum(np.diag(found.covariance)[layers], 1e-30)
            inflation = max(float(np.mean(ratio)), 1.0)
        power += model.power_w
        covariance += inflation * found.covariance[:count, :count]
        size = len(found.covariance)
        alone += inflation * held(found.covariance, np.eye(count, size), np.arange(count, size))
        if found.scattered is not None:
            scattered += found.scattered[:count, :count]
    return Powers(power, covariance, scattered, alone, next((rail.doubt for rail in rails if rail.doubt), ""))


def running(
    name: str, number: int, inferences: RecentInferences, classes: Classes, powers: Powers, cover: Mapping[str, Floats]
) -> EngineEstimate:
    """Of engine `number` of the classes, as the batch tells it; `cover`: how often windows lay where in inferences of each engine."""
    seen = cover.get(name)
    excited = [Excitation(seen / seen.mean())] if seen is not None and seen.any() else []
    power = engine_power(
        powers.watts, powers.covariance, classes, number, inferences.mean(), HALF_WIDTH, GROUP_ERROR, excited,
        powers.doubt, scattered=powers.scattered, held=powers.held,
    )  # fmt: skip
    return EngineEstimate(name, "running", power.withheld, inferences.count, power)


def not_running(name: str, inferences: RecentInferences, enough: int, why: str, whole: bool = False) -> EngineEstimate:
    """Of an engine of which nothing is known yet; `why`: what all wait for."""
    said = f"{enough} inferences" if inferences.count < enough else why
    acquiring = said.startswith(("a sensor", "the sensor"))
    return EngineEstimate(name, "acquiring" if acquiring else "waiting", said, inferences.count, whole=whole)
