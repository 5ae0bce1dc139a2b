"""The sources that there are, and which of them a configuration means.

A planner registers itself with :func:`planner`, in a module of this folder, and says "mine" with a plan, "not here" with None, and "mine, and
broken" with an error. To add a source: such a module, its name among the configuration's, and what opens it in the sampler (CONTRIBUTING.md).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

from ..config import AUTO, Config
from ..errors import DaemonError
from .plan import Plan, Prober
from .probe import probe

Make = Callable[[Config, Prober], Plan | None]
M = TypeVar("M", bound=Make)


class Turn(IntEnum):
    """When a planner is asked without its source being named, in this order."""

    FIRST = 1
    LAST = 2
    """What serves where nothing else is here."""
    NEVER = 3


@dataclass(frozen=True)
class Planner:
    """Of one way to read: the names of its sources, when it is asked, and what makes the plan."""

    sources: tuple[str, ...]
    turn: Turn
    make: Make


_REGISTERED: list[Planner] = []


def planner(*sources: str, turn: Turn = Turn.NEVER) -> Callable[[M], M]:
    """Register the function as the planner of these sources."""

    def register(make: M) -> M:
        _REGISTERED.append(Planner(sources, turn, make))
        return make

    return register


@cache
def planners() -> tuple[Planner, ...]:
    """All planners of this folder's modules, in their turn."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return tuple(sorted(_REGISTERED, key=lambda each: (each.turn, each.sources)))


def make_plan(config: Config, prober: Prober = probe) -> Plan:
    """The plan for this configuration and machine.

    Raises:
        DaemonError: the source asked for is not there.
        ConfigError: the period or a rail wished for is impossible; the line says what is possible.
    """
    for each in planners():
        if config.source in each.sources or (config.source == AUTO and each.turn is not Turn.NEVER):
            plan = each.make(config, prober)
            if plan is not None:
                return plan
    raise DaemonError(f"source {config.source} is not here", "neuralpowerd check says what is")
