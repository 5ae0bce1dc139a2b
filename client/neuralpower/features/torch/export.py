"""A PyTorch callable as layers, or as a temporary ONNX file. PyTorch is imported only here, and only when asked for."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.features.onnx.fused import layers_apart
from neuralpower.features.onnx.inputs import FIRST, InputShape, by_name
from neuralpower.features.operators.graph import Graph
from neuralpower.features.torch.aten import graph_of_program

ANY = (Exception, SystemExit)
"""What a user's code may raise: a script that reads its own arguments, or ends where it is imported, exits."""


def module_of(spec: str, batch: int = 1) -> tuple[Any, list[tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The module for inference that ``torch:module:callable`` names, with the shapes of its inputs: by place, and by name.

    Raises InputError as :func:`graph_from_torch` does.
    """
    with output_to_stderr():
        _, model, (first, others) = _prepared(spec, batch, None)
    return model, list(first.values()), others


def program_layers(program: Any, source: str) -> list[tuple[str, Layer]]:
    """Each operator of an exported program that runs, as a layer of its own, with the name of its node: as eager PyTorch runs them."""
    return [
        (node.output[0].partition(".")[0], layer) for node, layer in layers_apart(graph_of_program(program, source))
    ]


def graph_from_torch(spec: str, batch: int = 1, input_shape: InputShape = None) -> Graph:
    """The operators of what ``torch:module:callable`` names, from ``torch.export``, which computes nothing.

    The callable is as for :func:`exported`; its parameters lose their contents (device ``meta``) before it is exported.
    Raises InputError when PyTorch, the module or a shape is missing, or the module cannot be exported.
    """
    with output_to_stderr():
        torch, model, wanted = _prepared(spec, batch, input_shape)
        try:
            with plain_attention(torch):
                first, others = (
                    {name: torch.zeros(*shape, device="meta") for name, shape in each.items()} for each in wanted
                )
                program = torch.export.export(model.to("meta"), tuple(first.values()), others)
        except ANY as error:  # the user's code and the exporter can fail in any way
            raise InputError(f"{spec}: torch.export cannot trace it: {first_line(error)}") from error
    return graph_of_program(program, spec)


@contextmanager
def output_to_stderr() -> Iterator[None]:
    """What the user's code prints, in Python or below it, goes to stderr: stdout is for the command's result, which may be JSON."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def plain_attention(torch: Any) -> Iterator[None]:
    """Attention as the operators that it is made of: the fused one that eager PyTorch has tells nothing of them."""
    switch = getattr(getattr(torch.backends, "mha", None), "set_fastpath_enabled", None)
    before = torch.backends.mha.get_fastpath_enabled() if switch else True
    if switch:
        switch(False)
    try:
        yield
    finally:
        if switch:
            switch(before)


@contextmanager
def exported(spec: str, batch: int = 1, input_shape: InputShape = None) -> Iterator[Path]:
    """Export ``torch:module:callable`` and yield the ONNX file, which is gone afterwards.

    The callable takes no arguments and returns a ``torch.nn.Module``, or is one. Its example input is zeros of
    ``input_shape``, or of the module's attribute ``INPUT_SHAPE`` (N,C,H,W) with N replaced by ``batch``.
    This runs the named module's code. Raises InputError when PyTorch, the module or a shape is missing.
    """
    with output_to_stderr():
        torch, model, wanted = _prepared(spec, batch, input_shape)
    # The exporter that needs only torch itself; the newer default needs onnxscript.
    plain = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "network.onnx"
        try:
            with output_to_stderr():
                first, others = ({name: torch.zeros(*shape) for name, shape in each.items()} for each in wanted)
                torch.onnx.export(model, (*first.values(), *([others] if others else [])), str(target), **plain)
        except ANY as error:  # the user's code and the exporter can fail in any way
            raise InputError(f"{spec}: cannot be exported to ONNX: {first_line(error)}") from error
        yield target


Shapes = dict[str, tuple[int, ...]]


def _prepared(spec: str, batch: int, input_shape: InputShape) -> tuple[Any, Any, tuple[Shapes, Shapes]]:
    """PyTorch, the module for inference, and the shapes of its example inputs: the first, and others by the names that its forward gives them."""
    if len(spec.split(":")) != 3 or not all(spec.split(":")):
        raise InputError(f"{spec}: write torch:module:callable")
    try:
        import torch
    except ModuleNotFoundError:
        raise InputError(f"{spec}: needs PyTorch: pip install torch") from None
    except (ImportError, OSError) as error:
        raise InputError(f"{spec}: PyTorch is installed and cannot be loaded: {first_line(error)}") from None
    source, shape = _resolve(spec)
    named = dict(by_name(input_shape))
    first = tuple(named.pop(FIRST, ())) or (batch, *shape[1:])
    try:
        model = source() if callable(source) and not isinstance(source, torch.nn.Module) else source
    except ANY as error:  # the user's code can fail in any way
        raise InputError(f"{spec}: cannot be made: {first_line(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"{spec}: a module of PyTorch is needed, not {type(model).__name__}")
    model = model.eval()
    taken = list(inspect.signature(model.forward).parameters) if named else []
    if named and set(named) - set(taken):
        raise InputError(f"{spec}: no input {min(set(named) - set(taken))}; its forward takes {', '.join(taken)}")
    first = tuple(named.pop(taken[0], first)) if named else first
    if len(first) < 2:
        raise InputError(
            f"{spec}: no input shape; set INPUT_SHAPE = (1, 3, 224, 224) in the module, or give --input-shape"
        )
    return torch, model, ({FIRST: first}, {name: tuple(sizes) for name, sizes in named.items()})


def _resolve(spec: str) -> tuple[Any, tuple[int, ...]]:
    _, _, place = spec.partition(":")
    name, _, attribute = place.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the current folder
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{spec}: {first_line(error)}") from None
    except ANY as error:  # the user's code can fail in any way
        raise InputError(f"{spec}: its import ended: {_named(error)}") from error
    try:
        source = getattr(module, attribute)
    except AttributeError as error:
        raise InputError(f"{spec}: {error}") from None
    shape = getattr(module, "INPUT_SHAPE", ())
    if not isinstance(shape, Sequence) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise InputError(f"{spec}: INPUT_SHAPE is {repr(shape)[:60]}; write its sizes, as (1, 3, 224, 224)")
    return source, tuple(shape)


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing, and of an exit."""
    return (
        str(error).strip().partition("\n")[0] if str(error).strip() and isinstance(error, Exception) else _named(error)
    )


def _named(error: BaseException) -> str:
    """The error's type and its first line: what an exit or a KeyError says is nothing without it."""
    return f"{type(error).__name__}: {error}".strip(": ").partition("\n")[0]
