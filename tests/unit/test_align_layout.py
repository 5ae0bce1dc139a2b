"""Where layers lie between anchors: placed in order and between them, and what readings change by with each parameter of that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower_align.activity.classes import Classes, EngineRuns
from neuralpower_align.activity.layout import (
    COMMON,
    GAP,
    LEAD_FAR,
    LEAD_FARTHER,
    LEAD_LESS,
    LEAD_MORE,
    LEADS,
    NEAR,
    OWN,
    SPREAD,
    US,
    Layout,
    Room,
    Rooms,
    UsualRoom,
)
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.model.noise import Noise
from neuralpower_align.model.nuisance import Model, columns
from neuralpower_align.model.piece import Piece
from neuralpower_align.model.rows import Design, designs
from neuralpower_align.sensor.kernel import Kernel

Floats = npt.NDArray[np.float64]

KERNEL = Kernel(150e3, 140e3, blur_ns=8e3)


def engine(seed: int, inferences: int = 120, layers: int = 6, begin_ns: int = 10_000_000) -> EngineRuns:
    """Layers of 30 to 200 us, some absent now and then, in rooms of 150 us and a long tail, gaps of about a millisecond."""
    random = np.random.default_rng(seed)
    mean = random.uniform(30e3, 200e3, layers)
    durations = np.rint(mean * (1 + 0.02 * random.standard_normal((inferences, layers)))).astype(np.int64)
    durations[:, -2] *= random.random(inferences) < 0.9
    total = durations.sum(axis=1) + 60_000 + np.rint(random.exponential(40e3, inferences)).astype(np.int64)
    begin = begin_ns + np.cumsum(total + random.integers(4_000_000, 5_000_000, inferences)) - total
    return EngineRuns(begin, begin + total, durations, np.arange(layers))


def two() -> tuple[Classes, list[EngineRuns]]:
    """Two engines in turn."""
    engines = [engine(1), engine(2, layers=4, begin_ns=12_500_000)]
    last = np.minimum(engines[0].end_ns.max(), engines[1].end_ns.max())
    kept = []
    for number, each in enumerate(engines):
        others = engines[1 - number]
        apart = np.array([not np.any((others.begin_ns < e) & (others.end_ns > b)) for b, e in zip(each.begin_ns, each.end_ns, strict=True)])  # fmt: skip
        some = apart & (each.end_ns <= last)
        kept.append(EngineRuns(each.begin_ns[some], each.end_ns[some], each.durations_ns[some], each.alike))
    return Classes.of(kept), kept


def laid(layout: Layout, **values: float) -> Layout:
    """With other values, by the names of levers."""
    numbers = {
        "less": LEAD_LESS,
        "more": LEAD_MORE,
        "far": LEAD_FAR,
        "farther": LEAD_FARTHER,
        "spread": SPREAD,
        "gap": GAP,
    }
    value = np.array(layout.value)
    for name, number in numbers.items():
        value[number] = values.get(name, value[number])
    return replace(layout, value=value)


values = st.tuples(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 20),
    st.floats(-80, 80),
    st.floats(-1, 1),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), values)
def test_edges_stay_in_order_and_between_their_anchors(seed: int, layers: int, drawn: tuple[float, ...]) -> None:
    """Whatever the layout has: no layer ends before it begins, none begins before its own begin anchor or ends behind its end anchor."""
    ran = engine(seed % 1000, 40, max(layers, 2))
    classes = Classes.of([ran])
    layout = classes.layout.moved(np.zeros(classes.layout.size))
    value = np.array(drawn)
    value[GAP] = min(value[GAP], layout.most_gap_us)
    plan = classes.schedule([ran], ()).placed(replace(layout, value=value))
    assert np.all(np.diff(plan.edges_ns) >= 0)
    moving = np.flatnonzero(plan.moves >= 0)
    whose = plan.moves[moving]
    assert np.all(plan.edges_ns[moving] >= ran.begin_ns[whose]) and np.all(plan.edges_ns[moving] <= ran.end_ns[whose])
    still = plan.moves < 0
    np.testing.assert_array_equal(plan.edges_ns[still], plan.laid_ns[still])


def test_placing_again_forgets_where_edges_were() -> None:
    """What is placed twice lies where the second layout has it; classes and stalls are not touched."""
    classes, engines = two()
    plan = classes.schedule(engines, ())
    other = laid(classes.layout, less=0.9, more=0.1, far=0.7, spread=0.5)
    np.testing.assert_array_equal(plan.placed(other).placed(classes.layout).edges_ns, plan.edges_ns)
    assert plan.placed(other).classes is plan.classes and plan.placed(other).stall is plan.stall


def moved_by(plan: Schedule, layout: Layout, number: int, step: float) -> np.ndarray:
    """By how much edges move for one unit of a parameter, ns."""
    value = np.array(layout.value)
    value[number] += step
    return np.asarray((plan.placed(replace(layout, value=value)).edges_ns - plan.placed(layout).edges_ns) / step)


def test_levers_are_what_edges_move_by() -> None:
    """Shares of the room beside the median, microseconds of gaps before an edge less half of all, an engine's own lead alone."""
    classes, engines = two()
    layout = laid(classes.layout, less=0.3, more=0.4, far=0.3, spread=0.05, gap=3.0)
    plan = classes.schedule(engines, ())
    first = np.flatnonzero((plan.moves[1:] >= 0) & (plan.moves[1:] != plan.moves[:-1])) + 1
    whose = plan.moves[first]
    for number in range(LEADS):
        assert np.any(plan.room[number])
        np.testing.assert_allclose(moved_by(plan, layout, number, 0.02)[first], plan.room[number, whose], atol=60)
    kernels = 5
    mine = first[plan.engine[whose] == 0]
    np.testing.assert_allclose(moved_by(plan, layout, GAP, 0.5)[mine], -US * kernels / 2, atol=3)
    np.testing.assert_allclose(moved_by(plan, layout, SPREAD, 0.02)[first], -plan.room[NEAR, whose] / 2, atol=60)
    own = moved_by(plan, layout, COMMON, 1.0)[first]
    np.testing.assert_allclose(own, np.where(plan.engine[whose] == 0, US, 0.0), atol=1)


