"""The boards this project knows, and which of their rails make the total.

A rail is keyed by label and I2C address. Adding all rails would count twice wherever one feeds another, so each board
says which rails sum to its power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..system.monitors import Monitor, Rail, find_monitors, read_text


@dataclass(frozen=True)
class Board:
    """A board: what its device tree says, its rails by (label, address), and the labels that sum to its power."""

    name: str
    parts: tuple[str, ...]
    """Words of the device tree's `compatible` that only this board has: module part numbers, then L4T's names."""
    models: tuple[str, ...]
    """Phrases of the device tree's `model`."""
    rails: tuple[tuple[str, int], ...]
    total: tuple[str, ...]
    note: str = ""


def _at(address: int, *labels: str) -> tuple[tuple[str, int], ...]:
    return tuple((label, address) for label in labels)


_MODULE_INPUT = _at(0x40, "VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")

BOARDS = (
    Board(
        "Jetson AGX Thor",
        ("p3834", "p3971", "tegra264"),
        ("AGX Thor", "Jetson Thor"),
        _at(0x40, "VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0") + _at(0x44, "VIN"),
        ("VIN",),
        "VIN feeds the other rails",
    ),
    Board(
        "Jetson AGX Orin",
        ("p3701",),
        ("AGX Orin",),
        _at(0x40, "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0") + _at(0x41, "VDDQ_VDD2_1V8AO"),
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        "VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0 and not added",
    ),
    Board("Jetson Orin NX or Orin Nano", ("p3767",), ("Orin NX", "Orin Nano"), _MODULE_INPUT, ("VDD_IN",)),
    Board(
        "Jetson AGX Xavier",
        ("p2888", "p2972"),
        ("AGX Xavier", "Jetson-AGX"),
        _at(0x40, "GPU", "CPU", "SOC") + _at(0x41, "CV", "VDDRQ", "SYS5V"),
        ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
        "no rail feeds the others: the total is the sum of six",
    ),
    Board("Jetson Xavier NX", ("p3668",), ("Xavier NX",), _MODULE_INPUT, ("VDD_IN",)),
    Board(
        "Jetson TX2",
        ("p3310", "p3489", "p2771"),
        ("TX2", "quill"),
        _at(0x40, "VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI") + _at(0x41, "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"),
        ("VDD_IN",),
    ),
    Board("Jetson TX1", ("p2180", "p2371"), ("TX1",), _at(0x40, "VDD_IN", "VDD_GPU", "VDD_CPU"), ("VDD_IN",)),
    Board(
        "Jetson Nano",
        ("p3448", "p3450", "jetson-nano"),
        ("Jetson Nano",),
        _at(0x40, "POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"),
        ("POM_5V_IN",),
    ),
)
"""From L4T's device trees; the first board that matches is taken."""

_INPUT_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails that on every known board carry all of its power: trusted on an unknown one."""


@dataclass(frozen=True)
class Found:
    """What this machine has: board name, its monitors and rails, the total's rails (empty: unknown), and why."""

    board: str
    monitors: tuple[Monitor, ...]
    rails: tuple[Rail, ...]
    total: tuple[str, ...]
    note: str
    known: bool = True
    """Whether the board is one of those this project knows."""
    missing: tuple[str, ...] = ()
    """Labels that the board should have and that were not found."""


def find(root: Path) -> Found:
    """The rails and the total of the machine whose sysfs and procfs lie under `root`."""
    model = read_text(root / "proc/device-tree/model") or ""
    compatible = read_text(root / "proc/device-tree/compatible") or ""
    monitors = tuple(find_monitors(root))
    rails = tuple(rail for monitor in monitors for rail in monitor.rails)
    board = identify(model, compatible)
    if board is None:
        return _unknown_board(model, monitors, rails)
    found = {(rail.name, rail.address) for rail in rails}
    missing = tuple(label for label, address in board.rails if (label, address) not in found)
    lacking = [label for label in board.total if label in missing]
    if lacking:
        note = f"total unknown: {', '.join(lacking)} not found"
        return Found(board.name, monitors, rails, (), note, missing=missing)
    return Found(board.name, monitors, rails, board.total, board.note, missing=missing)


def identify(model: str, compatible: str) -> Board | None:
    """The board of a device tree: by module part number in `compatible`, else by the words of `model`; None if unknown."""
    for board in BOARDS:
        if any(part in compatible for part in board.parts):
            return board
    for board in BOARDS:
        if any(phrase.lower() in model.lower() for phrase in board.models):
            return board
    return None


def total_of(name: str, rails: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The board's name, and the rails of `rails` that make its total: the board's own, or a rail known to be an input."""
    for board in BOARDS:
        if board.name == name and set(board.total) <= set(rails):
            return name, board.total
    return name, tuple(label for label in _INPUT_RAILS if label in rails)[:1]


def _unknown_board(model: str, monitors: tuple[Monitor, ...], rails: tuple[Rail, ...]) -> Found:
    name = model or "unknown board"
    if not rails:
        return Found(name, monitors, rails, (), "no rails found", known=False)
    names = {rail.name for rail in rails}
    for label in _INPUT_RAILS:
        if label in names:
            note = f"unknown board: {label} is taken for its input"
            return Found(name, monitors, rails, (label,), note, known=False)
    note = f"unknown board: no rail is named {', '.join(_INPUT_RAILS)}, so its total is unknown"
    return Found(name, monitors, rails, (), note, known=False)
