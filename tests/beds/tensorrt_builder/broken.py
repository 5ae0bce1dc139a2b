"""Models that TensorRT cannot take, each wrong in one way, and what the line about it must name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

IMAGE = (1, 3, 8, 8)
node = helper.make_node


@dataclass(frozen=True)
class Broken:
    """A file's content; words that its line must have: the node and the operator, where TensorRT tells them."""

    name: str
    content: bytes
    names: tuple[str, ...] = ()


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[Any]],
    outputs: Sequence[str] = ("y",),
    kind: int = TensorProto.FLOAT,
    stored: Sequence[Any] = (),
    domains: Sequence[str] = ("",),
) -> bytes:
    """A model whose tensors are all of one kind."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs], stored,
    )  # fmt: skip
    imports = [helper.make_opsetid(domain, 1 if domain else 17) for domain in domains]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def models() -> Iterator[Broken]:
    """All of them."""
    image = {"x": IMAGE}
    weight = numpy_helper.from_array(np.zeros((4, 5, 3, 3), np.float32), "w")
    conv = [node("Conv", ["x", "w"], ["y"], "stem")]
    fits = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    yield Broken("no model at all", b"no model at all")
    yield Broken("empty", b"")
    yield Broken("cut off", model(conv, image, stored=[weight])[:-40])
    yield Broken("without outputs", model([node("Relu", ["x"], ["y"], "act")], image, outputs=()))
    yield Broken("unknown operator", model([node("Frobnicate", ["x"], ["y"], "odd")], image), ("'odd'", "Frobnicate"))
    named = model([node("Mish2", ["x"], ["y"], "odd\nname", domain="my.ops")], image, domains=("", "my.ops"))
    yield Broken("operator of a domain of its own, two lines in a name", named, ("'odd name'", "Mish2"))
    yield Broken("operator without GPU code", model([node("Unique", ["x"], ["y"], "u")], image), ("'u'", "Unique"))
    five = [node(f"Frob{at}", [f"t{at}" if at else "x"], [f"t{at + 1}"], f"odd{at}") for at in range(5)]
    yield Broken("five unknown operators", model(five, image, outputs=("t5",)), ("'odd0'", "Frob0", "4 more"))
    yield Broken("dangling input", model([node("Relu", ["z"], ["y"], "act")], image), ("'act'", "Relu"))
    yield Broken("missing weight", model(conv, image), ("'stem'", "Conv"))
    yield Broken("channels that do not fit", model(conv, image, stored=[weight]), ("'stem'", "Conv"))
    yield Broken("window larger than the image", model(conv, {"x": (1, 3, 2, 2)}, stored=[fits]), ("'stem'", "Conv"))
    product = model([node("MatMul", ["a", "b"], ["y"], "product")], {"a": (2, 3), "b": (4, 5)})
    yield Broken("matrices that do not fit", product, ("'product'", "MatMul"))
    yield Broken("text", model([node("Identity", ["x"], ["y"], "same")], {"x": (1,)}, kind=TensorProto.STRING))
    cycle = [node("Relu", ["y"], ["z"], "one"), node("Relu", ["z"], ["y"], "two")]
    yield Broken("cycle", model(cycle, image))
    yield Broken("larger than any memory", model([node("Relu", ["x"], ["y"], "act")], {"x": (1 << 20, 1 << 20, 8)}))
    dynamic = model([node("Relu", ["x"], ["y"], "act")], {"x": ("n", 3, "height", 8)})
    yield Broken("two dynamic dimensions", dynamic, ("'x'",))
    yield Broken("weights in a file that is not there", external(), ())


def external() -> bytes:
    """A convolution whose weights lie in a file beside the model that nobody wrote."""
    weight = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "gone.bin"
    return model([node("Conv", ["x", "w"], ["y"], "stem")], {"x": IMAGE}, stored=[weight])
