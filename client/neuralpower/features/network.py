"""A network from whatever the user names: TensorRT engine JSON, an ONNX model, or a PyTorch callable."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralpower.errors import InputError
from neuralpower.features.engine import layers_from_engine
from neuralpower.features.layers import Layer
from neuralpower.features.onnx_graph import layers_from_onnx

LARGEST_JSON = 256 << 20
LARGEST_ONNX = (2 << 30) - 1
"""Bytes. Protocol buffers end here; larger models keep their weights in files of their own."""

_FOREIGN = {
    b"ftrt": "a serialised TensorRT engine; give its inspector's JSON (trtexec --exportLayerInfo=FILE)",
    b"PK\x03\x04": "an archive, perhaps PyTorch weights; export ONNX, or name torch:module:callable",
    b"PAR1": "a Parquet file, not a network",
}


@dataclass(frozen=True)
class Network:
    """A network's layers in execution order. ``source`` is ``engine``, ``onnx`` or ``torch``."""

    name: str
    layers: list[Layer]
    source: str

    def of_kind(self, *kinds: str) -> list[Layer]:
        return [layer for layer in self.layers if layer.kind in kinds]


def load_network(spec: str | os.PathLike[str], batch: int = 1, input_shape: Sequence[int] | None = None) -> Network:
    """The layers of the network that ``spec`` names, told apart by content, not by file name.

    Args:
        spec: a path to engine JSON or ONNX, or ``torch:module:callable`` (docs/features.md).
        batch: for a model whose batch is dynamic. Engine JSON has its own.
        input_shape: shape of the first input, for ONNX with other dynamic dimensions and for torch.

    Raises InputError, one line, when it cannot be read.
    """
    if isinstance(spec, str) and spec.startswith("torch:"):
        from neuralpower.features.torch_export import layers_from_torch

        return Network(spec.rpartition(":")[2], layers_from_torch(spec, batch, input_shape), "torch")
    path = Path(spec)
    start, size = _start(path)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return Network(network_name(path), layers_from_engine(read_json(path), str(path)), "engine")
    foreign = next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), None)
    if foreign:
        raise InputError(f"{path}: {foreign}")
    if size > LARGEST_ONNX:
        raise InputError(f"{path}: {size >> 20} MiB, more than an ONNX file can hold")
    return Network(network_name(path), layers_from_onnx(path, batch, input_shape), "onnx")


def read_json(path: Path) -> object:
    """A JSON document. Raises InputError on a missing, too large or broken file."""
    _, size = _start(path)
    if size > LARGEST_JSON:
        raise InputError(f"{path}: {size >> 20} MiB of JSON, at most {LARGEST_JSON >> 20} are read")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON: {str(error).splitlines()[0]}") from None


def network_name(path: Path) -> str:
    """``resnet18_trt_engine_info.json`` is resnet18; ``alexnet/trt_engine_info.json`` is alexnet."""
    stem = path.name.partition(".")[0]
    if stem == "trt_engine_info":
        folder = path.absolute().parent
        return folder.parent.name if folder.name == "trt_profiling" else folder.name
    return stem.removesuffix("_trt_engine_info").removeprefix("light_")


def _start(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file and its size."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
        size = path.stat().st_size
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a network; name the engine JSON or ONNX file in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not start:
        raise InputError(f"{path}: an empty file")
    return start, size
