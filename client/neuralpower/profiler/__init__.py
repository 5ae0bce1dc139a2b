"""Per-layer durations of a TensorRT execution context, sent to neuralpowerd. Needs numpy, msgpack and pyzmq only."""

from __future__ import annotations

from .layer_profiler import LayerProfiler, NoOp, ProfilerError
from .overlap import OverlapError
from .session import Session

__all__ = ["LayerProfiler", "NoOp", "OverlapError", "ProfilerError", "Session"]
