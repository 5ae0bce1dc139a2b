"""Where in time each layer ran: durations laid in order between two host anchors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def layer_windows(begin_ns: npt.ArrayLike, end_ns: npt.ArrayLike, durations_ns: npt.ArrayLike, lead: float = 0.5) -> Ints:
    """Lay layers back to back between the host anchors of their inference.

    TensorRT reports a duration per layer and no time; the host knows only when it began to enqueue and when the stream
    had finished. What the durations leave of that span, the slack, is launching before the first layer and waking up
    after the last. The share `lead` of it is put before. A lead that is wrong by a constant moves every window alike and
    is taken up by the fitted delay of the sensor.

    Durations that add up to more than the span (they are quantised to 1.024 us) are shrunk in proportion to fit, so
    windows never overlap, keep their order and stay between the anchors.

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
    edges = np.concatenate([np.zeros((*begin.shape, 1), np.int64), np.cumsum(durations, axis=-1)], axis=-1)
    span = (end - begin)[..., None]
    total = edges[..., -1:]
    shrink = np.minimum(1.0, span / np.maximum(total, 1))
    laid = np.where(total > span, np.rint(edges * shrink).astype(np.int64), edges)
    slack = span - laid[..., -1:]
    edges = begin[..., None] + np.rint(lead * slack).astype(np.int64) + laid
    return np.stack([edges[..., :-1], edges[..., 1:]], axis=-1)
