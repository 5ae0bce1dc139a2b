"""The boards this project knows (`boards.toml`), and which rails of this machine make the total.

A rail is keyed by label and I2C address. Adding all rails would count twice wherever one feeds another, so each board
says which rails sum to its power, and what that sum covers: the module, or the board with it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuralpower_wire.epoch import COVERS

from ..system.devicetree import tree_chips
from ..system.monitors import INA3221, Monitor, MonitorRail, find_monitors
from ..system.sysfs import clean, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(__file__).with_name("boards.toml")
FORMAT = 1
_INPUT_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails that on every known board carry all of its power: trusted on an unknown one."""


@dataclass(frozen=True)
class BoardRail:
    """A rail that a board should have; `driver` names a monitor that gives no label. Not every kit has an `optional` one."""

    label: str
    address: int
    channel: int
    parent: str = ""
    optional: bool = False
    driver: str = ""

    def is_this(self, rail: MonitorRail) -> bool:
        """Whether this is the rail of a monitor."""
        named = rail.label == self.label or (not rail.label and rail.chip.partition("@")[0] == self.driver)
        return named and rail.address == self.address


@dataclass(frozen=True)
class Total:
    """Rails that may be added, what their sum covers (a key of :data:`COVERS`, "" where that is not known), and a note."""

    rails: tuple[str, ...] = ()
    covers: str = ""
    note: str = ""

    @property
    def says(self) -> str:
        """What it covers and the note, as one phrase."""
        covers = f"covers {COVERS[self.covers]}" if self.covers else ""
        return "; ".join(filter(None, (covers, self.note)))


@dataclass(frozen=True)
class Board:
    """A board of the table: how it is recognised, its rails, and its totals, the widest first. Power in W."""

    name: str
    compatible: tuple[str, ...]
    model: tuple[str, ...]
    soc: str
    mode_w: float
    rails: tuple[BoardRail, ...]
    totals: tuple[Total, ...]
    note: str = ""
    sources: tuple[str, ...] = ()


@functools.cache
def boards() -> tuple[Board, ...]:
    """The table, in its order."""
    return tuple(_board(entry) for entry in tomllib.loads(TABLE.read_text("utf-8"))["board"])


def _board(entry: Mapping[str, Any]) -> Board:
    lists = {key: tuple(entry[key]) for key in ("compatible", "model", "sources")}
    rails = tuple(BoardRail(**rail) for rail in entry["rails"])
    totals = tuple(Total(tuple(total["rails"]), total["covers"], total.get("note", "")) for total in entry["totals"])
    return Board(**{**entry, **lists, "rails": rails, "totals": totals})


OFF, ELSEWHERE, OTHER, TWICE, UNBOUND, ABSENT = "off", "elsewhere", "other", "twice", "unbound", "absent"
"""Why a rail is missing: its channel is switched off; the label is at another address; the channel has another label; two
chips have it; a chip is in the device tree that no driver has taken; there is no such chip in sysfs."""


@dataclass(frozen=True)
class Missing:
    """A rail that the board should have and has not: `why` is one of the words above, `where` the chip or what is there."""

    label: str
    address: int
    why: str
    where: str = ""
    switch: Path | None = None
    """The file that switches its channel on."""

    @property
    def says(self) -> str:
        """As a phrase."""
        if self.why == OFF:
            return f"{self.label} is switched off ({self.where})"
        if self.why == ELSEWHERE:
            return f"{self.label} is on {self.where}, not at {self.address:#04x} as on this board"
        if self.why == OTHER:
            return f"{self.label} is not at {self.address:#04x}: {self.where}"
        if self.why == TWICE:
            return f"{self.label} is there twice ({self.where})"
        if self.why == UNBOUND:
            return f"{self.label} has no driver ({self.where})"
        return f"{self.label} not found"


