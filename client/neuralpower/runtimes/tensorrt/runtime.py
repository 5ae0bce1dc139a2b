"""TensorRT, and TensorRT for RTX, which has the same Python API under another name.

Written from the documentation of TensorRT 8.6 to 11 and PyCUDA. The names that it uses are checked against the real bindings
(`make test-bindings`); it has not run on a GPU.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...experiment import repeat
from ...features.layers import Layer
from ...features.onnx.fused import layers_from_onnx
from .. import cuda
from ..device_bench import DeviceRuntime
from ..options import Options
from ..runtime import Program
from ..sources import is_exported, onnx_of, title
from . import build


class TensorrtRuntime(DeviceRuntime):
    """As :class:`~neuralpower.runtimes.runtime.Runtime`; `name` is the Python module: `tensorrt` or `tensorrt_rtx`."""

    simulated = False

    def __init__(self, name: str = "tensorrt") -> None:
        self.name = name

    def why_not(self) -> str:
        """CUDA is asked before TensorRT: without a driver its `Runtime()` returns an object that crashes the process when used."""
        return cuda.why_not(self.name)

    def about(self) -> str:
        """The version and the GPU."""
        version = getattr(self._module(), "__version__", "of an unknown version")
        return f"{self.name} {version} on {cuda.device_name()}"

    def load(self, spec: str, options: Options) -> Program:
        """The engine of an ONNX model, `torch:`, `hub:`, or a serialized engine."""
        if spec.endswith(".json"):
            raise InputError(
                f"{spec}: {self.name} runs ONNX models, PyTorch networks and engine files; --virtual runs this"
            )
        trt = self._module()
        cuda.make_current()
        if spec.endswith(".onnx") or is_exported(spec):
            with onnx_of(spec, options.batch) as path:
                plan = build.build(trt, str(path), options)
        else:
            plan = build.EnginePlan(build.read_plan(spec))
        return _program(trt, spec, plan, title(spec))

    def layers(self, spec: str, options: Options) -> list[Layer]:
        """Those of the ONNX model."""
        with onnx_of(spec, options.batch) as path:
            return layers_from_onnx(path, options.batch)

    def repeated(self, layer: Layer, copies: int, options: Options, name: str) -> Program:
        """An engine of copies, whose inputs and outputs lie in one piece of memory each."""
        trt = self._module()
        cuda.make_current()
        with tempfile.TemporaryDirectory() as folder:
            path = repeat.write(layer, copies, Path(folder) / "repeated.onnx")
            return _program(trt, str(path), build.build(trt, str(path), options), name, shared=True)

    def _module(self) -> Any:
        return importlib.import_module(self.name)


def _program(trt: Any, spec: str, plan: build.EnginePlan, name: str, shared: bool = False) -> Program:
    logger = trt.Logger(trt.Logger.WARNING)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan.serialized)
    if engine is None:
        raise InputError(
            f"{spec}: neither an ONNX model nor an engine of {trt.__name__} {trt.__version__} for this GPU"
        )
    context = engine.create_execution_context()
    held = [*cuda.bind(trt, context, shared), engine, runtime, logger]
    return Program(name, context, cuda.new_stream(), held, plan.notes)
