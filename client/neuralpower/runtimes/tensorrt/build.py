"""Builds a TensorRT engine that can be measured layer by layer: every detail for the inspector, no auxiliary streams.

Up to TensorRT 10 the precision is a flag of the builder. TensorRT 11 has no such flags: a network computes in the types
that its tensors have, so half precision is written into the ONNX model before (`half.py`), and INT8 needs one with
QuantizeLinear nodes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Failure, InputError
from ..options import Options
from .diagnosis import complaint, logger_of, refusal

CALIBRATION_BATCHES = 8
WORKSPACE_BYTES = 1 << 30
RANDOM_RANGES = (
    "INT8 ranges come from random inputs: time and power are those of the engine, its answers are not to be used"
)


@dataclass(frozen=True)
class EnginePlan:
    """A serialized engine, and what must be said about it."""

    serialized: Any
    notes: tuple[str, ...] = ()


def build(trt: Any, path: str, options: Options) -> EnginePlan:
    """The engine of the ONNX model at `path`.

    Raises:
        InputError: not a model that TensorRT takes, or not in this precision.
        Failure: TensorRT could not build it.
    """
    logger = logger_of(trt)
    logger.errors.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    with model_for(trt, path, options) as model:
        if not parser.parse_from_file(str(model)):
            raise InputError(f"{path}: {refusal(trt, parser, logger)}")
    if not network.num_outputs:
        raise InputError(f"{path}: an ONNX model without outputs, so with nothing to build; is the file whole?")
    config = builder.create_builder_config()
    notes = configure(trt, config, network, path, options)
    shapes = fixed_shapes(path, network, options.batch)
    if shapes:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.add_optimization_profile(profile)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise Failure(f"{path}: no engine could be built; {complaint(trt, logger)}")
    return EnginePlan(serialized, notes)


def network_flags(trt: Any) -> int:
    """Explicit batch where a version still asks for it."""
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    return 0 if explicit is None else 1 << int(explicit)


def typed_only(trt: Any) -> bool:
    """Whether this TensorRT takes the precision from the network's types alone."""
    return not hasattr(trt.BuilderFlag, "FP16")


def configure(trt: Any, config: Any, network: Any, path: str, options: Options) -> tuple[str, ...]:
    """Set what measuring needs, and the precision; returns what must be said about it.

    Raises:
        InputError: INT8 of a model that this TensorRT can only take quantised.
    """
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    set_capabilities(trt, config, options.capabilities)
    if options.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and no FP32
        return ()
    quantised = options.precision == "int8" and has_quantisation(path)
    if typed_only(trt):
        if options.precision == "int8" and not quantised:
            version = getattr(trt, "__version__", "")
            raise InputError(
                f"{path}: TensorRT {version} builds INT8 only from a model with QuantizeLinear nodes; quantise it first"
            )
        return ()
    config.set_flag(trt.BuilderFlag.FP16)
    if options.precision == "fp16":
        return ()
    config.set_flag(trt.BuilderFlag.INT8)
    if quantised:
        return ()
    config.int8_calibrator = calibrator(trt, network, options)
    return () if options.calibration else (RANDOM_RANGES,)


def set_capabilities(trt: Any, config: Any, capabilities: tuple[str, ...]) -> None:
    """Name the GPUs that the engine is for; InputError where these bindings build for no other GPU than the machine's, or not for one of them."""
    if not capabilities:
        return
    known = getattr(trt, "ComputeCapability", None)
    if known is None:
        raise InputError(
            f"TensorRT {trt.__version__} builds for the GPU of this machine alone: name no compute capabilities"
        )
    numbers = {f"{name[2:-1]}.{name[-1]}": value for name, value in known.__members__.items() if name[2:].isdigit()}
    if missing := [each for each in capabilities if each not in numbers]:
        raise InputError(
            f"TensorRT {trt.__version__} builds for the compute capabilities {', '.join(numbers)}, not for {', '.join(missing)}"
        )
    config.num_compute_capabilities = len(capabilities)
    for at, each in enumerate(capabilities):
        config.set_compute_capability(numbers[each], at)


@contextlib.contextmanager
def model_for(trt: Any, path: str, options: Options) -> Iterator[Path]:
    """The model to parse: `path`, or a copy in half precision where only types tell the precision."""
    if options.precision != "fp16" or not typed_only(trt):
        yield Path(path)
        return
    from .half import to_half

    with tempfile.TemporaryDirectory() as folder:
        yield to_half(Path(path), Path(folder) / "half.onnx")


def has_quantisation(path: str) -> bool:
    """Whether the model itself says where to quantise."""
    from ...features.onnx.file import load_model

    model = load_model(Path(path), weights=False)
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def fixed_shapes(path: str, network: Any, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes for the inputs that have dynamic ones, with `batch` first.

    Raises:
        InputError: another dimension than the first is dynamic, or the batch is fixed at another number.
    """
    shapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise InputError(
                f"{path}: input {tensor.name!r} has the shape {shape}; export it with all but the batch fixed"
            )
        if shape[:1] == (-1,):
            shapes[tensor.name] = (batch, *shape[1:])
        elif batch != 1 and shape[:1] != (batch,):
            raise InputError(
                f"{path}: input {tensor.name!r} has its batch fixed at {shape[0] if shape else 0}, not {batch}"
            )
    return shapes


def calibration_inputs(shape: tuple[int, ...], options: Options) -> list[np.ndarray]:
    """Batches of float32 inputs of `shape`: from the file, or random normal ones.

    Raises:
        InputError: a file of other shapes, or with less than one batch.
    """
    if options.calibration is None:
        draw = np.random.default_rng(0)
        return [draw.standard_normal(shape).astype(np.float32) for _ in range(CALIBRATION_BATCHES)]
    try:
        inputs = np.load(options.calibration, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{options.calibration}: {error}") from None
    if inputs.ndim != len(shape) or inputs.shape[1:] != shape[1:] or len(inputs) < shape[0]:
        raise InputError(
            f"{options.calibration}: inputs of {inputs.shape}, where (n >= {shape[0]}, {shape[1:]}) are needed"
        )
    count = len(inputs) // shape[0]
    return [np.ascontiguousarray(part, np.float32) for part in np.split(inputs[: count * shape[0]], count)]


def calibrator(trt: Any, network: Any, options: Options) -> Any:
    """What TensorRT 8 and 10 ask for INT8 ranges; it holds one batch on the GPU at a time.

    Raises:
        InputError: a network of several inputs, which one file cannot feed.
    """
    if network.num_inputs != 1:
        raise InputError(
            f"INT8 calibration feeds one input; this network has {network.num_inputs}: quantise the model instead"
        )
    shape = tuple(network.get_input(0).shape)
    fixed = (options.batch if shape[0] == -1 else shape[0], *shape[1:])
    batches = calibration_inputs(fixed, options)

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # the base is known only with the bindings
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)  # pybind11 insists on this exact call
            self._left = list(batches)
            self._memory: Any = None

        def get_batch_size(self) -> int:
            return int(fixed[0])

        def get_batch(self, names: list[str]) -> list[int] | None:
            if not self._left:
                return None
            from ..cuda import to_device

            self._memory = to_device(self._left.pop(0), self._memory)
            return [int(self._memory)]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            return None

    return Calibrator()


def read_plan(path: str | os.PathLike[str]) -> bytes:
    """A serialized engine from a file; InputError where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: {error.strerror}") from None