@dataclass(frozen=True)
class FoundBoard:
    """What this machine has: its board, monitors and rails, what they may be added up to, and why not where that is empty."""

    board: str
    monitors: tuple[Monitor, ...]
    rails: tuple[MonitorRail, ...]
    totals: tuple[Total, ...]
    note: str = ""
    """On the board, or why there is no total."""
    entry: Board | None = None
    """The board's entry in the table; None for a board this project does not know."""
    missing: tuple[Missing, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the board is one of those this project knows."""
        return self.entry is not None

    @property
    def total(self) -> tuple[str, ...]:
        """The rails of the widest total; empty where none is known."""
        return self.best.rails

    @property
    def best(self) -> Total:
        """The widest total; an empty one where none is known, with the reason as its note."""
        return self.totals[0] if self.totals else Total(note=self.note)

    def total_of(self, rails: Sequence[str]) -> Total:
        """The widest total that these rails make; an empty one with the reason as its note."""
        for total in self.totals:
            if set(total.rails) <= set(rails):
                return total
        return Total(note="total unknown: not all of its rails are measured") if self.totals else self.best


def find(root: Path) -> FoundBoard:
    """The rails and the totals of the machine whose sysfs and procfs lie under `root`."""
    model = read_text(root / "proc/device-tree/model") or ""
    compatible = read_text(root / "proc/device-tree/compatible") or ""
    monitors = tuple(find_monitors(root))
    board = identify(model, compatible) or _by_rails(compatible, monitors)
    monitors = _named(monitors, board)
    rails = tuple(rail for monitor in monitors for rail in monitor.rails)
    if board is None:
        return _unknown_board(clean(model), monitors, rails)
    missing = _missing(root, board, monitors, rails)
    named = {each.label for each in board.rails if any(each.is_this(rail) for rail in rails)}
    named -= {each.label for each in missing}
    totals = tuple(total for total in board.totals if set(total.rails) <= named)
    note = board.note
    if not totals and board.totals:
        lacking = [each for each in missing if each.label in board.totals[-1].rails]
        note = "total unknown: " + _list(lacking)
    return FoundBoard(board.name, monitors, rails, totals, note, board, missing)


def identify(model: str, compatible: str) -> Board | None:
    """The board of a device tree: by module part number in `compatible`, else by the words of `model`; None if unknown."""
    for board in boards():
        if any(part in compatible for part in board.compatible):
            return board
    for board in boards():
        if any(phrase.lower() in model.lower() for phrase in board.model):
            return board
    return None


def _by_rails(compatible: str, monitors: Sequence[Monitor]) -> Board | None:
    """The one board with this SoC that has rails of these labels and addresses, for a carrier board's tree that names no module."""
    rails = [rail for monitor in monitors for rail in monitor.rails]
    fitting = [
        board
        for board in boards()
        if board.rails
        and board.soc in compatible
        and all(each.optional or any(each.is_this(rail) for rail in rails) for each in board.rails)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _named(monitors: Sequence[Monitor], board: Board | None) -> tuple[Monitor, ...]:
    """Monitors whose rails have names of their own: the board's rails their labels, of others the first that has it."""
    known = board.rails if board else ()
    rails = [rail for monitor in monitors for rail in monitor.rails]
    whose = [[each for each in known if each.is_this(rail)] for rail in rails]
    names: list[str] = ["" for _ in rails]
    taken: set[str] = set()
    for own in (True, False):  # the board's come first
        for at, rail in enumerate(rails):
            if bool(whose[at]) is own:
                name = whose[at][0].label if own else rail.name
                if name in taken:
                    name = f"{name}@{rail.chip.partition('@')[2]}.{rail.channel}"
                while name in taken:
                    name += "'"
                names[at] = name
                taken.add(name)
    given = iter(names)
    return tuple(
        replace(monitor, rails=tuple(replace(rail, name=next(given)) for rail in monitor.rails)) for monitor in monitors
    )


def _missing(
    root: Path, board: Board, monitors: Sequence[Monitor], rails: Sequence[MonitorRail]
) -> tuple[Missing, ...]:
    """The board's rails that are not there, or are there twice, and why."""
    missing = []
    for each in board.rails:
        count = sum(each.is_this(rail) for rail in rails)
        if count == 1 or (each.optional and not count):
            continue
        missing.append(_twice(each, rails) if count else _reason(root, each, monitors, rails))
    return tuple(missing)


def _twice(each: BoardRail, rails: Sequence[MonitorRail]) -> Missing:
    these = [rail for rail in rails if each.is_this(rail)]
    apart = len({rail.chip for rail in these}) == len(these)
    where = " and ".join(rail.chip if apart else f"{rail.chip} channel {rail.channel}" for rail in these)
    return Missing(each.label, each.address, TWICE, where)


def _reason(root: Path, each: BoardRail, monitors: Sequence[Monitor], rails: Sequence[MonitorRail]) -> Missing:
    lacks = functools.partial(Missing, each.label, each.address)
    here = [
        monitor for monitor in monitors if monitor.address == each.address and monitor.driver in (*INA3221, each.driver)
    ]
    for monitor in here:
        for off in monitor.off:
            if off.label == each.label or (not off.label and off.channel == each.channel):
                return lacks(OFF, f"{monitor.name} channel {off.channel}", off.switch)
    for rail in rails:
        if rail.label == each.label:
            return lacks(ELSEWHERE, rail.chip)
    for monitor in here:
        labels = [rail.label for rail in monitor.rails if rail.channel == each.channel]
        there = f"is {labels[0]}" if labels and labels[0] else "has no label" if labels else "is not connected"
        return lacks(OTHER, f"channel {each.channel} of {monitor.name} {there}")
    for chip in tree_chips(root):
        if chip.address == each.address and not chip.bound:
            return lacks(UNBOUND, f"ina3221@{chip.bus}-{chip.address:04x}")
    return lacks(ABSENT)


def _list(missing: Sequence[Missing]) -> str:
    """All of them as one phrase; those that are simply not there together."""
    absent = ", ".join(each.label for each in missing if each.why == ABSENT)
    others = (each.says for each in missing if each.why != ABSENT)
    return "; ".join([*([f"{absent} not found"] if absent else []), *others])


def _unknown_board(name: str, monitors: tuple[Monitor, ...], rails: tuple[MonitorRail, ...]) -> FoundBoard:
    found = FoundBoard(name or "unknown board", monitors, rails, ())
    if not rails:
        return replace(found, note="no rails found")
    total = _input_of([rail.label for rail in rails])
    if not total.rails:
        return replace(found, note=f"unknown board: {total.note}, so its total is unknown")
    return replace(found, totals=(replace(total, note=f"unknown board: {total.note}"),))


def _input_of(labels: Sequence[str]) -> Total:
    """The rail that is taken for an unknown board's input, by its label; no rail and the reason where none is."""
    for label in _INPUT_RAILS:
        if labels.count(label) > 1:
            return Total(note=f"{labels.count(label)} rails are named {label}")
        if label in labels:
            return Total((label,), note=f"{label} is taken for its input; what that covers is not known")
    return Total(note=f"no rail is named {', '.join(_INPUT_RAILS)}")


def total_of(board: Board | None, rails: Sequence[str]) -> Total:
    """The widest total that rails of these names make on a board; on an unknown one, a rail known to be an input."""
    if board is None or not board.totals:
        return _input_of(rails)
    fitting = (total for total in board.totals if set(total.rails) <= set(rails))
    return next(fitting, Total(note=f"total unknown: not all of {', '.join(board.totals[-1].rails)} are read"))
