"""Where a search sets out again, and which of its ends is told: both of what a runtime may report, gaps that engines agree on, each maximum once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuralpower_align.activity.classes import Classes, EngineRuns
from neuralpower_align.activity.layout import GAP, GAP_CENTRE_US, US, Layout
from neuralpower_align.fit.search import SAME_NS, Search, gap_agreed_on, settled_maxima
from neuralpower_align.fit.state import State
from neuralpower_align.fit.surface import EVERY
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import DRIFTS, Model, Spline
from neuralpower_align.model.piece import Piece
from neuralpower_align.sensor.kernel import Kernel


def engine_of(layers: int, inferences: int = 120) -> EngineRuns:
    """Layers of 10 to 60 us with a kernel each, random gaps between inferences."""
    random = np.random.default_rng(layers)
    mean = random.uniform(10e3, 60e3, layers)
    durations = np.rint(mean * (1 + 0.01 * random.standard_normal((inferences, layers)))).astype(np.int64)
    total = durations.sum(axis=1) + 5000 * layers + random.integers(40_000, 80_000, inferences)
    begin = 10_000_000 + np.cumsum(total + random.integers(100_000, 1_200_000, inferences)) - total
    return EngineRuns(begin, begin + total, durations, np.arange(layers))


def state_of(layers: int, gap_us: float) -> tuple[Search, State]:
    """A search, and a state of it with this gap between kernels."""
    engine = engine_of(layers)
    classes = Classes.of([engine])
    plan, layer, count = classes.schedule([engine], ()), classes.is_layer(), classes.is_layer().size
    search = Search(plan, layer, (), 200, 1e6, 1e6)
    at = np.arange(5e6, float(plan.edges_ns[-1]) + 3e6, 0.84e6)
    piece = Piece(np.arange(at.size), at, 5 + 0.1 * np.sin(np.arange(at.size)), 140e3, 1, None, 0.0)
    spline = Spline.over(float(at[0]), float(at[-1]))
    model = Model(
        np.where(layer, 8.0, 4.0), layer, Kernel(50e3, 140e3), (spline,), float(at[0]), float(at[-1]), Layout.usual(1, gap_us), stall_of=np.zeros(count),
        drift=np.zeros(DRIFTS), idle_drift=np.zeros(DRIFTS), shift_us=(np.zeros(spline.columns),), lag_from_ns=50e3, each=False, centre_w=8.0, level_w=6.0,
        blurs=True,
    )  # fmt: skip
    return search, search.at((model, [piece], Noise.even(0.05**2)), EVERY)


@pytest.mark.parametrize(
    ("found_us", "other_us"), [(0.95, 0.0), (2.5, 0.0), (0.0, GAP_CENTRE_US), (0.1, GAP_CENTRE_US)]
)
def test_what_a_runtime_reports_is_tried_both_ways(found_us: float, other_us: float) -> None:
    """Durations have the gaps in them or have not: from either one must set out, or what a part of the rows hardly tells is decided by the first start."""
    search, best = state_of(80, found_us)
    (start,) = search.told_otherwise(best)
    assert start.model.layout.value[GAP] == pytest.approx(other_us)
    assert start.model.edge_ns == 0 and start.model.blurs and not start.model.layout.still, "all parameters are free"


def test_a_gap_that_moves_no_layer_far_is_not_tried_otherwise() -> None:
    search, best = state_of(6, 0.9)
    assert search.told_otherwise(best) == []


def test_a_maximum_that_was_ended_at_twice_is_one_rival() -> None:
    """Weighed twice it would leave others half of their chance."""
    _, state = state_of(6, 0.5)

    def at(later_ns: float, settled: bool = True) -> State:
        shifted = tuple(each + later_ns / US for each in state.model.shift_us)
        return replace(state, model=replace(state.model, shift_us=shifted), settled=settled)

    every = [at(0.0), at(SAME_NS / 2), at(9 * SAME_NS), at(9.5 * SAME_NS), at(20 * SAME_NS, settled=False)]
    assert [each.model.shift_us[0][0] for each in settled_maxima(every)] == [0.0, 9 * SAME_NS / US]
    assert settled_maxima([at(0.0, settled=False), at(9 * SAME_NS)]) == ()


@pytest.mark.parametrize(
    ("gaps_us", "kernels", "agreed_us"),
    [
        ([0.73, 1.27, 0.53, 0.41], [3, 54, 28, 27], 0.53),  # one in a valley of its own
        ([0.73, 0.45, 0.53, 0.41], [3, 54, 28, 27], None),  # what few gaps tell is no doubt
        ([1.9, 0.45, 0.4], [20, 54, 28], 0.45),
        ([0.4, 0.72], [11, 30], None),  # 9 us at the first and last layers
        ([0.4, 0.9], [11, 30], 0.4),
        ([0.4, 9.0], [3, 60], None),  # nobody to agree with
    ],
)
def test_an_engine_whose_gap_is_not_that_of_others_is_doubted(
    gaps_us: list[float], kernels: list[int], agreed_us: float | None
) -> None:
    assert gap_agreed_on(np.array(gaps_us), np.array(kernels, np.float64)) == agreed_us


def test_of_maxima_that_cannot_be_told_apart_one_that_settled_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    search, state = state_of(6, 0.5)
    costs = iter([-100.0, -97.5, -80.0, -100.0, -95.0])
    monkeypatch.setattr(State, "cost", property(lambda self: next(costs)))
    monkeypatch.setattr(Search, "likelier", lambda self, model, pieces, noise, blocks: noise)
    loose, settled = replace(state, settled=False), replace(state, settled=True)
    found = search.compared([loose, settled, settled], EVERY)
    assert [each.level for each in found] == [-97.5, -100.0, -80.0] and found[0].settled
    assert not search.compared([loose, settled], EVERY)[0].settled, "one that is worse by more is not taken for it"