def said(plan: Schedule, layout: Layout, piece: Piece, model: Model) -> tuple[np.ndarray, list[Design]]:
    """What the model says of all readings under a layout."""
    every = list(designs(plan.placed(layout), 0, piece, model.kernel, model.power_w))
    return np.concatenate([columns(model, each)[2].ravel() for each in every]), every


@pytest.mark.parametrize("averaging", [1, 4])
def test_columns_are_what_readings_change_by(averaging: int) -> None:
    """Of each parameter, both engines' own ones too: the column is the difference of the model's readings to 1 %."""
    classes, engines = two()
    layout = laid(classes.layout, less=0.3, more=0.4, far=0.3, spread=0.05, gap=3.0)
    plan = classes.schedule(engines, ())
    at = np.arange(9e6, float(plan.edges_ns[-1]), 150e3)
    piece = Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, averaging, None, 0.0)
    power = np.random.default_rng(3).uniform(3.0, 12.0, classes.count)
    model = Model(
        power, classes.is_layer(), KERNEL, (), float(at[0]), float(at[-1]), layout, stalls=False, sensor=False
    )
    _, every = said(plan, layout, piece, model)
    dense = np.zeros((at.size, layout.size))
    for design in every:
        dense[np.ix_(design.rows.ravel(), design.moved)] = design.layout.reshape(design.rows.size, -1)
    for number in range(layout.size):
        step = 4.0 if number >= COMMON and (number - COMMON) % OWN == 0 else 0.4 if number >= GAP else 0.04
        value = [np.array(layout.value) for _ in range(2)]
        value[0][number] += step / 2
        value[1][number] -= step / 2
        high, low = (said(plan, replace(layout, value=each), piece, model)[0] for each in value)
        change = (high - low) / step
        assert np.abs(change).max() > 0, number
        assert np.sqrt(np.mean((dense[:, number] - change) ** 2)) < 0.01 * np.sqrt(np.mean(change**2)), number


