"""A program that ``torch.export`` traced, as a graph of ONNX operators. Nothing here imports torch: the program explains itself.

Export runs the module on tensors without contents, so nothing is computed, on a GPU or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neuralpower.features.graph import Graph, Node, Shape

_PLAIN = {
    "batch_norm": "BatchNormalization", "_native_batch_norm_legit_no_training": "BatchNormalization",
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "sqrt": "Sqrt", "exp": "Exp",
    "relu": "Relu", "relu6": "Clip", "hardtanh": "Clip", "clamp": "Clip", "leaky_relu": "LeakyRelu", "elu": "Elu",
    "sigmoid": "Sigmoid", "hardsigmoid": "HardSigmoid", "hardswish": "HardSwish", "tanh": "Tanh", "gelu": "Gelu",
    "prelu": "PRelu", "softplus": "Softplus", "celu": "Celu", "selu": "Selu",
    "dropout": "Dropout", "feature_dropout": "Dropout", "contiguous": "Identity", "clone": "Identity", "detach": "Identity", "alias": "Identity",
    "cat": "Concat", "softmax": "Softmax", "_softmax": "Softmax", "flatten": "Flatten", "view": "Reshape",
    "reshape": "Reshape", "transpose": "Transpose", "permute": "Transpose", "chunk": "Split", "split": "Split", "t": "Transpose",
    "linear": "Gemm", "mm": "MatMul", "matmul": "MatMul", "bmm": "MatMul",
    "conv_transpose2d": "ConvTranspose", "scaled_dot_product_attention": "Attention", "einsum": "Einsum",
    "lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN",
}  # fmt: skip
"""Operator of ATen -> the ONNX operator that stands for it, with the same order of inputs."""
_PRECISIONS = {
    "torch.float32": "FP32",
    "torch.float16": "FP16",
    "torch.bfloat16": "BF16",
    "torch.int8": "INT8",
    "torch.float8_e4m3fn": "FP8",
}
_HELD = {"PARAMETER", "BUFFER", "CONSTANT_TENSOR"}


def graph_of_program(program: Any, source: str) -> Graph:
    """The graph of a ``torch.export.ExportedProgram`` that was exported with static shapes."""
    names: dict[Any, str] = {}
    shapes: dict[str, Shape] = {}
    precisions: dict[str, str] = {}
    nodes: list[Node] = []
    for each in program.graph.nodes:
        outputs = _outputs(each)
        for name, value in outputs:
            shapes[name] = tuple(int(size) for size in value.shape)
            precisions[name] = _PRECISIONS.get(str(value.dtype), "")
        names[each] = outputs[0][0] if outputs else each.name
        if each.op == "call_function":
            if _operator(each) == ("", "getitem"):
                names[each] = f"{each.args[0].name}.{each.args[1]}"
            else:
                nodes += _nodes(each, [name for name, _ in outputs] or [each.name], names, shapes)
    signature = program.graph_signature
    weights = {spec.arg.name for spec in signature.input_specs if spec.kind.name in _HELD}
    leaving = {names[given] for each in program.graph.nodes if each.op == "output" for given in each.all_input_nodes}
    return Graph(source, nodes, shapes, precisions, weights, {}, leaving)


def _outputs(each: Any) -> list[tuple[str, Any]]:
    """Tensors that a node gives, named; those of a node that gives several are numbered."""
    value = each.meta.get("val")
    if hasattr(value, "shape"):
        return [(each.name, value)]
    several = value if isinstance(value, (tuple, list)) else ()
    return [(f"{each.name}.{number}", one) for number, one in enumerate(several) if hasattr(one, "shape")]


def _operator(each: Any) -> tuple[str, str]:
    """Namespace and name: ``aten.relu_.default`` is aten and relu; a function of Python's has no namespace."""
    parts = str(each.target).split(".")
    if len(parts) < 2 or parts[0].startswith("<"):
        return "", getattr(each.target, "__name__", str(each.target))
    inplace = parts[1].endswith("_") and not parts[1].endswith("__")
    return parts[0], parts[1].removesuffix("_") if inplace else parts[1]


