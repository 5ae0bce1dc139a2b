"""Shapes of ONNX models: inputs that leave sizes open, files that declare wrong ones, and operators that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawn_onnx import layers, node, saved
from onnx import TensorProto, TensorShapeProto, helper

from neuralpower.cli import main
from neuralpower.errors import InputError
from neuralpower.features.network import load_network
from neuralpower.features.operators.shapes import slid

PAIR = [node("Conv", ["x", "w"], ["y"], "first", pads=[1] * 4), node("Conv", ["m", "w"], ["u"], "second", pads=[1] * 4)]


def pair(path: Path, first: Any, second: Any) -> str:
    """Two inputs, a convolution each."""
    return str(
        saved(
            path / "pair.onnx",
            PAIR,
            {"x": first, "m": second},
            weights={"w": (8, 3, 3, 3)},
            outputs={"y": None, "u": None},
        )
    )


def test_every_open_input_is_named_with_the_option_that_gives_it(tmp_path: Path) -> None:
    """Two inputs of open height and width: one line with both, and what to write."""
    path = pair(tmp_path, ["n", 3, "h", "w"], ["n", 3, "a", "b"])
    with pytest.raises(InputError) as caught:
        load_network(path)
    message = str(caught.value)
    assert "--input-shape x=1x3xHxW --input-shape m=1x3xHxW" in message and "\n" not in message


def test_each_input_can_be_given_and_what_was_assumed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, by the same letters as another input, or as a batch; stderr says what no option told."""
    path = pair(tmp_path, ["n", 3, "h", "w"], ["n", 3, "a", "b"])
    assert main(["features", path, "--input-shape", "x=2x3x8x9", "--input-shape", "m=2x3x16x17", "--json"]) == 0
    told = capsys.readouterr()
    sizes = [(layer["batch"], layer["in_h"], layer["in_w"]) for layer in json.loads(told.out)["layers"]]
    assert sizes == [(2, 8, 9), (2, 16, 17)] and told.err == ""
    path = pair(tmp_path, ["n", 3, "h", "w"], ["n", 3, "h", "w"])
    assert main(["features", path, "--input-shape", "2x3x8x9", "--json"]) == 0
    told = capsys.readouterr()
    assert [layer["in_h"] for layer in json.loads(told.out)["layers"]] == [8, 8]
    assert told.err == "note: pair: input m taken as 2x3x8x9\n"
    path = pair(tmp_path, ["n", 3, 8, 8], ["n", 3, 8, 8])
    assert [layer.batch for layer in load_network(path, batch=5).layers] == [5, 5]
    assert load_network(path).notes == ("input x taken as 1x3x8x8", "input m taken as 1x3x8x8")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["z=1x3x8x8"], "no input z; its inputs are x, m"),
        (["x=1x3x8"], "input x has 4 dimensions, the shape given has 3"),
        (["x=1x3x8x8", "x=1x3x9x9"], "input x has a shape already"),
        (["x=1x3xax8"], "sizes such as 1x3x224x224"),
        (["1x3x8x8", "1x3x9x9"], "the first input has a shape already"),
    ],
)
def test_a_wrong_input_shape_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], part: str
) -> None:
    """Unknown names, shapes of another rank, and a shape given twice."""
    path = pair(tmp_path, ["n", 3, "h", "w"], ["n", 3, "h", "w"])
    options = [word for each in given for word in ("--input-shape", each)]
    assert main(["features", path, *options]) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1


def test_an_input_without_a_shape_asks_for_it(tmp_path: Path) -> None:
    """Nothing is assumed of it, and with a shape it is like any other."""
    path = saved(tmp_path / "bare.onnx", PAIR[:1], {"x": None}, weights={"w": (8, 3, 3, 3)})
    with pytest.raises(
        InputError, match="input x has no shape; give --input-shape x=1x3x224x224, or what its shape is"
    ):
        load_network(path)
    assert load_network(path, input_shape={"x": (1, 3, 6, 6)}).layers[0].in_h == 6


def test_a_size_of_nothing_is_called_one(tmp_path: Path) -> None:
    """A first dimension of 0 is filled like an open one, another one is asked for."""
    (layer,) = load_network(
        saved(tmp_path / "m.onnx", PAIR[:1], {"x": (0, 3, 8, 8)}, weights={"w": (8, 3, 3, 3)})
    ).layers
    assert layer.batch == 1
    path = saved(tmp_path / "m.onnx", PAIR[:1], {"x": (1, 3, 0, 8)}, weights={"w": (8, 3, 3, 3)})
    with pytest.raises(InputError, match=r"input x has a size of 0 in dimension 2; give --input-shape x=1x3xHx8"):
        load_network(path)


def test_a_declared_shape_that_the_node_contradicts_is_not_trusted(tmp_path: Path) -> None:
    """The node's own shape is used, what stands behind it sees that one, and a note says so."""
    nodes = [*PAIR[:1], node("MaxPool", ["y"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2])]
    path = saved(
        tmp_path / "m.onnx",
        nodes,
        {"x": (1, 3, 16, 16)},
        weights={"w": (8, 3, 3, 3)},
        outputs={"y": (1, 8, 14, 14), "p": None},
    )
    network = load_network(path)
    assert [layer.out_h for layer in network.layers] == [16, 8]
    assert network.notes == ("tensor y is declared as 1x8x14x14, which its node first contradicts: taken as 1x8x16x16",)


