"""A process that runs so many inferences of 60 layers, with the profiler or beside it; run by profiler_cost.py.

`python -m benchmarks.profiler.profiled_loop SIDE COUNT PAUSE_S ADDRESS` prints {"cpu_ns", "thread_ns", "acknowledged"} for one inference.
The context stands for TensorRT's: it calls back for each layer in a burst. On the other side the burst goes to a callback that
does nothing, so that the difference is what the profiler adds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from neuralpower.profiler import LayerProfiler

LAYERS = [f"/layer{number}/Conv + /layer{number}/Relu" for number in range(60)]
WARM_UP = 50
SIDES = ("profiled", "unprofiled", "bare")


class Context:
    """TensorRT's execution context and its engine, as far as the profiler looks."""

    name = "sixty layers"
    num_aux_streams = 0

    def __init__(self) -> None:
        self.engine = self
        self.profiler: Any = None
        self.enqueue_emits_profile = True
        self.execution_context: Any = None
        self._report = [(name, 0.001024 * (20 + at)) for at, name in enumerate(LAYERS)]

    def create_engine_inspector(self) -> Context:
        """Itself."""
        return self

    def get_engine_information(self, form: Any) -> str:
        """The layers with their names."""
        return json.dumps({"Layers": [{"Name": name, "LayerType": "CaskConvolution"} for name in LAYERS]})

    def report_to_profiler(self) -> bool:
        """The burst."""
        report = self.profiler.report_layer_time
        for name, ms in self._report:
            report(name, ms)
        return True


class Nothing:
    """A callback that does nothing."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """Take a layer's time."""


def main() -> None:
    """Run one side."""
    side, count, pause_s, address = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    context = Context()
    profiler = LayerProfiler(context, address=address) if side != "bare" else None
    if profiler is None:
        context.profiler = Nothing()

    def infer() -> None:
        if profiler is None:
            context.report_to_profiler()
            return
        with profiler.inference(profiled=side == "profiled"):
            pass

    def run(inferences: int) -> None:
        for _ in range(inferences):
            infer()
            if pause_s:
                time.sleep(pause_s)

    run(WARM_UP)
    cpu_ns, thread_ns = time.process_time_ns(), time.thread_time_ns()
    run(count)
    spent = {
        "cpu_ns": (time.process_time_ns() - cpu_ns) / count,
        "thread_ns": (time.thread_time_ns() - thread_ns) / count,
    }
    if profiler is not None:
        profiler.close(20.0)
    counts = profiler.counts.acknowledged if profiler is not None else 0
    print(json.dumps({**spent, "acknowledged": counts}))


if __name__ == "__main__":
    main()
