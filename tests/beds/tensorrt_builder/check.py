"""Run by run.py under TensorRT for RTX: engines are really built, and models that cannot be are refused in one line each.

Prints one line of JSON for each engine or model, as it is done: {"what", "seconds", "bytes", "wrong"}.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import broken
import onnx.backend.test
import tensorrt_rtx as trt
from tests.worlds import zoo_onnx

from neuralpower.errors import Failure, InputError
from neuralpower.runtimes.options import PRECISIONS
from neuralpower.runtimes.tensorrt import build

CAPABILITIES = ("8.6", "12.0")
"""GeForce 30 and 50."""
ZOO = ("lenet5", "squeezenet1.1", "mobilenet_v2", "resnet18", "googlenet", "shufflenet_v2", "mobilenet_v3_large")
"""Of ours, those with less than 50 MB of weights."""
QUANTISED = ("lenet5", "squeezenet1.1", "resnet18")


def jobs(folder: Path) -> Iterator[tuple[str, Path, build.Options]]:
    """What to build: name, model, options.

    A model of the onnx package takes one precision for each capability: so all of them, and both of each, are had in half the time.
    """
    light = Path(onnx.backend.test.__file__).parent / "data" / "light"
    for path in sorted(light.glob("*.onnx")):
        for precision, capability in zip(("fp32", "fp16"), CAPABILITIES, strict=True):
            yield path.stem, path, build.Options(precision, capabilities=(capability,))
    for name in ZOO:
        path = zoo_onnx.write(name, folder / f"{name}.onnx")
        for precision in ("fp32", "fp16"):
            for capability in CAPABILITIES:
                yield name, path, build.Options(precision, capabilities=(capability,))
    for name in QUANTISED:
        path = zoo_onnx.write(name, folder / f"{name}-int8.onnx", quantised=True)
        for capability in CAPABILITIES:
            yield f"{name} (QDQ)", path, build.Options("int8", capabilities=(capability,))
    yield "lenet5", folder / "lenet5.onnx", build.Options("fp16", capabilities=CAPABILITIES)


def built(folder: Path) -> None:
    """Every engine; weights in fewer bits make a smaller one."""
    sizes: dict[str, int] = {}
    for name, path, options in jobs(folder):
        what = f"{name}, {options.precision}, {' and '.join(options.capabilities)}"
        begin, wrong, size = time.perf_counter(), "", 0
        try:
            size = build.build(trt, str(path), options).serialized.nbytes
        except (InputError, Failure) as error:
            wrong = str(error)
        report(what, time.perf_counter() - begin, size, wrong)
        sizes[what] = size
    names = [f"resnet18{'' if each != 'int8' else ' (QDQ)'}, {each}, 8.6" for each in ("int8", "fp16", "fp32")]
    int8, fp16, fp32 = (sizes[name] for name in names)
    report("ResNet-18 shrinks with its precision", 0, 0, "" if int8 < 0.7 * fp16 < 0.7 * 0.7 * fp32 else str(sizes))


def refused(folder: Path) -> None:
    """Every broken model, in every precision: FP16 and INT8 read the model themselves first."""
    for at, each in enumerate(broken.models()):
        path = folder / f"broken{at}.onnx"
        path.write_bytes(each.content)
        for precision in PRECISIONS:
            begin = time.perf_counter()
            wrong, said = verdict(path, precision, each.names if precision == "fp32" else ())
            report(f"refused: {each.name}, {precision}", time.perf_counter() - begin, 0, wrong, said)


def verdict(path: Path, precision: str, names: tuple[str, ...]) -> tuple[str, str]:
    """What is wrong with how it was refused, and the line."""
    try:
        build.build(trt, str(path), build.Options(precision))
    except (InputError, Failure) as error:
        line = str(error)
        missing = [name for name in names if name not in line]
        if "\n" in line:
            return "more than one line", line
        if not line.startswith(f"{path}: "):
            return "the line does not begin with the file", line
        return f"the line lacks {', '.join(missing)}" if missing else "", line
    return "an engine was built", ""


def chosen(folder: Path) -> None:
    """What is asked of capabilities is what these bindings know; a GPU that is not there is told, and nothing crashes."""
    path = str(folder / "lenet5.onnx")
    for capabilities, says in ((("9.0",), "8.6"), (("8.6", "x"), "not for x")):
        try:
            build.build(trt, path, build.Options("fp32", capabilities=capabilities))
            wrong = "an engine was built"
        except InputError as error:
            wrong = "" if says in str(error) else str(error)
        report(f"refused: capabilities {capabilities}", 0, 0, wrong)
    plan = build.build(trt, path, build.Options("fp32", capabilities=CAPABILITIES[:1]))
    engine = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR)).deserialize_cuda_engine(plan.serialized)
    report("an engine without a driver is none", 0, 0, "" if engine is None else "an engine was loaded")


def report(what: str, seconds: float, size: int, wrong: str, said: str = "") -> None:
    """One line."""
    row = {"what": what, "seconds": round(seconds, 3), "bytes": size, "wrong": wrong, "said": said}
    print(json.dumps(row), flush=True)


def main() -> None:
    """Everything, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        built(Path(folder))
        refused(Path(folder))
        chosen(Path(folder))
    print(json.dumps({"version": trt.__version__}))


if __name__ == "__main__":
    sys.exit(main())
