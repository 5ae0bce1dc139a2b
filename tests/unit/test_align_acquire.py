"""Delay, lag and clock found from scratch in simulated recordings of the accuracy case, shorter ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.worlds.attribution.case import load
from tests.worlds.attribution.conversions import shunt_ends
from tests.worlds.attribution.world import World, draw

from neuralpower_align.acquire.acquire import acquire, gaps_vary
from neuralpower_align.acquire.choice import SearchRange
from neuralpower_align.acquire.sensing import sensor_of
from neuralpower_align.acquire.stamped import stamped_sensor
from neuralpower_align.activity.activity import Activity
from neuralpower_align.activity.schedule import Laid, schedule
from neuralpower_align.activity.windows import layer_windows
from neuralpower_align.clock.scan_clock import ChannelReadings, Sensor, latched_ns, waits
from neuralpower_align.errors import Unattributable
from neuralpower_sampler import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")


def drawn(case: str, seed: int, inferences: int) -> World:
    whole = load().case(case)
    return draw(replace(whole, run=replace(whole.run, inferences=inferences)), seed)


def problem(world: World) -> tuple[Activity, ChannelReadings, SearchRange]:
    """What a recording gives, as the search takes it."""
    recording, chip = world.recording, world.recording.chip
    transfer = 48e9 / chip.bus_hz
    begin, end = (
        np.stack([getattr(recording.bus, name), getattr(recording.shunt, name)], axis=1).ravel()
        for name in ("begin_ns", "end_ns")
    )
    readings = ChannelReadings(
        latched_ns(recording.shunt.end_ns, transfer),
        recording.power_w,
        chip.conversion_ns,
        chip.scan_ns,
        chip.averaging,
        register=recording.shunt.value_uv,
        waits_ns=waits(begin, end, transfer) if chip.driver == "waiting" else None,
        place=1 / 6,
    )
    layers = recording.durations_ns.shape[1]
    windows = layer_windows(recording.begin_ns, recording.end_ns, recording.durations_ns)
    launch, tail, gap, idle = range(layers, layers + 4)
    laid = Laid(windows, np.arange(layers), gap, recording.begin_ns, recording.end_ns, launch, tail)
    what = schedule([laid], idle, layers + 4).activity
    return what, readings, SearchRange(alone=(launch, tail, gap, idle))


def end_errors_ns(world: World, sensor: Sensor, read_ns: np.ndarray) -> np.ndarray:
    """How far the clock's ends are from the true ones, modulo a scan."""
    clock, true = sensor.clocks[0], shunt_ends(world)
    assert clock is not None
    inside = read_ns[(read_ns > world.recording.begin_ns[0]) & (read_ns < world.recording.end_ns[-1])]
    period = clock.period_ns
    off = clock.end(clock.last_before(inside)) - true[np.searchsorted(true, inside, side="right") - 1]
    return np.asarray((off + period / 2) % period - period / 2)


@pytest.mark.parametrize(
    ("case", "inferences", "found", "close_ns"),
    [
        ("fast", 1500, "fit", 50e3),
        ("reset-short", 2500, "edges", 150e3),
        ("averaging-16-short", 2500, "fit", 100e3),
        ("waiting-short", 3000, "waits", 200e3),
    ],
)
def test_everything_is_found(case: str, inferences: int, found: str, close_ns: float) -> None:
    """From nothing but the recording; shorter than the case itself, where the delay is known the better the longer it is."""
    world = drawn(case, 1004, inferences)
    what, readings, search = problem(world)
    sensor = acquire(what, [readings], search)
    assert sensor.found == (found,) and sensor.ambiguous == ""
    off = end_errors_ns(world, sensor, readings.read_ns)
    assert abs(off.mean()) < 20e3 and off.std() < 30e3
    assert abs(sensor.delay_ns - world.truth.delay_ns) < close_ns
    assert abs(sensor.lag_ns - world.truth.lag_ns) < close_ns
    assert 0 < sensor.delay_se_ns < close_ns


