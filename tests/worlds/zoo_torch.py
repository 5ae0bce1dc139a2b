"""The zoo's networks as PyTorch modules with random weights, from the same descriptions: where torchvision is not to be had.

`torch:tests.worlds.zoo_torch:resnet18` names one for `neuralpower`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuralpower.virtual.networks.graph import NetworkBuilder, Tensor

from .zoo_built import built

Call = tuple[str, list[str], str, dict[str, Any]]
"""What is called, on which tensors, what its answer is named, and how."""


class Recorder(NetworkBuilder):
    """Writes down what is called, in order."""

    def __init__(self, channels: int = 3, size: int = 224) -> None:
        super().__init__(channels, size)
        self.calls: list[Call] = []

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
        how = {"kernel_size": size, "stride": stride, "padding": pads, "groups": groups}
        self._call("conv", [x], y, {"in_channels": x.c, "out_channels": out, **how})
        if add is not None:
            self._call("add", [y, add], y)
        return self._act(y, act)

    def pool(
        self, x: Tensor, kernel: int, stride: int, pad: int = 0, *, kind: str = "MAX", ceil: bool = False
    ) -> Tensor:
        """As the class above."""
        y = super().pool(x, kernel, stride, pad, kind=kind, ceil=ceil)
        return self._call(kind, [x], y, {"kernel_size": kernel, "stride": stride, "padding": pad, "ceil_mode": ceil})

    def global_pool(self, x: Tensor) -> Tensor:
        """As the class above."""
        return self._call("AVERAGE", [x], super().global_pool(x), {"kernel_size": x.h})

    def fc(self, x: Tensor, out: int, act: str = "RELU") -> Tensor:
        """As the class above; what it writes is flat."""
        y = super().fc(x, out, act)
        self._call("fc", [x], y, {"in_features": x.c * x.h * x.w, "out_features": out})
        return self._act(y, act)

    def pointwise(self, *inputs: Tensor) -> Tensor:
        """As the class above: x · sigmoid(x), or of a second input as its gate."""
        return self._call("gate", [inputs[0], inputs[-1]], super().pointwise(*inputs))

    def shuffle(self, x: Tensor) -> Tensor:
        """As the class above, in two groups."""
        return self._call("shuffle", [x], super().shuffle(x))

    def softmax(self, x: Tensor) -> Tensor:
        """As the class above."""
        return self._call("softmax", [x], super().softmax(x))

    def concat(self, *parts: Tensor) -> Tensor:
        """As the class above; here it is called."""
        return self._call("concat", list(parts), super().concat(*parts))

    def half(self, x: Tensor, which: int) -> Tensor:
        """As the class above; here it is called."""
        return self._call("half", [x], super().half(x, which), {"which": which})

    def _act(self, y: Tensor, act: str) -> Tensor:
        return self._call(act, [y], y) if act in ("RELU", "CLIPPED_RELU") else y

    def _call(self, name: str, inputs: list[Tensor], y: Tensor, how: dict[str, Any] | None = None) -> Tensor:
        self.calls.append((name, [each.name for each in inputs], y.name, how or {}))
        return y


def module(name: str) -> Any:
    """The zoo's network `name` as a `torch.nn.Module` in evaluation mode, with its `INPUT_SHAPE`."""
    import torch
    from torch import nn

    def shuffled(x: Any) -> Any:
        n, c, h, w = x.shape
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    plain: dict[str, Callable[..., Any]] = {
        "add": torch.add,
        "RELU": torch.relu,
        "CLIPPED_RELU": lambda x: torch.clamp(x, 0, 6),
        "gate": lambda x, gate: x * torch.sigmoid(gate),
        "shuffle": shuffled,
        "softmax": lambda x: torch.softmax(x, 1),
        "concat": lambda *parts: torch.cat(parts, 1),
    }
    layers = {
        "conv": nn.Conv2d,
        "MAX": nn.MaxPool2d,
        "AVERAGE": nn.AvgPool2d,
        "fc": lambda **how: nn.Sequential(nn.Flatten(), nn.Linear(**how)),
    }

    class ZooNetwork(nn.Module):  # type: ignore[misc]  # PyTorch has no types here
        def __init__(self, recorded: Recorder) -> None:
            super().__init__()
            self.begin, self.calls = recorded.input.name, recorded.calls
            self.INPUT_SHAPE = (1, recorded.input.c, recorded.input.h, recorded.input.w)
            self.parts = nn.ModuleDict(
                {str(at): layers[kind](**how) for at, (kind, _, _, how) in enumerate(self.calls) if kind in layers}
            )

        def forward(self, x: Any) -> Any:
            values = {self.begin: x}
            for at, (kind, inputs, output, how) in enumerate(self.calls):
                given = [values[each] for each in inputs]
                if kind == "half":
                    values[output] = given[0].chunk(2, 1)[how["which"]]
                else:
                    values[output] = (plain[kind] if kind in plain else self.parts[str(at)])(*given)
            return values[self.calls[-1][2]]

    return ZooNetwork(built(name, Recorder)).eval()
