"""A small language for describing a network, which comes out as the JSON of a TensorRT 10 engine inspector (DETAILED).

Each call adds one layer as TensorRT leaves it after fusion: convolution with batch norm, activation and residual sum is
one layer, concatenation is none (the producers write into the joint tensor).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LINEAR = "Row major linear FP16 format"
CHANNELS_LAST = "Channel major FP16 format where channel % 8 == 0"
_ACTIVATIONS = {"RELU": "Relu", "CLIPPED_RELU": "Clip"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """What flows between layers: channels, height and width of a batch of one."""

    name: str
    c: int
    h: int
    w: int

    def json(self, layout: str = CHANNELS_LAST) -> Json:
        """The tensor as the inspector writes it."""
        return {
            "Name": self.name,
            "Location": "Device",
            "Dimensions": [1, self.c, self.h, self.w],
            "Format/Datatype": layout,
        }


class NetworkBuilder:
    """A network under construction: methods add layers and return the tensor they write."""

    def __init__(self, channels: int = 3, size: int = 224) -> None:
        self.input = Tensor("input", channels, size, size)
        self._layers: list[Json] = []
        self._counts: dict[str, int] = {}

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
        """Convolution with bias, folded batch norm, activation and optional residual sum; `pad` keeps the size if None.

        kernel: height and width, one number where they are the same.
        """
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = (size[0] // 2, size[1] // 2) if pad is None else (pad, pad)
        label = self._label("conv")
        stages = [f"/{label}/Conv", *([f"/{label}/Add"] if add else [])]
        stages += [f"/{label}/{_ACTIVATIONS[act]}"] if act in _ACTIVATIONS else []
        y = Tensor(
            f"{stages[-1]}_output_0", out, _size(x.h, size[0], stride, pads[0]), _size(x.w, size[1], stride, pads[1])
        )
        plain = size == (1, 1) and stride == 1 and groups == 1
        body = convolution(x, y, size, stride, pads, groups, act)
        self._add(stages, "CaskGemmConvolution" if plain else "CaskConvolution", [x, *([add] if add else [])], y, body)
        return y

    def depthwise(self, x: Tensor, kernel: int, stride: int = 1, act: str = "CLIPPED_RELU") -> Tensor:
        """A convolution with one group per channel."""
        return self.conv(x, x.c, kernel, stride, groups=x.c, act=act)

    def pool(
        self, x: Tensor, kernel: int, stride: int, pad: int = 0, *, kind: str = "MAX", ceil: bool = False
    ) -> Tensor:
        """Max or average pooling; `ceil` rounds the output's size up."""
        label = self._label("pool")
        height, width = (_size(side, kernel, stride, pad, ceil) for side in (x.h, x.w))
        name = f"/{label}/{'MaxPool' if kind == 'MAX' else 'AveragePool'}"
        y = Tensor(f"{name}_output_0", x.c, height, width)
        self._add([name], "CaskPooling", [x], y, pooling(kernel, stride, pad, kind, ceil))
        return y

    def global_pool(self, x: Tensor) -> Tensor:
        """The mean over height and width."""
        name = f"/{self._label('pool')}/GlobalAveragePool"
        y = Tensor(f"{name}_output_0", x.c, 1, 1)
        self._add([name], "CaskPooling", [x], y, pooling(x.h, 1, 0, "AVERAGE"))
        return y

    def fc(self, x: Tensor, out: int, act: str = "RELU") -> Tensor:
        """A fully connected layer, as TensorRT 10 builds it: a matrix product on a 1×1 image."""
        label = self._label("fc")
        flat = Tensor(f"reshape_before_/{label}/Gemm", x.c * x.h * x.w, 1, 1)
        if (x.h, x.w) != (1, 1):
            self._add([f"/{label}/Flatten + {flat.name}"], "NoOp", [x], flat, {})
        stages = [f"/{label}/Gemm", *([f"/{label}/{_ACTIVATIONS[act]}"] if act in _ACTIVATIONS else [])]
        y = Tensor(f"{stages[-1]}_output_0", out, 1, 1)
        self._add(stages, "CaskGemmConvolution", [flat], y, convolution(flat, y, 1, 1, 0, 1, act))
        return y

    def pointwise(self, *inputs: Tensor) -> Tensor:
        """An elementwise step that fuses with no neighbour, such as the batch norm before a dense block's convolution."""
        x = inputs[0]
        name = f"PWN(/{self._label('pointwise')}/Relu)"
        y = Tensor(f"{name}_output_0", x.c, x.h, x.w)
        self._add([name], "PointWiseV2", list(inputs), y, {"ParameterType": "PointWise"})
        return y

    def shuffle(self, x: Tensor) -> Tensor:
        """Channels in another order: a copy."""
        name = f"/{self._label('shuffle')}/Transpose"
        y = Tensor(f"{name}_output_0", x.c, x.h, x.w)
        self._add([name], "Shuffle", [x], y, {"ParameterType": "Shuffle"})
        return y

    def softmax(self, x: Tensor) -> Tensor:
        """Normalised exponentials over the channels."""
        name = f"/{self._label('softmax')}/Softmax"
        y = Tensor(f"{name}_output_0", x.c, x.h, x.w)
        self._add([name], "CaskSoftMaxV2", [x], y, {"ParameterType": "SoftMax"})
        return y

    def concat(self, *parts: Tensor) -> Tensor:
        """Channels side by side; costs nothing and adds no layer."""
        name = f"/{self._label('concat')}/Concat_output_0"
        return Tensor(name, sum(part.c for part in parts), parts[0].h, parts[0].w)

    def half(self, x: Tensor, which: int) -> Tensor:
        """A view of the first (0) or last (1) half of the channels."""
        return Tensor(f"{x.name}:{which}", x.c // 2, x.h, x.w)

    def engine(self) -> Json:
        """The inspector's document, with the reformatting of the input that TensorRT puts first."""
        first = self._layers[0]
        name = f"Input Tensor 0 to {first['Name']}"
        x = Tensor(f"Reformatted {name}", self.input.c, self.input.h, self.input.w)
        reformat: Json = {
            "Name": f"Reformatting CopyNode for {name}",
            "LayerType": "Reformat",
            "Inputs": [self.input.json(LINEAR)],
            "Outputs": [x.json()],
            "ParameterType": "Reformat",
            "Origin": "REFORMAT",
            "StreamId": 0,
            "Metadata": "",
        }
        rest = [{**first, "Inputs": [x.json(), *first["Inputs"][1:]]}, *self._layers[1:]]
        return {"Layers": [reformat, *rest], "Bindings": ["input", self._layers[-1]["Outputs"][0]["Name"]]}

    def _label(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind}{self._counts[kind]}"

    def _add(self, stages: list[str], layer_type: str, inputs: list[Tensor], output: Tensor, body: Json) -> None:
        self._layers.append(
            {
                "Name": " + ".join(stages),
                "LayerType": layer_type,
                "Inputs": [x.json() for x in inputs],
                "Outputs": [output.json()],
                **body,
                "StreamId": 0,
                "Metadata": "\u001e".join(f"[ONNX Layer: {stage}]" for stage in stages),
            }
        )


def convolution(
    x: Tensor,
    y: Tensor,
    kernel: int | tuple[int, int],
    stride: int,
    pad: int | tuple[int, int],
    groups: int,
    act: str = "NONE",
) -> Json:
    """The keys of a convolution in the inspector's JSON."""
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    pad = (pad, pad) if isinstance(pad, int) else pad
    return {
        "ParameterType": "Convolution",
        "Kernel": list(kernel),
        "PaddingMode": "kEXPLICIT_ROUND_DOWN",
        "PrePadding": list(pad),
        "PostPadding": list(pad),
        "Stride": [stride, stride],
        "Dilation": [1, 1],
        "OutMaps": y.c,
        "Groups": groups,
        "Weights": {"Type": "Half", "Count": kernel[0] * kernel[1] * (x.c // groups) * y.c},
        "Bias": {"Type": "Half", "Count": y.c},
        "Activation": act,
    }


def pooling(kernel: int, stride: int, pad: int, kind: str, ceil: bool = False) -> Json:
    """The keys of a pooling layer in the inspector's JSON."""
    return {
        "ParameterType": "Pooling",
        "PoolingType": kind,
        "WindowSize": [kernel, kernel],
        "PaddingMode": "kEXPLICIT_ROUND_UP" if ceil else "kEXPLICIT_ROUND_DOWN",
        "PrePadding": [pad, pad],
        "PostPadding": [pad, pad],
        "Stride": [stride, stride],
    }


def _size(size: int, kernel: int, stride: int, pad: int, ceil: bool = False) -> int:
    free = size + 2 * pad - kernel
    return -(-free // stride) + 1 if ceil else free // stride + 1


Graph = NetworkBuilder
"""Its earlier name, which networks of users are written with."""
