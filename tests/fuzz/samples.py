"""One sound file of every format that is read, small, and made here."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"
HEADER = "data mean_power time forward_num energy silence_energy all_energy\n"
CONV = "1.0,3.0,8.0,8.0,1.0,4.0,8.0,8.0,3.0,4.0,3.0,3.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0 5.0 4.0 1000 0.01 0.01 0.02\n"
TEGRASTATS = (
    "01-01-2025 00:00:0{at} RAM 3024/7620MB (lfb 2x4MB) CPU [2%@729,off] EMC_FREQ 0%@2133 GR3D_FREQ 99%@[624] "
    "VDD_IN 4567mW/4567mW VDD_CPU_GPU_CV 900mW/900mW VDD_SOC 1300mW/1300mW\n"
)
NANO = "RAM 1409/3964MB (lfb 28x4MB) IRAM 0/252kB(lfb 252kB) PLL@28.5C POM_5V_IN 2003/2003 POM_5V_GPU 0/0 POM_5V_CPU 320/320\n"
TABLE = "layer,kind,in_c,in_h,in_w,out_c,kernel,stride,pad,runtime_ms,power_w\nc,conv,3,8,8,4,3,1,1,0.5,7.5\nf,fc,9,,,5,,,,0.1,\n"


def samples(folder: Path) -> dict[str, bytes]:
    """Format -> content. ``folder`` is where a Parquet file is made."""
    layers = [layer["Name"] for layer in json.loads((ENGINES / "trt10.json").read_text())["Layers"]]
    profile = [{"count": 100}, *({"name": name, "timeMs": 10, "averageMs": 0.1} for name in layers)]
    latency = {name: [[0.1, "20250101-00:00:01.50"], [0.2, "20250101-00:00:02.50"]] for name in layers}
    measured = {
        "device": "a GPU",
        "layers": [
            {"kind": "conv", "dtype": "fp16", "n": 1, "ci": 3, "h": 8, "w": 8, "co": 4, "k": 3, "s": 1, "p": 1, "g": 1, "ms": 0.1, "watts": 90},
            {"kind": "fc", "dtype": "fp32", "n": 1, "ci": 3, "co": 4, "ms": 0.1, "watts": 90, "watts_sd": 1, "readings": 2},
        ],
        "networks": [
            {"name": "n", "batch": 1, "ms": 1, "watts": 100, "layers": [{"kind": "relu", "dtype": "fp16", "inputs": [[1, 3]], "output": [1, 3]}]}
        ],
    }  # fmt: skip
    found = {
        **{f"engine-{name}": (ENGINES / f"{name}.json").read_bytes() for name in ("trt8", "trt10", "trt11", "myelin")},
        "profile": json.dumps(profile).encode(),
        "latency": json.dumps(latency).encode(),
        "desktop": json.dumps({name: [0.1, 0.2] for name in layers}).encode(),
        "measured": json.dumps(measured).encode(),
        "idle": b'{"avg_idle_power": 4000000.0}',
        "accuracies": b'{"net": 70.5}',
        "log": "".join(f"20250101-00:00:0{at}.00,5000.0,1{at}00.0\n" for at in range(9)).encode(),
        "tegrastats": "".join(TEGRASTATS.format(at=at) for at in range(9)).encode(),
        "tegrastats-nano": (NANO * 3).encode(),
        "neurstrucenergy": (HEADER + CONV * 3).encode(),
        "mapping": b"inference_cycle,layer_name,layer_type,layer_power_including_idle_power_micro_watt,layer_run_time\n1,a,conv,5000000,0.1\n",
        "table": TABLE.encode(),
        "networks": b"network,batch,runtime_ms,power_w,file\nnet,1,3.5,12.5,net\n",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n",
        "page": b"<!DOCTYPE html><html><body>404</body></html>",
    }  # fmt: skip
    return found | _onnx() | {"dataset": _dataset(folder), "parquet": _parquet(folder)}


def _onnx() -> dict[str, bytes]:
    import onnx
    from onnx import TensorProto, helper

    shapes = {"x": [1, 3, 8, 8], "w": [4, 3, 3, 3], "y": [1, 4, 8, 8], "f": [1, 256], "z": [1, 10], "v": [256, 10]}
    of = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    weights = [
        helper.make_tensor(
            name, TensorProto.FLOAT, shapes[name], bytes(4 * 2560)[: 4 * (108 if name == "w" else 2560)], raw=True
        )
        for name in "wv"
    ]
    shape = helper.make_tensor("s", TensorProto.INT64, [2], struct.pack("<2q", 1, -1), raw=True)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
        helper.make_node("Reshape", ["y", "s"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "v"], ["z"], "fc"),
    ]  # fmt: skip
    model = helper.make_model(helper.make_graph(nodes, "net", [of["x"]], [of["z"]], [*weights, shape]))
    outside = onnx.ModelProto()
    outside.CopyFrom(model)
    onnx.external_data_helper.set_external_data(outside.graph.initializer[2], "net.data")
    outside.graph.initializer[2].ClearField("raw_data")
    forms = {"onnx": "protobuf", "onnx-text": "textproto", "onnx-json": "json", "onnx-syntax": "onnxtxt"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = {name: onnx.serialization.registry.get(form).serialize_proto(model) for name, form in forms.items()}
    return written | {"onnx-outside": outside.SerializeToString()}


def _dataset(folder: Path) -> bytes:
    from neuralpower.dataset import dataset_of, row, write_dataset
    from neuralpower.features.layers import Layer

    layer = Layer("c", "conv", 1, 3, 8, 8, 4, 8, 8, 3, 3, 1, 1, 1, 1)
    made = dataset_of([row(layer, network="n", origin="import", runtime_s=1e-3, power_w=5.0)], {"importer": "none"})
    write_dataset(made.table, folder / "made.parquet", made.provenance)
    return (folder / "made.parquet").read_bytes()


def fitted(folder: Path) -> bytes:
    """A file of models, fitted to a few made rows: it takes some seconds."""
    from neuralpower.dataset import dataset_of, row
    from neuralpower.features.layers import Layer
    from neuralpower.models import store
    from neuralpower.models.six import SixModels

    layers = [Layer(f"c{at}", "conv", 1, 3 + at, 8, 8, 4, 8, 8, 3, 3, 1, 1, 1, 1) for at in range(24)]
    rows = [
        row(each, network=f"n{at % 4}", origin="import", runtime_s=1e-4 * (1 + at), power_w=5.0)
        for at, each in enumerate(layers)
    ]
    store.save(SixModels(folds=2).fit(dataset_of(rows, {})), folder / "made.json")
    return (folder / "made.json").read_bytes()


def _parquet(folder: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"kind": ["fc", "fc"], "in_c": [3, 4], "out_c": [5, None], "runtime_us": [1.5, 2.5]})
    pq.write_table(table, folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()
