"""No fact is carried in prose: nothing decides by what the text of an error, a note or a reason says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("align", "client", "daemon", "sampler_c", "wire")
PROSE = {"driver", "lock_note", "note", "policy", "reason", "state", "text", "why"}
"""Fields that hold words for people."""
LOOKS = {"startswith", "endswith", "find", "index", "count", "partition", "rpartition", "split"} | {
    "removeprefix",
    "removesuffix",
    "replace",
}


def is_prose(node: ast.AST) -> bool:
    """Whether an expression is such a field, or the text of something: `str(error)`."""
    if isinstance(node, ast.Attribute):
        return node.attr in PROSE
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "str"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id in ("error", "reason", "raised", "fault", "failure")
    )


def parsed(tree: ast.AST) -> Iterator[ast.expr]:
    """Where prose is looked into."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKS:
            if is_prose(node.func.value):
                yield node
        elif (
            isinstance(node, ast.Compare)
            and any(isinstance(each, ast.In | ast.NotIn) for each in node.ops)
            and any(is_prose(each) for each in node.comparators)
        ):
            yield node


def test_the_search_finds_what_it_is_for() -> None:
    for line in (
        '"held" in str(error)',
        'x.policy.startswith("fifo")',
        'epoch.driver.endswith("registers")',
        '"a" in self.why',
        'str(error).removeprefix("attribution: ")',
    ):
        assert list(parsed(ast.parse(line))), line
    for line in ("error.errno == 3", 'name.startswith("cpu.")', "x in names"):
        assert not list(parsed(ast.parse(line))), line


def test_nothing_decides_by_prose() -> None:
    found = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}" for node in parsed(tree)]
    assert not found, "\n".join(found)
