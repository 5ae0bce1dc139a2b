"""Epochs and the power that readings mean."""

from __future__ import annotations

import numpy as np
import pytest

from neuralpower_wire import (
    Channel,
    Chip,
    Epoch,
    ReadingState,
    WireError,
    explained,
    rail_power_w,
    tick_dtype,
    total_power_w,
)

CHANNELS = (
    Channel("VDD_IN", "bus_uv", "1-0040", 1),
    Channel("VDD_IN", "shunt_uv", "1-0040", 1, shunt_uohm=5000, offset=40),
    Channel("VDD_SOC", "bus_uv", "1-0040", 2),
    Channel("VDD_SOC", "current_ua", "1-0040", 2),
    Channel("VIN", "power_uw", "2-0044", 1),
)


def epoch(**changes: object) -> Epoch:
    """An epoch of three rails."""
    values = {"number": 1, "first_index": 0, "period_ns": 10**6, "t0_ns": 5, "source": "hwmon", "simulated": False}
    values |= {"board": "test", "channels": CHANNELS, "totals": ("VDD_IN", "VDD_SOC")}
    return Epoch(**{**values, **changes})


def test_an_epoch_survives_a_dict() -> None:
    """All fields come back, and a key of a newer daemon is ignored."""
    made = epoch(chips=(Chip("1-0040", scan_ns=840_000, freshness="nominal"),), fresh_rate_hz=1190.5, covers="module")
    assert Epoch.from_dict({**made.to_dict(), "newer": 1}) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period_ns": 0}, "period"),
        ({"period_ns": "1"}, "period_ns must be int"),
        ({"simulated": 1}, "simulated must be bool"),
        ({"number": True}, "number must be int"),
        ({"t0_ns": 2**63}, "does not fit in 64 bits"),
        ({"channels": 5}, "channels must be a short list"),
        ({"channels": [5]}, "channel must be a map"),
        ({"channels": [{"rail": "a"}]}, "channel lacks"),
        ({"channels": [{"rail": "a", "quantity": "bus_mv", "chip": "", "input": 1}]}, "quantity"),
        ({"totals": ["NO_SUCH"]}, "no channel measures"),
        ({"totals": [5]}, "totals must be rail names"),
        ({"freshness": "maybe"}, "freshness"),
        ({"board": "x" * 300}, "longer than"),
    ],
)
def test_a_wrong_epoch_is_refused_with_the_reason(change: dict[str, object], message: str) -> None:
    """Whatever is wrong with an epoch is named."""
    with pytest.raises(WireError, match=message):
        Epoch.from_dict({**epoch().to_dict(), **change})


def test_power_is_voltage_times_current_for_each_kind_of_channel() -> None:
    """5 V with (960 + 40) µV over 5 mΩ is 1 W; 4 V with 0.5 A is 2 W; a power channel is taken as it is."""
    ticks = np.zeros(2, tick_dtype(5))
    ticks["readings"]["value"] = [5_000_000, 960, 4_000_000, 500_000, 7_000_000]
    rails = rail_power_w(epoch(), ticks)
    assert np.allclose(rails["VDD_IN"], 1.0)
    assert np.allclose(rails["VDD_SOC"], 2.0)
    assert np.allclose(rails["VIN"], 7.0)
    assert np.allclose(total_power_w(epoch(), ticks), 3.0)


def test_a_missing_reading_makes_the_rail_and_the_total_unknown() -> None:
    """A missing reading is not a zero."""
    ticks = np.zeros(2, tick_dtype(5))
    ticks["readings"]["value"] = [5_000_000, 960, 4_000_000, 500_000, 7_000_000]
    ticks["readings"]["state"][1, 1] = ReadingState.MISSING
    assert np.isnan(rail_power_w(epoch(), ticks)["VDD_IN"]).tolist() == [False, True]
    assert np.isnan(total_power_w(epoch(), ticks)).tolist() == [False, True]
    assert np.isnan(total_power_w(epoch(totals=()), ticks)).all()


def test_ticks_of_another_width_than_the_epoch_are_refused() -> None:
    """An epoch that does not explain its ticks gives no power rather than a wrong one or a crash."""
    with pytest.raises(WireError, match="5 channels, its ticks 3 readings"):
        rail_power_w(epoch(), np.zeros(4, tick_dtype(3)))


def test_ticks_are_cut_where_their_epoch_changes() -> None:
    """Each run comes with the epoch that explains it, if that is known, and is a view: a day is not copied."""
    ticks = np.zeros(6, tick_dtype(1))
    ticks["epoch"] = [1, 1, 3, 3, 3, 4]
    runs = list(explained(ticks, [epoch(number=4), epoch(number=1)]))
    assert [(each.number if each else None, len(run)) for each, run in runs] == [(1, 2), (None, 3), (4, 1)]
    assert all(np.shares_memory(run, ticks) for _, run in runs)
    assert not list(explained(ticks[:0], []))
