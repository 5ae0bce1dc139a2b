"""What TensorRT says against a model, as one line: its parser and its builder say it in several, most of them on stderr."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

MOST_CHARACTERS = 300
"""Of TensorRT's own words in a line: its longest message that was seen has 200, an assertion of its source may have any number."""


@cache
def logger_of(trt: Any) -> Any:
    """A logger of these bindings that keeps errors in `errors` and prints warnings.

    One for the whole process: TensorRT holds the first that it is given for as long as it runs.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known only with the bindings
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 insists on this exact call
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                print(f"TensorRT: {one_line(message)}", file=sys.stderr)

    return Logger()


def refusal(trt: Any, parser: Any, logger: Any) -> str:
    """Why the ONNX parser refused a model: node, name and operator of the first error, and what is wrong with it."""
    if not parser.num_errors:
        return complaint(trt, logger)
    error = parser.get_error(0)
    # Before TensorRT 10 an error has no name and no operator.
    name, operator = getattr(error, "node_name", str)(), getattr(error, "node_operator", str)()
    where = f"node {error.node()} {one_line(name)!r} ({operator}): " if operator else ""
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    if operator and not parser.supports_operator(operator):
        return f"{where}TensorRT {trt.__version__} has no such operator{more}; export the model without it"
    # Of several lines the first says only that the node is invalid.
    lines = [line for line in error.desc().splitlines() if line.strip()]
    said = one_line(lines[min(1, len(lines) - 1)]) if lines else error.code().name
    said = said.rstrip(".")
    return f"{where}TensorRT {trt.__version__} says: {said}{more}; onnx.checker.check_model(model, full_check=True) may say more"


def complaint(trt: Any, logger: Any) -> str:
    """The first error that TensorRT logged."""
    said = one_line(logger.errors[0]) if logger.errors else "nothing"
    return f"TensorRT {trt.__version__} says: {said}"


def one_line(text: str) -> str:
    """The text without line breaks, cut where it is longer than :data:`MOST_CHARACTERS`."""
    words = " ".join(text.split())
    return words if len(words) <= MOST_CHARACTERS else f"{words[:MOST_CHARACTERS]}…"
