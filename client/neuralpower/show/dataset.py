"""A dataset: how much of it has a power, and what in it is in doubt."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuralpower.dataset import Dataset


MOST_REASONS = 3


MOST_NAMES = 8


def print_doubts(dataset: Dataset) -> None:
    """What `fit` will leave out because it cannot be, and names that stand for more than one network."""
    if dataset.implausible:
        told = "; ".join(f"{reason} ({count})" for reason, count in dataset.implausible.items())
        print(f"rows that `fit` leaves out, for they cannot be: {told}")
    engines = {(name, engine) for name, engine in zip(dataset["network"], dataset["engine"], strict=True) if engine}
    shared = [f"{name} ({count})" for name, count in Counter(name for name, _ in engines).items() if count > 1]
    if shared:
        print(f"names of more than one engine, told apart by the column engine: {', '.join(shared[:MOST_NAMES])}")


def with_power(dataset: Dataset) -> str:
    """How many rows have a power, how many it was withheld from, and why."""
    import numpy as np

    reasons = dataset.withheld
    said = f"with power {int(np.isfinite(dataset['power_w']).sum())}/{len(dataset)}"
    if not reasons:
        return said
    named = [reason if len(reasons) == 1 else f"{reason} ({count})" for reason, count in reasons.items()]
    more = "; and others" if len(named) > MOST_REASONS else ""
    return f"{said}, {sum(reasons.values())} withheld: {'; '.join(named[:MOST_REASONS])}{more}"
