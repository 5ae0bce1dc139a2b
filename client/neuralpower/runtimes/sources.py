"""The ONNX model behind what the user names: a file, `torch:module:callable`, or `hub:repository:model`."""

from __future__ import annotations

import contextlib
import inspect
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

HUB, TORCH = "hub:", "torch:"
HUB_SHAPE = (3, 224, 224)
"""What the image networks of torch.hub take, where no shape is given."""
OTHER_SHAPES = {"inception_v3": (3, 299, 299)}
_OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
"""Their own initial weights take minutes to draw, and are no better for measuring."""


def is_exported(spec: str) -> bool:
    """Whether `spec` names a PyTorch network, which becomes ONNX first."""
    return spec.startswith((HUB, TORCH))


def title(spec: str) -> str:
    """What to call the network."""
    return spec.rpartition(":")[2] if is_exported(spec) else Path(spec).stem


@contextlib.contextmanager
def onnx_of(spec: str, batch: int = 1, input_shape: Sequence[int] | None = None) -> Iterator[Path]:
    """The ONNX file of `spec`, while the block runs.

    Raises:
        InputError: no such file, or a network that cannot be loaded or exported.
    """
    if spec.startswith(TORCH):
        from ..features.torch.export import exported

        with exported(spec, batch, input_shape) as path:
            yield path
    elif spec.startswith(HUB):
        with tempfile.TemporaryDirectory() as folder:
            shape = input_shape or hub_shape(spec, batch)
            yield _from_hub(spec, Path(folder) / "network.onnx", shape)
    elif not Path(spec).is_file():
        raise InputError(f"{spec}: no such file; name an ONNX model, torch:module:callable or hub:repository:model")
    else:
        yield Path(spec)


def hub_module(spec: str) -> Any:
    """The module for inference that `hub:repository:model` names, made by the repository's code with random weights.

    Raises:
        InputError: PyTorch is missing, or it cannot be loaded.
    """
    repository, _, name = spec.removeprefix(HUB).rpartition(":")
    if not repository or not name:
        raise InputError(f"{spec}: write hub:repository:model, as hub:pytorch/vision:resnet18")
    try:
        import torch
    except ModuleNotFoundError:
        raise InputError(f"{spec}: needs PyTorch: pip install torch") from None
    from ..features.torch.export import ANY, first_line, output_to_stderr

    local = {"source": "local"} if Path(repository).is_dir() else {}
    try:
        with output_to_stderr():
            return torch.hub.load(repository, name, **local, **_OPTIONS.get(name, {})).eval()
    except ANY as error:  # the repository's code can fail in any way
        raise InputError(f"{spec}: cannot be loaded: {first_line(error)}") from error


def hub_shape(spec: str, batch: int) -> tuple[int, ...]:
    """Of the input, where none is given."""
    return (batch, *OTHER_SHAPES.get(title(spec), HUB_SHAPE))


def _from_hub(spec: str, target: Path, shape: Sequence[int]) -> Path:
    model = hub_module(spec)
    import torch

    from ..features.torch.export import ANY, first_line, output_to_stderr

    # The exporter that needs only torch itself; the newer default needs onnxscript.
    plain = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    try:
        with output_to_stderr():
            torch.onnx.export(model, (torch.zeros(*shape),), str(target), **plain)
    except ANY as error:  # the network and the exporter can fail in any way
        raise InputError(f"{spec}: cannot be exported to ONNX: {first_line(error)}") from error
    return target
