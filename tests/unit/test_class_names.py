"""A class's name means one thing in the whole house, so that a reader who met it need not ask which."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SHIPPED = ("client", "daemon", "align", "wire", "sampler_c")
ENDS = {
    "EngineEstimate": "what align tells of an engine, and the record in which it travels",
    "History": "the two ends of the history socket: who asks and who serves",
    "Inference": "an inference as it travels, and as a recording gives it back",
    "Session": "the two ends of a link: the inference process and what the daemon knows of it",
}
"""One thing as its two ends have it: who makes it and who takes it."""


def classes(root: str) -> dict[str, list[str]]:
    """Name -> where classes of that name are."""
    found = defaultdict(list)
    for file in sorted((CHECKOUT / root).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{file.relative_to(CHECKOUT)}:{node.lineno}")
    assert found
    return found


@pytest.mark.parametrize("root", [*SHIPPED, "tests/worlds"])
def test_no_class_has_the_name_of_another(root: str) -> None:
    """Two that mean two things have two names; one thing has one class. Worlds share no code with what they judge, so they are held apart."""
    assert {name: places for name, places in classes(root).items() if len(places) > 1} == {}


def test_no_root_has_a_name_of_another_but_for_one_thing_at_two_ends() -> None:
    roots = defaultdict(list)
    for root in SHIPPED:
        for name, places in classes(root).items():
            roots[name] += places
    assert {name: places for name, places in roots.items() if len(places) > 1}.keys() == ENDS.keys()
