"""Energies that the sensor's lateness and late ticks would falsify: of inferences with gaps, and of windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuralpower.experiment.power_log import energy_shown
from neuralpower.experiment.shown import BlockReadings, Response, Shown, response_of
from neuralpower.subscriber import spent
from neuralpower.subscriber.spent import late_ns
from neuralpower_wire import Channel, Chip, Epoch

STEP_NS, REST_W = 10_000, 4.0
SCAN_NS, CONVERSION_NS, DELAY_NS, LAG_NS = 840_000, 140_000, 400_000, 900_000


class Board:
    """Inferences of 0.55 ms, first 11 W and then 6 W, with random gaps, seen through delay, lag and scan."""

    def __init__(self, seed: int, inferences: int = 250) -> None:
        random = np.random.default_rng(seed)
        gap = random.integers(0, SCAN_NS + 4_000_000, inferences)
        self.begin_ns = np.cumsum(gap + 550_000) - 550_000 + 50_000_000
        self.end_ns = self.begin_ns + 550_000
        t_ns = np.arange(0, int(self.end_ns[-1]) + 200_000_000, STEP_NS)
        at = np.searchsorted(self.begin_ns, t_ns, side="right") - 1
        into = np.where(at >= 0, t_ns - self.begin_ns[at], 10**12)
        power = np.select([into < 220_000, into < 550_000], [11.0, 6.0], REST_W)
        self.true_j = float(((power - REST_W) * STEP_NS).sum() * 1e-9) + REST_W * 0.55e-3 * inferences
        kernel = np.exp(-np.arange(0, 12 * LAG_NS, STEP_NS) / LAG_NS)
        lagged = REST_W + np.convolve(power - REST_W, kernel / kernel.sum())[: t_ns.size]
        self._sum = np.concatenate([[0.0], np.cumsum(lagged)])
        self._random, self._phase = random, int(random.integers(0, SCAN_NS))

    def read(self, t_ns: np.ndarray) -> np.ndarray:
        """What the chip holds at `t_ns`: the last conversion that ended before, with its noise."""
        end_ns = (t_ns - DELAY_NS - self._phase) // SCAN_NS * SCAN_NS + self._phase
        last, first = end_ns // STEP_NS, (end_ns - CONVERSION_NS) // STEP_NS
        return (self._sum[last] - self._sum[first]) / (last - first) + self._random.normal(0, 0.06, t_ns.size)

    def ticks(self, late_ns: int) -> np.ndarray:
        """One a millisecond; those that fall due within `late_ns` of an inference's end come when that is over."""
        due = np.arange(10_000_000, int(self.end_ns[-1]) + 100_000_000, 1_000_000)
        at = np.maximum(np.searchsorted(self.end_ns, due) - 1, 0)
        since = due - self.end_ns[at]
        return np.unique(np.where((since >= 0) & (since < late_ns), self.end_ns[at] + late_ns, due))

    def off(self, late_ns: int, corrected: bool) -> float:
        """Relative error of the energy of all inferences."""
        t_ns = self.ticks(late_ns)
        power_w = self.read(t_ns)
        first_ns, last_ns = int(self.begin_ns[0]) - 5_000_000, int(self.end_ns[-1]) + 40_000_000
        shown = None
        if corrected:
            response = response_of([BlockReadings(t_ns, power_w, self.begin_ns, self.end_ns)], SCAN_NS * 1e-9, 0.002)
            assert response is not None
            assert response.delay_s + response.lag_s == pytest.approx((DELAY_NS + LAG_NS) * 1e-9, abs=0.25e-3)
            shown = Shown(response, self.begin_ns, self.end_ns)
        waiting_s = (last_ns - first_ns - int((self.end_ns - self.begin_ns).sum())) * 1e-9
        joules = energy_shown(t_ns, power_w, first_ns, last_ns, shown) - REST_W * waiting_s
        return joules / self.true_j - 1


