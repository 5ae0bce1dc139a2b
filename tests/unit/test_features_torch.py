"""Networks from live PyTorch modules: the translation from ATen, and, where PyTorch is installed, real exports."""

from __future__ import annotations

import importlib.util
import operator
import sys
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_features_compare import resnet18
from tests.worlds.torch_networks import (
    OWN,
    exported,
    flops_by_torch,
    make_mixed,
    make_resnet18,
    multiplying,
    of_our_own,
)

from neuralpower.errors import InputError
from neuralpower.features.differences import compare
from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network
from neuralpower.features.onnx.fused import layers_of
from neuralpower.features.torch.aten import graph_of_program


@dataclass(eq=False)
class Drawn:
    """A node of the traced graph."""

    op: str
    name: str
    target: Any
    args: tuple[Any, ...]
    meta: dict[str, Any]
    all_input_nodes: list[Any]


class Program:
    """An exported program drawn by hand: what `torch.export` returns, as far as the translation looks."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.specs: list[Any] = []

    def given(self, name: str, shape: tuple[int, ...], kind: str = "USER_INPUT") -> Any:
        self.specs.append(SimpleNamespace(kind=SimpleNamespace(name=kind), arg=SimpleNamespace(name=name)))
        return self._add("placeholder", name, name, (), shape)

    def call(self, target: Any, args: tuple[Any, ...], shape: Any, module: str = "") -> Any:
        made = self._add("call_function", f"n{len(self.nodes)}", target, args, shape)
        made.meta["nn_module_stack"] = {"0": (module, "")} if module else {}
        return made

    def layers(self, *results: Any) -> list[Layer]:
        self._add("output", "output", "output", results, None)
        graph = SimpleNamespace(nodes=self.nodes)
        signature = SimpleNamespace(input_specs=self.specs)
        return layers_of(graph_of_program(SimpleNamespace(graph=graph, graph_signature=signature), "drawn"))

    def _add(self, op: str, name: str, target: str, args: tuple[Any, ...], shape: Any) -> Any:
        several = isinstance(shape, list)
        values = [SimpleNamespace(shape=each, dtype="torch.float16") for each in (shape if several else [shape])]
        meta = {"val": tuple(values) if several else values[0]} if shape is not None else {}
        inputs = [each for each in args if hasattr(each, "meta")]
        made = Drawn(op, name, target, args, meta, inputs)
        self.nodes.append(made)
        return made


def test_operators_of_aten_become_layers() -> None:
    """Convolution with normalisation, sum and activation is one layer; pools, a product and copies are what they are."""
    p = Program()
    x, w, s = p.given("x", (2, 8, 9, 9)), p.given("w", (8, 4, 3, 3), "PARAMETER"), p.given("s", (8,), "BUFFER")
    c = p.call("aten.conv2d.default", (x, w, None, [2, 2], "same", [1, 1], 2), (2, 8, 5, 5), "stem")
    b = p.call("aten.batch_norm.default", (c, s, s, s, s, False), (2, 8, 5, 5), "bn")
    a = p.call("aten.max_pool2d.default", (x, 3, 2, 1), (2, 8, 5, 5), "pool")
    halves = p.call("aten.chunk.default", (b, 2, 1), [(2, 4, 5, 5), (2, 4, 5, 5)])
    half = p.call(operator.getitem, (halves, 1), (2, 4, 5, 5))
    r = p.call("aten.relu_.default", (half,), (2, 4, 5, 5))
    m = p.call("aten.mean.dim", (r, [-1, -2], True), (2, 4, 1, 1), "mean")
    f = p.call("aten.flatten.using_ints", (m, 1), (2, 4))
    q = p.given("q", (10, 4), "PARAMETER")
    y = p.call("aten.linear.default", (f, q), (2, 10), "fc")
    g = p.call("aten.adaptive_avg_pool2d.default", (a, [1, 1]), (2, 8, 1, 1), "global")
    kinds = [(layer.name, layer.kind) for layer in p.layers(y, g)]
    assert kinds == [
        ("stem + bn", "conv"), ("pool", "pool"), ("n6 + n8", "other"), ("mean", "pool"), ("fc", "fc"), ("global", "pool"),
    ]  # fmt: skip


def test_what_aten_cannot_say_is_unclassified() -> None:
    """Windows of several sizes, attention and operators of other libraries are named, not guessed."""
    p = Program()
    x = p.given("x", (1, 8, 9, 9))
    odd = p.call("aten.adaptive_avg_pool2d.default", (x, [4, 4]), (1, 8, 4, 4), "odd")
    even = p.call("aten.adaptive_avg_pool2d.default", (x, [3, 3]), (1, 8, 3, 3), "even")
    strange = p.call("torchvision.nms.default", (odd,), (1, 8, 4, 4), "nms")
    swish = p.call("aten.silu.default", (x,), (1, 8, 9, 9), "swish")
    layers = {layer.name: layer for layer in p.layers(even, strange, swish)}
    assert layers["odd"].kind == "unclassified" and "AdaptivePool" in layers["odd"].note
    assert (layers["even"].kind, layers["even"].kernel_h, layers["even"].stride_h) == ("pool", 3, 3)
    assert layers["nms"].kind == "unclassified" and "torchvision.nms" in layers["nms"].note
    p = Program()
    x, w = p.given("x", (1, 8)), p.given("w", (4, 8, 8), "PARAMETER")
    z = p.given("z", (1, 8, 8))
    work = [p.call("aten.bilinear.default", (x, x, w), (1, 4), "bl"), p.call("aten.fft_rfft2.default", (z,), (1, 8, 5), "fft"), p.call("aten.linalg_inv.default", (z,), (1, 8, 8), "inv")]  # fmt: skip
    told = {layer.name: (layer.kind, layer.note) for layer in p.layers(*work)}
    assert {kind for kind, _ in told.values()} == {"unclassified"} and "aten.bilinear" in told["bl"][1]
    p = Program()
    v = p.call("aten.mv.default", (p.given("m", (6, 8)), p.given("v", (8,))), (6,), "mv")
    (product,) = p.layers(v)
    assert (product.kind, product.macs()) == ("matmul", 48)
    assert layers["swish"].kind == "other"


def torch_or_skip() -> Any:
    try:
        import torch
    except (ImportError, OSError) as error:
        pytest.skip(f"PyTorch is not installed: {error}")
    return torch


def zoo(monkeypatch: pytest.MonkeyPatch, **networks: Any) -> None:
    """Put networks where `torch:zoo_here:NAME` finds them."""
    module: Any = types.ModuleType("zoo_here")
    module.INPUT_SHAPE = (1, 3, 224, 224)
    module.__dict__.update(networks)
    monkeypatch.setitem(sys.modules, "zoo_here", module)


@pytest.mark.parametrize("make", [make_resnet18, make_mixed])
def test_operations_agree_with_torchs_counter(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """Operations of conv and fc layers are those of torch.utils.flop_counter, to the last one, at a batch of 3."""
    torch = torch_or_skip()
    from torch.utils.flop_counter import FlopCounterMode

    model = make().eval()
    model(torch.zeros(1, 3, 224, 224))  # a lazy layer learns its size
    zoo(monkeypatch, net=model)
    layers = load_network("torch:zoo_here:net", batch=3).layers
    assert not any(layer.kind == "unclassified" for layer in layers)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(3, 3, 224, 224, device="meta"))  # what was exported has no contents any more
    assert sum(x.flops() for x in layers if x.kind in ("conv", "fc")) == counter.get_total_flops() > 0
    held = sum(p.numel() for name, p in model.named_parameters() if p.dim() > 1)
    assert sum(x.weights() for x in layers) == held


def test_a_module_an_onnx_file_and_an_engine_agree(
    tmp_path: Path, public_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ResNet-18 has the same conv, pool and fc layers from torch, from ONNX and from an engine that was built."""
    torch_or_skip()
    zoo(monkeypatch, resnet18=make_resnet18)
    live = load_network("torch:zoo_here:resnet18")
    assert (live.name, live.source) == ("resnet18", "torch")
    built = load_network(public_data / "edgeprofiler" / "desktop" / "resnet18" / "trt_engine_info.json")
    drawn = load_network(resnet18(tmp_path / "resnet18.onnx"))
    assert compare(live.layers, built.layers).differences == () == compare(live.layers, drawn.layers).differences
    assert Counter(layer.kind for layer in live.layers) == {"conv": 20, "pool": 2, "fc": 1}


