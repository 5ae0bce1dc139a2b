"""Which runtime runs: the one asked for, the first that works, or none; each that was passed over has a line."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neuralpower.cli import main
from neuralpower.errors import InputError
from neuralpower.runtimes import choose as choosing
from neuralpower.runtimes import cuda
from neuralpower.runtimes.choose import NAMES, choose
from neuralpower.runtimes.tensorrt.runtime import TensorrtRuntime
from neuralpower.runtimes.torch.runtime import TorchRuntime


def made(name: str, reason: str) -> Callable[[], Any]:
    return lambda: SimpleNamespace(name=name, why_not=lambda: reason, about=lambda: f"{name} 1.0 on a GPU")


def test_the_first_that_works_is_taken_and_those_before_it_say_why_not() -> None:
    """In their order; none after it is looked at; where none works every one has a line."""
    makers = {"a": made("a", "no module"), "b": made("b", ""), "c": made("c", "never asked")}
    found = choose("auto", makers)
    assert found.runtime is not None and found.runtime.name == "b" and found.passed_over == ("a: no module",)
    nothing = choose("auto", {"a": made("a", "no module"), "c": made("c", "too old")})
    assert nothing.runtime is None and nothing.passed_over == ("a: no module", "c: too old")


def test_one_that_is_asked_for_works_or_says_why_not() -> None:
    """Nothing else is taken in its place; a name that there is not is an error with those that there are."""
    makers = {"a": made("a", "no module"), "b": made("b", "")}
    assert choose("b", makers).runtime is not None
    with pytest.raises(InputError, match="--runtime a: no module"):
        choose("a", makers)
    with pytest.raises(InputError, match="there are auto, a, b"):
        choose("x", makers)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_gpu_each_has_one_clear_line(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 2 before it does anything."""
    monkeypatch.setattr("importlib.util.find_spec", lambda module: object())
    for driver, line in ((None, "no CUDA driver"), (lambda flags: 100, "cuInit gave 100")):

        def opened(library: str, driver: Any = driver) -> Any:
            if driver is None:
                raise OSError(library)
            return SimpleNamespace(cuInit=driver)

        monkeypatch.setattr(ctypes, "CDLL", opened)
        assert main(["profile", "torch:m:f", "--runtime", name, "--address", str(tmp_path)]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1 and f"--runtime {name}" in told[0] and line in told[0]


def test_tensorrt_for_rtx_is_tensorrt_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each asks for its own module, and for CUDA before any of it is imported."""
    asked: list[str] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda module: asked.append(module) or object())
    monkeypatch.setattr(cuda, "no_device", lambda: asked.append("driver") or "none here")
    for name in ("tensorrt", "tensorrt_rtx"):
        asked.clear()
        assert TensorrtRuntime(name).why_not() == "none here"
        assert asked == [name, "pycuda", "driver"]
    assert list(choosing._makers()) == list(NAMES)


def test_what_torch_does_not_run_is_told(tmp_path: Path) -> None:
    """ONNX, INT8, a timing that there is not."""
    pytest.importorskip("torch")
    from neuralpower.runtimes.options import Options

    with pytest.raises(InputError, match="TensorRT runs ONNX"):
        TorchRuntime().load(str(tmp_path / "a.onnx"), Options())
    with pytest.raises(InputError, match="no timing 'x'; there are cupti, events"):
        TorchRuntime(timing="x")
