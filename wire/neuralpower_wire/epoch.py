"""An epoch: what one needs to know to understand a run of ticks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import WireError
from .tick import MAX_READINGS, Ticks, by_epoch

QUANTITIES = ("bus_uv", "shunt_uv", "current_ua", "power_uw", "energy_uj")
"""What a channel may measure, with its integer unit."""

BEHAVIOURS = ("unknown", "continuous", "waiting", "single-shot", "registers")
"""How reads of a chip behave: at once, or once a scan has ended, or each after a scan of its own, or past any driver."""
FRESHNESS = ("known", "estimated", "nominal", "unknown")
"""How a fresh rate came about: counted by the chip, estimated from changes, computed from the configuration, or not."""

COVERS = {"module": "the module", "board": "module and carrier board"}
"""What a total may be the power of, with the words for people."""

MAX_TEXT = 256
MAX_CHIPS = 16


@dataclass(frozen=True)
class Channel:
    """One reading of a tick: a quantity of a rail, as the chip gives it.

    `value` of the reading + `offset` is the quantity in its unit. `lsb` is the step of the value (0: unknown);
    `shunt_uohm` is 0 where the quantity is not a shunt voltage or the resistance is unknown; `input` is the chip's
    channel, counted from 1. It is read in every `every`-th tick; between, readings have Flag.HELD.
    """

    rail: str
    quantity: str
    chip: str
    input: int
    shunt_uohm: int = 0
    offset: int = 0
    lsb: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        _require(1 <= self.every <= 255, f"a channel read in every {self.every}-th tick is impossible")
        _require(self.quantity in QUANTITIES, f"quantity {self.quantity!r} is none of {', '.join(QUANTITIES)}")
        _require(
            bool(self.rail) and len(self.rail) <= MAX_TEXT, "a channel needs a rail name of at most 256 characters"
        )
        _require(0 <= self.shunt_uohm <= 10**9, f"shunt of {self.shunt_uohm} µΩ is impossible")


@dataclass(frozen=True)
class Chip:
    """A power monitor, how it converts, and how reads of it behave.

    Zero where it is not known; `freshness` is one of :data:`FRESHNESS`, `behaviour` of :data:`BEHAVIOURS`.
    """

    name: str
    shunt_conversion_us: int = 0
    bus_conversion_us: int = 0
    averaging: int = 0
    scan_ns: int = 0
    freshness: str = "unknown"
    behaviour: str = "unknown"

    def __post_init__(self) -> None:
        _require(self.behaviour in BEHAVIOURS, f"behaviour {self.behaviour!r} is none of {', '.join(BEHAVIOURS)}")
        _require(self.freshness in FRESHNESS, f"freshness {self.freshness!r} is none of {', '.join(FRESHNESS)}")


@dataclass(frozen=True)
class Epoch:
    """Schema, period, chip configuration and source of the ticks from `first_index` on, until the next epoch.

    `totals` are the rails whose sum is the total; empty where no such sum is known. `covers` says what it is the power of: a key of
    :data:`COVERS` ("module": the carrier board lies outside), or "" where that is not known.
    `fresh_rate_hz` is None where `freshness` is "unknown". `simulated` marks everything made from these ticks.
    """

    number: int
    first_index: int
    period_ns: int
    t0_ns: int
    source: str
    simulated: bool
    board: str
    channels: tuple[Channel, ...]
    chips: tuple[Chip, ...] = ()
    totals: tuple[str, ...] = ()
    freshness: str = "unknown"
    fresh_rate_hz: float | None = None
    driver: str = "unknown"
    note: str = ""
    covers: str = ""

    def __post_init__(self) -> None:
        _require(len(self.channels) <= MAX_READINGS, f"an epoch has at most {MAX_READINGS} channels")
        _require(len(self.chips) <= MAX_CHIPS, f"an epoch has at most {MAX_CHIPS} chips")
        _require(self.period_ns > 0, f"a period of {self.period_ns} ns is impossible")
        _require(self.freshness in FRESHNESS, f"freshness {self.freshness!r} is none of {', '.join(FRESHNESS)}")
        unknown = set(self.totals) - set(self.rails())
        _require(not unknown, f"the total names rails that no channel measures: {', '.join(sorted(unknown))}")

    def rails(self) -> list[str]:
        """The rails in the order of their first channel."""
        return list(dict.fromkeys(channel.rail for channel in self.channels))

    def to_dict(self) -> dict[str, Any]:
        """This epoch as plain dicts, lists, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Epoch:
        """The epoch of `body`; unknown keys are ignored (a newer daemon may add some), wrong types raise WireError."""
        values = _typed(cls, body, skip=("channels", "chips", "totals"))
        totals = _list(body.get("totals", ()), "totals")
        _require(all(isinstance(name, str) for name in totals), "totals must be rail names")
        channels = [Channel(**_typed(Channel, item)) for item in _list(body.get("channels"), "channels")]
        chips = [Chip(**_typed(Chip, item)) for item in _list(body.get("chips", ()), "chips")]
        return cls(channels=tuple(channels), chips=tuple(chips), totals=tuple(totals), **values)


_TYPES = {"int": (int,), "str": (str,), "bool": (bool,), "float | None": (float, int, type(None))}


def _typed(cls: type, body: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of the dataclass `cls` found in `body`, each of its declared type and of bounded size."""
    _require(isinstance(body, Mapping), f"a {cls.__name__.lower()} must be a map")
    values = {}
    for field in fields(cls):
        if field.name in skip or field.name not in body:
            continue
        value = body[field.name]
        allowed = _TYPES[str(field.type)]
        good = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        _require(good, f"{cls.__name__.lower()}.{field.name} must be {field.type}, not {type(value).__name__}")
        _require(
            not isinstance(value, str) or len(value) <= MAX_TEXT, f"{field.name} is longer than {MAX_TEXT} characters"
        )
        _require(
            not isinstance(value, int) or -(2**63) <= value < 2**63, f"{field.name} does not fit in 64 bits with a sign"
        )
        values[field.name] = value
    required = {f.name for f in fields(cls) if f.default is f.default_factory} - set(skip)
    missing = required - set(values)
    _require(not missing, f"{cls.__name__.lower()} lacks {', '.join(sorted(missing))}")
    return values


def _list(value: Any, name: str) -> list[Any]:
    _require(isinstance(value, (list, tuple)) and len(value) <= MAX_READINGS, f"{name} must be a short list")
    return list(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise WireError(message)


def explained(ticks: Ticks, epochs: Iterable[Epoch]) -> Iterator[tuple[Epoch | None, Ticks]]:
    """`ticks` cut where their epoch changes, each run with the one of `epochs` that explains it; None where that is not among them."""
    known = {epoch.number: epoch for epoch in epochs}
    for run in by_epoch(ticks):
        yield known.get(run["epoch"].item(0)), run
