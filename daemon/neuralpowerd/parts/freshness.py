"""How often the chips give new values."""

from __future__ import annotations

from typing import Any

from neuralpower_wire import Epoch, Ticks

from ..part import DaemonPart
from ..watch.fresh import FreshWatch


class FreshnessPart(DaemonPart):
    """The fresh rate with its kind and interval, and the time constant of the chips' filter; in the status each chip's too."""

    def begin_epoch(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._fresh = FreshWatch(epoch)

    def learn(self, ticks: Ticks) -> None:
        self._fresh.see(ticks)

    def second(self) -> None:
        self._fresh.update()

    def conditions(self) -> dict[str, Any]:
        rate = self._fresh.rate
        return {
            "freshness": rate.kind,
            "fresh_rate_hz": rate.rate_hz,
            "fresh_rate_low_hz": rate.low_hz,
            "fresh_rate_high_hz": rate.high_hz,
            "filter_s": self._fresh.filter_s,
        }

    def status(self, span_ns: int) -> dict[str, Any]:
        return {
            **self.conditions(),
            "fresh_rates": {
                name: {"rate_hz": rate.rate_hz, "low_hz": rate.low_hz, "high_hz": rate.high_hz, "kind": rate.kind}
                for name, rate in self._fresh.chips.items()
            },
            # Only a source that reads the flag can tell.
            "cvrf": {
                chip.name: self._fresh.ready_flag(chip) for chip in self._epoch.chips if chip.behaviour == "registers"
            },
        }
