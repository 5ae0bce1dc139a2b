"""Counts the ticks whose power cannot be: of rails with a shunt that cannot be, and of powers that no board draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuralpower_wire import Epoch, Ticks, rail_power_w

from ..sources.plausible import Doubt, PowerLimits

TOTAL = "total"


class DoubtWatch:
    """Follows the ticks of one epoch; `doubts` and `limits` are the plan's."""

    def __init__(self, epoch: Epoch, doubts: Sequence[Doubt], limits: tuple[PowerLimits, PowerLimits] | None) -> None:
        self._epoch = epoch
        self._limits = limits
        self._sure = {doubt.rail: doubt.why for doubt in doubts}
        self._why: dict[str, str] = {}
        self._ticks: dict[str, int] = {}

    @property
    def status(self) -> dict[str, dict[str, int | str]]:
        """Rail, or "total" → how many ticks are doubted since the epoch began, and why the first one was."""
        return {name: {"ticks": self._ticks[name], "why": why} for name, why in self._why.items()}

    def see(self, ticks: Ticks) -> list[Doubt]:
        """What is doubted for the first time with these ticks."""
        if self._limits is None:
            return []
        of_rail, of_total = self._limits
        powers = rail_power_w(self._epoch, ticks)
        new = [self._hold(rail, power, of_rail) for rail, power in powers.items()]
        if self._epoch.totals:
            new.append(self._hold(TOTAL, np.sum([powers[rail] for rail in self._epoch.totals], axis=0), of_total))
        return [doubt for doubt in new if doubt]

    def _hold(self, name: str, power_w: npt.NDArray[np.float64], limits: PowerLimits) -> Doubt | None:
        """Count one series of powers (n,) in W, nan where one is missing; the doubt if it is the first of this name."""
        known = power_w[np.isfinite(power_w)]
        doubted = known if name in self._sure else known[(known < limits.low_w) | (known > limits.high_w)]
        if not len(doubted):
            return None
        self._ticks[name] = self._ticks.get(name, 0) + len(doubted)
        if name in self._why:
            return None
        self._why[name] = self._sure.get(name) or limits.doubt(float(doubted[0]))
        return Doubt(name, self._why[name])
