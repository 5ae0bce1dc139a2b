"""Runs a network under TensorRT with the profiler attached. Written from the documentation of TensorRT 8.6 to 10 and PyCUDA;
not yet verified on a device."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Failure, InputError
from .layer_profiler import LayerProfiler

WARM_UP = 20
UNPROFILED = 50


@dataclass(frozen=True)
class Outcome:
    """Host time per inference without and with the profiler, and what became of the profiled ones."""

    name: str
    layers: int
    inferences: int
    acknowledged: int
    unprofiled_s: float
    profiled_s: float


def why_not() -> str:
    """Why TensorRT cannot run here; empty where it can.

    CUDA is asked first: without a driver, TensorRT's `Runtime()` returns an object that crashes the process when used.
    """
    for module in ("tensorrt", "pycuda"):
        if importlib.util.find_spec(module) is None:
            return f"no Python module {module}"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver (libcuda.so.1)"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return f"no CUDA device (cuInit gave {status})"
    return ""


def run_tensorrt(path: str, address: str | os.PathLike[str], runs: int | None, seconds: float) -> Outcome:
    """Run the ONNX model or serialized engine at `path`: warm up, time it without the profiler, then with it.

    Args:
        address: the daemon's runtime directory.
        runs, seconds: how many profiled inferences, or how long if `runs` is None.

    Raises:
        InputError: not a file that TensorRT takes.
        Failure: TensorRT cannot build or run it.
    """
    context = _context(path)
    stream, _memory = _bind(context)
    _time(context, stream, WARM_UP)
    unprofiled_s = _time(context, stream, UNPROFILED)
    with LayerProfiler(context, address=address, name=Path(path).stem) as profiler:
        begin = time.monotonic()
        done = 0
        while done < runs if runs is not None else time.monotonic() - begin < seconds:
            with profiler.inference():
                context.execute_async_v3(stream.handle)
                stream.synchronize()
            done += 1
        profiled_s = (time.monotonic() - begin) / max(1, done)
        profiler.close(3.0)
        layers = len(profiler.engine.layers)
        return Outcome(profiler.engine.name, layers, done, profiler.counts.acknowledged, unprofiled_s, profiled_s)


def _context(path: str) -> Any:
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    try:
        plan = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if path.endswith(".onnx"):
        plan = _build(trt, logger, path)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise InputError(f"{path}: neither an ONNX model nor an engine of TensorRT {trt.__version__} for this GPU")
    return engine.create_execution_context()


def _build(trt: Any, logger: Any, path: str) -> Any:
    """The serialized engine, with all that the inspector can tell and no auxiliary streams, which would overlap layers."""
    builder = trt.Builder(logger)
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        raise InputError(f"{path}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0
    config.set_flag(trt.BuilderFlag.FP16)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Failure(f"{path}: TensorRT could not build an engine; its messages above say why")
    return plan


def _bind(context: Any) -> tuple[Any, list[Any]]:
    """Give every input and output of the engine memory; returns a stream, and the memory to be held meanwhile."""
    import pycuda.autoprimaryctx  # noqa: F401  # makes the device's context current
    import pycuda.driver as cuda
    import tensorrt as trt

    engine = context.engine
    held = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = context.get_tensor_shape(name)
        if min(shape, default=0) < 0:
            raise InputError(f"input {name!r} has no fixed shape {tuple(shape)}; export the model with one")
        held.append(cuda.mem_alloc(max(1, trt.volume(shape) * engine.get_tensor_dtype(name).itemsize)))
        context.set_tensor_address(name, int(held[-1]))
    return cuda.Stream(), held


def _time(context: Any, stream: Any, runs: int) -> float:
    begin = time.monotonic()
    for _ in range(runs):
        context.execute_async_v3(stream.handle)
        stream.synchronize()
    return (time.monotonic() - begin) / runs