def test_only_inferences_of_far_rooms_scatter_by_more() -> None:
    """The variance that far rooms have beside the usual is in the readings that a share of far rooms moves, and in no others."""
    ran = engine(8, inferences=200)
    classes = Classes.of([ran])
    layout = laid(classes.layout, less=0.3, more=0.4, far=-0.3, farther=0.2, spread=0.05, gap=1.0)
    plan = classes.schedule([ran], ())
    far = plan.room[LEAD_FAR] > 0
    assert 0.02 < far.mean() < 0.3
    at = np.arange(9e6, float(plan.edges_ns[-1]), 150e3)
    piece = Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, 1, None, 0.0)
    model = Model(
        np.linspace(3.0, 9.0, classes.count),
        classes.is_layer(),
        KERNEL,
        (),
        at[0],
        at[-1],
        layout,
        stalls=False,
        sensor=False,
    )
    values = [np.array(layout.value) for _ in range(2)]
    values[0][LEAD_FAR : LEAD_FARTHER + 1] += 0.05
    moved = np.abs(np.subtract(*(said(plan, replace(layout, value=each), piece, model)[0] for each in values)))
    scatters = np.concatenate(
        [
            np.diagonal(Noise(1e-12, slow=0.0, far=20e3**2).covariance(each, 1), axis1=1, axis2=2).ravel()
            for each in said(plan, layout, piece, model)[1]
        ]
    )
    assert np.all(scatters[moved > 1e-3] > 1e-8) and np.any(moved > 1e-3)
    assert np.all(moved[scatters < 1e-11] < 1e-4) and np.mean(scatters < 1e-11) > 0.5