def test_shapes_of_another_input_are_no_contradiction(tmp_path: Path) -> None:
    """A file with all shapes in it, read for another input: one line, which does not blame the file. Else the first three and a count."""
    nodes = [
        node("Relu", ["x"], ["a"], "a"),
        *(node("Abs", [f"{'abcd'[at]}"], [f"{'bcde'[at]}"], f"{'bcde'[at]}") for at in range(4)),
    ]
    sizes = dict.fromkeys("abcde", (1, 3, 8, 8))
    path = saved(tmp_path / "m.onnx", nodes, {"x": (1, 3, 8, 8)}, outputs=sizes)
    assert load_network(path).notes == ()
    (note,) = load_network(path, input_shape={"x": (1, 3, 9, 9)}).notes
    assert (
        note == "the file's own shapes of 5 tensors are those of its own input: taken as follows from the shape given"
    )
    path = saved(tmp_path / "m.onnx", nodes, {"x": ("N", 3, 8, 8)}, outputs=sizes)
    notes = load_network(path, 4).notes
    assert len(notes) == 5 and notes[0] == "input x taken as 4x3x8x8" and "tensor a is declared as 1x3x8x8" in notes[1]
    assert notes[4] == "2 more tensors are declared otherwise than their nodes make them"


def test_an_unknown_operator_passes_on_the_shape_that_is_declared(tmp_path: Path) -> None:
    """A plugin is unclassified; where the file declares what it gives, the layers behind it are known."""
    nodes = [node("Warp", ["x"], ["v"], "warp", domain="mine"), node("Conv", ["v", "w"], ["y"], "conv")]
    told: dict[str, Any] = {"weights": {"w": (8, 3, 1, 1)}, "domains": ["mine"]}
    plain = layers(tmp_path, nodes, {"x": (1, 3, 8, 8)}, **told)
    assert [(layer.kind, layer.note) for layer in plain] == [
        ("unclassified", "operator mine.Warp is not modelled or known"),
        ("unclassified", "its shapes are not known"),
    ]
    declared = layers(tmp_path, nodes, {"x": (1, 3, 8, 8)}, outputs={"y": None, "v": (1, 3, 4, 4)}, **told)
    assert [layer.kind for layer in declared] == ["unclassified", "conv"] and declared[1].in_h == 4
    other = load_network(tmp_path / "drawn.onnx", input_shape={"x": (1, 3, 16, 16)}).layers
    assert [layer.kind for layer in other] == ["unclassified"] * 2  # what is declared is of 8x8


@pytest.mark.parametrize(
    ("given", "size", "kernel", "expected"),
    [
        ({}, 7, 3, 5),
        ({"strides": [2]}, 8, 3, 3),
        ({"strides": [2], "ceil_mode": 1}, 8, 3, 4),
        ({"strides": [2], "ceil_mode": 1, "pads": [1, 1]}, 3, 2, 2),  # a third window would begin behind the data
        ({"pads": [1, 2], "dilations": [2]}, 9, 3, 8),
        ({"auto_pad": "SAME_UPPER", "strides": [2]}, 9, 3, 5),
        ({"auto_pad": "VALID"}, 9, 3, 7),
    ],
)
def test_a_window_slides_as_onnx_says(given: dict[str, Any], size: int, kernel: int, expected: int) -> None:
    """Output sizes by hand: floor and ceiling, padding on both sides, dilation, automatic padding."""
    assert slid(given, (size,), (kernel,)) == (expected,)
    assert slid(given, (size,), (kernel,)) == _by_onnx(given, size, kernel)


def _by_onnx(given: dict[str, Any], size: int, kernel: int) -> tuple[int, ...]:
    from onnx import defs, shape_inference

    pool = node("MaxPool", ["x"], ["y"], "p", kernel_shape=[kernel], **given)
    types = {"x": helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 1, size])}
    opset = [helper.make_opsetid("", 22)]
    found = shape_inference.infer_node_outputs(defs.get_schema("MaxPool", 22), pool, types, opset_imports=opset)
    shape: TensorShapeProto = found["y"].tensor_type.shape
    return tuple(dim.dim_value for dim in shape.dim[2:])


def test_small_tensors_beside_the_model_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Axes and a shape that stand in a file beside the model: pooling and product are known from another working folder too."""
    import onnx

    nodes = [
        node("ReduceMean", ["x", "axes"], ["m"], "mean"), node("Reshape", ["m", "flat"], ["f"], "flat"), node("Gemm", ["f", "w"], ["y"], "fc"),
    ]  # fmt: skip
    path = saved(
        tmp_path / "m.onnx",
        nodes,
        {"x": (2, 6, 5, 5)},
        weights={"w": (6, 4)},
        integers={"axes": [2, 3], "flat": [2, -1]},
    )
    model = onnx.load(path)
    model.opset_import[0].version = 18
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [layer.kind for layer in load_network(path).layers] == ["pool", "fc"]


def test_stored_integers_that_tell_no_shape_need_not_be_there(tmp_path: Path) -> None:
    """A bias in a file that is not there costs nothing; axes that stand there do."""
    import onnx

    types = {"w": TensorProto.INT8, "b": TensorProto.INT32, "z": TensorProto.UINT8}
    nodes = [node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z", "b"], ["y"], "c")]
    path = saved(tmp_path / "m.onnx", nodes, {"x": (1, 3, 8, 8)}, weights={"w": (8, 3, 3, 3), "s": (), "z": (), "b": (8,)}, types=types)  # fmt: skip
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "b":
            tensor.raw_data = bytes(32)
            onnx.external_data_helper.set_external_data(tensor, "gone.data")
            tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    assert [layer.kind for layer in load_network(path).layers] == ["conv"]


def test_a_model_without_nodes_is_called_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [], {"x": (1, 3, 8, 8)}, outputs={"x": None})
    with pytest.raises(InputError, match="an ONNX model without a node"):
        load_network(path)
