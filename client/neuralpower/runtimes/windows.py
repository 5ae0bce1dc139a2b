"""Windows of layers by two ways beside each other: as CUPTI knows them, as events tell them, and as they are laid from durations alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.windows import layer_windows

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """Windows of the same steps by two ways, from medians over inferences.

    `longer_s` (steps,): by how much the second way has a step longer; `later_s` (steps,): by how much later it begins, from when the first
    step began; `layers_ratio`: the sum of all steps, the second over the first.
    """

    longer_s: Floats
    later_s: Floats
    layers_ratio: float


def compare(first_ns: Ints, second_ns: Ints) -> Compared:
    """Two ways, (inferences, steps, 2) ns each, as `TorchContext.windows_ns` gives them."""
    begin, longer = [], []
    for each in (first_ns, second_ns):
        windows = np.median(each - each[:, :1, :1], axis=0)
        begin.append(windows[:, 0])
        longer.append(np.median(each[:, :, 1] - each[:, :, 0], axis=0))
    return Compared(
        np.asarray((longer[1] - longer[0]) * 1e-9, np.float64),
        np.asarray((begin[1] - begin[0]) * 1e-9, np.float64),
        float(longer[1].sum() / longer[0].sum()),
    )


def laid_apart(known_ns: Ints) -> float:
    """How far windows would be off, s rms, that are laid from the durations of known ones, (inferences, steps, 2) ns: what lies between
    two steps is then taken as the same between all."""
    durations = known_ns[:, :, 1] - known_ns[:, :, 0]
    begin, end = known_ns[:, 0, 0], known_ns[:, -1, 1]
    between = float((end - begin - durations.sum(axis=1)).mean()) / max(durations.shape[1] - 1, 1)
    laid = layer_windows(begin, end, durations, between_ns=between)
    return float(np.sqrt(np.mean((laid - known_ns) ** 2.0))) * 1e-9
