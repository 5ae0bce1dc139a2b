"""A class's name means one thing within a root, so that a reader who met it need not ask which."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("root", ["align", "wire", "sampler_c", "tests/worlds"])
def test_no_class_has_the_name_of_another(root: str) -> None:
    """Two that mean two things have two names; one thing has one class."""
    found = defaultdict(list)
    for file in sorted((CHECKOUT / root).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{file.relative_to(CHECKOUT)}:{node.lineno}")
    assert found
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