def test_columns_are_so_where_anchors_hold_edges_and_layers_stall() -> None:
    """Edges that would lie beyond an anchor move with nothing, and a layer that took longer is a smaller step of power."""
    ran = engine(6)
    slow = np.array(ran.durations_ns)
    slow[::3] += slow[::3] // 5
    ran = EngineRuns(ran.begin_ns, ran.end_ns + (slow - ran.durations_ns).sum(axis=1), slow, ran.alike)
    classes = Classes.of([ran])
    layout = replace(laid(classes.layout, less=0.3, more=0.4, far=0.3, spread=0.05, gap=18.0), most_gap_us=np.inf)
    plan = classes.schedule([ran], ())
    held = plan.placed(layout).held
    assert held is not None and 20 < np.count_nonzero(held) < 0.5 * held.size
    at = np.arange(9e6, float(plan.edges_ns[-1]), 150e3)
    piece = Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, 1, None, 0.0)
    power = np.random.default_rng(3).uniform(3.0, 12.0, classes.count)
    stalls = np.where(classes.is_layer(), 0.8, 0.0)

    def seen(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What readings are, and their columns."""
        every = list(designs(plan.placed(replace(layout, value=value)), 0, piece, KERNEL, power, None, stalls))
        said = np.concatenate([(each.share @ power[each.touched]).ravel() for each in every])
        return said, np.concatenate([each.layout.reshape(said[: each.rows.size].size, -1) for each in every])

    dense = seen(layout.value)[1]
    for number, step in ((LEAD_LESS, 0.02), (LEAD_MORE, 0.02), (SPREAD, 0.004), (GAP, 0.02)):
        high, low = (np.array(layout.value) for _ in range(2))
        high[number] += step / 2
        low[number] -= step / 2
        change = (seen(high)[0] - seen(low)[0]) / step
        assert np.sqrt(np.mean((dense[:, number] - change) ** 2)) < 0.03 * np.sqrt(np.mean(change**2)), number


def test_more_of_a_gap_is_at_the_power_of_a_gap() -> None:
    """However much of the room beside the usual lies in gaps between kernels, layers are seen for as long as they ran."""
    classes, engines = two()
    plan = classes.schedule(engines, ())
    at = np.arange(9e6, float(plan.edges_ns[-1]) + 2e6, 20e3)
    piece = Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, 1, None, 0.0)
    power, layer = np.ones(classes.count), classes.is_layer()

    def seen(spread: float) -> np.ndarray:
        layout = laid(classes.layout, spread=spread, gap=3.0)
        total = np.zeros(classes.count)
        for each in designs(plan.placed(layout), 0, piece, KERNEL, power, None, np.zeros(classes.count)):
            total[each.touched] += each.share.sum(axis=(0, 1)) * 20e3
        return total

    none, much = seen(0.0), seen(0.6)
    assert np.abs(plan.placed(laid(classes.layout, spread=0.6, gap=3.0)).more).max() > 0.05
    np.testing.assert_allclose(much[layer], none[layer], rtol=5e-3)
    assert much.sum() == pytest.approx(none.sum(), rel=1e-9)


def test_nobody_knows_where_the_layers_of_a_whole_inference_are() -> None:
    """Slices of all of the time between the anchors stay, whatever the layout of the others is; no parameter changes their readings."""
    ran = engine(4)
    edges = (ran.end_ns - ran.begin_ns)[:, None] * np.arange(5) // 4
    whole = EngineRuns(ran.begin_ns, ran.end_ns, np.diff(edges, axis=1), np.arange(4), whole=True)
    classes = Classes.of([whole])
    plan = classes.schedule([whole], ())
    value = np.array(classes.layout.value)
    value[COMMON:] = 50.0, 0.5
    placed = plan.placed(replace(classes.layout, value=value, apart=True))
    np.testing.assert_array_equal(placed.edges_ns, plan.laid_ns)
    at = np.arange(9e6, 100e6, 150e3)
    piece = Piece(np.arange(at.size), at, np.zeros(at.size), 140e3, 1, None, 0.0)
    for design in designs(placed, 0, piece, KERNEL, np.linspace(3.0, 9.0, classes.count)):
        assert design.moved.size == COMMON + OWN and not design.layout.any()


def test_a_part_is_laid_as_in_the_whole() -> None:
    """With what is usual of all of an engine's inferences, the room of some of them is what it is among all."""
    ran = engine(5)
    usual = UsualRoom.of(ran.begin_ns, ran.end_ns, ran.durations_ns)
    whole = Room.of(ran.begin_ns, ran.end_ns, ran.durations_ns)
    part = Room.of(ran.begin_ns[:7], ran.end_ns[:7], ran.durations_ns[:7], usual)
    for name in ("beside", "near", "width"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[..., :7])
    np.testing.assert_array_equal(part.gaps, whole.gaps)
    some = EngineRuns(ran.begin_ns[:7], ran.end_ns[:7], ran.durations_ns[:7], ran.alike, known=ran.usual)
    np.testing.assert_array_equal(some.windows_ns(), ran.windows_ns()[:7])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_parts_of_the_room_add_up(seed: int) -> None:
    """Less, more, far and farther are all of the room beside the median but for what is farthest; widths have mean 1; gaps are centred."""
    ran = engine(seed % 1000)
    room = Room.of(ran.begin_ns, ran.end_ns, ran.durations_ns)
    beside = (ran.end_ns - ran.begin_ns - ran.durations_ns.sum(axis=1)).astype(np.float64)
    beside -= np.median(beside)
    parts = room.beside.sum(axis=0)
    near = np.abs(beside) < 5 * UsualRoom.of(ran.begin_ns, ran.end_ns, ran.durations_ns).spread_ns
    np.testing.assert_allclose(parts[near], beside[near], atol=1e-6)
    assert room.width.mean() == pytest.approx(1.0)
    assert room.gaps[0] == -room.gaps[-1] and room.place[0] == -0.5 and room.place[-1] == 0.5


def test_values_stay_within_what_can_be() -> None:
    """Steps beyond the bounds end at them; the bounds are what the room leaves for gaps, and shares between 0 and 1, far ones between -1 and 1."""
    layout = Layout.usual(2, 1.0, 3.0)
    far = layout.moved(np.full(layout.size, 100.0))
    assert far.value[:GAP].tolist() == [1.0] * GAP and far.value[GAP] == 3.0
    least = layout.moved(np.full(layout.size, -100.0)).value
    assert least[LEAD_FAR] == -1.0 and np.delete(least[:COMMON], LEAD_FAR).tolist() == [0.0] * (COMMON - 1)
    assert layout.with_engines(3).value.tolist() == [*layout.value.tolist(), 0.0, 0.0]


def with_rooms(waits_us: list[float], kernels: list[int], gap_us: float) -> Layout:
    """A layout of engines with as many gaps, of which each has waits of its own."""
    count = np.array(kernels, np.float64)
    rooms = Rooms(np.array(waits_us) + gap_us * count, count, np.arange(count.size))
    return replace(Layout.usual(count.size), rooms=rooms)


def told_gaps(layout: Layout) -> tuple[Floats, Floats]:
    """The gap of each engine as known beforehand, and its standard deviation."""
    precision, centre = layout.prior
    covariance = np.linalg.inv(precision)
    of = np.array([layout.of_gap(number) for number in range(layout.engines)])
    return of @ centre, np.sqrt(np.einsum("eq,qp,ep->e", of, covariance, of))


@pytest.mark.parametrize("gap_us", [0.0, 0.6, 4.0])
def test_rooms_of_engines_tell_their_gap(gap_us: float) -> None:
    """Engines that wait alike tell the gap by their rooms, the more kernels they have the better; where durations hold the gap, that it is 0."""
    gaps, spread = told_gaps(with_rooms([70.0] * 4, [5, 50, 200, 400], gap_us))
    np.testing.assert_allclose(gaps[2:], gap_us, atol=0.01)
    assert np.all(np.diff(spread) < 0) and spread[-1] < 0.06
    assert np.all(np.abs(gaps - gap_us) < 2 * spread)


def test_waits_that_are_common_say_nothing_of_gaps() -> None:
    """What all engines wait for may be whatever it is; one engine says nothing, and engines of as many kernels each."""
    for waits in ([70.0] * 3, [270.0] * 3):
        np.testing.assert_allclose(
            told_gaps(with_rooms(waits, [9, 80, 300], 0.7)), told_gaps(with_rooms([0.0] * 3, [9, 80, 300], 0.7))
        )
    for kernels in ([30], [30, 30]):
        layout = with_rooms([70.0] * len(kernels), kernels, 0.7)
        for mine, plain in zip(layout.prior, replace(layout, rooms=None).prior, strict=True):
            np.testing.assert_allclose(mine, plain)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 30))
