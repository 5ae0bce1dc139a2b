"""What the board's clocks usually are, as the stream follows them: what ran at others is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.states import beside_usual, other_states, usual_times
from neuralpower_align.stream.arrivals import Arrivals

Floats = npt.NDArray[np.float64]

SINCE_NS = 20e9
"""Tuning: whether the board ran at other clocks is told from inferences of so long before a chunk until the newest."""
FOLLOWS = 0.1
"""Board: by so much of what a chunk differs by, the usual time of an inference follows: drift with temperature is no other clock."""
LATEST_NS = 2.0**62
"""Number: later than any time."""


@dataclass
class UsualClocks:
    """The usual times (n,) of each engine's layers, ns, and for how long nothing has run but at other clocks."""

    layers_ns: dict[str, Floats] = field(default_factory=dict)
    elsewhere_ns: float = 0.0

    def take(self, arrived: Arrivals, names: Sequence[str], since_ns: float, chunk_ns: float = 0.0) -> None:
        """Leave out what ran since at other clocks than usual, or than most where that is not known; `chunk_ns`: how much time this is news of."""
        others = [self._leave_out(arrived, name, since_ns) for name in names]
        usual = any(arrived.engines[name].between(since_ns, LATEST_NS, every=False).begin_ns.size for name in names)
        self.elsewhere_ns = self.elsewhere_ns + chunk_ns if any(others) and not usual else 0.0

    def _leave_out(self, arrived: Arrivals, name: str, since_ns: float) -> bool:
        """Of one engine; whether there was any."""
        each, usual_ns = arrived.engines[name], self.layers_ns.get(name)
        some = each.between(since_ns, LATEST_NS)
        spent = beside_usual(some.durations_ns, usual_ns)
        stretches = other_states(some.begin_ns, some.end_ns, spent, usual=0.0 if usual_ns is None else 1.0)
        for stretch in stretches:
            arrived.leave_out(*stretch)
        rest = each.between(since_ns, LATEST_NS, every=False).durations_ns
        if len(rest):
            level_ns = usual_times(rest)
            self.layers_ns[name] = level_ns if usual_ns is None else usual_ns ** (1 - FOLLOWS) * level_ns**FOLLOWS
        return bool(stretches)
