"""No module imports, by whatever way, one that imports it: a reader can begin at the bottom of each room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ROOTS = {
    "client": "neuralpower",
    "daemon": "neuralpowerd",
    "align": "neuralpower_align",
    "wire": "neuralpower_wire",
    "sampler_c": "neuralpower_sampler",
}
ALLOWED = {
    (
        "neuralpower.importers.tegrastats",
        "neuralpower.importers.edgeprofiler",
    ): "of a folder, whose log edgeprofiler reads with what this parses",
}


def modules(root: str) -> dict[str, Path]:
    """Name -> file of a source root's modules; a package is its `__init__`."""
    found = {}
    for path in sorted((CHECKOUT / root / ROOTS[root]).rglob("*.py")):
        parts = path.relative_to(CHECKOUT / root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of `known` that one imports, in functions too, but for types."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for each in node.names:
                inner = f"{base}.{each.name}"
                if inner in known:
                    yield inner
                elif base in known:
                    yield base


def circle(root: str) -> list[str]:
    """Modules that import each other in a circle; none where there is no circle."""
    known = modules(root)
    graph = {
        name: {each for each in imports(name, path, known) if each != name and (name, each) not in ALLOWED}
        for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("root", ROOTS)
def test_no_room_has_a_circle(root: str) -> None:
    assert circle(root) == []


def test_what_is_allowed_is_there() -> None:
    """A reason for an arrow that is gone goes too."""
    known = modules("client")
    for one, other in ALLOWED:
        assert other in set(imports(one, known[one], known))
