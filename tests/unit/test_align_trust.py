"""What makes a fit unbelievable: a sensor that the run does not tell, whatever the errors about the one that was taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from neuralpower_align.activity.classes import Classes
from neuralpower_align.clock.scan_clock import ScanClock, Sensor
from neuralpower_align.layer_power import EngineRuns
from neuralpower_align.model.noise import Noise
from neuralpower_align.result.trust import FEWEST_CLUSTERS, contradiction, inflation_of

CLOCK = ScanClock(np.array([0, 1000]), np.array([0.0, 0.42e9]))


def engine() -> EngineRuns:
    """Two inferences of two layers with 40 us to either side."""
    begin = np.array([0, 10_000_000])
    return EngineRuns(begin, begin + 1_080_000, np.full((2, 2), 500_000), np.arange(2))


def rail(
    sensor: Sensor, power_w: tuple[float, float] = (5.0, 8.0), *, settled: bool = True, slack_ns: float = 5e3
) -> Any:
    """What contradiction() looks at of a rail: powers known to 0.1 W, hardly any slack."""
    found = SimpleNamespace(
        power_w=np.array(power_w),
        power_covariance=np.diag([0.01, 0.01]),
        model=SimpleNamespace(layer=np.array([True, True])),
        noise=Noise(slack=slack_ns**2 / 2, late=slack_ns**2 / 2),
        settled=settled,
    )
    return SimpleNamespace(sensor=sensor, found=found, inflation=1.0)


def test_a_fit_that_nothing_speaks_against_is_believed() -> None:
    assert contradiction([engine()], [rail(Sensor(1e5, 3e5, (CLOCK,)))]) == ""


def test_a_sensor_that_might_be_another_is_not() -> None:
    unsure = rail(Sensor(1e5, 3e5, (CLOCK,), ambiguous="gaps hardly vary"))
    assert "gaps hardly vary" in contradiction([engine()], [rail(Sensor(1e5, 3e5, (CLOCK,))), unsure])


def test_a_fit_that_did_not_settle_is_not() -> None:
    assert "did not settle" in contradiction([engine()], [rail(Sensor(1e5, 3e5, (CLOCK,)), settled=False)])


@pytest.mark.parametrize(("slack_ns", "believed"), [(35e3, True), (55e3, False)])
def test_no_inference_runs_outside_its_anchors(slack_ns: float, believed: bool) -> None:
    assert (contradiction([engine()], [rail(Sensor(1e5, 3e5, (CLOCK,)), slack_ns=slack_ns)]) == "") is believed


def test_a_scan_that_nobody_knows_is_no_doubt() -> None:
    assert contradiction([engine()], [rail(Sensor(1e5, 3e5, (None,)))]) == ""


@pytest.mark.parametrize(("least", "believed"), [(-0.4, True), (-0.6, False)])
def test_no_layer_gives_power_back(least: float, believed: bool) -> None:
    assert (contradiction([engine()], [rail(Sensor(1e5, 3e5, (CLOCK,)), (5.0, least))]) == "") is believed


@pytest.mark.parametrize(("clusters", "t"), [(8, 2.3646), (10, 2.2622), (30, 2.0452), (1000, 1.9623)])
def test_few_seconds_widen_intervals_by_students_t(clusters: int, t: float) -> None:
    """97.5 % points of the tables; of fewer seconds nothing is said; scatter counts in the mean over layers, and never narrows."""
    classes = Classes.of([engine()])
    model = np.eye(classes.count)
    assert inflation_of(clusters, model, model, classes) == pytest.approx((t / 1.95996) ** 2, rel=3e-3)
    assert inflation_of(clusters, model, 0.1 * model, classes) == inflation_of(clusters, model, model, classes)
    assert inflation_of(clusters, model, 3 * model, classes) == pytest.approx(3 * (t / 1.95996) ** 2, rel=3e-3)
    assert inflation_of(FEWEST_CLUSTERS - 1, model, 3 * model, classes) == 1.0
