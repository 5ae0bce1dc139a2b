"""The stream against the batch on simulated recordings, its memory, and engines that come and go."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.accuracy.estimate import readings_of
from tests.worlds.attribution.case import load
from tests.worlds.attribution.world import World, draw

from neuralpower_align.activity.layout import GAP
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock
from neuralpower_align.fit.search import FoundAt
from neuralpower_align.layer_power import Classes, EngineRuns, RailAttribution, layer_power
from neuralpower_align.stream import clocks
from neuralpower_align.stream import online as streaming
from neuralpower_align.stream.arrivals import MAX_ENGINES, MAX_LAYERS, Arrivals
from neuralpower_align.stream.clocks import UsualClocks
from neuralpower_align.stream.engines import moves, rearranged
from neuralpower_align.stream.online import Online
from neuralpower_align.stream.track import Track
from neuralpower_align.stream.window import RecentInferences, RecentReadings
from neuralpower_sampler import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")


def drawn(case: str, seed: int, inferences: int) -> tuple[World, ChannelReadings, EngineRuns]:
    """A short run without its baselines, with few layers."""
    whole = load().case(case)
    run = replace(whole.run, inferences=inferences)
    world = draw(replace(whole, run=run, network=replace(whole.network, layers=(12, 16))), seed)
    recording = world.recording
    readings = readings_of(recording)
    # Idling before and behind all that ran has no name in a stream, which leaves it out.
    inside = (readings.read_ns > recording.begin_ns[0]) & (readings.read_ns < recording.end_ns[-1])
    alike = np.arange(recording.durations_ns.shape[1])
    return world, readings.take(inside), EngineRuns(recording.begin_ns, recording.end_ns, recording.durations_ns, alike)


def streamed(online: Online, readings: ChannelReadings, engine: EngineRuns, part_ns: int = 500_000_000) -> Online:
    """Everything in portions, in the order in which it comes."""
    done = 0
    for low in range(int(readings.read_ns[0]), int(readings.read_ns[-1]) + 1, part_ns):
        online.add_readings(0, readings.take((readings.read_ns >= low) & (readings.read_ns < low + part_ns)))
        while done < engine.end_ns.size and engine.end_ns[done] < low + part_ns:
            begin, end = int(engine.begin_ns[done]), int(engine.end_ns[done])
            online.add_inference("e", begin, end, engine.durations_ns[done])
            done += 1
        while online.step():
            pass
    online.finish()
    return online


@pytest.fixture(scope="module")
def fast() -> tuple[World, ChannelReadings, EngineRuns, RailAttribution]:
    """140 us for each conversion, with what the batch says of it."""
    world, readings, engine = drawn("fast", 1004, 6000)
    return world, readings, engine, layer_power([engine], [[readings]])


@pytest.fixture(scope="module")
def ran(fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution]) -> Online:
    """The stream over the same."""
    _, readings, engine, _ = fast
    return streamed(Online(1, window_ns=10e9), readings, engine)


def apart(online: Online, batch: RailAttribution) -> np.ndarray:
    """Differences of layers in the batch's standard errors."""
    told, found = online.estimates()[0].power, batch.engines[0]
    assert told is not None
    return np.asarray((told.layer_w - found.layer_w) / np.sqrt(np.diag(found.covariance)))


