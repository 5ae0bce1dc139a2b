"""A PyTorch callable as layers, or as a temporary ONNX file. PyTorch is imported only here, and only when asked for."""

from __future__ import annotations

import importlib
import inspect
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.aten import graph_of_program
from neuralpower.features.layers import Layer
from neuralpower.features.onnx_graph import layers_of


def layers_from_torch(spec: str, batch: int = 1, input_shape: Sequence[int] | None = None) -> list[Layer]:
    """Every layer of what ``torch:module:callable`` names, from ``torch.export``, which computes nothing.

    The callable is as for :func:`exported`; its parameters lose their contents (device ``meta``) before it is exported.
    Raises InputError when PyTorch, the module or a shape is missing, or the module cannot be exported.
    """
    torch, model, wanted = _prepared(spec, batch, input_shape)
    try:
        program = torch.export.export(model.to("meta"), (torch.zeros(*wanted, device="meta"),))
    except Exception as error:  # the user's code and the exporter can fail in any way
        raise InputError(f"{spec}: torch.export cannot trace it: {_first_line(error)}") from error
    return layers_of(graph_of_program(program, spec))


@contextmanager
def exported(spec: str, batch: int = 1, input_shape: Sequence[int] | None = None) -> Iterator[Path]:
    """Export ``torch:module:callable`` and yield the ONNX file, which is gone afterwards.

    The callable takes no arguments and returns a ``torch.nn.Module``, or is one. Its example input is zeros of
    ``input_shape``, or of the module's attribute ``INPUT_SHAPE`` (N,C,H,W) with N replaced by ``batch``.
    This runs the named module's code. Raises InputError when PyTorch, the module or a shape is missing.
    """
    torch, model, wanted = _prepared(spec, batch, input_shape)
    # The exporter that needs only torch itself; the newer default needs onnxscript.
    plain = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "network.onnx"
        try:
            torch.onnx.export(model, (torch.zeros(*wanted),), str(target), **plain)
        except Exception as error:  # the user's code and the exporter can fail in any way
            raise InputError(f"{spec}: cannot be exported to ONNX: {_first_line(error)}") from error
        yield target


def _prepared(spec: str, batch: int, input_shape: Sequence[int] | None) -> tuple[Any, Any, tuple[int, ...]]:
    """PyTorch, the module for inference, and the shape of its example input."""
    if len(spec.split(":")) != 3 or not all(spec.split(":")):
        raise InputError(f"{spec}: write torch:module:callable")
    try:
        import torch
    except ModuleNotFoundError:
        raise InputError(f"{spec}: needs PyTorch: pip install torch") from None
    except (ImportError, OSError) as error:
        raise InputError(f"{spec}: PyTorch is installed and cannot be loaded: {_first_line(error)}") from None
    source, shape = _resolve(spec)
    wanted = tuple(input_shape) if input_shape else (batch, *shape[1:])
    if len(wanted) < 2:
        raise InputError(f"{spec}: no input shape; set INPUT_SHAPE = (1, 3, 224, 224) in the module")
    try:
        model = source if isinstance(source, torch.nn.Module) else source()
        return torch, model.eval(), wanted
    except Exception as error:  # the user's code can fail in any way
        raise InputError(f"{spec}: cannot be made: {_first_line(error)}") from error


def _resolve(spec: str) -> tuple[Any, tuple[int, ...]]:
    _, _, place = spec.partition(":")
    name, _, attribute = place.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the current folder
    try:
        module = importlib.import_module(name)
        return getattr(module, attribute), tuple(getattr(module, "INPUT_SHAPE", ()))
    except (ImportError, AttributeError) as error:
        raise InputError(f"{spec}: {error}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
