"""What the rails draw now, which of them fail, and whose readings cannot be."""

from __future__ import annotations

import logging
import math
from typing import Any

from neuralpower_wire import Epoch, Ticks, rail_power_w

from ..logs.ledger import Ledger
from ..part import DaemonPart
from ..sampling import Sampling
from ..watch.doubts import DoubtWatch
from ..watch.rails import RailWatch

log = logging.getLogger(__name__)


class RailsPart(DaemonPart):
    """The last power of each rail and of the total; says once what fails, recovers or is doubted."""

    def __init__(self, sampling: Sampling, ledger: Ledger) -> None:
        self._sampling = sampling
        self._ledger = ledger
        self._last_w: dict[str, float] = {}
        self._total_w = math.nan

    def begin_epoch(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._rails = RailWatch(epoch)
        self._doubts = DoubtWatch(epoch, self._sampling.plan.doubts, self._sampling.plan.limits)

    def learn(self, ticks: Ticks) -> None:
        totals = self._epoch.totals
        self._last_w = {name: float(power[0]) for name, power in rail_power_w(self._epoch, ticks[-1:]).items()}
        self._total_w = sum(self._last_w[rail] for rail in totals) if totals else math.nan
        for doubt in self._doubts.see(ticks):
            log.warning("rail %s is doubted: %s; neuralpowerd check says what to do", doubt.rail, doubt.why)
            self._ledger.event("rail-doubted", f"{doubt.rail}: {doubt.why}", rail=doubt.rail)
        for change in self._rails.see(ticks):
            if change.error:
                log.warning("rail %s cannot be read: %s; going on without it", change.rail, change.error)
                text = f"{change.rail}: {change.error}"
                self._ledger.event("rail-failing", text, rail=change.rail, error=change.error)
            else:
                log.info("rail %s can be read again", change.rail)
                self._ledger.event("rail-recovered", change.rail, rail=change.rail)

    def status(self, span_ns: int) -> dict[str, Any]:
        return {
            "rails": {rail: _known(power_w) for rail, power_w in self._last_w.items()},
            "total_w": _known(self._total_w),
            "failing": self._rails.failing,
            "doubted": self._doubts.status,
        }


def _known(power_w: float) -> float | None:
    return power_w if math.isfinite(power_w) else None
