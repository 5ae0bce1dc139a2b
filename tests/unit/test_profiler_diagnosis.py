"""What TensorRT says against a model becomes one line; `make test-builder` tries it on the real parser."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from neuralpower.errors import InputError
from neuralpower.runtimes.tensorrt import build
from neuralpower.runtimes.tensorrt.diagnosis import MOST_CHARACTERS, complaint, logger_of, refusal

INVALID = "Invalid Node - stem\nconvolution: image size is smaller than filter size.\nCuda Runtime (cudaError 35)"


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


def bindings() -> Any:
    """A stand-in for TensorRT's module, a new one each time."""
    capabilities = SimpleNamespace(__members__={"NONE": 0, "CURRENT": 1, "SM86": 86, "SM120": 120})
    made = ModuleType("tensorrt")
    made.__dict__.update(ILogger=type("ILogger", (ILogger,), {}), __version__="1.7", ComputeCapability=capabilities)
    return made


def parsed(*errors: dict[str, Any]) -> Any:
    """A parser with these errors, which knows Conv."""
    made = [SimpleNamespace(**{name: lambda value=value: value for name, value in each.items()}) for each in errors]
    return SimpleNamespace(
        num_errors=len(made), get_error=lambda at: made[at], supports_operator=lambda name: name == "Conv"
    )


def line_of(*errors: dict[str, Any]) -> str:
    trt = bindings()
    return refusal(trt, parsed(*errors), logger_of(trt))


def test_a_refused_model_is_one_line_with_its_node() -> None:
    """Name, operator and the line that says what is wrong; an operator that is not known; how many errors more."""
    conv = {"node": 3, "node_name": "stem\nconv", "node_operator": "Conv", "desc": INVALID}
    line = line_of(conv)
    assert line.startswith("node 3 'stem conv' (Conv): TensorRT 1.7 says: convolution: image size is smaller")
    assert "Cuda" not in line and "size; onnx.checker" in line and "\n" not in line
    odd = {**conv, "node_operator": "Odd", "desc": "false"}
    assert "(Odd): TensorRT 1.7 has no such operator (and 1 more); export the model without it" in line_of(odd, conv)


def test_bindings_that_tell_less_still_give_a_line() -> None:
    """An error without a node, one of TensorRT 8 without names, one without words, and none at all."""
    assert line_of({"node": -1, "desc": "Failed to parse."}).startswith("TensorRT 1.7 says: Failed to parse; ")
    empty = {"node": -1, "desc": "\n", "code": SimpleNamespace(name="INVALID_GRAPH")}
    assert "says: INVALID_GRAPH;" in line_of(empty)
    long = line_of({"node": -1, "desc": "x" * 9999})
    assert len(long) < MOST_CHARACTERS + 100
    assert line_of() == "TensorRT 1.7 says: nothing"


def test_the_first_error_that_was_logged_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are kept and warnings printed, in one line each; there is one logger for each module."""
    trt = bindings()
    logger = logger_of(trt)
    assert logger is logger_of(trt) and logger is not logger_of(bindings())
    for severity, text in ((2, "mind\nthis"), (3, "chatter"), (1, "no\noutput"), (0, "later")):
        logger.log(severity, text)
    assert complaint(trt, logger) == "TensorRT 1.7 says: no output"
    assert capsys.readouterr().err == "TensorRT: mind this\n"


def test_capabilities_are_those_that_the_bindings_know() -> None:
    """They go to the builder in their order; others, and TensorRT that builds for its own GPU alone, are refused in one line."""
    given: list[tuple[int, int]] = []
    config = SimpleNamespace(set_compute_capability=lambda value, at: given.append((at, value)))
    build.set_capabilities(bindings(), config, ("12.0", "8.6"))
    assert given == [(0, 120), (1, 86)] and config.num_compute_capabilities == 2
    with pytest.raises(InputError, match=r"8\.6, 12\.0, not for 9\.0$"):
        build.set_capabilities(bindings(), config, ("8.6", "9.0"))
    with pytest.raises(InputError, match="this machine alone"):
        build.set_capabilities(SimpleNamespace(__version__="10.3"), config, ("8.6",))
    build.set_capabilities(SimpleNamespace(), config, ())
