"""PyTorch on the CPU whose operators are kernels of the stand-in's GPU: each takes a time by the size of its answer. Simulated."""

from __future__ import annotations

from typing import Any

from .cuda_stand_in import Cuda, Gpu

NS_AN_ELEMENT = 2.0
LEAST_NS = 2_000.0


def cuda_of(gpu: Gpu) -> Cuda:
    """As `torch.cuda`; PyTorch is imported here."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Kernels(TorchDispatchMode):  # type: ignore[misc]  # PyTorch has no types here
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = function(*args, **(kwargs or {}))
            name = str(function)
            if not function.is_view and name.split(".")[1] not in ("detach", "alias", "_assert_tensor_metadata"):
                size = answer.numel() if hasattr(answer, "numel") else 1
                gpu.launch(name, LEAST_NS + NS_AN_ELEMENT * size)
            return answer

    return Cuda(gpu, Kernels)
