"""The plan of `make test-gpu`: what fails or hangs costs only itself, wheels are told apart, and window and delay are found of a known wave."""

from __future__ import annotations

import importlib
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.worlds.gpu.cuda_stand_in import Cuda, Gpu

from neuralpower_sampler import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs the C sampler")

PLACE = Path(__file__).resolve().parents[1] / "beds" / "gpu"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Imports a file of the bed, which is a program and no package; its results go to a folder of the test's."""
    monkeypatch.syspath_prepend(str(PLACE))
    names = ("bed", "run", "square_wave", "layers", "networks")

    def loaded(name: str) -> Any:
        module = importlib.import_module(name)
        if hasattr(module, "OUT"):
            monkeypatch.setattr(module, "OUT", tmp_path)
        return module

    yield loaded
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("wheel", "fitting"),
    [
        (f"cffi-2.1.1-cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-manylinux_2_17_x86_64.whl", True),
        (
            f"cffi-2.1.1-cp3{sys.version_info.minor + 1}-cp3{sys.version_info.minor + 1}-manylinux_2_17_x86_64.whl",
            False,
        ),
        (
            f"cffi-2.1.1-cp3{sys.version_info.minor - 1}-cp3{sys.version_info.minor - 1}-manylinux_2_17_x86_64.whl",
            False,
        ),
        ("pyzmq-27.3.0-cp38-abi3-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl", True),
        (f"pyzmq-27.3.0-cp3{sys.version_info.minor + 1}-abi3-manylinux_2_26_x86_64.whl", False),
        ("jinja2-3.1.6-py3-none-any.whl", True),
        ("six-1.17.0-py2.py3-none-any.whl", True),
    ],
)
def test_only_wheels_of_this_python_are_unpacked(load: Any, wheel: str, fitting: bool) -> None:
    assert load("run").fits(wheel) == fitting


def test_a_part_that_fails_is_a_row_and_the_stage_goes_on(load: Any, tmp_path: Path) -> None:
    """The row says FAILED and why, a file has the whole of it, and the next stage runs."""
    bed = load("bed")
    made = bed.Bed(bed.Clock(60.0), simulated=True)

    def work(each: Any) -> None:
        assert each.attempt("resnet18", lambda: 1 / 0) is None
        assert each.attempt("alexnet", lambda: "measured") == "measured"

    bed.stage(made, "3 networks", 10.0, work)
    bed.stage(made, "4 models", 10.0, lambda each: [].pop())
    notes = {row.what: row.note for row in made.rows}
    assert notes["resnet18"] == "FAILED: ZeroDivisionError: division by zero"
    assert notes["4 models"] == "FAILED: IndexError: pop from empty list"
    assert "1 / 0" in (tmp_path / "resnet18.error").read_text()
    assert [row.what for row in made.rows if "took" in row.what] == ["3 networks: took", "4 models: took"]