def test_a_module_that_cannot_be_traced_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control flow on data, a missing shape and a callable that fails say so in one line."""
    torch = torch_or_skip()

    class Branch(torch.nn.Module):  # type: ignore[name-defined,misc]  # torch is known at run time only
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    def broken() -> Any:
        raise RuntimeError("no weights\nhere")

    zoo(monkeypatch, branch=Branch, broken=broken)
    with pytest.raises(InputError, match=r"^torch:zoo_here:branch: torch.export cannot trace it: [^\n]*$"):
        load_network("torch:zoo_here:branch")
    with pytest.raises(InputError, match=r"^torch:zoo_here:broken: cannot be made: no weights$"):
        load_network("torch:zoo_here:broken")


def test_what_a_module_prints_goes_to_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Output of its import, of its callable and of code below Python is not in the JSON, whether or not PyTorch is there."""
    folder = "import os\nprint('imported')\nos.write(1, b'below\\n')\ndef net():\n    print('made')\n    raise ValueError('no')\n"
    (tmp_path / "chatty_net.py").write_text("INPUT_SHAPE = (1, 3, 8, 8)\n" + folder)
    monkeypatch.syspath_prepend(tmp_path)
    torch: Any = types.ModuleType("torch")
    torch.nn = SimpleNamespace(Module=type("Module", (), {}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(InputError, match="cannot be made: no"):
        load_network("torch:chatty_net:net")
    told = capfd.readouterr()
    assert told.out == "" and all(word in told.err for word in ("imported", "below", "made"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit(3)", "its import ended: SystemExit: 3"),
        ("import sys\nsys.exit('usage: train.py DATA')", "its import ended: SystemExit: usage: train.py DATA"),
        ("net = 1 / 0", "its import ended: ZeroDivisionError: division by zero"),
        ("def net(:", "its import ended: SyntaxError: invalid syntax (failing_net.py, line 1)"),
        ("import no_such_package_here", "No module named 'no_such_package_here'"),
        ("net = 3\nINPUT_SHAPE = 3", "INPUT_SHAPE is 3; write its sizes, as (1, 3, 224, 224)"),
        ("net = 3\nINPUT_SHAPE = '1x3x8x8'", "INPUT_SHAPE is '1x3x8x8'; write its sizes, as (1, 3, 224, 224)"),
        ("net = 3\nINPUT_SHAPE = (1, 3, -8, 8)", "INPUT_SHAPE is (1, 3, -8, 8); write its sizes, as (1, 3, 224, 224)"),
        ("def net():\n    raise SystemExit(3)", "cannot be made: SystemExit: 3"),
        ("def net():\n    raise SystemExit", "cannot be made: SystemExit"),
        ("def net():\n    return 3", "a module of PyTorch is needed, not int"),
        ("net = 3", "a module of PyTorch is needed, not int"),
    ],
)
def test_a_users_module_fails_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    """Whatever its code does, an exit too: a training script that reads its own arguments is the usual case."""
    (tmp_path / "failing_net.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_net", raising=False)
    torch: Any = types.ModuleType("torch")
    torch.nn = SimpleNamespace(Module=type("Module", (), {}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(InputError) as caught:
        load_network("torch:failing_net:net")
    assert str(caught.value) == f"torch:failing_net:net: {says}"


@pytest.mark.parametrize("name", OWN)
def test_a_network_has_the_same_work_live_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """From torch.export, and as ONNX from both exporters: operations equal to torch's counter, and no arithmetic of shapes left."""
    torch = torch_or_skip()
    _, kinds, others = OWN[name]
    model, shape = of_our_own(name)
    newer = [False, True] if importlib.util.find_spec("onnxscript") else [False]
    files = [exported(torch, model, shape, tmp_path, dynamo=dynamo) for dynamo in newer]
    zoo(monkeypatch, net=model)
    found = [load_network("torch:zoo_here:net", batch=2).layers, *(load_network(file).layers for file in files)]
    expected = flops_by_torch(torch, model, shape)
    for layers in found:
        assert multiplying(layers) == expected > 0
        assert {layer.kind for layer in layers} == kinds
        assert sum(layer.kind == "other" for layer in layers) <= others


def test_inputs_of_a_module_are_given_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second input of forward has the shape that was given to its name; another name is one line."""
    torch = torch_or_skip()

    class Two(torch.nn.Module):  # type: ignore[name-defined,misc]  # torch is known at run time only
        def forward(self, x: Any, mask: Any) -> Any:
            return x @ mask

    zoo(monkeypatch, two=Two)
    (layer,) = load_network("torch:zoo_here:two", input_shape={"": (4, 5, 6), "mask": (4, 6, 7)}).layers
    assert (layer.kind, layer.batch, layer.in_c, layer.out_c) == ("matmul", 4, 6, 7)
    with pytest.raises(InputError, match="no input masc; its forward takes x, mask"):
        load_network("torch:zoo_here:two", input_shape={"masc": (4, 6, 7)})
