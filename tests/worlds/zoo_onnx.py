"""The zoo's networks as ONNX models with random weights: the same descriptions, written by a builder of another kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neuralpower.virtual.networks.graph import Json, NetworkBuilder, Tensor

from .zoo_built import built

OPSET = 17
INT8_SCALE = 0.05
"""Of every quantised tensor: what the answers are does not matter, the kernels do."""


class OnnxBuilder(NetworkBuilder):
    """Writes down each layer as ONNX nodes too. `quantised`: QuantizeLinear and DequantizeLinear before each convolution and Gemm."""

    def __init__(self, channels: int = 3, size: int = 224, *, quantised: bool = False) -> None:
        super().__init__(channels, size)
        self._nodes: list[Any] = []
        self._stored: list[Any] = []
        self._quantised, self._draw, self._last = quantised, np.random.default_rng(0), self.input
        self._flat: set[str] = set()

    def conv(
        self,
        x: Tensor,
        out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        pad: int | None = None,
        *,
        groups: int = 1,
        act: str = "RELU",
        add: Tensor | None = None,
    ) -> Tensor:
        """As the class above."""
        y = super().conv(x, out, kernel, stride, pad, groups=groups, act=act, add=add)
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = (size[0] // 2, size[1] // 2) if pad is None else (pad, pad)
        weight, bias = self._weights(y, out, x.c // groups, *size)
        steps = ["Conv", *(["Add"] if add else []), *_activation(act)]
        window = {"kernel_shape": size, "strides": (stride, stride), "pads": (*pads, *pads), "group": groups}
        self._chain(steps, [[self._input(x.name), weight, bias], [add.name if add else ""]], y, window)
        return y

    def pool(
        self, x: Tensor, kernel: int, stride: int, pad: int = 0, *, kind: str = "MAX", ceil: bool = False
    ) -> Tensor:
        """As the class above."""
        y = super().pool(x, kernel, stride, pad, kind=kind, ceil=ceil)
        window = {"kernel_shape": (kernel,) * 2, "strides": (stride,) * 2, "pads": (pad,) * 4, "ceil_mode": int(ceil)}
        self._node("MaxPool" if kind == "MAX" else "AveragePool", [x.name], y, window)
        return y

    def global_pool(self, x: Tensor) -> Tensor:
        """As the class above."""
        y = super().global_pool(x)
        self._node("GlobalAveragePool", [x.name], y)
        return y

    def fc(self, x: Tensor, out: int, act: str = "RELU") -> Tensor:
        """As the class above; what it writes is flat."""
        y = super().fc(x, out, act)
        flat = Tensor(f"{y.name}/flat", x.c * x.h * x.w, 1, 1)
        self._node("Flatten", [x.name], flat, {"axis": 1})
        weight, bias = self._weights(y, out, flat.c)
        self._chain(["Gemm", *_activation(act)], [[self._input(flat.name), weight, bias]], y, {"transB": 1})
        return y

    def pointwise(self, *inputs: Tensor) -> Tensor:
        """As the class above: x · sigmoid(x), or of a second input as its gate."""
        y = super().pointwise(*inputs)
        gate = Tensor(f"{y.name}/gate", inputs[-1].c, inputs[-1].h, inputs[-1].w)
        self._node("Sigmoid", [inputs[-1].name], gate)
        self._node("Mul", [inputs[0].name, gate.name], y)
        return y

    def shuffle(self, x: Tensor) -> Tensor:
        """As the class above, in two groups."""
        y = super().shuffle(x)
        apart, mixed = Tensor(f"{y.name}/apart", x.c, x.h, x.w), Tensor(f"{y.name}/mixed", x.c, x.h, x.w)
        self._node("Reshape", [x.name, self._store(f"{y.name}/groups", [1, 2, x.c // 2, x.h, x.w])], apart)
        self._node("Transpose", [apart.name], mixed, {"perm": (0, 2, 1, 3, 4)})
        self._node("Reshape", [mixed.name, self._store(f"{y.name}/shape", [1, x.c, x.h, x.w])], y)
        return y

    def softmax(self, x: Tensor) -> Tensor:
        """As the class above."""
        y = super().softmax(x)
        self._node("Softmax", [x.name], y, {"axis": 1})
        return y

    def concat(self, *parts: Tensor) -> Tensor:
        """As the class above; here it is a node."""
        y = super().concat(*parts)
        self._node("Concat", [part.name for part in parts], y, {"axis": 1})
        return y

    def half(self, x: Tensor, which: int) -> Tensor:
        """As the class above; here it is a node."""
        y = super().half(x, which)
        ends = [
            self._store(f"{y.name}/{name}", [at]) for name, at in (("from", which * y.c), ("to", which * y.c + y.c))
        ]
        self._node("Slice", [x.name, *ends, self._store(f"{y.name}/axis", [1])], y)
        return y

    def model(self) -> Any:
        """The ONNX model of what was written so far; its output is the last tensor."""
        ends = [
            helper.make_tensor_value_info(each.name, TensorProto.FLOAT, [1, each.c, each.h, each.w][:axes])
            for each, axes in ((self.input, 4), (self._last, 2 if self._last.name in self._flat else 4))
        ]
        graph = helper.make_graph(self._nodes, "network", ends[:1], ends[1:], self._stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    def _chain(self, steps: list[str], inputs: list[list[str]], y: Tensor, attributes: Json) -> None:
        """Operators one after another, the last one's output is `y`; Add takes the second list beside what came before."""
        name = ""
        for at, step in enumerate(steps):
            given = inputs[0] if at == 0 else [name, *(inputs[1] if step == "Add" else [])]
            if step == "Clip":
                given = [name, self._store(f"{y.name}/least", 0.0), self._store(f"{y.name}/most", 6.0)]
            name = y.name if at == len(steps) - 1 else f"{y.name}/{step}"
            self._node(step, given, Tensor(name, y.c, y.h, y.w), attributes if at == 0 else {})

    def _node(self, step: str, inputs: Sequence[str], y: Tensor, attributes: Json | None = None) -> None:
        self._nodes.append(helper.make_node(step, inputs, [y.name], f"{y.name}/{step}", **(attributes or {})))
        self._last = y
        if step == "Flatten" or self._flat.intersection(inputs):
            self._flat.add(y.name)

    def _weights(self, y: Tensor, *shape: int) -> tuple[str, str]:
        values = self._draw.standard_normal(shape, np.float32) / np.float32(math.sqrt(math.prod(shape[1:])))
        weight = self._store(f"{y.name}/weight", values)
        return self._input(weight), self._store(f"{y.name}/bias", np.zeros(shape[0], np.float32))

    def _input(self, name: str) -> str:
        """The tensor, or what is left of it in INT8."""
        if not self._quantised:
            return name
        if not any(node.output[0] == f"{name}/int8" for node in self._nodes):
            scale = self._store(f"{name}/scale", np.float32(INT8_SCALE))
            zero = self._store(f"{name}/zero", np.int8(0))
            for step, source, target in (
                ("QuantizeLinear", name, f"{name}/int8"),
                ("DequantizeLinear", f"{name}/int8", f"{name}/real"),
            ):
                self._nodes.append(helper.make_node(step, [source, scale, zero], [target], target))
                self._flat |= {target} if source in self._flat else set()
        return f"{name}/real"

    def _store(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        kinds = {"f": np.float32, "i": np.int8 if array.dtype == np.int8 else np.int64}
        self._stored.append(numpy_helper.from_array(array.astype(kinds[array.dtype.kind]), name))
        return name


def _activation(act: str) -> list[str]:
    return {"RELU": ["Relu"], "CLIPPED_RELU": ["Clip"]}.get(act, [])


def write(name: str, target: Path, quantised: bool = False) -> Path:
    """Write the zoo's network `name` as an ONNX model."""
    onnx.save(built(name, partial(OnnxBuilder, quantised=quantised)).model(), str(target))
    return target
