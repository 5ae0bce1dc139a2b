"""The mapping of a device's clock to the recorder's, held against clocks whose truth is known (simulated)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower.recordings.devices.clock import PIECE_NS, pieces_of
from neuralpower.recordings.devices.comparisons import EVERY_NS, Narrowest, mappings, of_records, to_record
from neuralpower.subscriber.comparison import ClockComparison

STREAM, BOOT = b"T" * 16, b"B" * 16
S = 1_000_000_000


class Device:
    """A clock that is `offset_ns` behind the recorder's and `ppm` slower, and wanders by `wander_ppm` within an hour."""

    def __init__(self, offset_ns: int, ppm: float, wander_ppm: float = 0.0) -> None:
        self.offset_ns, self.ppm, self.wander_ppm = offset_ns, ppm, wander_ppm

    def at(self, recorder_ns: int) -> int:
        """What it shows at a time of the recorder's clock."""
        since = recorder_ns - 1000 * S
        wander = self.wander_ppm * 1e-6 * 3600e9 / (2 * np.pi) * (1 - np.cos(2 * np.pi * since / 3600e9))
        return recorder_ns - self.offset_ns - round(since * self.ppm * 1e-6 + wander)


def compared(
    device: Device, seconds: float, seed: int, trip_ns: float = 200_000.0, begin_ns: int = 1000 * S
) -> list[ClockComparison]:
    """One each second: half a trip each way at least, and now and then much more, on one way more often than on the other."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(int(seconds)):
        asked = begin_ns + number * S + int(draw.uniform(0, 1e6))
        there, back = (trip_ns / 2 * (1 + draw.exponential(mean)) for mean in (0.5, 2.0))
        heard = asked + int(there)
        found.append(ClockComparison(STREAM, BOOT, asked, device.at(heard), heard + int(back), heard + 5))
    return found


def kept(comparisons: list[ClockComparison]) -> list[ClockComparison]:
    """Those that a recorder keeps."""
    narrowest = Narrowest()
    found = [narrowest.take(each) for each in comparisons] + [narrowest.rest()]
    return [each for each in found if each is not None]


@pytest.mark.parametrize(
    ("offset_ns", "ppm", "wander_ppm"),
    [(0, 0.0, 0.0), (123_456_789_012, 37.0, 0.0), (-5 * 10**14, -80.0, 0.3), (17, 450.0, 0.0)],
)
def test_the_mapping_is_as_wrong_as_it_says_at_most(
    offset_ns: int, ppm: float, wander_ppm: float, record_property: pytest.RecordProperty
) -> None:
    """Two hours of trips of 0.2 ms and more (simulated): no tick is mapped further from the truth than its bound, and bounds are of the trip's size."""
    device = Device(offset_ns, ppm, wander_ppm)
    mapping = mappings(kept(compared(device, 7200, 4)))[STREAM, BOOT]
    truth = 1000 * S + np.arange(0, 7190 * S, 7 * S)
    there, bound = mapping.to_recorder_ns([device.at(int(each)) for each in truth])
    error = (there - truth).astype(float)
    print(
        f"simulated, {ppm:+} ppm: off by {np.abs(error).max() / 1e3:.1f} us at most, {np.sqrt((error**2).mean()) / 1e3:.1f} us in the mean of "
        f"squares; bounds {bound.min() / 1e3:.1f} to {bound.max() / 1e3:.1f} us; {len(mapping.pieces)} lines"
    )
    assert np.all(np.abs(error) <= bound)
    assert bound.max() < 300_000 and len(mapping.pieces) <= 7200 * S // (PIECE_NS - 2 * EVERY_NS) + 1
    rates = [(each.rate_ppm, each.rate_bound_ppm) for each in mapping.pieces if each.comparisons > 5]
    slope = 1 / (1 - ppm * 1e-6) - 1
    assert all(abs(rate - slope * 1e6) <= most + 1.1 * wander_ppm + 0.5 for rate, most in rates)
    assert all(most < 10 for _, most in rates)


@given(st.integers(-(2**55), 2**55), st.floats(-400, 400), st.integers(0, 1000), st.integers(1, 300))
def test_any_clock_lies_within_the_bounds(offset_ns: int, ppm: float, seed: int, seconds: int) -> None:
    device = Device(offset_ns, ppm)
    mapping = mappings(kept(compared(device, seconds, seed)))[STREAM, BOOT]
    truth = np.linspace(1000 * S, (1000 + seconds) * S, 50).astype(np.int64)
    there, bound = mapping.to_recorder_ns([device.at(int(each)) for each in truth])
    assert np.all(np.abs(there - truth) <= bound + 2)


def test_a_clock_that_stood_still_begins_another_line() -> None:
    """A device that slept for a minute: before and behind it the mapping is right, and in between the bounds hold both."""
    awake, later = Device(5 * S, 20.0), Device(65 * S, 20.0)
    mapping = mappings(kept(compared(awake, 300, 1) + compared(later, 300, 2, begin_ns=1400 * S)))[STREAM, BOOT]
    for device, begin, end in ((awake, 1000, 1280), (later, 1410, 1690)):
        truth = np.arange(begin * S, end * S, S)
        there, bound = mapping.to_recorder_ns([device.at(int(each)) for each in truth])
        assert np.all(np.abs(there - truth) <= bound) and bound.max() < 300_000
    _, bound = mapping.to_recorder_ns([awake.at(1305 * S)])
    assert bound[0] > 25 * S


def test_one_comparison_is_a_mapping_and_none_is_none() -> None:
    mapping = mappings(kept(compared(Device(7, 0.0), 1, 3)))[STREAM, BOOT]
    assert mapping and mapping.pieces[0].comparisons == 1
    assert not mappings([])
    with pytest.raises(ValueError, match="nothing compared"):
        type(mapping)([]).to_recorder_ns([1])


def test_streams_and_boots_are_not_mixed() -> None:
    some = compared(Device(7, 0.0), 20, 3)
    others = [ClockComparison(b"U" * 16, b"C" * 16, c.asked_ns, c.device_ns + 9 * S, c.answered_ns, 0) for c in some]
    assert set(mappings([*some, *others])) == {(STREAM, BOOT), (b"U" * 16, b"C" * 16)}
    assert len(kept([*some[:2], *others[:2]])) == 2


def test_what_is_kept_comes_back() -> None:
    """And what is no comparison is passed over."""
    some = compared(Device(10**12, 5.0), 3, 3)
    records = [to_record(each) for each in some]
    assert of_records(records) == some
    assert not of_records([to_record(ClockComparison(STREAM, BOOT, 5, 1, 4, 0))])
    assert len(pieces_of(some)) == 1
