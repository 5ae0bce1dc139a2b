"""Help comes at once: no command takes in numpy, or anything else that is not Python's own or ours, to print it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from neuralpower.cli import COMMANDS

OURS = {"neuralpower", "neuralpowerd", "neuralpower_wire", "neuralpower_sampler"}
PROGRAM = """
import sys
before = set(sys.modules)
from {module} import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code
print("MODULES", *sorted({{name.split(".")[0] for name in set(sys.modules) - before}}))
"""
CASES = [
    ("neuralpower.cli", ["--help"]),
    *(("neuralpower.cli", [name, "--help"]) for name in COMMANDS),
    *(("neuralpowerd.cli", [*words, "--help"]) for words in ([], ["run"], ["check"], ["restore"], ["keys"], ["allow"])),
]


@pytest.mark.parametrize(
    ("module", "arguments"), CASES, ids=lambda each: each if isinstance(each, str) else " ".join(each)
)
def test_help_takes_in_nothing_heavy(module: str, arguments: list[str]) -> None:
    program = PROGRAM.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    taken = set(done.stdout.rpartition("MODULES")[2].split())
    foreign = {name for name in taken - OURS - set(sys.stdlib_module_names) if not name.startswith("__editable__")}
    assert foreign <= {"tomli"}
    assert "usage" in done.stdout