def test_waits_that_differ_widen_what_rooms_say(seed: int, engines: int) -> None:
    """Gaps hold the truth within what waits differ by, whether that is less or more than was thought; more scatter tells less."""
    rng = np.random.default_rng(seed)
    kernels, unlike = rng.integers(1, 400, engines).tolist(), rng.normal(size=engines)
    spreads = []
    for wait_us in (2.0, 15.0, 60.0):
        gaps, spread = told_gaps(with_rooms((100 + wait_us * unlike).tolist(), kernels, 0.6))
        assert np.all(np.abs(gaps - 0.6) < 6 * spread)
        spreads.append(spread)
    assert np.all(np.diff(spreads, axis=0) > -1e-12)
    assert spreads[0].max() < replace(Layout.usual(engines), rooms=None).deviation[GAP]


def test_gaps_that_are_tried_are_likely_ones() -> None:
    """Of one engine between none and several times the usual; of several around what rooms say; never more than rooms leave."""
    assert Layout.usual(1).likely_gaps_us == (0.0, pytest.approx(5.5))
    assert Layout.usual(1, most_gap_us=2.0).likely_gaps_us == (0.0, 2.0)
    least, most = with_rooms([70.0] * 3, [9, 80, 300], 3.0).likely_gaps_us
    assert 2.5 < least < 3.0 < most < 3.5
