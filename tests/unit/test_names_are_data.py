"""Names from elsewhere are data wherever they are shown: no cursor moves, no line is forged, no formula and no path comes of them."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import pty
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, T0_NS, epoch, inference, ticks

from neuralpower.cli import main
from neuralpower.cli.measuring.live import Live
from neuralpower.cli.measuring.watch import line, view
from neuralpower.names import csv_name, page_text, printable
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.client import Client
from neuralpower.subscriber.messages import Found, Records, Ticks
from neuralpower_wire import Kind, Record

FOE = "=e\x1b]0;owned\x07\x1b[2J\r\nFORGED \u202e\x9b31m<script>../../x"
"""A formula, terminal escapes of both kinds, a second line, text turned round, markup and a path."""
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def hostile_engine() -> Record:
    """The engine of :func:`inference` under such names."""
    layer = {"Name": FOE, "LayerType": "Convolution", "Inputs": [], "Outputs": []}
    body = {
        "hash": "abc",
        "name": FOE,
        "inspector": {"Layers": [layer] * 2},
        "layers": [FOE, f"{FOE}2"],
        "simulated": True,
    }
    return Record(Kind.ENGINE, T0_NS, body)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Half a second at 1 kHz with an inference of that engine, and a mark of that name."""
    writer = Writer(tmp_path / "rec", f"ipc:///{FOE}")
    writer.keep(Ticks(STREAM, ticks(0, 500), epoch()))
    mark = Record(Kind.MARK, T0_NS, {"name": FOE, "text": FOE})
    begun = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM, "board": FOE})
    writer.keep(Records(JOURNAL_STREAM, 0, [begun, hostile_engine(), inference(7), mark]))
    writer.finish()
    return tmp_path / "rec"


def sound(shown: str) -> None:
    """Nothing but visible characters, and no line of the foe's own."""
    assert not UNSEEN.search(shown), repr(UNSEEN.search(shown))
    assert not [each for each in shown.splitlines() if each.lstrip().startswith("FORGED")]


@pytest.mark.parametrize(
    "words",
    [
        "info REC",
        "info REC --json",
        "attribute REC",
        "export REC --csv OUT/csv",
        "dataset REC -o OUT/d.parquet",
        "report REC -o OUT/r.html",
        "features REC",
        "predict REC --models OUT/none.json",
        "fit OUT/d.parquet -o OUT/m.json",
        "info OUT/FOE",
        "rank OUT/FOE",
        "import OUT/FOE",
        "FOE",
        "watch FOE --seconds 1",
        "record FOE -o OUT/FOE --seconds 1",
    ],
)
def test_no_command_passes_a_name_to_the_terminal(
    recording: Path, tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a command comes to, what it printed is visible and its own."""
    (tmp_path / "out").mkdir()
    places = {"REC": str(recording), "OUT": str(tmp_path / "out"), "FOE": FOE.replace("/", "|")}
    arguments = []
    for word in words.split():
        for short, long in places.items():
            word = word.replace(short, long)
        arguments.append(word)
    with contextlib.suppress(SystemExit):
        main(arguments)
    shown = capsys.readouterr()
    sound(shown.out)
    sound(shown.err)
    assert shown.out or shown.err


def test_a_table_program_runs_nothing(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No cell of an exported table begins as a formula does, but numbers."""
    assert main(["export", str(recording), "--csv", str(tmp_path / "csv")]) == 0
    capsys.readouterr()
    seen = 0
    for path in sorted((tmp_path / "csv").iterdir()):
        for row in csv.reader(io.StringIO(path.read_text())):
            for cell in row:
                number = re.fullmatch(r"-?[0-9.]+(e[-+][0-9]+)?", cell)
                assert number or not cell.lstrip().startswith(("=", "+", "-", "@")), cell
                assert not UNSEEN.search(cell)
                seen += "e\\x1b]0" in cell
    assert seen > 2


def test_a_page_has_no_markup_and_no_control_character_of_a_name() -> None:
    """Neither a tag nor an escape of it is in the report."""
    from neuralpower.report.blocks import Page
    from neuralpower.report.write import render

    page = render(Page(FOE, FOE, True))
    assert "owned" in page and "<script>../../x" not in page and not UNSEEN.search(page)


def test_a_terminal_is_drawn_on_by_us_alone(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Under a terminal, where tables are drawn with colours, the name's own escapes are still text."""
    parent, child = pty.openpty()
    before, sys.stdout = sys.stdout, os.fdopen(child, "w")
    try:
        assert main(["info", str(recording)]) == 0
        sys.stdout.flush()
        shown = os.read(parent, 1 << 16).decode(errors="replace")
    finally:
        sys.stdout.close()
        sys.stdout = before
        os.close(parent)
    assert "\x1b]0" not in shown and "\x1b[2J" not in shown and "\\x1b]0" in shown


def test_what_is_watched_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """The view and the line of a second, with such an engine running."""
    live = Live()
    live.take(
        [Ticks(STREAM, ticks(0, 50), epoch()), Found(hostile_engine()), Records(JOURNAL_STREAM, 7, [inference(7)])]
    )
    with Client("/nowhere") as client:
        client._heard = float("inf")  # as if a daemon had just spoken
        out = io.StringIO()
        Console(file=out, width=200).print(view(live, client, 200))
        sound(out.getvalue())
        assert "owned" in out.getvalue()
        sound(line(live, client))


@pytest.mark.parametrize("journal", [False, True])
def test_no_line_of_the_log_is_forged(
    journal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with a line end stays in its line, at a terminal and for journald."""
    stderr = pytest.importorskip("neuralpowerd.system.stderr")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1") if journal else monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        stderr.set_up()
        logging.getLogger("neuralpowerd.test").warning("process %s connected", FOE)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    sound(shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv1", "conv1"),
        ("µ✓ 卷积", "µ✓ 卷积"),
        ("a\nb\x1b", "a\\nb\\x1b"),
        ("\u202e", "\\u202e"),
        ("\udcff", "\\udcff"),
    ],
)
def test_a_printable_name(name: str, shown: str) -> None:
    """What is visible stays as it is, in any script."""
    assert printable(name) == shown


def test_names_for_tables_and_pages() -> None:
    """One function for each."""
    assert [csv_name(each) for each in ("=1", " @x", "-1+2", "a=1", "\t=1")] == ["'=1", "' @x", "'-1+2", "a=1", "\\t=1"]
    assert page_text("a\x1bb\n<p>µ</p>") == "a\ufffdb\n<p>µ</p>"