def _nodes(each: Any, outputs: list[str], names: dict[Any, str], shapes: dict[str, Shape]) -> list[Node]:
    domain, operator = _operator(each)
    inputs = [names[given] for given in each.all_input_nodes]
    stack = list((each.meta.get("nn_module_stack") or {}).values())
    label = str(stack[-1][0]) if stack and stack[-1][0] else each.name
    if domain != "aten":
        return [Node(operator, label, inputs, outputs, domain=domain)]
    if operator == "silu":  # as ONNX writes it
        gate = f"{outputs[0]} gate"
        shapes[gate] = shapes[outputs[0]]
        return [
            Node("Sigmoid", f"{label} gate", inputs, [gate]),
            Node("Mul", label, [*inputs, gate], outputs),
        ]
    special = _SPECIAL.get(operator)
    if special:
        op_type, attributes = special(each.args, shapes[inputs[0]], shapes[outputs[0]])
        if operator == "addmm":
            inputs = [names[given] for given in (each.args[1], each.args[2], each.args[0])]
        return [Node(op_type, label, inputs, outputs, attributes)]
    camel = "".join(part.capitalize() for part in operator.split("_"))
    return [Node(_PLAIN.get(operator, camel), label, inputs, outputs)]


Told = tuple[str, dict[str, Any]]


def _convolution(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    stride, pad, dilation = (_pair(_at(args, place, default)) for place, default in ((3, 1), (4, 0), (5, 1)))
    groups = _at(args, 8 if len(args) > 7 else 6, 1)  # aten.convolution has transposed and output_padding before it
    if len(args) > 7 and args[6]:
        return "ConvTranspose", {}
    told = {"strides": stride, "dilations": dilation, "group": groups}
    if isinstance(_at(args, 4, 0), str):
        return "Conv", {**told, "auto_pad": "SAME_UPPER" if args[4] == "same" else "NOTSET"}
    return "Conv", {**told, "pads": pad}


def _pooling(op_type: str) -> Callable[[Sequence[Any], Shape, Shape], Told]:
    def told(args: Sequence[Any], data: Shape, output: Shape) -> Told:
        kernel = _pair(args[1])
        dilation = _pair(_at(args, 4, 1)) if op_type == "MaxPool" else (1, 1)
        stride = _pair(_at(args, 2, None) or kernel)
        return op_type, {
            "kernel_shape": kernel,
            "strides": stride,
            "pads": _pair(_at(args, 3, 0)),
            "dilations": dilation,
        }

    return told


def _adaptive(op_type: str) -> Callable[[Sequence[Any], Shape, Shape], Told]:
    """Pooling to a given size: over the whole map, nothing at all, or windows of one size where the sizes divide."""

    def told(args: Sequence[Any], data: Shape, output: Shape) -> Told:
        if data[2:] == output[2:]:
            return "Identity", {}
        if output[2:] == (1, 1):
            return f"Global{op_type}", {}
        if any(size % wanted for size, wanted in zip(data[2:], output[2:], strict=True)):
            return "AdaptivePool", {}
        stride = tuple(size // wanted for size, wanted in zip(data[2:], output[2:], strict=True))
        return op_type, {"kernel_shape": stride, "strides": stride, "pads": (0, 0)}

    return told


def _mean(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    return "ReduceMean", {"axes": list(_at(args, 1, None) or range(len(data)))}


_SPECIAL: dict[str, Callable[[Sequence[Any], Shape, Shape], Told]] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "convolution": _convolution,
    "addmm": lambda args, data, output: ("Gemm", {}),
    "max_pool2d": _pooling("MaxPool"),
    "max_pool2d_with_indices": _pooling("MaxPool"),
    "avg_pool2d": _pooling("AveragePool"),
    "adaptive_avg_pool2d": _adaptive("AveragePool"),
    "_adaptive_avg_pool2d": _adaptive("AveragePool"),
    "adaptive_max_pool2d": _adaptive("MaxPool"),
    "mean": _mean,
}


def _at(args: Sequence[Any], place: int, default: Any) -> Any:
    return args[place] if place < len(args) else default


def _pair(value: Any) -> tuple[int, ...]:
    """Height and width; one number stands for both. What is no number (padding "same") is worked out elsewhere."""
    if isinstance(value, str):
        return (0, 0)
    listed = [value] if isinstance(value, int) else list(value)
    return tuple(listed * 2 if len(listed) == 1 else listed)
