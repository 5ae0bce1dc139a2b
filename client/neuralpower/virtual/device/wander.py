"""What changes slowly on the virtual device: wander of clock and warmth, and a governor's steps."""

from __future__ import annotations

import numpy as np


class Wander:
    """A slow random walk around 1 that is pulled back: exact steps of an Ornstein-Uhlenbeck process."""

    def __init__(self, deviation: float, tau_s: float, rng: np.random.Generator) -> None:
        self._deviation, self._tau_s, self._rng = deviation, tau_s, rng
        self._at_ns, self._value = 0, rng.normal(0.0, deviation)

    def at(self, t_ns: int) -> float:
        """The factor at `t_ns`, which must not go back."""
        keep = float(np.exp(-(t_ns - self._at_ns) * 1e-9 / self._tau_s))
        self._value = self._value * keep + self._rng.normal(0.0, self._deviation * (1 - keep**2) ** 0.5)
        self._at_ns = t_ns
        return 1.0 + self._value


class Governor:
    """Steps of the clock down and up again: every so many seconds in the mean (0: never), for a time drawn evenly."""

    def __init__(self, every_s: float, stay_s: tuple[float, float], rng: np.random.Generator) -> None:
        self._every_s, self._stay_s, self._rng = every_s, stay_s, rng
        self._until_ns: float | None = None
        self.down = False

    def at(self, t_ns: int) -> bool:
        """Whether the clock is down at `t_ns`, which must not go back."""
        if not self._every_s:
            return False
        if self._until_ns is None:
            self._until_ns = t_ns + self._rng.exponential(self._every_s * 1e9)
        while t_ns >= self._until_ns:
            self.down = not self.down
            stay_s = self._rng.uniform(*self._stay_s) if self.down else self._rng.exponential(self._every_s)
            self._until_ns += stay_s * 1e9
        return self.down
