"""What measurements cannot tell is told from faults of the program: nothing takes a ValueError that it has not raised for bad input."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.errors import Unattributable
from neuralpower_align.stream import online as streaming
from neuralpower_align.stream.online import Online

ROOT = Path(__file__).parents[2]
CALLERS = ["client/neuralpower/attribution/attribute.py", "daemon/neuralpowerd/live/estimates_stream.py"]
"""Who calls the estimator."""
BROAD = {"ValueError", "Exception", "BaseException", "ArithmeticError"}


def full() -> Online:
    """Readings and inferences of a first window, on which nothing was done yet."""
    online = Online(1, window_ns=40e9)
    at = np.arange(0, 41_000_000_000, 1_000_000)
    online.add_readings(0, ChannelReadings(at, np.full(at.size, 8.0), 140e3, 840e3, step_w=0.01))
    for begin in range(0, 41_000_000_000, 10_000_000):
        online.add_inference("e", begin, begin + 8_000_000, np.full(3, 2_500_000))
    return online


def test_a_stream_waits_where_readings_tell_nothing() -> None:
    """Of a sensor that stands still it says what it waits for."""
    online = full()
    assert online.step()
    assert online.acquiring and not online.rails
    assert online.why.startswith("a sensor that can be acquired: all") and "8 W" in online.why


@pytest.mark.parametrize("error", [np.linalg.LinAlgError("Singular matrix"), ValueError("operands do not fit")])
def test_a_fault_ends_the_stream(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs it says so and begins anew; it does not wait for readings that would mend it."""

    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(streaming, "sensor_of", fails)
    online = full()
    with pytest.raises(type(error)) as caught:
        while online.step():
            pass
    assert caught.value is error
    assert not isinstance(error, Unattributable)


def caught(tree: ast.AST) -> Iterator[str]:
    """The names of what handlers take."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            yield from ("BaseException" if kind is None else ast.unparse(kind) for kind in kinds)


def test_the_estimator_and_who_calls_it_take_no_fault_for_bad_input() -> None:
    files = [*sorted((ROOT / "align").rglob("*.py")), *(ROOT / name for name in CALLERS)]
    found = {str(file.relative_to(ROOT)): set(caught(ast.parse(file.read_text()))) for file in files}
    assert all("Unattributable" in found[name] for name in CALLERS)
    assert {name: kinds & BROAD for name, kinds in found.items() if kinds & BROAD} == {}