@pytest.mark.parametrize("late_ns", [0, 700_000, 1_500_000])
def test_late_ticks_do_not_falsify_energies(late_ns: int) -> None:
    """Ticks that come late whenever the profiler works put the plain integral several percent off, and this one less than one."""
    boards = [Board(seed) for seed in range(4)]
    plain, corrected = (np.mean([board.off(late_ns, each) for board in boards]) for each in (False, True))
    assert abs(corrected) < 0.01
    assert abs(plain) > 0.03 or late_ns == 0


def test_the_share_and_its_integral_are_exact() -> None:
    """Against sums over a fine grid; a whole inference is in it once."""
    begin_ns, end_ns = np.array([10_000_000, 14_000_000]), np.array([11_500_000, 14_700_000])
    shown = Shown(Response(0.0003, 0.0012, 0.0008), begin_ns, end_ns)
    grid = np.arange(0, 60_000_000, 5_000)
    inside = ((grid[:, None] >= begin_ns) & (grid[:, None] < end_ns)).any(axis=1).astype(float)
    pole = np.exp(-np.arange(0, 20_000_000, 5_000) / 1_200_000)
    passed = np.convolve(inside, pole / pole.sum())[: grid.size]
    held = np.convolve(passed, np.full(160, 1 / 160))[: grid.size]
    expected = np.interp(grid - 300_000, grid, held)
    np.testing.assert_allclose(shown.share(grid), expected, atol=0.005)
    assert shown.seconds(0, 60_000_000) == pytest.approx(2.2e-3, rel=1e-6)
    middle = shown.seconds(11_000_000, 15_000_000)
    assert middle == pytest.approx(expected[(grid >= 11_000_000) & (grid < 15_000_000)].sum() * 5e-6, rel=0.005)
    assert response_of([], 0.001, 0.002) is None


def epoch(averaging: int, conversion_us: int) -> Epoch:
    channel = Channel("VDD_IN", "power_uw", "ina", 1)
    chip = Chip("ina", conversion_us, conversion_us, averaging, 6_000 * conversion_us)
    return Epoch(1, 0, 1_000_000, 0, "sim", True, "bench", (channel,), (chip,), ("VDD_IN",))


def test_how_late_a_chip_shows_power_follows_from_its_setting() -> None:
    """Half a scan and half a conversion, and N - 1 scans of a filter; nothing where the setting is not known."""
    assert late_ns(epoch(1, 1100)) == 3_850_000 and late_ns(epoch(16, 140)) == 15 * 840_000 + 490_000
    assert late_ns(None) == 0 == late_ns(epoch(1, 0))


def test_a_window_is_not_cut_by_the_lateness_of_the_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst between idling has nearly its own energy: what is left is that edges are blurred over a scan, a quarter of which is lost."""
    known = epoch(1, 1100)
    scan_ns, begin_ns, end_ns = known.chips[0].scan_ns, 500_000_000, 650_000_000
    t_ns = np.arange(0, 10**9, 1_000_000)

    def history(phase_ns: int) -> Any:
        held_ns = (t_ns - phase_ns) // scan_ns * scan_ns + phase_ns - 550_000
        return lambda address, since_ns: (t_ns, np.where((held_ns >= begin_ns) & (held_ns < end_ns), 9.0, 4.0), known)

    def mean_j() -> float:
        joules = []
        for phase_ns in range(0, scan_ns, 200_000):
            monkeypatch.setattr(spent, "total_power_since", history(phase_ns))
            joules.append(spent.energy_between_moments("/nowhere", begin_ns, end_ns))
        return float(np.mean(joules))

    true_j, blurred_j = 9.0 * 0.15, 5.0 * scan_ns * 1e-9 / 4
    assert mean_j() == pytest.approx(true_j - blurred_j, rel=0.001)
    monkeypatch.setattr(spent, "late_ns", lambda known: 0)
    assert mean_j() < true_j - 2 * blurred_j