def test_a_stage_without_an_end_is_ended_even_where_its_work_takes_any_error_for_a_finding(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = load("bed")
    monkeypatch.setattr(bed, "GRACE_S", 0.05)
    made = bed.Bed(bed.Clock(60.0), simulated=True)
    before = signal.getsignal(signal.SIGALRM)

    def hang() -> None:
        while True:
            time.sleep(0.01)

    try:
        bed.stage(made, "2 repeated layers", 0.05, lambda each: each.attempt("a layer", hang))
    finally:
        signal.signal(signal.SIGALRM, before)
    (failed,) = [row for row in made.rows if row.note.startswith("FAILED")]
    assert failed.what == "2 repeated layers" and "no end after" in failed.note
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


def test_a_stage_without_time_left_is_told_as_not_run(load: Any) -> None:
    bed = load("bed")
    made = bed.Bed(bed.Clock(60.0, began_s=time.monotonic() - 61), simulated=True)
    bed.stage(made, "4 models", 10.0, lambda each: pytest.fail("it ran"))
    assert [(row.what, row.note) for row in made.rows] == [("4 models", "NOT RUN: no time was left")]


@pytest.mark.parametrize(("window_s", "delay_s"), [(0.02, 0.0), (0.027, 0.003), (1.0, 0.0)])
def test_window_and_delay_are_found_of_a_known_wave(load: Any, window_s: float, delay_s: float) -> None:
    """Readings 20 or 100 ms apart with noise of 0.5 W, means over the window that ended the delay before their stamp."""
    square_wave = load("square_wave")
    random = np.random.default_rng(3)
    on: list[tuple[int, int]] = []
    t = 10**9
    for period_s, count in square_wave.WAVES:
        for _ in range(count):
            on.append((t, t + round(period_s / 2 * 1e9)))
            t += round(period_s * 1e9)
    step_s = 0.02 if window_s < 0.1 else 0.1
    when = np.cumsum(random.uniform(0.8, 1.2, round((t - 10**9) * 1e-9 / step_s)) * step_s * 1e9) + 1e9
    edges = np.array(on, np.float64).ravel()
    worked = np.concatenate([[0.0], np.cumsum(np.diff(edges) * (np.arange(len(edges) - 1) % 2 == 0))])
    end = when - delay_s * 1e9
    share = (np.interp(end, edges, worked) - np.interp(end - window_s * 1e9, edges, worked)) / (window_s * 1e9)
    found = square_wave.response(when, 124 + 300 * share + 0.5 * random.standard_normal(when.size), on)
    assert found["window_s"] == pytest.approx(window_s, rel=0.03)
    assert found["delay_s"] == pytest.approx(delay_s, abs=0.002 + 0.01 * window_s)
    assert found["high_w"] - found["low_w"] == pytest.approx(300, rel=0.01) and found["rms_w"] < 0.6
    assert math.isclose(found["period_s"], step_s, rel_tol=0.05)


def test_what_runs_in_a_stream_within_a_stream_is_a_kernel_once() -> None:
    """The stand-in's two modes would each take an operator for a kernel, and what the first does for one as well."""
    entered = []

    @contextmanager
    def within() -> Iterator[None]:
        entered.append(1)
        yield

    cuda = Cuda(Gpu(), within)
    for _ in range(2):
        with cuda.stream(cuda.Stream()), cuda.stream(cuda.Stream()):
            pass
    assert len(entered) == 2


def test_a_group_is_held_against_its_layers_alone(load: Any) -> None:
    """Each for as long as it runs in the network; what was not repeated is no part of either side, and the note says how much was."""
    bed, networks = load("bed"), load("networks")

    def told(name: str, unit: int, ms: float, watts: float) -> dict[str, Any]:
        return {"name": name, "unit": unit, "runtime_s": ms * 1e-3, "power_w": watts, "power_se_w": 5.0}

    def alone(name: str, watts: float) -> Any:
        return SimpleNamespace(layer=SimpleNamespace(name=name), watts=watts)

    layers = [
        told("pool", 2, 0.5, 200.0),
        told("relu", 1, 1.0, 300.0),
        told("conv", 1, 3.0, 300.0),
        told("fc", 3, 9.0, 400.0),
    ]
    assert [[each["name"] for each in group] for group in networks.groups(layers)] == [
        ["fc"],
        ["conv", "relu"],
        ["pool"],
    ]
    made = bed.Bed(bed.Clock(60.0), simulated=True)
    one = SimpleNamespace(name="net", shown={"groups": layers})
    networks.beside(
        made, one, [alone("conv", 340.0), alone("relu", 180.0), alone("fc", 410.0), alone("pool", math.nan)]
    )
    assert [(row.value, row.beside) for row in made.rows] == [
        (pytest.approx(400.0), pytest.approx(410.0)),
        (pytest.approx(300.0), pytest.approx(300.0)),
    ]
    assert made.rows[1].what == "net: conv and 1 more: attributed" and "100 % of the group's time" in made.rows[1].note
