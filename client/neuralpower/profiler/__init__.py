"""Per-layer durations of a TensorRT execution context, sent to neuralpowerd. Needs numpy, msgpack and pyzmq only."""

from __future__ import annotations

from .layer_profiler import LayerProfiler, NoOp, ProfilerError

__all__ = ["LayerProfiler", "NoOp", "ProfilerError"]
