"""Every package that a root imports itself is in the requirements of that root, and every requirement is there for an import."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]

ROOTS = {  # folder: the extras that it may count on beside the base
    "wire": [],
    "align": ["daemon"],  # cffi alone, for the part in C; without it numpy does the same
    "client/neuralpower/profiler": [],  # the inference process has the base alone
    "sampler_c": ["daemon"],
    "daemon": ["daemon", "prometheus"],
    "client": ["client", "tensorrt"],
    "benchmarks": ["daemon", "client", "dev"],
    "tests": ["daemon", "prometheus", "client", "dev"],
}
OWN = {
    "neuralpower",
    "neuralpowerd",
    "neuralpower_align",
    "neuralpower_sampler",
    "neuralpower_wire",
    "benchmarks",
    "tests",
}
DISTRIBUTIONS = {
    "google": "protobuf",
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
    "zmq": "pyzmq",
}
"""What installs a module, where it has another name."""
GIVEN = {
    "tensorrt": "comes with JetPack",
    "tensorrt_bindings": "its bed fetches each version of it",
    "tensorrt_rtx": "its bed fetches it",
    "atheris": "the fuzz guided by coverage fetches it",
    "onnxscript": "comes with torch, for the tests that have it",
    "torchvision": "whoever has it runs the tests of its networks",
    "torch": "whoever predicts a live module has it; no network is read from a file with it",
}
TOOLS = {"build", "coverage", "gcovr", "import-linter", "mypy", "pytest-xdist", "ruff", "perfetto"}
"""Of the extra dev, what no `import` names: what is run, and perfetto, whose schema a test looks up by its name."""


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of what is imported when it runs: not what stands below `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0]
        else:
            yield from imported(node)


def of_others(root: str) -> dict[str, str]:
    """The distributions of others that a folder imports, and one file that does."""
    files = sorted((CHECKOUT / root).rglob("*.py"))
    beside = {file.stem for file in files} | {file.parent.name for file in files} if root == "tests" else set[str]()
    found = {}
    for file in files:
        for name in imported(ast.parse(file.read_text())):
            if name not in sys.stdlib_module_names | OWN | beside | GIVEN.keys():
                found[DISTRIBUTIONS.get(name, name)] = str(file.relative_to(CHECKOUT))
    return found


def declared(extras: list[str]) -> set[str]:
    """Names of the requirements of the base and of these extras, in lower case."""
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {re.split(r"[^\w.-]", line)[0].lower() for line in lines}


@pytest.mark.parametrize("root", ROOTS)
def test_imports_are_declared(root: str) -> None:
    """What comes only through another package goes when that package no longer needs it."""
    found = of_others(root)
    assert found, f"nothing was read in {root}"
    assert {name: file for name, file in found.items() if name not in declared(ROOTS[root])} == {}


def test_requirements_are_imported() -> None:
    """A requirement that nothing imports is not a requirement; tools are run."""
    found = {name for root in ROOTS for name in of_others(root)}
    assert declared(["daemon", "prometheus", "client", "tensorrt", "dev"]) - found - TOOLS == {"neuralpower"}
