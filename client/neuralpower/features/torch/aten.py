"""A program that ``torch.export`` traced, as a graph of ONNX operators. Nothing here imports torch: the program explains itself.

Export runs the module on tensors without contents, so nothing is computed, on a GPU or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from neuralpower.features.operators.graph import Graph, Node, Shape

_NAMES = {
    "BatchNormalization": "batch_norm _native_batch_norm_legit_no_training",
    "LayerNormalization": "layer_norm native_layer_norm",
    "RMSNormalization": "rms_norm _fused_rms_norm",
    "GroupNormalization": "group_norm native_group_norm",
    "InstanceNormalization": "instance_norm",
    "LRN": "local_response_norm",
    "Add": "add rsub",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div true_divide",
    "Max": "maximum",
    "Min": "minimum",
    "Clip": "relu6 hardtanh clamp clamp_min clamp_max",
    "Where": "where masked_fill",
    "Greater": "gt ge",
    "Less": "lt le",
    "Equal": "eq ne",
    "Not": "logical_not bitwise_not",
    "Cast": "to _to_copy type_as float half",
    "Dropout": "dropout feature_dropout alpha_dropout",
    "Identity": "contiguous clone detach alias lift_fresh_copy",
    "Reshape": "view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as",
    "Slice": "slice select narrow",
    "Split": "chunk split split_with_sizes unbind tensor_split unsafe_split unsafe_chunk",
    "Concat": "cat stack hstack vstack concat",
    "Pad": "pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d",
    "Expand": "expand expand_as broadcast_to",
    "Tile": "repeat tile repeat_interleave",
    "Roll": "roll flip",
    "Gather": "embedding index index_select",
    "GatherElements": "gather take_along_dim",
    "ScatterND": "index_put scatter slice_scatter select_scatter copy",
    "DepthToSpace": "pixel_shuffle",
    "SpaceToDepth": "pixel_unshuffle",
    "Resize": "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d",
    "Softmax": "softmax _softmax _safe_softmax",
    "ReduceSum": "sum",
    "ReduceMax": "amax",
    "ReduceMin": "amin",
    "ReduceL2": "linalg_vector_norm norm",
    "MatMul": "mm matmul bmm mv dot vdot",
    "Attention": "scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention"
    " _scaled_dot_product_flash_attention",
    "LSTM": "lstm",
    "GRU": "gru",
    "RNN": "rnn_tanh rnn_relu",
    "LeakyRelu": "leaky_relu",
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
}
"""ONNX operator -> the operators of ATen that it stands for, with the same order of tensors. Other names are written in capitals: gelu is Gelu."""
_PLAIN = {name: op_type for op_type, names in _NAMES.items() for name in names.split()}
_WORKING = {
    "addbmm", "addmv", "inner", "tensordot", "chain_matmul", "bilinear", "_trilinear", "cdist", "_cdist_forward", "_euclidean_dist", "matrix_exp",
    "matrix_power", "inverse", "det", "stft", "istft", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "embedding_bag", "_embedding_bag", "affine_grid_generator",
    "_scaled_mm", "_grouped_mm", "_int_mm", "_weight_int4pack_mm", "_weight_int8pack_mm",
}  # fmt: skip
_FAMILIES = ("fft_", "_fft_", "linalg_", "grid_sampler", "conv_tbc", "mkldnn_", "cudnn_", "quantized_", "_flex")
"""Operators, and beginnings of their names, whose work nothing here counts: unclassified, as in ONNX, and not ``other``."""
_FILLED = {"new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like"}
"""What they give depends on the shape of their operand alone."""
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
            elif outputs:  # what gives no tensor checks something
                nodes.append(_node(each, [name for name, _ in outputs], names, shapes))
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


def _inputs(args: Any) -> Iterator[Any]:
    """The nodes among the arguments in order, each as often as it stands there; numbers are left out."""
    for given in args:
        if hasattr(given, "meta"):
            yield given
        elif isinstance(given, (list, tuple)):
            yield from _inputs(given)


def _node(each: Any, outputs: list[str], names: dict[Any, str], shapes: dict[str, Shape]) -> Node:
    domain, operator = _operator(each)
    inputs = [names[given] for given in _inputs((*each.args, *getattr(each, "kwargs", {}).values()))]
    if operator in _FILLED:
        inputs = []
    stack = list((each.meta.get("nn_module_stack") or {}).values())
    label = str(stack[-1][0]) if stack and stack[-1][0] else each.name
    if domain == "aten" and operator not in _PLAIN and (operator in _WORKING or operator.startswith(_FAMILIES)):
        return Node(operator, label, inputs, outputs, domain=domain)
    if domain != "aten":
        return Node(operator, label, inputs, outputs, domain=domain)
    op_type = _PLAIN.get(operator, "".join(part.capitalize() for part in operator.split("_")))
    attributes: dict[str, Any] = {}
    if special := _SPECIAL.get(operator):
        op_type, attributes = special(each.args, shapes[inputs[0]], shapes[outputs[0]])
    if operator in ("addmm", "baddbmm"):
        inputs = [names[given] for given in (each.args[1], each.args[2], each.args[0])]
    return Node(op_type, label, inputs, outputs, attributes)


Told = tuple[str, dict[str, Any]]


def _convolution(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    """``aten.conv1d`` to ``conv3d``; ``aten.convolution`` has transposed and output_padding before the groups."""
    rank = len(data) - 2
    stride, pad, dilation = (_each(_at(args, place, default), rank) for place, default in ((3, 1), (4, 0), (5, 1)))
    told = {"strides": stride, "dilations": dilation, "group": _at(args, 8 if len(args) > 7 else 6, 1)}
    if isinstance(_at(args, 4, 0), str):
        return "Conv", {**told, "auto_pad": "SAME_UPPER" if args[4] == "same" else "NOTSET"}
    transposed = len(args) > 7 and args[6]
    return "ConvTranspose" if transposed else "Conv", {**told, "pads": pad * 2}


def _transposed(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    """``aten.conv_transpose1d`` to ``conv_transpose3d``: output_padding and the groups stand before the dilation."""
    rank = len(data) - 2
    stride, pad, dilation = (_each(_at(args, place, default), rank) for place, default in ((3, 1), (4, 0), (7, 1)))
    return "ConvTranspose", {"strides": stride, "pads": pad * 2, "dilations": dilation, "group": _at(args, 6, 1)}


def _pooling(op_type: str) -> Callable[[Sequence[Any], Shape, Shape], Told]:
    def told(args: Sequence[Any], data: Shape, output: Shape) -> Told:
        rank = len(data) - 2
        kernel = _each(args[1], rank)
        return op_type, {
            "kernel_shape": kernel,
            "strides": _each(_at(args, 2, None) or kernel, rank),
            "pads": _each(_at(args, 3, 0), rank) * 2,
            "dilations": _each(_at(args, 4, 1) if op_type == "MaxPool" else 1, rank),
        }

    return told


def _adaptive(op_type: str) -> Callable[[Sequence[Any], Shape, Shape], Told]:
    """Pooling to a given size: over the whole map, nothing at all, or windows of one size where the sizes divide."""

    def told(args: Sequence[Any], data: Shape, output: Shape) -> Told:
        if data[2:] == output[2:]:
            return "Identity", {}
        if set(output[2:]) == {1}:
            return f"Global{op_type}", {}
        if any(size % wanted for size, wanted in zip(data[2:], output[2:], strict=True)):
            return "AdaptivePool", {}
        stride = tuple(size // wanted for size, wanted in zip(data[2:], output[2:], strict=True))
        return op_type, {"kernel_shape": stride, "strides": stride}

    return told


def _mean(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    axes = _at(args, 1, None)
    return "ReduceMean", {"axes": list(range(len(data)) if axes is None else [axes] if isinstance(axes, int) else axes)}


def _permuted(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    return "Transpose", {"perm": [axis % len(data) for axis in args[1]]}


def _swapped(args: Sequence[Any], data: Shape, output: Shape) -> Told:
    order = list(range(len(data)))
    first, second = (axis % len(data) for axis in (args[1:3] if len(args) > 2 else (0, -1)))
    order[first], order[second] = second, first
    return "Transpose", {"perm": order}


def _same(op_type: str, **attributes: Any) -> Callable[[Sequence[Any], Shape, Shape], Told]:
    return lambda args, data, output: (op_type, attributes)


_SPECIAL: dict[str, Callable[[Sequence[Any], Shape, Shape], Told]] = {
    **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
    "convolution": _convolution,
    **{f"conv_transpose{rank}d": _transposed for rank in (1, 2, 3)},
    "linear": _same("MatMul", transB=1),
    "addmm": _same("Gemm"),
    "baddbmm": _same("MatMul"),
    "einsum": lambda args, data, output: ("Einsum", {"equation": args[0]}),
    **{f"max_pool{rank}d{form}": _pooling("MaxPool") for rank in (1, 2, 3) for form in ("", "_with_indices")},
    **{f"avg_pool{rank}d": _pooling("AveragePool") for rank in (1, 2, 3)},
    **{f"{form}adaptive_avg_pool{rank}d": _adaptive("AveragePool") for rank in (1, 2, 3) for form in ("", "_")},
    **{f"adaptive_max_pool{rank}d": _adaptive("MaxPool") for rank in (1, 2, 3)},
    "mean": _mean,
    "permute": _permuted,
    "transpose": _swapped,
    "t": _swapped,
}


def _at(args: Sequence[Any], place: int, default: Any) -> Any:
    return args[place] if place < len(args) else default


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each dimension; one stands for all. What is no number (padding "same") is worked out elsewhere."""
    if isinstance(value, str):
        return (0,) * rank
    listed = [value] if isinstance(value, int) else list(value)
    return tuple(listed * rank if len(listed) == 1 else listed)