def test_the_sums_are_the_batchs(
    fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set out from where the batch ended, chunks, spline and drift of the stream give what its one sum gives, and its errors.

    Knots of their splines lie elsewhere, by which the shift of the clock comes out up to one of its standard errors apart from time to time.
    """
    _, readings, engine, batch = fast
    monkeypatch.setattr(streaming, "sensor_of", lambda *_: batch.rails[0].sensor)
    monkeypatch.setattr(streaming, "estimate", lambda *_, **__: batch.rails[0].found)
    online = Online(1, window_ns=float(readings.read_ns[-1] - readings.read_ns[0]) - streaming.HOLD_NS - 1e9)
    streamed(online, readings, engine)
    assert online.restarts == 0 and len(online.rails) == 1
    assert np.sqrt(np.mean(apart(online, batch) ** 2)) < 0.4
    told = online.estimates()[0].power
    assert told is not None
    ratio = np.sqrt(np.diag(told.covariance) / np.diag(batch.engines[0].covariance))
    assert 0.9 < np.median(ratio) < 1.1


def test_it_goes_on_from_a_window_as_the_batch_over_all(
    fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution], ran: Online
) -> None:
    """Acquired from a part, with a sensor of its own: within 0.4 standard errors of the batch on the same readings, and true."""
    world, readings, engine, _ = fast
    same = readings.take((readings.read_ns > ran._begin_ns) & (readings.read_ns <= ran._done_ns[0]))
    batch = layer_power([engine], [[same]])
    told = ran.estimates()[0]
    assert (told.state, told.inferences, ran.restarts, ran.arrived.late) == ("running", 6000, 0, 0)
    assert told.power is not None
    assert np.sqrt(np.mean(apart(ran, batch) ** 2)) < 0.4
    error = (told.power.layer_w - world.truth.power_w) / np.sqrt(np.diag(told.power.covariance))
    assert np.sqrt(np.mean(error**2)) < 1.6
    assert abs(told.power.energy_j - world.truth.energy_j) < 4 * told.power.energy_se_j


def test_inferences_without_the_profiler_are_told_from_readings_of_their_own(
    fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other stretch of them came as a whole: their energy is the batch's, and the layers are told from the rest alone."""
    _, readings, engine, batch = fast
    # Neither way looks for the sensor here: it is the batch's.
    monkeypatch.setattr(streaming, "sensor_of", lambda *_: batch.rails[0].sensor)
    monkeypatch.setattr(streaming, "estimate", lambda *_, **__: batch.rails[0].found)
    blind = np.arange(engine.begin_ns.size) // 50 % 2 == 1
    online = Online(1, window_ns=10e9)
    done = 0
    for low in range(int(readings.read_ns[0]), int(readings.read_ns[-1]) + 1, 500_000_000):
        online.add_readings(0, readings.take((readings.read_ns >= low) & (readings.read_ns < low + 500_000_000)))
        while done < engine.end_ns.size and engine.end_ns[done] < low + 500_000_000:
            begin, end = int(engine.begin_ns[done]), int(engine.end_ns[done])
            whole = np.array([end - begin])
            if blind[done]:
                online.add_inference("w", begin, end, whole, profiled=False)
            else:
                online.add_inference("e", begin, end, engine.durations_ns[done])
            done += 1
        while online.step():
            pass
    online.finish()
    layered, found = online.estimates()
    assert (layered.engine, found.engine, found.whole, found.state) == ("e", "w", True, "running")
    assert (
        layered.power is not None
        and found.power is not None
        and online.rails[0].known.rows < 0.6 * batch.rails[0].found.rows
    )
    pair = [replace(engine, **{n: getattr(engine, n)[~blind] for n in ("begin_ns", "end_ns", "durations_ns")}),
            EngineRuns.sliced(engine.begin_ns[blind], engine.end_ns[blind], 16)]  # fmt: skip
    other = layer_power(pair, [[readings]], near=batch.rails).engines[1]
    assert abs(found.power.window_j - other.window_j) < 2 * other.window_se_j
    assert 0.5 < found.power.window_se_j / other.window_se_j < 2
    assert found.seconds == pytest.approx((engine.end_ns - engine.begin_ns)[blind].mean() * 1e-9, rel=1e-6)


def test_what_is_told_stays_while_nothing_runs(ran: Online) -> None:
    """Half a minute of idling says nothing of layers: powers and energy are what they were."""
    online = deepcopy(ran)
    before = online.estimates()[0].power
    last = online.newest_ns
    read_ns = last + np.arange(1, 30_000, dtype=np.int64) * 1_000_000
    power_w = 3.0 + 0.1 * np.random.default_rng(1).standard_normal(read_ns.size)
    for some in np.array_split(np.arange(read_ns.size), 60):
        online.add_readings(0, ChannelReadings(read_ns[some], power_w[some], 140e3, 840e3))
        while online.step():
            pass
    after = online.estimates()[0].power
    assert min(online._done_ns) > last + 15e9 and online.restarts == 0
    assert before is not None and after is not None
    moved = np.abs(after.layer_w - before.layer_w) / np.sqrt(np.diag(before.covariance))
    assert moved.max() < 0.01
    assert abs(after.energy_j - before.energy_j) < 0.01 * before.energy_se_j


def test_nothing_is_told_from_a_fit_that_has_not_settled(
    fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and tries again from a later window."""
    _, readings, engine, batch = fast
    found, said = batch.rails[0].found, []
    answers = iter([replace(found, settled=False), found])

    def fitted(*_: object, **__: object) -> object:
        said.append((online.state, online.why, online.rails))
        return next(answers)

    monkeypatch.setattr(streaming, "sensor_of", lambda *_: batch.rails[0].sensor)
    monkeypatch.setattr(streaming, "estimate", fitted)
    online = Online(1, window_ns=10e9)
    first = int(readings.read_ns[0])
    checked = 0
    for second in range(26):
        since, until = first + second * 1_000_000_000, first + (second + 1) * 1_000_000_000
        online.add_readings(0, readings.take((readings.read_ns >= since) & (readings.read_ns < until)))
        for number in np.flatnonzero((engine.end_ns >= since) & (engine.end_ns < until)).tolist():
            begin, end = int(engine.begin_ns[number]), int(engine.end_ns[number])
            online.add_inference("e", begin, end, engine.durations_ns[number])
        while online.step():
            if len(said) == 1 and not checked:
                checked += 1
                assert online.state == "acquiring" and "does not settle" in online.why
                told = online.estimates()[0]
                assert told.power is None and told.state == "acquiring" and "does not settle" in told.why
    assert checked
    assert len(said) == 2 and online.state == "running"
    assert online._begin_ns >= first + 5e9


def test_a_full_window_decides_between_the_maxima_of_the_first(
    fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells from a first window what it can, and acquires once more from a full one; where that fails, what was told stays."""
    _, readings, engine, batch = fast
    found = batch.rails[0].found
    for second in (found, replace(found, settled=False)):
        answers, windows = iter([found, second]), []

        def fitted(
            *given: object, answers: object = answers, windows: list[object] = windows, **more: object
        ) -> object:
            windows.append((given[1][0].read_ns[[0, -1]], more["found_at"].maxima))  # type: ignore[index]
            return next(answers)  # type: ignore[call-overload]  # an iterator

        monkeypatch.setattr(streaming, "FIRST_NS", 6e9)
        monkeypatch.setattr(streaming, "FIRST_ROWS", 100)
        monkeypatch.setattr(streaming, "sensor_of", lambda *_: batch.rails[0].sensor)
        monkeypatch.setattr(streaming, "estimate", fitted)
        online = streamed(Online(1, window_ns=12e9), readings, engine)
        (first, nothing), (full, maxima) = windows
        assert np.diff(first) < 6.1e9 < 11e9 < np.diff(full) and nothing == () and maxima == found.maxima != ()
        assert (online.restarts, online.state) == (0, "running")
        assert bool(online.kept_because) == (not second.settled)
        assert online._begin_ns >= full[0] - 1e9 if second.settled else online._begin_ns < full[0]


def test_a_first_window_holds_enough_readings_of_layers() -> None:
    """Where half of the time nothing known ran, and of what ran a part was without the profiler, it grows; to a full one at most."""
    online = Online(1, window_ns=100e9)
    t_ns = np.arange(0, 40_000_000_000, 1_000_000, dtype=np.int64)
    online.add_readings(0, ChannelReadings(t_ns, np.full(t_ns.size, 5.0), 140e3, 0.84e6, 1))
    layers = np.array([200_000_000, 200_000_000])
    for number, begin in enumerate(range(0, 40_000_000_000, 1_000_000_000)):
        online.add_inference("e", begin, begin + 500_000_000, layers, profiled=number % 4 > 0)
    # 500 of 1,000 readings, of three inferences in four, all but the first 20 ms behind one without the profiler.
    rows_per_s = 0.75 * 500
    assert online._first_ns(["e"], 0.0, 20e9) == online.first_ns == 30e9
    assert online._first_ns(["e"], 0.0, 40e9) == pytest.approx(15_000 / rows_per_s * 1e9, rel=0.02)
    online.spoil(0, 30_000_000_000)
    assert online._first_ns(["e"], 0.0, 40e9) == 100e9


def test_what_runs_at_other_clocks_is_left_out(
    fast: tuple[World, ChannelReadings, EngineRuns, RailAttribution], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A governor's step of some seconds: layers shorter by 4 % that draw 10 % more tell nothing of the others, and are no mean of them."""
    _, readings, engine, batch = fast
    begin = int(readings.read_ns[0])
    since, until = begin + 14_000_000_000, begin + 17_000_000_000
    stepped = (engine.begin_ns > since) & (engine.end_ns < until)
    durations = np.where(stepped[:, None], np.rint(0.96 * engine.durations_ns).astype(np.int64), engine.durations_ns)
    inside = (readings.read_ns > since) & (readings.read_ns < until)
    other = replace(readings, power_w=np.where(inside, 1.1 * readings.power_w, readings.power_w))
    monkeypatch.setattr(streaming, "sensor_of", lambda *_: batch.rails[0].sensor)
    monkeypatch.setattr(streaming, "estimate", lambda *_, **__: batch.rails[0].found)
    told, means = [], []
    for given, lengths in ((readings, engine.durations_ns), (other, durations)):
        online = streamed(Online(1, window_ns=10e9), given, replace(engine, durations_ns=lengths))
        assert online.restarts == 0
        power = online.estimates()[0].power
        assert power is not None
        told.append(power)
        means.append(online.arrived.engines["e"].mean().durations_ns.sum())
    monkeypatch.setattr(clocks, "other_states", lambda *_, **__: [])
    blind = streamed(Online(1, window_ns=10e9), other, replace(engine, durations_ns=durations)).estimates()[0].power
    assert blind is not None
    moved, blindly = (
        float(np.sqrt(np.mean((each.layer_w - told[0].layer_w) ** 2 / np.diag(told[0].covariance))))
        for each in (told[1], blind)
    )
    assert moved < 0.5 and blindly > 3 * moved
    assert abs(means[1] / means[0] - 1) < 1e-3 < 0.04 * np.mean(stepped)


def test_other_clocks_for_good_are_noticed() -> None:
    """Nothing has run at the usual clocks any more: how long that has lasted is counted, and what ran so counts in no mean."""
    arrived, usual, at = Arrivals(), UsualClocks(), 0
    random = np.random.default_rng(2)

    def run(seconds: int, layer_ns: int) -> None:
        nonlocal at
        for _ in range(100 * seconds):
            spent = np.rint(layer_ns * (1 + 0.01 * random.standard_normal(3))).astype(np.int64)
            arrived.add("e", at, at + int(spent.sum()) + 50_000, spent, -1.0)
            at += 10_000_000

    run(10, 1_000_000)
    usual.take(arrived, ["e"], 0.0)
    for _ in range(4):
        run(2, 950_000)
        usual.take(arrived, ["e"], at - 30e9, 2e9)
    assert usual.elsewhere_ns == 0.0 and arrived.engines["e"].count == pytest.approx(1000, abs=10)
    for _ in range(4):
        run(2, 950_000)
        usual.take(arrived, ["e"], at - 8e9, 2e9)
    assert usual.elsewhere_ns >= 6e9 and usual.layers_ns["e"] == pytest.approx(np.full(3, 1e6), rel=0.01)
    run(1, 1_000_000)
    usual.take(arrived, ["e"], at - 8e9, 2e9)
    assert usual.elsewhere_ns == 0.0


def test_other_clocks_for_good_begin_anew_with_the_same_sensor(ran: Online) -> None:
    """Where they have lasted for a window: it says so, means begin anew, and the sensor is looked for where it was."""
    online = deepcopy(ran)
    online._clocks.elsewhere_ns = np.inf
    online.arrived.engines["e"].leave_out(-(2**62), 2**62)
    online._clocks.take = lambda *_: None  # type: ignore[method-assign]  # what it finds is tested above
    online._at_one_clock(0.0, 2e9)
    assert (
        online.restarts == 1
        and online.state == "acquiring"
        and "other clocks" in online.estimates()[0].why + online.why
    )
    assert online.arrived.engines["e"].count == 0 and all(online._maxima)


def test_what_is_left_out_counts_in_no_mean() -> None:
    """Inferences of some time are gone from sums, once, and still there to be seen."""
    recent = RecentInferences(2, 64)
    for number in range(40):
        recent.add(100 * number, 100 * number + 50, np.full(2, 30 if 10 <= number < 20 else 20))
    for _ in range(2):
        recent.leave_out(1000, 1950)
    assert recent.count == 30 and recent.mean().durations_ns.tolist() == [[20, 20]]
    assert recent.between(0, 5000).begin_ns.size == 40 and recent.between(0, 5000, every=False).begin_ns.size == 30


@pytest.mark.parametrize("wanted", [("e", "f"), ("f", "e")])
def test_engines_that_come_and_go_leave_the_others_what_they_are(ran: Online, wanted: tuple[str, str]) -> None:
    """Powers, gap and errors of the one that stays, while another has come and after it has gone."""
    assert ran.classes is not None
    engine = ran._around(0.0, 2.0**62)[0]
    other = EngineRuns(engine.begin_ns, engine.end_ns, engine.durations_ns[:, :4], np.arange(4))
    both = Classes.of([engine, other] if wanted[0] == "e" else [other, engine])
    # What two rooms say of gaps is news, and none of this.
    both = replace(both, layout=replace(both.layout, rooms=None))
    mine = wanted.index("e")
    rail = ran.rails[0]
    # Once there are two, the first may differ from the second by what nobody knows.
    apart = replace(rail, ref=replace(rail.ref, layout=replace(rail.ref.layout, apart=True)))
    model, before = apart.solved()
    wide = rearranged(deepcopy(rail), both, moves(ran.classes, ["e"], both, wanted), {0: mine})
    assert wide.ref.layout.engines == 2 and wide.ref.layout.apart
    back = rearranged(deepcopy(wide), ran.classes, moves(both, wanted, ran.classes, ["e"]), {mine: 0})
    for found, layers, number in ((wide, both.layers[mine], mine), (back, ran.classes.layers[0], 0)):
        other_model, after = found.solved()
        error = np.sqrt(np.diag(before.covariance))[ran.classes.layers[0]]
        assert np.abs(other_model.power_w[layers] - model.power_w[ran.classes.layers[0]]).max() < 0.02 * error.max()
        np.testing.assert_allclose(np.sqrt(np.diag(after.covariance))[layers], error, rtol=0.02)
        gap_se = np.sqrt(before.covariance[rail.ref.index.layout, rail.ref.index.layout][GAP, GAP])
        assert abs(other_model.layout.gap_us(number) - model.layout.gap_us(0)) < 0.1 * gap_se
        np.testing.assert_array_equal(found.spent[layers], rail.spent[ran.classes.layers[0]])


def test_it_begins_anew_where_the_clock_is_lost(ran: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole over which no clock can be led on: counted, said, and acquired again from a window, where it was acquired before."""
    tried, real = [], streaming.estimate

    def noted(*given: object, found_at: FoundAt, **more: object) -> object:
        tried.append(found_at)
        return real(*given, found_at=found_at, **more)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(streaming, "estimate", noted)
    _, readings, engine = drawn("fast", 1004, 10_000)
    middle = int(readings.read_ns[0]) + 13_000_000_000
    hole = (readings.read_ns > middle) & (readings.read_ns < middle + 7_000_000_000)
    online = streamed(Online(1, window_ns=10e9), readings.take(~hole), engine)
    assert online.restarts >= 1 and online.estimates()[0].state == "running"
    assert [each.alone for each in tried] == [False, True] and len(tried[1].maxima) >= 1
    assert ran.restarts == 0


def test_memory_does_not_grow() -> None:
    """Windows are bounded by time and count, however much comes."""
    inferences = RecentInferences(MAX_LAYERS, 4096)
    readings = RecentReadings(10e9)
    sizes = []
    for second in range(60):
        at = second * 1_000_000_000
        for number in range(400):
            inferences.add(at + 2_500_000 * number, at + 2_500_000 * number + 2_000_000, np.full(MAX_LAYERS, 12_000))
        readings.add(ChannelReadings(at + np.arange(1000) * 1_000_000, np.zeros(1000), 140e3, 840e3))
        inferences.forget_before(at - 5e9)
        sizes.append((inferences.nbytes, readings.nbytes))
    assert len(set(sizes[20:])) == 1
    assert inferences.count == 24_000 and inferences.held <= 4096
    np.testing.assert_allclose(inferences.mean().durations_ns, 12_000)
    assert inferences.between(59e9, 60e9).begin_ns.size == 400


def test_engines_make_room_for_others() -> None:
    """At most so many; what ran of the one that goes spoils its readings; what is too wide is left out."""
    online = Online(1)
    for number in range(MAX_ENGINES + 1):
        online.add_inference(f"e{number}", 10 * number, 10 * number + 5, np.ones(3, np.int64))
    online.add_inference("wide", 500, 600, np.ones(MAX_LAYERS + 1, np.int64))
    assert list(online.arrived.engines) == [f"e{number}" for number in range(1, MAX_ENGINES + 1)]
    assert online.arrived.left_out == 1 and online.arrived.unknown == [(0, 600)], "neighbours are one"


def test_an_engine_of_one_layer_is_one_with_the_profiler() -> None:
    """Its one duration may be all of the time between its anchors: whether it was profiled is said, and not guessed."""
    online = Online(1)
    online.add_inference("one", 0, 5, np.array([5]))
    online.add_inference("blind", 10, 15, np.array([5]), profiled=False)
    assert list(online.arrived.engines) == ["one"] and list(online.arrived.whole) == ["blind"]
    assert online.arrived.unknown == [(10, 15)]


def test_a_clock_is_led_on_by_itself() -> None:
    """A swing of 50 ppm in a minute is followed to some microseconds two seconds ahead."""

    def true(number: np.ndarray) -> np.ndarray:
        at = number * 840e3
        return np.asarray(1e12 + at + 50e-6 * 60e9 / (2 * np.pi) * np.sin(2 * np.pi * at / 60e9))

    number = np.arange(0, 24_000, 400)
    track = Track.of(ScanClock(number, true(number)), 0.0, False, 1e12, 1e12 + 20e9)
    ahead = track.ahead(1e12 + 22e9)
    assert ahead is not None and ahead.end_ns[-1] >= 1e12 + 22e9
    assert np.abs(ahead.end(ahead.number) - true(ahead.number)).max() < 15e3
    assert track.ahead(1e12 + 30e9) is None


def test_a_clock_is_laid_through_what_was_seen_before_and_behind() -> None:
    """Pieces that were measured with an error each: what is laid has a third of it, and follows the swing."""

    def true(number: np.ndarray) -> np.ndarray:
        at = number * 840e3
        return np.asarray(1e12 + at + 50e-6 * 60e9 / (2 * np.pi) * np.sin(2 * np.pi * at / 60e9))

    number, random = np.arange(0, 24_000, 400), np.random.default_rng(5)
    track = Track.of(ScanClock(number, true(number)), 0.0, False, 1e12, 1e12 + 20e9)
    for place in range(25_000, 60_000, 2400):
        track = track.measured(place, float(true(np.array(place)) + 10e3 * random.standard_normal()))
    recent = ChannelReadings(np.zeros(0, np.int64), np.zeros(0), 140e3, 840e3)
    until = 1e12 + 22e9
    while until < 1e12 + 40e9:
        laid = track.led_on(until, recent)
        assert laid is not None and laid.until_ns >= until
        track, until = laid, until + 2e9
    late = track.clock.number[track.clock.end_ns > 1e12 + 24e9]
    assert np.sqrt(np.mean((track.clock.end(late) - true(late)) ** 2)) < 6e3
