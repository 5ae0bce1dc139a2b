"""The callback under TensorRT's own Python bindings, where they can be imported; docs/profiler.md says how without a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from neuralpower.profiler.callback import Burst, bindings_of, callback_for

trt: Any = pytest.importorskip("tensorrt_bindings", reason="TensorRT's bindings are not here", exc_type=ImportError)


class Context:
    """Stands for an execution context, which cannot be made without a GPU: only its module counts."""


Context.__module__ = trt.IExecutionContext.__module__


def test_calls_from_the_cxx_side_arrive() -> None:
    """A call on the base class goes through C++ and the trampoline to the callback, with a C float."""
    burst = Burst()
    callback = callback_for(Context(), burst)
    assert bindings_of(Context()) is trt and isinstance(callback, trt.IProfiler)
    trt.IProfiler.report_layer_time(callback, "conv", 0.084)
    assert burst.names == ["conv"] and burst.ms == [pytest.approx(0.084, rel=1e-6)]


def test_an_interrupt_in_the_callback_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """What the bindings would swallow is there to be raised later."""

    class Interrupted(list[str]):
        def append(self, item: str) -> None:
            raise KeyboardInterrupt

    burst = Burst()
    callback = callback_for(Context(), burst)
    burst.names = Interrupted()
    trt.IProfiler.report_layer_time(callback, "conv", 1.0)
    assert isinstance(burst.error, KeyboardInterrupt)


def test_the_names_that_we_use_exist() -> None:
    """What the profiler and the TensorRT run ask of the bindings is there."""
    used = {
        trt.IExecutionContext: "profiler enqueue_emits_profile report_to_profiler execute_async_v3 engine set_tensor_address",
        trt.ICudaEngine: "create_engine_inspector name num_io_tensors get_tensor_name get_tensor_dtype",
        trt.EngineInspector: "execution_context get_engine_information",
        trt.IBuilderConfig: "profiling_verbosity max_aux_streams set_flag",
        trt.OnnxParser: "parse_from_file get_error",
    }
    assert not [(owner, name) for owner, names in used.items() for name in names.split() if not hasattr(owner, name)]
    assert trt.LayerInformationFormat.JSON is not None and trt.DataType.HALF.itemsize == 2
