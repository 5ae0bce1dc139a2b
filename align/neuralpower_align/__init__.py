"""From sampled power and reported durations to power per layer: pure functions on arrays, no I/O, no clock."""

from __future__ import annotations
