"""Run under the real bindings of one version (arguments: version, module): prints {"version", "checks": {name: empty or what is wrong}}.

Everything of the profiler that can be exercised without a GPU: the callback through C++, the names that are used of each
class, the builder's flags, and what this version says of precision.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.profiler.callback import Burst, bindings_of, callback_for
from neuralpower.profiler.layer_profiler import LayerProfiler
from neuralpower.runtimes.options import PRECISIONS
from neuralpower.runtimes.tensorrt import build
from neuralpower.runtimes.tensorrt.diagnosis import complaint, logger_of
from neuralpower_wire.link import Inference

trt = importlib.import_module(sys.argv[2])
USED = {
    "IExecutionContext": "profiler enqueue_emits_profile report_to_profiler execute_async_v3 engine set_tensor_address "
    "get_tensor_shape set_input_shape",
    "ICudaEngine": "create_engine_inspector create_execution_context name num_aux_streams num_io_tensors get_tensor_name "
    "get_tensor_dtype get_tensor_shape get_tensor_mode get_tensor_profile_shape",
    "EngineInspector": "execution_context get_engine_information",
    "IBuilderConfig": "profiling_verbosity max_aux_streams set_flag clear_flag add_optimization_profile "
    "set_memory_pool_limit",
    "Builder": "create_network create_builder_config build_serialized_network create_optimization_profile",
    "IOptimizationProfile": "set_shape",
    "INetworkDefinition": "num_inputs num_outputs get_input",
    "OnnxParser": "parse_from_file num_errors get_error supports_operator",
    "ParserError": "desc code node",
    "Runtime": "deserialize_cuda_engine",
    "IProfiler": "report_layer_time",
    "LayerInformationFormat": "JSON",
    "ProfilingVerbosity": "DETAILED",
    "MemoryPoolType": "WORKSPACE",
    "TensorIOMode": "INPUT",
    "DataType": "FLOAT HALF",
    "BuilderFlag": "TF32",
    "Logger": "WARNING",
    "ILogger": "log INTERNAL_ERROR ERROR WARNING",
}
"""What the profiler and the engine's builder ask of TensorRT, in every version."""
LAYERS = [f"layer {number}" for number in range(60)]
CHECKS: list[Callable[[], None]] = []


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS.append(function)
    return function


class Context:
    """Stands for an execution context, which cannot be made without a GPU: reports through the bindings' C++ side."""

    def __init__(self, layers: list[str] = LAYERS) -> None:
        self.engine = self
        self.name = "net"
        self.num_aux_streams = 0
        self.enqueue_emits_profile = True
        self.profiler: Any = None
        self.execution_context: Any = None
        self.report = [(name, 0.001024 * (1 + at)) for at, name in enumerate(layers)]
        self._layers = layers

    def create_engine_inspector(self) -> Context:
        return self

    def get_engine_information(self, form: Any) -> str:
        assert form == trt.LayerInformationFormat.JSON
        return json.dumps({"Layers": [{"Name": name} for name in self._layers], "Bindings": []})

    def report_to_profiler(self) -> bool:
        for name, ms in self.report:
            trt.IProfiler.report_layer_time(self.profiler, name, ms)  # the base's method: C++, trampoline, ours
        return True


Context.__module__ = trt.IExecutionContext.__module__


@check
def the_bindings_are_those_asked_for() -> None:
    """Version and module."""
    assert trt.__version__.startswith(sys.argv[1]), trt.__version__
    assert bindings_of(Context()) is trt


@check
def a_call_on_the_base_reaches_the_callback_through_cxx() -> None:
    """With a C float of milliseconds."""
    burst = Burst()
    callback = callback_for(Context(), burst)
    assert isinstance(callback, trt.IProfiler)
    trt.IProfiler.report_layer_time(callback, "conv", 0.084)
    assert burst.names == ["conv"] and burst.ms == [0.08399999886751175], burst.ms


@check
def an_exception_in_a_callback_is_swallowed_by_the_bindings() -> None:
    """Which is why ours only appends: neither ValueError nor KeyboardInterrupt reaches the caller."""

    class Raising(trt.IProfiler):  # type: ignore[misc]  # untyped
        def __init__(self, error: BaseException) -> None:
            trt.IProfiler.__init__(self)
            self.error, self.calls = error, 0

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.calls += 1
            raise self.error

    for error in (ValueError("mine"), KeyboardInterrupt()):
        profiler = Raising(error)
        with _quiet():
            trt.IProfiler.report_layer_time(profiler, "conv", 1.0)
        assert profiler.calls == 1


@check
def what_our_callback_meets_is_kept_and_raised_later() -> None:
    """An interrupt inside the burst comes out when the inference ends."""

    class Interrupted(list):  # type: ignore[type-arg]  # any items
        def append(self, item: Any) -> None:
            raise KeyboardInterrupt

    context = Context()
    with tempfile.TemporaryDirectory() as folder, LayerProfiler(context, address=folder) as profiler:
        profiler._burst.names = Interrupted()
        try:
            with profiler.inference():
                pass
        except KeyboardInterrupt:
            return
    raise AssertionError("the interrupt was lost")


@check
def sixty_layers_arrive_in_order_with_their_durations() -> None:
    """A whole inference: attach, burst through C++, check against the inspector, message."""
    context, sent = Context(), []
    with tempfile.TemporaryDirectory() as folder, LayerProfiler(context, address=folder) as profiler:
        profiler.session.link.offer = sent.append  # type: ignore[method-assign, assignment]  # a stand-in in its place
        assert context.enqueue_emits_profile is False
        for _ in range(3):
            with profiler.inference():
                pass
    assert context.profiler is None
    inferences: list[Inference] = sent
    assert [each.seq for each in inferences] == [0, 1, 2]
    assert inferences[0].durations_ns.tolist() == [1024 * (1 + at) for at in range(60)]


