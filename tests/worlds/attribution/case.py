"""The accuracy case as Python sees it: what attribution.toml says, checked key by key."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CASE_FILE = Path(__file__).with_name("attribution.toml")

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class NetworkCase:
    """Which networks are drawn."""

    layers: tuple[int, int]
    duration_us: tuple[float, float]
    longest_ms: float
    context_idle_w: float
    dynamic_w: tuple[float, float]


@dataclass(frozen=True)
class RunCase:
    """How a network runs."""

    inferences: int
    jitter_own: float
    jitter_common: float
    stall_share: tuple[float, float]
    slack_us: float
    event_step_us: float
    gap: str
    gap_shortest_us: float
    longest_lag_ms: float
    launch_w: float
    tail_w: float
    gap_w: float
    permuted: bool
    undeclared_w: float
    undeclared_dwell_s: float
    baselines_s: float
    device_idle_w: float
    locked_ratio: float = 1.0


@dataclass(frozen=True)
class PowerCase:
    """What the rail does beside the layers."""

    slow_noise_w: float
    slow_noise_ms: float
    drift: float
    supply_v: float
    droop: tuple[float, float]


@dataclass(frozen=True)
class SensorCase:
    """What measures it."""

    config: str
    shunt_uohm: int
    noise_mw: float
    clock: float
    swing_ppm: float
    swing_s: float
    walk_ppm: float
    delay_ms: tuple[float, float]
    lag_ms: tuple[float, float]
    second_lag_ms: float
    accumulator: str
    driver: str
    bus_hz: int
    period_ms: float


@dataclass(frozen=True)
class Target:
    """What a case of the table must show."""

    rmspe: float
    median_unit_us: float
    resolved_time_share: float


@dataclass(frozen=True)
class Case:
    """One case: `expects` is "" or what beside the targets it must show."""

    name: str
    says: str
    networks: int
    network: NetworkCase
    run: RunCase
    power: PowerCase
    sensor: SensorCase
    target: Target | None
    expects: str


@dataclass(frozen=True)
class Score:
    """How scores are computed."""

    level: float
    resolved_half_width: float
    duration_classes_us: tuple[float, ...]


@dataclass(frozen=True)
class AccuracyCase:
    """The whole file."""

    cases: tuple[Case, ...]
    development: tuple[int, int]
    quoted: tuple[int, int]
    quick: tuple[str, ...]
    quick_networks: int
    score: Score
    required: Mapping[str, float]

    def case(self, name: str) -> Case:
        """The case of this name; KeyError says which there are."""
        for case in self.cases:
            if case.name == name:
                return case
        raise KeyError(f"no case {name!r}; there are {', '.join(case.name for case in self.cases)}")


def load(path: Path = CASE_FILE) -> AccuracyCase:
    """Read the file. ValueError for a key that is missing or that nobody knows."""
    with path.open("rb") as file:
        content = tomllib.load(file)
    score = {name: content["score"][name] for name in (field.name for field in fields(Score))}
    return AccuracyCase(
        cases=tuple(_case(each, content["base"]) for each in content["case"]),
        development=tuple(content["seeds"]["development"]),
        quoted=tuple(content["seeds"]["quoted"]),
        quick=tuple(content["quick"]["cases"]),
        quick_networks=content["quick"]["networks"],
        score=_of(Score, score, "score"),
        required=content["required"],
    )


def _case(written: Mapping[str, Any], base: Mapping[str, Any]) -> Case:
    name = str(written["name"])
    unknown = written.keys() - {field.name for field in fields(Case)}
    if unknown:
        raise ValueError(f"case {name}: unknown {', '.join(sorted(unknown))}")
    parts = {part: {**base[part], **written.get(part, {})} for part in ("network", "run", "power", "sensor")}
    return Case(
        name=name,
        says=str(written["says"]),
        networks=int(written["networks"]),
        network=_of(NetworkCase, parts["network"], name),
        run=_of(RunCase, parts["run"], name),
        power=_of(PowerCase, parts["power"], name),
        sensor=_of(SensorCase, parts["sensor"], name),
        target=_of(Target, written["target"], name) if "target" in written else None,
        expects=str(written.get("expects", "")),
    )


def _of(kind: type[Kind], values: Mapping[str, Any], where: str) -> Kind:
    """A frozen part of the case from its table; lists become tuples."""
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None
