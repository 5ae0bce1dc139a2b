"""Where in time each layer ran: durations laid in order between two host anchors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def layer_windows(
    begin_ns: npt.ArrayLike,
    end_ns: npt.ArrayLike,
    durations_ns: npt.ArrayLike,
    lead: float = 0.5,
    between_ns: float = 0.0,
) -> Ints:
    """Lay layers one after another between the host anchors of their inference.

    TensorRT reports a duration per layer and no time; the host knows only when it began to enqueue and when the stream
    had finished. What the durations leave of that span, the slack, is launching before the first layer and waking up
    after the last, and `between_ns` before each further layer that takes any time, the launch of the next kernel. Of the
    slack without these the share `lead` is put before. A lead that is wrong by a constant moves every window alike and is
    taken up by the fitted delay of the sensor.

    Durations (and gaps) that add up to more than the span (durations are quantised to 1.024 us) are shrunk in proportion
    to fit, so windows never overlap, keep their order and stay between the anchors.

    begin_ns, end_ns: anchors, scalars or (m,), ns, with end_ns >= begin_ns.
    durations_ns: (n,) or (m, n), ns, not negative.
    Returns int64 (n, 2) or (m, n, 2): begin and end of each layer, ns. Raises ValueError on shapes or values that cannot be.
    """
    begin = np.asarray(begin_ns, np.int64)
    end = np.asarray(end_ns, np.int64)
    durations = np.asarray(durations_ns, np.int64)
    if durations.ndim not in (1, 2) or begin.shape != durations.shape[:-1] or end.shape != begin.shape:
        raise ValueError(f"layer windows: anchors {begin.shape} and {end.shape} do not fit durations {durations.shape}")
    if np.any(end < begin) or np.any(durations < 0):
        raise ValueError("layer windows: an inference ends before it begins, or a duration is negative")
    if not 0.0 <= lead <= 1.0:
        raise ValueError(f"layer windows: lead {lead} is not a share between 0 and 1")
    ran = durations > 0
    gaps = between_ns * (ran & (np.cumsum(ran, axis=-1) > 1))
    ends = np.cumsum(durations + gaps, axis=-1)
    span = (end - begin)[..., None]
    total = ends[..., -1:]
    shrink = np.where(total > span, span / np.maximum(total, 1e-9), 1.0)
    first = lead * np.maximum(span - total, 0.0)
    laid = np.rint(first[..., None] + shrink[..., None] * np.stack([ends - durations, ends], axis=-1))
    return np.asarray(begin[..., None, None] + laid.astype(np.int64), np.int64)


def launch_gap_ns(slack_ns: npt.ArrayLike, launches: npt.ArrayLike) -> float:
    """The gap between kernels that explains why engines of more layers have more slack, ns; 0 where it cannot be told.

    slack_ns (e,): median slack of each engine; launches (e,): its layers that take time, less one. A straight line by
    least squares of absolute values (reweighted), so that a few odd engines do not bend it; never below 0.
    """
    x, y = np.asarray(launches, np.float64), np.asarray(slack_ns, np.float64)
    if x.size < 2 or np.ptp(x) == 0:
        return 0.0
    weight, slope = np.ones(x.size), 0.0
    for _ in range(20):
        centre_x, centre_y = np.average(x, weights=weight), np.average(y, weights=weight)
        slope = float(weight @ ((x - centre_x) * (y - centre_y)) / max(float(weight @ (x - centre_x) ** 2), 1e-12))
        weight = 1 / np.maximum(np.abs(y - centre_y - slope * (x - centre_x)), 1e3)
    return max(slope, 0.0)
