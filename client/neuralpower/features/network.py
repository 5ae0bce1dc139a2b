"""A network from whatever the user names: TensorRT engine JSON, an ONNX model, or a PyTorch callable."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from neuralpower.documents import encoding_of, foreign, opened, printable, read_json
from neuralpower.errors import InputError
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.features.onnx.fused import layers_of, of_weights_alone
from neuralpower.features.onnx.inputs import InputShape
from neuralpower.features.onnx.model import graph_of
from neuralpower.features.operators.graph import Graph
from neuralpower.features.operators.kinds import CONVOLUTIONS, PRODUCTS

_OF_ONNX = {"graph", "irVersion", "ir_version", "opsetImport", "opset_import"}
"""Fields of ONNX's JSON form."""
_ENDINGS = {
    "json", "graph", "profile", "onnx", "engine", "plan", "trt", "txt", "onnxtxt", "onnxjson", "textproto", "pbtxt", "pb", "prototxt", "ort",
}  # fmt: skip
"""What tools put behind a network's name, one after the other: ``net.onnx.engine.graph.json``. Any other dot belongs to the name."""


@dataclass(frozen=True)
class Network:
    """A network's layers in execution order. ``source`` is ``engine``, ``onnx`` or ``torch``; ``notes`` are lines on what was assumed."""

    name: str
    layers: list[Layer]
    source: str
    notes: tuple[str, ...] = ()

    def of_kind(self, *kinds: str) -> list[Layer]:
        return [layer for layer in self.layers if layer.kind in kinds]


def load_network(spec: str | os.PathLike[str], batch: int = 1, input_shape: InputShape = None) -> Network:
    """The layers of the network that ``spec`` names, told apart by content, never by file name.

    Args:
        spec: a path to engine JSON or ONNX, or ``torch:module:callable`` (docs/features.md).
        batch: for a model or an engine whose batch is dynamic. One that is fixed at another is refused.
        input_shape: shape of the first input, or of inputs by name, for ONNX with other dynamic dimensions and for torch. An engine has its own.

    Raises InputError, one line, when it cannot be read.
    """
    if isinstance(spec, str) and spec.startswith("torch:"):
        from neuralpower.features.torch.export import graph_from_torch

        return _of_graph(spec.rpartition(":")[2], graph_from_torch(spec, batch, input_shape), "torch")
    path = Path(spec)
    document = _json(path)
    if document is None or (isinstance(document, dict) and "Layers" not in document and _OF_ONNX & document.keys()):
        return _read_onnx(path, batch, input_shape)
    notes = ("an engine has its own shapes: the input shape given does not apply",) if input_shape else ()
    return Network(network_name(path), layers_from_engine(document, str(path), batch), "engine", notes)


def _json(path: Path) -> object | None:
    """The JSON document in a file; None where its beginning is not that of one. InputError on what is something else altogether."""
    head, _ = opened(path)
    if told := foreign(head):
        raise InputError(f"{path}: {told}")
    encoding, mark = encoding_of(head)
    start = head[mark:].decode(encoding, errors="replace").lstrip()[:1]
    return read_json(path) if start and start in '{["' else None


def _of_graph(name: str, graph: Graph, source: str) -> Network:
    alone = of_weights_alone(graph)
    count, flops = len(alone), sum(layer.flops() for layer in alone)
    told = f"{count} of its products and convolutions need weights alone: an engine's builder does their {flops:,} operations, and they are no layers"
    notes = [*graph.notes, *([told] if alone else [])]
    unread = [node.name for node in graph.unread if node.op_type in CONVOLUTIONS | PRODUCTS]
    if unread:
        notes.append(
            f"{len(unread)} of its products and convolutions lead to no output of the network and do not run: {', '.join(unread[:5])}"
        )
    return Network(name, layers_of(graph), source, tuple(notes))


def _read_onnx(path: Path, batch: int, input_shape: InputShape) -> Network:
    try:
        return _of_graph(network_name(path), graph_of(path, batch, input_shape), "onnx")
    except (InputError, ModuleNotFoundError):
        raise
    except Exception as error:  # protobuf takes models that the rest of the onnx package then falls over
        told = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise InputError(f"{path}: an ONNX model that cannot be read: {told}; onnx.checker may tell more") from error


def network_name(path: Path) -> str:
    """``resnet18_trt_engine_info.json`` is resnet18, ``squeezenet1.1.onnx`` squeezenet1.1; ``alexnet/trt_engine_info.json`` is alexnet."""
    stem = printable(path.name)
    while (parts := stem.rpartition("."))[0] and parts[2].lower() in _ENDINGS:
        stem = parts[0]
    if stem == "trt_engine_info":
        folder = path.absolute().parent
        return printable(folder.parent.name if folder.name == "trt_profiling" else folder.name)
    return stem.removesuffix("_trt_engine_info").removeprefix("light_")
