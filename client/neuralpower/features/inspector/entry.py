"""One layer's entry in TensorRT's engine information, read without trust: keys differ between versions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from neuralpower.features.classify import Operation
from neuralpower.features.layers import LARGEST, Unreadable

Shape = tuple[int, ...]

MOST_DIMENSIONS = 16
"""Of a tensor; TensorRT has 8 at most."""
MOST_TENSORS = 512
"""On one side of a layer; a concatenation of the largest DenseNet has 65."""

_PRECISIONS = {
    "FP32": "FP32",
    "FLOAT": "FP32",
    "FP16": "FP16",
    "HALF": "FP16",
    "BF16": "BF16",
    "BFLOAT16": "BF16",
    "FP8": "FP8",
    "INT8": "INT8",
    "INT4": "INT4",
}
_WORD = re.compile(r"[A-Z]+[0-9]*")


class Entry:
    """One element of ``Layers``. Methods raise Unreadable on what is missing or not of its type."""

    def __init__(
        self, fields: dict[str, Any], index: int, batch: int | None = None, computed: Collection[str] = ()
    ) -> None:
        """`batch` takes the place of a first dimension that is dynamic (-1); None leaves it. `computed` are tensors that no weights are: made by
        layers before, or the network's own."""
        self._fields, self._batch = fields, batch
        self.computed = [self._name(tensor) in computed for tensor in self._tensors("Inputs")]
        self.name = self.text("Name") or f"layer {index}"
        self.layer_type = self.text("LayerType")

    @property
    def fields(self) -> Mapping[str, Any]:
        """The element as it is."""
        return self._fields

    def text(self, key: str) -> str:
        """A string, empty when it is missing or no string."""
        value = self._fields.get(key)
        return value if isinstance(value, str) else ""

    def nameless(self) -> str:
        """All that the entry tells but the names of the layer and its tensors, as text to compare."""
        fields = {key: value for key, value in self._fields.items() if key != "Name"}
        for side in ("Inputs", "Outputs"):
            fields[side] = [{k: v for k, v in tensor.items() if k != "Name"} for tensor in self._tensors(side)]
        return repr((fields, self.computed))

    def outputs(self) -> set[str]:
        """The names of the tensors that it makes."""
        return {self._name(tensor) for tensor in self._tensors("Outputs")} - {""}

    def has(self, key: str) -> bool:
        return key in self._fields

    def operation(self, note: str = "") -> Operation:
        """Name, type and precision; the note says where the batch was filled in."""
        filled = f"dynamic batch, taken as {self._batch}" if self.filled else ""
        return Operation(self.name, self.layer_type, self._precision(), "; ".join(filter(None, (filled, note))))

    @property
    def batch(self) -> int:
        """The batch that was given, 1 without one."""
        return 1 if self._batch is None else self._batch

    @property
    def filled(self) -> bool:
        """Whether a dynamic first dimension was replaced by the batch that was given."""
        return self._batch is not None and any(
            isinstance(dims := tensor.get("Dimensions"), list) and len(dims) > 1 and dims[0] == -1
            for side in ("Inputs", "Outputs")
            for tensor in self._tensors(side)
        )

    def window(self, *keys: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The first of ``keys`` that exists, as (h, w) or (d, h, w). One value stands for both; of an empty list nothing is told."""
        key = self._first(keys)
        if key is None and default is not None:
            return default
        value = self._fields.get(key) if key else None
        values = [value] if isinstance(value, int) else value
        if not isinstance(values, list) or not all(_is_size(item) for item in values):
            raise Unreadable(f"no usable {key or keys[0]}")
        if len(values) == 1:
            return tuple(values * (2 if default is None else len(default)))
        if len(values) not in ((2, 3) if default is None else (len(default),)):
            raise Unreadable(
                f"{key} has {len(values)} dimensions, where {2 if default is None else len(default)} are known"
            )
        return tuple(values)

    def single(self, *keys: str) -> bool:
        """Whether the first of ``keys`` that exists holds one number in a list."""
        key = self._first(keys)
        value = self._fields.get(key) if key else None
        return isinstance(value, list) and len(value) == 1

    def integer(self, *keys: str, default: int) -> int:
        """The first of ``keys`` that exists."""
        key = self._first(keys)
        value = default if key is None else self._fields[key]
        if not _is_size(value):
            raise Unreadable(f"no usable {key}")
        return int(value)

    def shapes(self, side: str) -> list[Shape]:
        """The dimensions of all ``Inputs`` or ``Outputs``: -1 stands for a dynamic one that no batch filled."""
        found: list[Any] = [tensor.get("Dimensions") for tensor in self._tensors(side)]
        good = [self._filled(dims) for dims in found if _is_shape(dims)]
        return good if len(good) == len(found) <= MOST_TENSORS else []

    def batches(self) -> set[int]:
        """First dimensions of the tensors, filled ones as they are then. A map without a batch (three dimensions) has the one given."""
        shapes = [*self.shapes("Inputs"), *self.shapes("Outputs")]
        return {self.batch if len(shape) == 3 else shape[0] for shape in shapes if len(shape) > 1}

    def static_shape(self, side: str) -> Shape:
        """The dimensions of the first tensor of ``Inputs`` or ``Outputs``, all of them positive."""
        shapes = self.shapes(side)
        if not shapes or not shapes[0]:
            raise Unreadable(f"no {'usable ' if self._told(side) else ''}dimensions under {side}")
        if -1 in shapes[0]:
            raise Unreadable("dynamic dimensions (-1)", dynamic=True)
        if not all(1 <= size < LARGEST for size in shapes[0]):
            raise Unreadable(f"impossible dimensions under {side}")
        return shapes[0]

    def _told(self, side: str) -> bool:
        """Whether a tensor there tells dimensions, of whatever type."""
        return any(tensor.get("Dimensions") for tensor in self._tensors(side))

    def _filled(self, dims: list[int]) -> Shape:
        return (self._batch, *dims[1:]) if self._batch is not None and len(dims) > 1 and dims[0] == -1 else tuple(dims)

    def _tensors(self, side: str) -> list[dict[str, Any]]:
        tensors = self._fields.get(side)
        return [tensor for tensor in tensors if isinstance(tensor, dict)] if isinstance(tensors, list) else []

    def _name(self, tensor: dict[str, Any]) -> str:
        name = tensor.get("Name")
        return name if isinstance(name, str) else ""

    def _precision(self) -> str:
        """From ``Format/Datatype`` (8.x, 10.x) or ``Datatype`` (11.x) of the first input; where an engine with dynamic shapes does not
        tell it, from the type of the weights."""
        for tensor in self._tensors("Inputs")[:1]:
            if told := _precision_in([tensor.get(key) for key in ("Datatype", "DataType", "Format/Datatype")]):
                return told
        weights = self._fields.get("Weights")
        return _precision_in([weights.get("Type")]) if isinstance(weights, dict) else ""

    def _first(self, keys: tuple[str, ...]) -> str | None:
        return next((key for key in keys if key in self._fields), None)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _is_shape(dims: object) -> bool:
    return isinstance(dims, list) and len(dims) <= MOST_DIMENSIONS and all(isinstance(size, int) for size in dims)


def _precision_in(texts: list[object]) -> str:
    words = _WORD.findall(" ".join(text for text in texts if isinstance(text, str)).upper())
    return next((_PRECISIONS[word] for word in words if word in _PRECISIONS), "")