@check
def an_inference_without_the_profiler_calls_nothing() -> None:
    """It detaches, and sends anchors under an engine of its own."""
    context, sent = Context(), []
    with tempfile.TemporaryDirectory() as folder, LayerProfiler(context, address=folder) as profiler:
        profiler.session.link.offer = sent.append  # type: ignore[method-assign, assignment]  # a stand-in in its place
        with profiler.inference(profiled=False):
            assert context.profiler is None
        with profiler.inference():
            assert isinstance(context.profiler, trt.IProfiler)
    assert [len(each.durations_ns) for each in sent] == [1, 60] and sent[0].engine != sent[1].engine


@check
def every_name_that_is_used_exists() -> None:
    """Attributes of classes and members of enumerations."""
    missing = [
        f"{owner}.{name}"
        for owner, names in USED.items()
        for name in names.split()
        if not hasattr(getattr(trt, owner, None), name)
    ]
    assert not missing, f"not there: {', '.join(missing)}"


@check
def errors_are_kept_by_the_logger_and_nothing_else() -> None:
    """Through C++: what TensorRT logs as an error becomes a line of ours, what is less is none of it."""
    logger = logger_of(trt)
    assert logger is logger_of(trt) and isinstance(logger, trt.ILogger)
    for severity, text in ((trt.ILogger.ERROR, "first\nline"), (trt.ILogger.INFO, "second")):
        trt.ILogger.log(logger, severity, text)
    assert logger.errors == ["first\nline"], logger.errors
    assert complaint(trt, logger) == f"TensorRT {trt.__version__} says: first line"
    logger.errors.clear()


@check
def sizes_of_types_are_known() -> None:
    """What an input's memory takes."""
    assert (trt.DataType.FLOAT.itemsize, trt.DataType.HALF.itemsize) == (4, 2)


@check
def the_older_calls_are_where_they_are_said_to_be() -> None:
    """`execute_async_v2` and the bindings by number: 8.x alone."""
    old = trt.__version__.startswith("8.")
    assert hasattr(trt.IExecutionContext, "execute_async_v2") == old
    assert hasattr(trt.ICudaEngine, "get_binding_name") == old
    assert hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH") == (not build.typed_only(trt))


class Config:
    """A stand-in for IBuilderConfig that takes only what the real class has, and only real flags."""

    def __init__(self) -> None:
        object.__setattr__(self, "flags", {trt.BuilderFlag.TF32})
        object.__setattr__(self, "given", {})

    def __setattr__(self, name: str, value: Any) -> None:
        assert hasattr(trt.IBuilderConfig, name), name
        self.given[name] = value

    def set_flag(self, flag: Any) -> None:
        assert isinstance(flag, trt.BuilderFlag)
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert isinstance(pool, trt.MemoryPoolType) and size > 0


class Network:
    """One input of a dynamic batch."""

    num_inputs = 1
    shape = (-1, 3, 8, 8)
    name = "x"

    def get_input(self, index: int) -> Network:
        return self


@check
def the_builder_is_told_to_keep_layers_apart() -> None:
    """DETAILED verbosity and no auxiliary streams in every precision that this version builds."""
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder) / "net.onnx")
        for precision in PRECISIONS:
            config = Config()
            options = build.Options(precision, 4)
            try:
                notes = build.configure(trt, config, Network(), model, options)
            except InputError as error:
                assert build.typed_only(trt) and precision == "int8" and "QuantizeLinear" in str(error), error
                continue
            assert config.given["max_aux_streams"] == 0
            assert config.given["profiling_verbosity"] == trt.ProfilingVerbosity.DETAILED
            _right_flags(config, precision, notes)


def _right_flags(config: Config, precision: str, notes: tuple[str, ...]) -> None:
    names = {flag.name for flag in config.flags}
    assert ("TF32" in names) == (precision != "fp32")
    if build.typed_only(trt):
        assert not names & {"FP16", "INT8"}
        return
    assert ("FP16" in names, "INT8" in names) == (precision != "fp32", precision == "int8")
    assert (notes == (build.RANDOM_RANGES,)) == (precision == "int8")
    if precision == "int8":
        found = config.given["int8_calibrator"]
        assert isinstance(found, trt.IInt8EntropyCalibrator2) and found.get_batch_size() == 4


@check
def dynamic_batches_get_a_profile() -> None:
    """One shape for a dynamic first dimension."""
    assert build.fixed_shapes("m", Network(), 4) == {"x": (4, 3, 8, 8)}
    assert build.network_flags(trt) == (0 if build.typed_only(trt) else 1)


def _model(path: Path) -> str:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), str(path))
    return str(path)


@contextlib.contextmanager
def _quiet() -> Any:
    """What the bindings print of a swallowed exception goes nowhere."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def main() -> None:
    """Run every check, one after another."""
    found = {}
    for each in CHECKS:
        try:
            each()
            found[each.__name__.replace("_", " ")] = ""
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            found[each.__name__.replace("_", " ")] = f"{type(error).__name__}: {error} (line {where.lineno})"
    print(json.dumps({"version": trt.__version__, "checks": found}))


if __name__ == "__main__":
    main()
