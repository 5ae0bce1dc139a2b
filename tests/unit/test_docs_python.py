"""docs/python.md: its examples run, and it names what the package exports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neuralpower import models

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as they stand, in a folder of their own; what they print is there."""
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"{PAGE.name}, example {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "µs" in said and "runtime [s] =" in said and "X lacks the column precision" in said and "'loss'" in said
    assert {path.name for path in tmp_path.iterdir()} == {"six.json", "sparse.json"}


def test_the_page_names_every_public_name() -> None:
    """What is exported is documented, and nothing else is in the table."""
    table = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(name for cell in table for name in re.findall(r"`(\w+)`", cell)) == sorted(models.__all__)
