"""ONNX models drawn in tests, node by node. Weights have shapes and no contents, which features never look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neuralpower.features.layers import Layer
from neuralpower.features.onnx.fused import layers_from_onnx

node = helper.make_node

Shape = Sequence[int | str]


def saved(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape | None],
    weights: Mapping[str, Sequence[int]] | None = None,
    integers: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Shape | None] | None = None,
    domains: Sequence[str] = (),
    functions: Sequence[Any] = (),
    types: Mapping[str, int] | None = None,
    opset: int = 17,
) -> Path:
    """Write a model; `weights` are floats unless `types` says otherwise, `integers` are int64 with these values."""
    kinds = types or {}
    entering = [
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape) for name, shape in inputs.items()
    ]
    told = outputs or {nodes[-1].output[0]: None}
    leaving = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in told.items()]
    constants = [
        TensorProto(name=n, data_type=kinds.get(n, TensorProto.FLOAT), dims=s) for n, s in (weights or {}).items()
    ]
    constants += [numpy_helper.from_array(np.array(v, dtype=np.int64), n) for n, v in (integers or {}).items()]
    graph = helper.make_graph(nodes, "graph", entering, leaving, constants)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions), path)
    return path


def layers(tmp_path: Path, nodes: Sequence[Any], inputs: Mapping[str, Shape | None], **told: Any) -> list[Layer]:
    """The layers of a model drawn so."""
    return layers_from_onnx(saved(tmp_path / "drawn.onnx", nodes, inputs, **told))
