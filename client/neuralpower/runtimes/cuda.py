"""Memory and streams, through PyCUDA; whether a CUDA device is there at all."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import Any

import numpy as np

from ..errors import InputError

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""CUdevice_attribute, from cuda.h."""


def why_not(module: str) -> str:
    """Why a TensorRT whose Python module has this name cannot run here; empty where it can."""
    for each in (module, "pycuda"):
        if importlib.util.find_spec(each) is None:
            return f"no Python module {each}"
    return no_device()


def no_device() -> str:
    """Why no program can use CUDA here; empty where one can. The driver itself is asked, which no Python package is needed for."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver (libcuda.so.1)"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return f"no CUDA device (cuInit gave {status})"
    return ""


def device_name() -> str:
    """The first device's name, with its compute capability."""
    driver = ctypes.CDLL("libcuda.so.1")
    name, device = ctypes.create_string_buffer(256), ctypes.c_int(0)
    driver.cuInit(0)
    if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, len(name), device):
        return "an unknown GPU"
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    return f"{name.value.decode(errors='replace')} ({major.value}.{minor.value})"


def make_current() -> None:
    """Make the first device's primary context current in this thread."""
    import pycuda.autoprimaryctx  # noqa: F401  # its import does it, and undoes it at exit


def new_stream() -> Any:
    """A stream with `handle` and `synchronize`."""
    import pycuda.driver as cuda

    return cuda.Stream()


def to_device(values: np.ndarray, memory: Any = None) -> Any:
    """Copy `values` to the GPU, into `memory` if that is given; returns the memory, whose int is its address."""
    import pycuda.driver as cuda

    memory = cuda.mem_alloc(values.nbytes) if memory is None else memory
    cuda.memcpy_htod(memory, values)
    return memory


def bind(trt: Any, context: Any, shared: bool = False) -> list[Any]:
    """Give every input and output of the context memory, inputs filled with random numbers; returns what must be held.

    Zeros would be cheaper for the GPU than data: fewer bits change, so it draws less. With `shared`, all inputs of one size
    lie in the same memory, and all outputs: for the equal copies of a repeated layer, whose answers nobody reads.

    Raises:
        InputError: a tensor without a fixed shape.
    """
    import pycuda.driver as cuda

    engine, draw = context.engine, np.random.default_rng(0)
    held: dict[tuple[object, ...], Any] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT and -1 in tuple(engine.get_tensor_shape(name)):
            shape = tuple(engine.get_tensor_profile_shape(name, 0)[1])
            context.set_input_shape(name, shape)
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise InputError(f"tensor {name!r} has no fixed shape {shape}; export the model with one")
        size = max(1, int(np.prod(shape, dtype=np.int64)) * engine.get_tensor_dtype(name).itemsize)
        given = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        key = (given, size) if shared else (name,)
        if key not in held:
            held[key] = cuda.mem_alloc(size)
            if given:
                cuda.memcpy_htod(held[key], _noise(trt, engine.get_tensor_dtype(name), size, draw))
        context.set_tensor_address(name, int(held[key]))
    return list(held.values())


def _noise(trt: Any, kind: Any, size: int, draw: np.random.Generator) -> np.ndarray:
    """Random normal numbers in FP32 and FP16; small integers in anything else, which any index or mask can be."""
    if kind == trt.DataType.FLOAT:
        return draw.standard_normal(size // 4).astype(np.float32)
    if kind == trt.DataType.HALF:
        return draw.standard_normal(size // 2).astype(np.float16)
    return np.zeros(size, np.uint8)
