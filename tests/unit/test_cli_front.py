"""What every command does at its edges: arguments, streams, and what cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.worlds.fake_daemon import STREAM, epoch, ticks

from neuralpower.cli import COMMANDS, main
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Ticks

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten ticks."""
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower")
    writer.keep(Ticks(STREAM, ticks(0, 10), epoch()))
    writer.finish()
    return tmp_path / "rec"


def command(*arguments: str, redirect: str = "", environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Status, stdout and stderr of the command in a shell, with the shell's redirections."""
    line = f'exec "$0" -m neuralpower.cli "$@" {redirect}'
    run = subprocess.run(
        ["sh", "-c", line, sys.executable, *arguments],
        capture_output=True,
        env={**os.environ, **(environment or {})},
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout.decode("latin-1"), run.stderr.decode("latin-1")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help names both."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "example" in shown.lower() and "--json" in shown


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["record"], ["info"], ["info", "a", "--nonsense"], ["watch", "--seconds", "long"]]
)
def test_wrong_arguments_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No usage text is printed over the line that says what is wrong."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("neuralpower: ") and error.count("\n") == 1 and "--help" in error


def test_letters_that_the_terminal_lacks_are_no_error(recording: Path) -> None:
    """A table with a µ in it is printed under the C locale too."""
    status, shown, error = command("info", str(recording), environment=ASCII)
    assert (status, error) == (0, "") and "lateness p50, p99 ?s" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["info", "{}"], ["info", "{}", "--json"]])
def test_a_full_disk_under_the_output_is_one_line(recording: Path, arguments: list[str]) -> None:
    """The status says that the output is not whole, whether it was flushed early or at the end."""
    status, _, error = command(*(each.format(recording) for each in arguments), redirect=">/dev/full")
    assert status == 1 and "No space left on device" in error and error.count("\n") == 1


@pytest.mark.parametrize("redirect", [">&-", "2>&-"])
def test_a_closed_stream_is_no_error(recording: Path, redirect: str) -> None:
    """A command without stdout or stderr does its work."""
    assert command("info", str(recording), redirect=redirect)[0] == 0


def test_errors_never_go_to_stdout(tmp_path: Path) -> None:
    """With stderr closed a failure shows in the status alone."""
    status, shown, _ = command("info", str(tmp_path / "none"), redirect="2>&-")
    assert (status, shown) == (2, "")


def test_what_no_command_foresaw_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the file system that comes through names the file."""
    path = tmp_path / ("x" * 300)
    assert main(["info", str(path)]) in (1, 2)
    error = capsys.readouterr().err
    assert str(path) in error and error.count("\n") == 1
