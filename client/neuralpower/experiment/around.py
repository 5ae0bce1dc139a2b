"""What all networks of a `neuralpower profile` share: the marks, the board's power, and its idling before anything is loaded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from neuralpower_wire import Epoch

from ..console import progress
from ..errors import Failure
from .balance import BlockMean
from .design import ExperimentDesign, SensorTiming
from .experiment import ASIDE, DEVICE_IDLE, Bench, Declares, Experiment, Measures, Outcome, declare_baseline
from .stopping import Stop

DEVICE_IDLE_S = 1.5
RATE_PATIENCE_NS, RATE_LOOK_S = 10_000_000_000, 0.5
"""A daemon that has just begun knows after 3 s how often NVML's readings renew; of what never tells it no more is waited for."""


class Watches(Measures, Protocol):
    """The board's power and what the daemon says of itself."""

    epoch: Epoch | None

    def status(self) -> dict[str, object]:
        """The daemon's; Failure if none answers."""
        ...

    def close(self) -> None:
        """Leave the daemon."""
        ...


class Marking(Declares, Protocol):
    """Where marks go."""

    def close(self) -> None:
        """Wait until all are there."""
        ...


def fresh_rate_hz(epoch: Epoch, status: Mapping[str, Any]) -> float:
    """New readings a second of a total whose chips tell no scan but a known rate (NVML's readings); 0 of any other."""
    chips = {c.chip for c in epoch.channels if c.rail in epoch.totals and c.quantity == "power_uw"}
    if not chips or any(chip.scan_ns for chip in epoch.chips if chip.name in chips):
        return 0.0
    rates = status.get("fresh_rates")
    found = [each.get("rate_hz") for name, each in rates.items() if name in chips] if isinstance(rates, dict) else []
    return min((float(each) for each in found if each), default=0.0)


def no_rate_yet(epoch: Epoch, status: Mapping[str, Any]) -> bool:
    """Whether the daemon may yet find how often a total is read anew whose chips tell no scan."""
    totals = {c.chip for c in epoch.channels if c.rail in epoch.totals}
    silent = [chip for chip in epoch.chips if chip.name in totals and not chip.scan_ns]
    return bool(silent) and status.get("freshness") == "unknown"


class Around:
    """Runs the experiments of several engines.

    Args:
        marks, power: to the daemon; closed at the end.
        idle: lets seconds pass.
        stop: the rule for the end of an engine's experiment, by its hash.
        seed, unprofiled: as in :class:`ExperimentDesign`.
        clock_ns: CLOCK_MONOTONIC; virtual time brings its own.
        show: shows progress, as :func:`neuralpower.console.progress`.
    """

    def __init__(
        self,
        marks: Marking,
        power: Watches,
        idle: Callable[[float], None],
        stop: Callable[[str], Stop],
        *,
        seed: int,
        unprofiled: bool = True,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        show: Callable[[str], AbstractContextManager[Callable[[float, str], None]]] = progress,
    ) -> None:
        self._stack = ExitStack()
        self.marks, self._stop, self._seed, self._unprofiled = marks, stop, seed, unprofiled
        self._clock_ns, self._show = clock_ns, show
        self._stack.callback(marks.close)
        self.notes: list[str] = []
        self.power: Watches | None = power
        self._stack.callback(power.close)
        self.idle_w = math.nan
        self.sensor = SensorTiming(0.0, 0.0)
        try:
            self.sensor = self._look(power, idle)
        except Failure as error:
            self.notes.append(f"no energies, and gaps for a sensor that is not known: {error}")
            self.power = None

    def _look(self, power: Watches, idle: Callable[[float], None]) -> SensorTiming:
        """The sensor, from the daemon's status and epoch; and what the idle board draws."""
        status: dict[str, Any] = power.status()
        power.reach(self._clock_ns())
        begin_ns = self._clock_ns()
        idle(DEVICE_IDLE_S)
        end_ns = self._clock_ns()
        if not power.reach(end_ns) or power.epoch is None:
            raise Failure("the daemon publishes no ticks")
        while no_rate_yet(power.epoch, status) and self._clock_ns() < end_ns + RATE_PATIENCE_NS:
            idle(RATE_LOOK_S)
            status = power.status()
        rate_hz = fresh_rate_hz(power.epoch, status)
        sensor = (
            SensorTiming.stamped(rate_hz) if rate_hz else SensorTiming.of(power.epoch.chips, status.get("filter_s"))
        )
        begin_ns += int(sensor.rest_s / 2 * 1e9)
        declare_baseline(self.marks, DEVICE_IDLE, begin_ns, end_ns)
        self.idle_w = power.mean_w(begin_ns, end_ns)
        return sensor

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Declare what the block does as no part of any measurement: building an engine draws what nobody asked about."""
        begin_ns = self._clock_ns()
        yield
        self.marks.span(ASIDE, name, begin_ns, self._clock_ns())

    def experiment(self, bench: Bench, notes: tuple[str, ...] = ()) -> Outcome:
        """One engine's."""
        design = ExperimentDesign(self.sensor, bench.inference_s, self._seed, self._unprofiled)
        stop = self._stop(bench.profiler.engine.hash)
        with bench.profiler, self._show(bench.profiler.engine.name) as advance:
            outcome = Experiment(bench, design, stop, self.marks, self.power, advance, self._clock_ns).run()
        outcome.baselines[DEVICE_IDLE] = BlockMean(self.idle_w, math.nan, 1)
        outcome.notes += [*self.notes, *notes]
        return outcome

    def __enter__(self) -> Around:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
