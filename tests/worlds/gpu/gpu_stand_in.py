"""A GPU that works in real time, without one: kernels of the stand-in for CUDA, whose power the stand-in for NVML shows. Simulated.

What a kernel draws is known (:func:`power_w`), so what is measured of it can be judged.
"""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

from .cuda_stand_in import Cuda, Gpu, Node
from .torch_stand_in import LEAST_NS, NS_AN_ELEMENT

ENVIRONMENT = {"NVML_STAND_IN": "low_mw=124000 fast_mw=0 slow_mw=0"}
"""Of the daemon: nothing but a floor, and the work."""
WORK = "NVML_STAND_IN_WORK"
LIBRARY_S, LOAD_S = 0.4, 0.02
"""What the first kernel of all costs its host, and the first of each other name: such as CUDA's libraries take."""
_RECORD = struct.Struct("=qdd")
_FLAT = ("convolution", "linear", "addmm", "mm", "matmul", "max_pool2d_with_indices", "avg_pool2d", "mean")
"""Operators of which only the answer's size is made: what they compute would take seconds on a CPU, and nobody reads it."""


def power_w(kernel: str, ns: float) -> float:
    """What a kernel draws above the floor: by its name, and less where it is short."""
    return (90.0 + 45.0 * (zlib.crc32(kernel.encode()) % 7)) * (0.6 + 0.4 * min(1.0, ns / 100e3))


class WorkingGpu(Gpu):
    """As the class above, with the host's own clock. `work` is the file that the stand-in for NVML reads."""

    def __init__(self, work: Path, seed: int = 0) -> None:
        self._mj, self._waiting = 0.0, b""
        self._loaded: set[str] = set()
        self._work = work.open("ab", buffering=0)
        super().__init__(seed=seed)

    @property
    def now_ns(self) -> float:
        """CLOCK_MONOTONIC."""
        return float(time.monotonic_ns())

    @now_ns.setter
    def now_ns(self, value: float) -> None:
        """What the host would have spent, it spends by itself."""

    def launch(self, name: str, ns: float) -> None:
        """A kernel, from the host, or into the graph that is captured. The first of its name keeps the host waiting, as loading it does."""
        if name not in self._loaded:
            time.sleep(LOAD_S if self._loaded else LIBRARY_S)
            self._loaded.add(name)
        super().launch(name, ns)
        self._told()

    def replay(self, nodes: list[Node]) -> None:
        """A graph, in one call."""
        super().replay(nodes)
        self._told()

    def wait(self) -> None:
        """The host waits for all."""
        while (left_s := (self._free_ns - time.monotonic_ns()) * 1e-9) > 0:
            time.sleep(left_s)

    def _kernel(self, node: Node) -> None:
        super()._kernel(node)
        ran = self.ran.pop()
        mw = 1e3 * power_w(ran.name, node.ns)
        begin_ns, end_ns = round(ran.begin_ns), round(ran.end_ns)
        self._waiting += _RECORD.pack(begin_ns, self._mj, mw)
        self._mj += mw * (end_ns - begin_ns) * 1e-9
        self._waiting += _RECORD.pack(end_ns, self._mj, 0.0)

    def _told(self) -> None:
        waiting, self._waiting = self._waiting, b""
        if waiting:
            self._work.write(waiting)


def cuda_of(gpu: Gpu) -> Cuda:
    """As `torch.cuda`: PyTorch's operators are kernels, of a time by the size of their answer. PyTorch is imported here."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    def answered(function: Any, args: Any, kwargs: Any) -> Any:
        if str(function).split(".")[1] not in _FLAT:
            return function(*args, **kwargs)
        answer = function(*_on_meta(torch, args), **kwargs)
        made = [
            torch.zeros(each.shape, dtype=each.dtype) for each in (answer if isinstance(answer, tuple) else [answer])
        ]
        return tuple(made) if isinstance(answer, tuple) else made[0]

    class RealTimeKernels(TorchDispatchMode):  # type: ignore[misc]  # PyTorch has no types here
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = answered(function, args, kwargs or {})
            name = str(function)
            if not function.is_view and name.split(".")[1] not in ("detach", "alias", "_assert_tensor_metadata"):
                first = answer[0] if isinstance(answer, tuple) else answer
                gpu.launch(name, LEAST_NS + NS_AN_ELEMENT * (first.numel() if hasattr(first, "numel") else 1))
            return answer

    return Cuda(gpu, RealTimeKernels)


def _on_meta(torch: Any, given: Any) -> Any:
    if isinstance(given, torch.Tensor):
        return given.to("meta")
    if isinstance(given, (list, tuple)):
        return type(given)(_on_meta(torch, each) for each in given)
    return given
