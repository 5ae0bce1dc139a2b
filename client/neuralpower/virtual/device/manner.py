"""How a virtual device's host and GPU behave in time: everything of its plan that is not the physics of layers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ...errors import InputError

EVENT_STEP_NS = 1024
"""CUDA events carry the time in steps of 1.024 µs; a duration is the difference of two."""
ENQUEUE_NS, ENQUEUE_SPREAD_NS = 40_000, 15_000
WAKE_SPREAD_NS = 30_000


@dataclass(frozen=True)
class Manner:
    """Parameters of the planner. As they are by default the device runs where nothing else is asked for.

    Times are in the unit of the name, shares and spreads are of 1. A spread is a standard deviation; amounts of normal numbers
    are folded at 0.
    """

    gap_s: float | None = None
    """Mean of the gaps between kernels, in which the GPU idles; None: what the hardware has drawn."""
    gap_spread: float = 0.3
    unprofiled_gap: float = 0.3
    """Without the profiler, which records an event behind each layer, so much of a gap is left."""
    gap_in_duration: bool = False
    """A reported duration reaches from the event behind the kernel before to the one behind its own: the gap is in it."""
    event_step_ns: int = EVENT_STEP_NS
    jitter_own: float = 0.01
    jitter_common: float = 0.01
    """Spreads of a layer's duration: its own in each execution, and one for all layers of an inference."""
    stall: tuple[float, float] = (0.0, 0.0)
    """Each layer draws from this range how much of its dynamic energy, and not of its power, stays where it takes longer."""
    turnaround_ns: int = 30_000
    """From leaving synchronise to entering enqueue, at the least: back to back."""
    enqueue_ns: int = ENQUEUE_NS
    enqueue_spread_ns: int = ENQUEUE_SPREAD_NS
    """Enqueue is entered the first and the amount of a normal of the second before the first kernel starts."""
    wake_ns: int = 0
    wake_spread_ns: int = WAKE_SPREAD_NS
    """Synchronise returns the first and the amount of a normal of the second after the last kernel has ended, and later by"""
    wake_median_ns: float = 0.0
    wake_sigma: float = 0.0
    """a lognormal of this median and sigma, and"""
    wake_rare_share: float = 0.0
    wake_rare_ns: float = 0.0
    """in this share of inferences by an exponential of this mean."""
    cold_runs: int = 0
    cold_slower: float = 0.0
    """An engine's first inferences: the first is so much slower, which falls to nothing after so many."""
    step: float = 0.0
    step_every_s: float = 0.0
    step_s: tuple[float, float] = (2.0, 8.0)
    """A governor lowers the clock by the first, every so many seconds in the mean (0: never), for so long."""
    clock_wander: float = 0.002
    clock_wander_s: float = 20.0
    warmth: float = 0.005
    warmth_s: float = 30.0
    """Spreads and correlation times of the clock's slow wander, and of what idling draws with the temperature."""

    @classmethod
    def of(cls, given: dict[str, Any]) -> Manner:
        """From values by name, as JSON has them. InputError for a name that is none, or a value of another kind."""
        known = {field.name: field.default for field in fields(cls)}
        for name, value in given.items():
            if name not in known:
                raise InputError(f"no parameter {name!r} of a virtual device; there are {', '.join(known)}")
            default = known[name]
            given_pair, pair = isinstance(value, list | tuple), isinstance(default, tuple)
            numbers = [each for each in (value if given_pair else [value]) if isinstance(each, int | float)]
            sound = given_pair == pair and len(numbers) == (2 if pair else 1)
            if not (sound or (value is None and default is None)):
                raise InputError(f"{name}: {value!r} cannot be; its default is {default!r}")
        values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}
        return cls(**values)
