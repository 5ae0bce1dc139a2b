"""An ONNX model from a file, in any of the forms that the format has, told by its content and never by its name.

Binary protocol buffers, their text form, their JSON, and ONNX's own text syntax. Weights that stand in files beside the model are
not read: sizes are enough, and only small lists of integers (axes, shapes) are fetched from them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from neuralpower.documents import HEAD, encoding_of, foreign, json_of, opened, read_bytes
from neuralpower.errors import InputError
from neuralpower.features.onnx.light import without_weights

LARGEST_ONNX = (2 << 30) - 1
"""Bytes. Protocol buffers end here; larger models keep their weights in files of their own."""
SMALL = 1 << 20
"""Bytes of a model that is read whole in any case: its weights cost nothing."""
LARGEST_LIST = 64
"""Integers of a stored tensor worth fetching: axes and shapes are short."""

_INTEGERS = (6, 7)
_NUMBERS = {
    "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "QLinearMatMul", "MatMulInteger", "MatMul", "Gemm", "QGemm", "DequantizeLinear", "FusedConv",
    "NhwcConv",
}  # fmt: skip
"""Operators whose stored integers are weights, biases and zero points: they tell no shape, and may stand where they like."""
_NEITHER = "neither TensorRT engine information (JSON) nor an ONNX model"


def load_model(path: Path, weights: bool = True) -> Any:
    """The `onnx.ModelProto` in a file; small lists of integers that stand beside it are in it.

    Without ``weights`` the contents of large ones may be missing: they need not be read from the disk then. Raises InputError, one line, where
    the file is no ONNX model, or one without nodes; it says what the file was taken for and where that form breaks.
    """
    head, size = opened(path)
    if told := foreign(head):
        raise InputError(f"{path}: {told}")
    model = None if weights or not SMALL <= size <= LARGEST_ONNX else _without_weights(path, size)
    if model is None:
        model = _parsed(path, read_bytes(path, LARGEST_ONNX))
    if not model.graph.node:
        empty = model.ir_version and model.opset_import
        raise InputError(f"{path}: {'an ONNX model without a node' if empty else f'{_NEITHER} with layers'}")
    _fetch_integers(path, model)
    return model


def model_of_json(path: Path, document: object) -> Any:
    """The model in ONNX's JSON form, already parsed. InputError where a field is not as ONNX has it."""
    import onnx
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(document, onnx.ModelProto(), ignore_unknown_fields=True)
    except Exception as error:  # whatever protobuf's JSON throws
        raise InputError(f"{path}: taken for ONNX as JSON, which it is not: {_first_line(error)}") from None


def _without_weights(path: Path, size: int) -> Any:
    """The model of a binary file; None where it is none, or is damaged: what is wrong is then told by who reads all of it."""
    import onnx

    try:
        with path.open("rb") as file:
            content = without_weights(file.fileno(), size)
        return content and onnx.load_model_from_string(content, format="protobuf")
    except Exception:  # of the disk, or no binary form
        return None


def _parsed(path: Path, content: bytes) -> Any:
    """Each form is tried in turn; text is refused by the form that its beginning has."""
    import onnx

    with _quiet():
        try:
            return onnx.load_model_from_string(content, format="protobuf")
        except Exception:  # no binary form
            text = _text(content)
        if text is None:
            raise InputError(f"{path}: {_NEITHER}; if it was one, it is cut or damaged: write it again") from None
        start = text.lstrip()
        if start[:1] in ("{", '"'):
            return model_of_json(path, json_of(path, text))
        form, what = ("onnxtxt", "ONNX's text syntax") if start[:1] == "<" else ("textproto", "ONNX as protobuf's text")
        if form == "textproto" and not any(field in text[:HEAD] for field in ("ir_version", "graph", "opset_import")):
            raise InputError(f"{path}: {_NEITHER}")
        try:
            return onnx.load_model_from_string(text.encode(), format=form)
        except Exception as error:  # each form's parser has errors of its own
            raise InputError(
                f"{path}: taken for {what}, which breaks at {_first_line(error)}; write it again"
            ) from None


def _text(content: bytes) -> str | None:
    encoding, mark = encoding_of(content)
    try:
        text = content[mark:].decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text[:HEAD] else text


def _fetch_integers(path: Path, model: Any) -> None:
    """Read small integer tensors that stand in a file beside the model's, so that axes and shapes are known."""
    from onnx import TensorProto, external_data_helper

    read = {name for node in model.graph.node for name in node.input}
    telling = {name for node in model.graph.node if node.op_type not in _NUMBERS for name in node.input}
    for tensor in _tensors(model.graph):
        outside = tensor.data_location == TensorProto.EXTERNAL
        if not outside or tensor.data_type not in _INTEGERS or not 0 <= prod(tensor.dims) <= LARGEST_LIST:
            continue
        if tensor.name in read and tensor.name not in telling:
            continue
        place = next((each.value for each in tensor.external_data if each.key == "location"), "")
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.absolute().parent))
        except Exception:  # a missing file, one outside the model's folder, or one that is too short
            raise InputError(
                f"{path}: its tensor {tensor.name!r} stands in {place!r}, which is not a file with it in the model's folder; "
                "copy it there"
            ) from None
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: Any) -> Iterator[Any]:
    """Stored tensors: initializers, and the values of Constant nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


@contextmanager
def _quiet() -> Iterator[None]:
    """That one of the forms is experimental, or a log of a parser, is nothing to the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    """An error's text in one line; ONNX's own parser hands it over as bytes."""
    told = error.args[0] if error.args else ""
    text = told.decode(errors="replace") if isinstance(told, bytes) else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
