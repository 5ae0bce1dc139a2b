"""The inputs of an ONNX model made static: what was asked for, what a name of a dimension tells, and what is assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuralpower.errors import InputError
from neuralpower.features.operators.graph import Shape

FIRST = ""
"""Stands for the first input where a shape is given without a name."""

Wanted = Mapping[str, Sequence[int]]
InputShape = Sequence[int] | Wanted | None
"""The shape of the first input, or of inputs by name."""


def by_name(input_shape: InputShape) -> Wanted:
    """Input -> its shape; a shape without a name stands under ``FIRST``."""
    if not input_shape:
        return {}
    return input_shape if isinstance(input_shape, Mapping) else {FIRST: input_shape}


def static_inputs(path: Path, inputs: Sequence[Any], batch: int, wanted: Wanted) -> tuple[dict[str, Shape], list[str]]:
    """The shape of each input (``onnx.ValueInfoProto``) and a line for each that was assumed in part.

    A shape in ``wanted`` replaces an input's own. A dimension that a name shares with one of those is as large as that; a first dimension that is
    open otherwise is ``batch``. Raises InputError, one line, on another open dimension, which names the options to give, on names that are no
    input's, and on a batch that is fixed at another number.
    """
    named = _by_name(path, inputs, wanted)
    known: dict[str, int] = {}
    for value in inputs:
        if value.name in named:
            known = {**dict(zip(_names(value), named[value.name], strict=False)), **known}
    known.pop("", None)
    shapes: dict[str, Shape] = {}
    notes, missing, options = [], [], []
    for value in inputs:
        if not value.type.HasField("tensor_type"):
            continue
        if value.name in named:
            shapes[value.name] = _replaced(path, value, named[value.name])
            continue
        if not value.type.tensor_type.HasField("shape"):
            missing.append(f"input {value.name} has no shape")
            options.append(f"--input-shape {value.name}=1x3x224x224")
            continue
        sizes, filled, open_ = _filled(path, value, batch, known)
        if open_:
            missing.append(f"input {value.name} has {_open(value, open_)}")
            options.append(f"--input-shape {value.name}={'x'.join(str(size or letter) for size, letter in sizes)}")
            continue
        shapes[value.name] = tuple(size for size, _ in sizes)
        if filled:
            notes.append(f"input {value.name} taken as {'x'.join(map(str, shapes[value.name]))}")
    if missing:
        letters = any(part.isalpha() for option in options for part in option.rpartition("=")[2].split("x"))
        told = " (sizes for letters)" if letters else ", or what its shape is"
        raise InputError(f"{path}: {'; '.join(missing)}; give {' '.join(options)}{told}")
    return shapes, notes


def _open(value: Any, axes: Sequence[int]) -> str:
    """What keeps an input's dimensions open; a 0 that the file holds is said, since a file may mean it."""
    told = value.type.tensor_type.shape.dim
    zero = any(told[axis].HasField("dim_value") and told[axis].dim_value == 0 for axis in axes)
    return f"{'a size of 0 in' if zero else 'a dynamic'} dimension {', '.join(map(str, axes))}"


def is_other(value: Any, shape: Shape) -> bool:
    """Whether an input has another size than the file fixes for it."""
    fixed = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return any(size > 0 and size != given for size, given in zip(fixed, shape, strict=False))


def _by_name(path: Path, inputs: Sequence[Any], wanted: Wanted) -> dict[str, Sequence[int]]:
    names = [value.name for value in inputs]
    unknown = [name for name in wanted if name != FIRST and name not in names]
    if unknown or (wanted and not names):
        listed = f"its inputs are {', '.join(names)}" if names else "it has no inputs"
        raise InputError(f"{path}: no input {unknown[0] if unknown else 'to give a shape to'}; {listed}")
    return {name if name != FIRST else names[0]: sizes for name, sizes in wanted.items()}


def _names(value: Any) -> list[str]:
    return [dim.dim_param for dim in value.type.tensor_type.shape.dim]


def _replaced(path: Path, value: Any, sizes: Sequence[int]) -> Shape:
    own = value.type.tensor_type
    if own.HasField("shape") and own.shape.dim and len(own.shape.dim) != len(sizes):
        raise InputError(
            f"{path}: input {value.name} has {len(own.shape.dim)} dimensions, the shape given has {len(sizes)}"
        )
    return tuple(sizes)


def _filled(path: Path, value: Any, batch: int, known: dict[str, int]) -> tuple[list[tuple[int, str]], bool, list[int]]:
    """Sizes (0 where open) with a letter for each, whether one was filled in, and the axes that stay open."""
    sizes, filled, open_ = [], False, []
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        size = dim.dim_value
        if size > 0:
            if axis == 0 and len(value.type.tensor_type.shape.dim) > 1 and batch not in (1, size):
                raise InputError(f"{path}: input {value.name} has its batch fixed at {size}, not {batch}")
        elif dim.dim_param in known or axis == 0:
            size, filled = known.get(dim.dim_param, batch), True
        else:
            open_.append(axis)
        sizes.append((max(size, 0), "NCHWDKL"[axis] if axis < 7 else "S"))
    return sizes, filled, open_
