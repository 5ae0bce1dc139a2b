"""Running a program until the GPU's temperature and clocks stand still, as the daemon sees them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from neuralpower_wire import Kind

from ..address import AddressLike
from ..errors import Failure, InputError
from ..recordings.conditions import CLOCK, TEMPERATURE, of_gpu, throttled
from ..subscriber.client import Client
from ..subscriber.messages import Records

SAME_C, SAME_CLOCK = 1.0, 0.01
"""Temperatures are whole degrees, and clocks go in steps of some 15 MHz."""
LOOKS = 6
"""Conditions in a row, a second apart by default, that agree so."""
LONGEST_S = 60.0
"""A large cooler takes longer to the last degree; what is left then is slower than a measurement of seconds."""
SILENT_S = 3.0
"""Without conditions for so long nobody writes them down."""


class SteadyState(NamedTuple):
    """How the warm-up ended: whether all stood still, None where nobody could tell; the last of both; why clocks are held back, or ""; how long it took."""

    steady: bool | None
    temperature_c: float = math.nan
    clock_hz: float = math.nan
    throttled: str = ""
    seconds: float = math.nan

    def notes(self, name: str) -> list[str]:
        """What must be said of it."""
        found = []
        if self.steady is False:
            found.append(
                f"{name}: temperature and clocks still moved after {self.seconds:.0f} s of warming up "
                f"({self.temperature_c:.0f} °C, {self.clock_hz / 1e6:.0f} MHz)"
            )
        if self.throttled:
            found.append(
                f"{name}: the GPU holds its clocks back while it runs ({self.throttled}): {self.clock_hz / 1e6:.0f} MHz"
            )
        return found


Looks = Callable[[], "list[Mapping[str, Any]]"]
"""Gives the conditions that came in since it was last called."""


def warm_up(
    run: Callable[[], None],
    looks: Looks,
    least_s: float,
    clock_s: Callable[[], float] = time.monotonic,
    longest_s: float = LONGEST_S,
) -> SteadyState:
    """Run until conditions agree, from `least_s` to `longest_s`; `least_s` alone where none come."""
    began = last = clock_s()
    seen: deque[tuple[float, float]] = deque(maxlen=LOOKS)
    reasons: list[str] = []
    while True:
        run()
        now = clock_s()
        for body in looks():
            seen.append((of_gpu(body, TEMPERATURE), of_gpu(body, CLOCK)))
            reasons, last = throttled(body), now
        temperature_c, clock_hz = seen[-1] if seen else (math.nan, math.nan)
        found = SteadyState(None, temperature_c, clock_hz, ", ".join(reasons), now - began)
        known = [pair for pair in seen if math.isfinite(pair[0]) or math.isfinite(pair[1])]
        if now - began >= least_s:
            if now - last >= SILENT_S or (len(seen) == LOOKS and not known):
                return found
            if len(known) == LOOKS and _agree(known):
                return found._replace(steady=True)
        if now - began >= longest_s:
            return found._replace(steady=False if known else None)


def _agree(seen: list[tuple[float, float]]) -> bool:
    temperatures = [pair[0] for pair in seen if math.isfinite(pair[0])]
    clocks = [pair[1] for pair in seen if math.isfinite(pair[1])]
    cool = not temperatures or max(temperatures) - min(temperatures) <= SAME_C
    return cool and (not clocks or max(clocks) - min(clocks) <= SAME_CLOCK * max(clocks))


class DaemonLooks:
    """Conditions as the daemon at `address` writes them down; none where it does not answer."""

    def __init__(self, address: AddressLike) -> None:
        self._client: Client | None = None
        try:
            self._client = Client(address, topics=("inferences",))
        except (Failure, InputError):
            return

    def __call__(self) -> list[Mapping[str, Any]]:
        """Those since the last time."""
        if self._client is None:
            return []
        try:
            messages = list(self._client.poll(0.0))
        except Failure:
            return []
        records = [record for each in messages if isinstance(each, Records) for record in each.records]
        return [record.body for record in records if record.kind is Kind.CONDITION]

    def close(self) -> None:
        """Leave the daemon."""
        if self._client is not None:
            self._client.close()
