"""What conversions saw of what ran: in C and by numpy the same, and right where it can be told by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower_align.activity.layout import Layout, Room
from neuralpower_align.activity.schedule import Laid, Schedule, schedule
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.model import overlap as module
from neuralpower_align.model.overlap import ALONG, WALK, Moved, Overlap, Ran, overlap
from neuralpower_align.model.rows import _ran as ran_of
from neuralpower_align.sensor.kernel import SLOPES, Kernel

compiled = pytest.mark.skipif(module.lib is None, reason="the C part of the estimator is not compiled here")


def plan_of(seed: int, layers: int = 7, inferences: int = 40) -> Schedule:
    """Layers of 3 to 200 us with launch, tail and gaps, an inference now and then whose gaps are squeezed out of its anchors."""
    random = np.random.default_rng(seed)
    mean = random.uniform(3e3, 200e3, layers)
    durations = np.rint(mean * (1 + 0.05 * random.standard_normal((inferences, layers)))).astype(np.int64)
    total = durations.sum(axis=1) + random.integers(0, 120_000, inferences)
    begin = 10_000_000 + np.cumsum(total + random.integers(20_000, 900_000, inferences)) - total
    end = begin + total
    laid = Laid(
        layer_windows(begin, end, durations), np.arange(layers), layers + 2, begin, end, layers, layers + 1,
        Room.of(begin, end, durations),
    )  # fmt: skip
    return schedule([laid], layers + 3, layers + 4)


def same(one: object, other: object, name: str = "") -> None:
    """Equal to rounding, of each array's largest."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        assert one.shape == other.shape, name
        scale = float(np.abs(other).max()) if other.size else 1.0
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * max(scale, 1e-300), err_msg=name)
    elif isinstance(one, (Overlap, Moved)):
        assert type(one) is type(other)
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name), field.name)
    else:
        assert one is None and other is None, name


@compiled
@given(
    seed=st.integers(0, 10_000),
    lag_ns=st.sampled_from([0.0, 20e3, 300e3, 2e6]),
    second_ns=st.sampled_from([0.0, 100e3]),
    blur_ns=st.sampled_from([0.0, 15e3]),
    gap_us=st.sampled_from([0.0, 1.0, 6.0]),
    known_stalls=st.booleans(),
    slopes=st.sampled_from([(SLOPES, True, 2), (SLOPES, True, 0), (1, False, 1), (2, False, 2), (0, False, 0)]),
)
def test_c_sums_as_numpy_does(
    seed: int,
    lag_ns: float,
    second_ns: float,
    blur_ns: float,
    gap_us: float,
    known_stalls: bool,
    slopes: tuple[int, bool, int],
) -> None:
    """Whatever the sensor, the layout and what is asked for."""
    random, plan = np.random.default_rng(seed), plan_of(seed)
    kernel = Kernel(lag_ns, 140e3, second_ns, blur_ns, skew=0.3 if blur_ns else 0.0, late=0.4 if blur_ns else 0.0)
    power = random.uniform(2, 15, plan.count)
    stalls = random.uniform(-0.3, 0.3, plan.count) if known_stalls else None
    ran = ran_of(plan.placed(Layout.usual(1, gap_us)), kernel, power, stalls)
    at = np.sort(random.uniform(plan.edges_ns[1] - 5e5, plan.edges_ns[-1] + 5e6, (3, 20)), axis=None).reshape(3, 20)
    count, along, by_place = slopes
    found = [
        overlap(ran, kernel, at, slopes=count, along=along, by_place=by_place, compiled=each) for each in (True, False)
    ]
    same(*found)


@pytest.mark.parametrize("in_c", [pytest.param(True, marks=compiled), False])
def test_shares_add_up_and_a_row_that_saw_one_layer_says_so(in_c: bool) -> None:
    """Of each row all shares are 1 together; a conversion within a layer longer than its window saw nothing else."""
    plan = plan_of(3).placed(Layout.usual(1))
    kernel = Kernel(0.0, 20e3)
    ran = ran_of(plan, kernel, np.linspace(3, 12, plan.count), None)
    at = np.linspace(plan.edges_ns[1], plan.edges_ns[-1], 600).reshape(10, 60)
    seen = overlap(ran, kernel, at, slopes=SLOPES, along=True, by_place=1, compiled=in_c)
    np.testing.assert_allclose(seen.share.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    long = int(np.argmax(np.where(np.diff(plan.edges_ns) < 500_000, np.diff(plan.edges_ns), 0)))
    within = np.array([[plan.edges_ns[long] + 30_000.0]])
    alone = overlap(ran, kernel, within, slopes=SLOPES, along=True, by_place=1, compiled=in_c)
    assert alone.share[0, np.searchsorted(alone.touched, plan.classes[long])] == pytest.approx(1.0, abs=0.1)
    assert alone.runs is not None and alone.runs.walk.shape[1:] == (WALK,) and alone.runs.along.shape[1:] == (ALONG,)


@pytest.mark.parametrize("in_c", [pytest.param(True, marks=compiled), False])
def test_what_runs_are_moved_by_is_what_a_layout_moves_them_by(in_c: bool) -> None:
    """All edges of an inference a little later: its readings change by the run's slope times that."""
    base = plan_of(5)
    plan, kernel = base.placed(Layout.usual(1)), Kernel(150e3, 140e3)
    ran = ran_of(plan, kernel, np.linspace(3, 12, plan.count), None)
    at = np.linspace(plan.edges_ns[1], plan.edges_ns[-1], 200).reshape(2, 100)

    def said(each: Ran) -> np.ndarray:
        seen = overlap(each, kernel, at, slopes=0, along=False, by_place=0, compiled=in_c)
        return seen.share @ np.linspace(3, 12, plan.count)[seen.touched]

    later_ns, which = 500.0, 11
    beside = (plan.beside_ns if plan.beside_ns is not None else np.zeros(plan.edge_ns.size)) + 0.0
    mine = (plan.moves == which) & (True if plan.held is None else ~plan.held)
    moved = replace(ran, plan=replace(plan, beside_ns=beside + np.where(mine, later_ns, 0.0)))
    back = replace(ran, plan=replace(plan, beside_ns=beside - np.where(mine, later_ns, 0.0)))
    runs = overlap(ran, kernel, at, slopes=SLOPES, along=True, by_place=1, compiled=in_c).runs
    assert runs is not None
    of_it = runs.inference == which
    slope = np.bincount(runs.row[of_it], -runs.along[of_it, 2], at.size)
    change = (said(moved) - said(back)) / (2 * later_ns)
    scale = float(np.abs(slope).max())
    np.testing.assert_allclose(change, slope, rtol=0, atol=0.02 * scale)
