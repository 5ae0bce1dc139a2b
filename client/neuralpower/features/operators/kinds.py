"""Operators of ONNX by what they ask of the machine. Other sources are translated into these."""

from __future__ import annotations

STANDARD = ("", "ai.onnx")
"""Domains of ONNX's own operators."""

VIEWS = {
    "Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip
"""Nothing happens: the same data under another shape, or a quantisation, which an INT8 engine has in the layers around it."""

COPIES = {"Expand", "Tile", "Pad", "Concat", "Resize", "Upsample"}
"""Nothing happens where the shape stays as it is."""

ACTIVATIONS = {
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign",
    "Gelu", "Mish", "Silu", "Swish", "ThresholdedRelu",
}  # fmt: skip

SCALES = {"Mul", "Add", "Sub", "Div", "BatchNormalization", "Neg"}
"""Where all but one operand are constant, they go into the weights before them."""

SUMS = {"Add", "Sum"}

ELEMENTWISE = ACTIVATIONS | SCALES | SUMS | {
    "Max", "Min", "Mean", "Pow", "Sqrt", "Exp", "Log", "Abs", "Erf", "Reciprocal", "Sin", "Cos", "Tan", "Atan", "Sign", "Floor", "Ceil", "Round",
    "Mod", "Where", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf", "Cast",
    "CastLike", "BitShift", "Rsqrt", "Square",
}  # fmt: skip

MOVES = {
    "Transpose", "Slice", "Split", "Concat", "Pad", "Expand", "Tile", "Gather", "GatherElements", "GatherND", "ScatterND", "ScatterElements", "DepthToSpace",
    "SpaceToDepth", "Roll",
}  # fmt: skip
"""Data under other addresses."""

REDUCTIONS = {
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL2",
    "ReduceL1",
    "ReduceSumSquare",
    "ReduceProd",
    "ReduceLogSumExp",
}

CONVOLUTIONS = {"Conv", "ConvTranspose"}
PRODUCTS = {"Gemm", "MatMul", "Einsum"}
POOLS = {"MaxPool", "AveragePool", "LpPool"}
GLOBAL_POOLS = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}
NORMS = {
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "LRN",
    "LpNormalization", "MeanVarianceNormalization",
}  # fmt: skip

OPAQUE = {
    "LSTM", "GRU", "RNN", "AdaptivePool", "If", "Loop", "Scan", "SequenceMap", "DFT", "STFT", "NonMaxSuppression", "RoiAlign", "MaxRoiPool",
    "GridSample", "DeformConv", "Col2Im", "Det", "LinearAttention", "CausalConvWithState",
}  # fmt: skip
"""Work that the kinds cannot express: unclassified, not ``other``."""
