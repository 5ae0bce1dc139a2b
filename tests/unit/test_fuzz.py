"""The fuzz itself: it finds what is planted, and nothing where nothing is."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fuzz import run

from neuralpower.errors import InputError

MOMENT = 0.001
"""Minutes: one batch of cases."""


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small batches, and no alarm left behind."""
    monkeypatch.setattr(run, "BATCH", 30)
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def plant(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """A reader of tables that ends so on whatever is no longer a table."""

    def read(path: Path, folder: Path) -> None:
        if error is not None and not path.read_bytes().startswith(b"layer,kind"):
            raise error

    monkeypatch.setitem(run.READERS, "planted", (read, ("table",)))


@pytest.mark.parametrize("error", [ZeroDivisionError("planted"), InputError("two\nlines"), InputError(" ")])
def test_a_planted_fault_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A traceback, a refusal of two lines and one that says nothing: the file and the fault stay."""
    plant(monkeypatch, error)
    assert run.fuzz("planted", MOMENT, 1, tmp_path) == 1
    (kept,) = (tmp_path / "found").iterdir()
    assert not kept.read_bytes().startswith(b"layer,kind") and "seed 1" in (tmp_path / "found.txt").read_text()


def test_a_case_that_takes_too_long_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the alarm is swallowed: by a callback of the interpreter's, or by whatever the reader calls."""

    def read(path: Path, folder: Path) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                sum(range(1000))

    monkeypatch.setattr(run, "SECONDS", 0.2)
    monkeypatch.setattr(signal, "alarm", lambda seconds: None)
    monkeypatch.setitem(run.READERS, "planted", (read, ("table",)))
    assert run.fuzz("planted", MOMENT, 1, tmp_path) == 1
    assert "took longer" in (tmp_path / "found.txt").read_text()


@pytest.mark.parametrize("error", [None, InputError("one line")])
def test_nothing_is_found_where_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    plant(monkeypatch, error)
    assert run.fuzz("planted", MOMENT, 1, tmp_path) == 0 and not (tmp_path / "found").exists()


def test_every_format_that_is_imported_is_fuzzed() -> None:
    from neuralpower.importers import FORMATS

    assert set(FORMATS) <= set(run.READERS)
