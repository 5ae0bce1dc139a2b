"""Where the search sets out: other lags at the delay that goes with them, gaps that are likely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuralpower_align.activity.layout import COMMON, GAP, Layout
from neuralpower_align.activity.schedule import Laid, Schedule, schedule
from neuralpower_align.clock.scan_clock import Sensor
from neuralpower_align.fit.search import Search
from neuralpower_align.fit.starts import NEAR_SHIFTS_NS, START_SHIFTS_NS, Maximum, StartingPoint
from neuralpower_align.fit.surface import EVERY
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import Model, prior
from neuralpower_align.model.piece import Piece
from neuralpower_align.sensor.kernel import Kernel

US = 1e3


def plan_of(inferences: int = 50) -> Schedule:
    """Three layers now and then."""
    begin = 10_000_000 + 3_000_000 * np.arange(inferences)
    edges = begin[:, None] + np.array([60_000, 160_000, 240_000, 500_000])
    windows = np.stack([edges[:, :-1], edges[:, 1:]], axis=-1)
    return schedule([Laid(windows, np.arange(3), 5, begin, begin + 600_000, 3, 4)], 6, 7)


def search_of(lag_ns: float) -> tuple[Search, Model, list[Piece]]:
    """A search with the model from which it sets out."""
    plan = plan_of()
    at = np.arange(5e6, 160e6, 0.84e6)
    piece = Piece(np.arange(at.size), at, np.full(at.size, 5.0), 140e3, 1, None, 0.0)
    search = Search(plan, np.arange(7) < 3, (), 200, 1e6, 1e6)
    return search, search.first([piece], Sensor(200e3, lag_ns, (None,)), False, Layout.usual(1)), [piece]


@pytest.mark.parametrize("lag_ns", [5e3, 100e3, 900e3])
@pytest.mark.parametrize(("name", "shifts_ns"), [("starts", START_SHIFTS_NS), ("nearby", NEAR_SHIFTS_NS)])
def test_other_lags_go_with_other_delays(name: str, shifts_ns: tuple[int, ...], lag_ns: float) -> None:
    """Whatever the lag of a start, the mean answer is tried at the same places: those around where the acquired sensor has it."""
    search, model, pieces = search_of(lag_ns)
    places: dict[float, set[float]] = {}
    for start in getattr(search, name)(StartingPoint(model, pieces)):
        later_ns = float(start.pieces[0].at_ns[0] - pieces[0].at_ns[0])
        assert start.model.shift_us[0][0] * US == pytest.approx(later_ns, abs=1e-3)
        step = Kernel(start.model.kernel.lag_ns, 140e3)
        times = np.arange(-500e3, 20e6, 1e3)
        mean_ns = float(np.sum(1 - step.step(times[times > 0]))) * 1e3 - later_ns
        places.setdefault(start.model.kernel.lag_ns, set()).add(mean_ns)
    assert len(places) >= (1 if name == "nearby" and lag_ns > 400e3 else 3)
    for found in places.values():
        np.testing.assert_allclose(
            np.unique(np.round(list(found), -3)), np.sort(lag_ns + 70e3 - np.array(shifts_ns)), atol=2e3
        )


def test_gaps_that_are_tried_are_steps_between_what_is_likely() -> None:
    """From none to several times the usual for one engine."""
    search, model, pieces = search_of(50e3)
    gaps = sorted(float(start.model.layout.value[GAP]) for start in search.by_gap(StartingPoint(model, pieces)))
    assert gaps[0] == 0.0 and gaps[-1] <= Layout.usual(1).likely_gaps_us[1]


def test_maxima_are_compared_on_the_readings_that_all_have() -> None:
    """Of two that are alike but for rows that one of them has not, neither is likelier; and the order is that of how likely they are."""
    search, model, (piece,) = search_of(50e3)
    noise = Noise(white=0.04, slow=0.0)
    some = piece.taken(np.flatnonzero(np.random.default_rng(1).random(piece.number.size) > 0.2))
    other = replace(some, value_w=some.value_w + 0.01 * (np.arange(some.number.size) % 9 == 0))
    states = [search.at((model, [each], noise), EVERY) for each in (piece, other)]
    assert abs(states[0].cost - states[1].cost) > 20
    found = search.compared(states, EVERY)
    assert found[0].level == pytest.approx(found[1].level, abs=1e-6)
    worse = replace(model, power_w=model.power_w + 0.3)
    states = [search.at((each, [rows], noise), EVERY) for each, rows in ((worse, some), (model, piece))]
    assert [each.model.power_w[0] for each in search.compared(states, EVERY)] == [model.power_w[0], worse.power_w[0]]


def test_where_a_maximum_of_other_readings_lies_engines_keep_what_is_their_own() -> None:
    """Set out from there, leads and gaps of single engines are as likely as their prior says, and not impossible."""
    search, model, pieces = search_of(50e3)
    layout = replace(Layout.usual(2), value=np.append(Layout.usual(2).value[:COMMON], [12.0, 0.1, -9.0, -0.2]))
    model = replace(model, layout=Layout.usual(2))
    there = Maximum(220e3, 40e3, 0.0, layout.value)
    start = search.laid(there, StartingPoint(model, pieces)).model
    np.testing.assert_array_equal(start.layout.value, layout.value)
    precision, away = prior(start)
    own = np.arange(start.index.layout.start + COMMON, start.index.layout.stop)
    assert away[own] @ precision[np.ix_(own, own)] @ away[own] < 10
