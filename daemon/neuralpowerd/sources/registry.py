"""The sources that there are, and which of them a configuration means.

A planner says "mine" with a plan, "not here" with None, and "mine, and broken" with an error. To add a source: a planner here, its name
among the configuration's, and what opens it in the sampler (CONTRIBUTING.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..config import AUTO, Config
from ..errors import DaemonError
from .i2c import i2c_plan
from .nvml import nvml_plan
from .plan import Plan, Prober
from .probe import probe
from .rails import rails_plan
from .replay import replay_plan
from .sim import sim_plan


@dataclass(frozen=True)
class Planner:
    """Of one way to read: the names of its sources, whether they are found without being asked for, and what makes the plan."""

    sources: tuple[str, ...]
    automatic: bool
    make: Callable[[Config, Prober], Plan | None]


PLANNERS = (
    Planner(("hwmon", "iio"), automatic=True, make=rails_plan),
    Planner(("i2c",), automatic=False, make=lambda config, prober: i2c_plan(config)),
    Planner(("nvml",), automatic=False, make=lambda config, prober: nvml_plan(config)),
    Planner(("replay",), automatic=False, make=lambda config, prober: replay_plan(config)),
    Planner(("sim",), automatic=True, make=lambda config, prober: sim_plan(config)),
)
"""The first that is here is taken; the chip in software last."""


def make_plan(config: Config, prober: Prober = probe) -> Plan:
    """The plan for this configuration and machine.

    Raises:
        DaemonError: the source asked for is not there.
        ConfigError: the period or a rail wished for is impossible; the line says what is possible.
    """
    for planner in PLANNERS:
        if config.source in planner.sources or (config.source == AUTO and planner.automatic):
            plan = planner.make(config, prober)
            if plan is not None:
                return plan
    raise DaemonError(f"source {config.source} is not here; neuralpowerd check says what is")
