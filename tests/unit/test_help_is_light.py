"""Help comes at once: no command takes in numpy, or anything else that is not Python's own or ours, to print it, nor a tenth of a second."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import cache

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
MOST_S = 0.1
"""Of the processor, above what Python itself takes to start: what the machine does besides is not in it."""
TRIES = 5
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


def processor_s(program: str) -> float:
    """What a Python process takes for `program`, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@cache
def start_s() -> float:
    """What Python takes to start."""
    return min(processor_s("pass") for _ in range(3))


@pytest.mark.skipif("COVERAGE_PROCESS_START" in os.environ, reason="tracing is not help's own time")
@pytest.mark.parametrize(
    ("module", "arguments"), CASES, ids=lambda each: each if isinstance(each, str) else " ".join(each)
)
def test_help_takes_no_time(module: str, arguments: list[str]) -> None:
    """The best of some tries, since caches of the processor are others' too."""
    program = PROGRAM.format(module=module, arguments=arguments)
    taken = [start_s() + 2 * MOST_S]
    while min(taken) - start_s() > MOST_S and len(taken) <= TRIES:
        taken.append(processor_s(program))
    assert min(taken) - start_s() <= MOST_S, taken[1:]