@pytest.mark.parametrize(("case", "seed"), [("two-poles", 1003), ("slack-100", 1003)])
def test_delay_and_lag_together_are_right_where_one_sharp_pole_is_wrong(case: str, seed: int) -> None:
    """A second pole, or windows that lie 0.1 ms off, are no delay: a single sharp pole would take them for 0.1 ms and more of one."""
    world = drawn(case, seed, 2500)
    what, readings, search = problem(world)
    sensor = acquire(what, [readings], search)
    assert abs(sensor.delay_ns - world.truth.delay_ns) < 60e3
    assert abs(sensor.delay_ns + sensor.lag_ns - world.truth.delay_ns - world.truth.lag_ns) < 60e3


def test_shuffled_readings_give_no_clock() -> None:
    """Readings that have nothing to do with what ran: no clock is claimed, and it is said."""
    world = drawn("fast", 1006, 1200)
    what, readings, search = problem(world)
    order = np.random.default_rng(1).permutation(readings.power_w.size)
    sensor = acquire(what, [replace(readings, power_w=readings.power_w[order])], search)
    assert sensor.clocks == (None,) and sensor.found == ("",)
    assert "phase" in sensor.ambiguous


def test_without_a_scan_there_are_delay_and_lag() -> None:
    """Nothing is known of the scan: readings are half a scan older in the mean, and no clock is claimed."""
    world = drawn("fast", 1004, 800)
    what, readings, search = problem(world)
    sensor = sensor_of(what, [replace(readings, scan_ns=0.0)], search.alone)
    assert sensor.clocks == (None,) and sensor.delay_se_ns == np.inf
    together = world.truth.delay_ns + world.truth.lag_ns + world.recording.chip.scan_ns / 2
    assert abs(sensor.delay_ns + sensor.lag_ns - together) < 200e3


def test_too_few_readings_are_refused() -> None:
    """A handful of readings is no recording."""
    world = drawn("fast", 1006, 60)
    what, readings, search = problem(world)
    with pytest.raises(Unattributable, match="too few"):
        acquire(what, [readings.take(slice(3000, 3100))], search)


@pytest.mark.parametrize("scan_ns", [840e3, 0.0])
@pytest.mark.parametrize("stamped", [False, True])
def test_readings_that_never_change_tell_no_sensor(scan_ns: float, stamped: bool) -> None:
    """Neither do none at all: both are said, and are no fault of the program."""
    world = drawn("fast", 1006, 400)
    what, readings, search = problem(world)
    still = replace(readings, power_w=np.full(readings.read_ns.size, 7.5), scan_ns=scan_ns)
    way = stamped_sensor if stamped else sensor_of
    with pytest.raises(Unattributable, match=r"are 7\.5 W"):
        way(what, [still], search.alone)
    with pytest.raises(Unattributable, match="no readings"):
        way(what, [readings.take(slice(0, 0))], search.alone)


@pytest.mark.parametrize(
    ("case", "vary"), [("fast", True), ("gap-fixed", False), ("gap-scheduler", False), ("locked-1", False)]
)
def test_gaps_that_hardly_vary_are_noticed(case: str, vary: bool) -> None:
    """Random gaps are as wide as a scan and more; a sleep that ends late, or a period that is kept, is not enough."""
    world = drawn(case, 1002, 200)
    what, _, search = problem(world)
    assert gaps_vary(what, search.alone) is vary
    assert gaps_vary(what, ())


def test_what_gaps_cannot_tell_is_said() -> None:
    """Under fixed gaps another delay and lag fits as well: the standard error is wide and the reason is given."""
    world = drawn("gap-fixed", 1002, 1500)
    what, readings, search = problem(world)
    sensor = acquire(what, [readings], search)
    assert "gaps" in sensor.ambiguous and sensor.delay_se_ns >= 300e3
