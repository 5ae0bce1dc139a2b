"""Whoever changes a number must know what it is: what was believed beforehand, what a datasheet says, or what only trades time for accuracy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("Prior", "Chip", "Board", "Tuning", "Rule", "Bound", "Number")
"""As docs/development.md explains them."""
ROOMS = ("align/neuralpower_align", "client/neuralpower/attribution")
NAME = re.compile(r"_?[A-Z][A-Z0-9_]*")
FEWEST_WORDS = 4
"""A kind alone is no reason."""


def constants(source: str) -> Iterator[tuple[str, str]]:
    """Numeric constants of a module, and what is said of each: the string behind it, or behind the next ones that follow without one."""
    waiting: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((name, node.value.value) for name in waiting)
            waiting = []
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and (names := _names(node)):
            if _is_numeric(node.value):
                waiting += names
        else:
            yield from ((name, "") for name in waiting)
            waiting = []
    yield from ((name, "") for name in waiting)


def _names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if all(NAME.fullmatch(name) for name in names) else []


def _is_numeric(value: ast.expr) -> bool:
    parts = [part.value for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return any(isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts)


def wanting(source: str) -> list[str]:
    """Names of the constants of which it is not said what they are, and why they are as they are."""
    said = re.compile(rf"({'|'.join(KINDS)}): (.+)", re.S)
    found = []
    for name, text in constants(source):
        match = said.fullmatch(text)
        if match is None or len(match[2].split()) < FEWEST_WORDS:
            found.append(name)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_number_says_what_it_is(room: str) -> None:
    """Its kind, and a reason."""
    modules = sorted((ROOT / room).rglob("*.py"))
    assert len(modules) > 5
    found = {str(path.relative_to(ROOT)): names for path in modules if (names := wanting(path.read_text()))}
    assert not found


def test_the_kinds_are_explained() -> None:
    """Each has its line in the page for those who change it."""
    page = (ROOT / "docs/development.md").read_text()
    assert all(f"`{kind}:`" in page for kind in KINDS)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('A = 1\n"""Prior: of which nothing is known."""\n', []),
        ('A, B = 1, 2.0\nC = (3, 4)\n"""Tuning: more of them take longer."""\n', []),
        ("A = 1\n\n\ndef f(): ...\n", ["A"]),
        ('A = 1\n"""How many there are, at most."""\n', ["A"]),
        ('A = 1\n"""Chip: as is."""\n', ["A"]),
        ('A = 1\nimport os\n"""Chip: far away from its number."""\n', ["A"]),
        ('NAMES = ("a", "b")\nhere = 3\nON = True\n', []),
    ],
)
def test_a_number_without_a_word_is_found(source: str, names: list[str]) -> None:
    """Whatever stands between it and the text, or is no reason."""
    assert wanting(source) == names
