"""What the board's clocks usually are, as the stream follows them: what ran at others is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from neuralpower_align.activity.states import other_states
from neuralpower_align.stream.arrivals import Arrivals

SINCE_NS = 20e9
"""Tuning: whether the board ran at other clocks is told from inferences of so long before a chunk until the newest."""
FOLLOWS = 0.1
"""Board: by so much of what a chunk differs by, the usual time of an inference follows: drift with temperature is no other clock."""
LATEST_NS = 2.0**62
"""Number: later than any time."""


@dataclass
class UsualClocks:
    """The usual time of each engine's inferences, ns, and for how long nothing has run but at other clocks."""

    spent_ns: dict[str, float] = field(default_factory=dict)
    elsewhere_ns: float = 0.0

    def take(self, arrived: Arrivals, names: Sequence[str], since_ns: float, chunk_ns: float = 0.0) -> None:
        """Leave out what ran since at other clocks than usual, or than most where that is not known; `chunk_ns`: how much time this is news of."""
        others = [self._leave_out(arrived, name, since_ns) for name in names]
        usual = any(arrived.engines[name].between(since_ns, LATEST_NS, every=False).begin_ns.size for name in names)
        self.elsewhere_ns = self.elsewhere_ns + chunk_ns if any(others) and not usual else 0.0

    def _leave_out(self, arrived: Arrivals, name: str, since_ns: float) -> bool:
        """Of one engine; whether there was any."""
        each, usual_ns = arrived.engines[name], self.spent_ns.get(name, 0.0)
        some = each.between(since_ns, LATEST_NS)
        spent = some.durations_ns.sum(axis=1).astype(np.float64)
        stretches = other_states(some.begin_ns, some.end_ns, spent, usual_ns=usual_ns)
        for stretch in stretches:
            arrived.leave_out(*stretch)
        rest = each.between(since_ns, LATEST_NS, every=False).durations_ns.sum(axis=1)
        if rest.size and rest.min() > 0:
            level_ns = float(np.exp(np.log(rest).mean()))
            self.spent_ns[name] = usual_ns * (level_ns / usual_ns) ** FOLLOWS if usual_ns else level_ns
        return bool(stretches)
