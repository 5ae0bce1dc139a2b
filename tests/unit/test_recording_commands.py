"""The commands that read recordings: info, export; and the state behind watch."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, T0_NS, engine, epoch, inference, ticks

from neuralpower.cli import main
from neuralpower.cli.measuring.live import Curve, Live
from neuralpower.cli.measuring.watch import view
from neuralpower.dataset import COLUMNS, write_dataset
from neuralpower.recordings.lost import NOT_TOLD
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.client import Client
from neuralpower.subscriber.messages import Energies, Found, Records, Status, Ticks
from neuralpower_wire import Kind, Record


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Half a second at 1 kHz, one slot missed, ten ticks lost, one inference of two layers."""
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower")
    writer.keep(Ticks(STREAM, ticks(0, 300), epoch()))
    writer.keep(Ticks(STREAM, ticks(310, 190, slot=311), epoch()))
    mark = Record(Kind.MARK, T0_NS, {"name": "begin", "text": "warm"})
    records = [Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM}), engine(), inference(7), mark]
    writer.keep(Records(JOURNAL_STREAM, 0, records))
    writer.finish()
    return tmp_path / "rec"


def test_info_tells_what_is_there_and_what_is_missing(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms name the losses with their range, the missed slot, the engine, the power, and that it is simulated."""
    assert main(["info", str(recording), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["simulated"] and facts["inferences"] == 1 and facts["ticks_lost"] == 10
    assert facts["losses"] == [{"log": "ticks", "stream": STREAM.hex(), "first": 300, "count": 10, "why": NOT_TOLD}]
    (stream,) = facts["streams"]
    assert (stream["ticks"], stream["missed_slots"], stream["freshness"]) == (490, 1, "known")
    assert stream["mean_total_w"] == pytest.approx(5.0)
    assert facts["engines"] == [{"hash": "abc", "name": "net", "layers": 2, "inferences": 1}]
    assert main(["info", str(recording)]) == 0
    shown = capsys.readouterr().out
    for part in ("(simulated)", "missed slots", "300", "309", "net", "VDD_IN", "800 (known)"):
        assert part in shown


def test_info_knows_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset's layers are counted by origin and kind, with its provenance."""
    blank = {"str": "x", "int": 1, "float": 0.5, "bool": True}
    table = {name: [blank[kind]] * 3 for name, kind in COLUMNS.items()} | {"kind": ["conv", "conv", "pool"]}
    write_dataset(table, tmp_path / "d.parquet", {"source": "a test"})
    assert main(["info", str(tmp_path / "d.parquet"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rows"] == 3 and facts["simulated"] and facts["provenance"] == {"source": "a test"}
    assert {row["kind"]: row["rows"] for row in facts["by_origin_and_kind"]} == {"conv": 2, "pool": 1}
    assert main(["info", str(tmp_path / "d.parquet")]) == 0
    assert "a test" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"PAR1half a file", b"words"])
def test_info_refuses_other_things_in_one_line(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that is nothing, half a dataset, or something else: status 2 and one line that names it."""
    path = tmp_path / "thing"
    if content is not None:
        path.write_bytes(content)
    assert main(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path) in error


def test_tables_hold_every_tick_inference_and_layer(recording: Path, tmp_path: Path) -> None:
    """The CSV tables have a row for each, with watts and the simulated mark."""
    assert main(["export", str(recording), "--csv", str(tmp_path / "out")]) == 0
    read = {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in (tmp_path / "out").iterdir()}
    assert {name: len(rows) for name, rows in read.items()} == {"rails": 490, "inferences": 1, "layers": 2}
    assert float(read["rails"][0]["VDD_IN_w"]) == pytest.approx(5.0)
    assert [row["name"] for row in read["layers"]] == ["a", "b"]
    assert [int(row["duration_ns"]) for row in read["layers"]] == [3072, 4096]
    assert read["inferences"][0]["seq"] == "7"
    assert {row["simulated"] for rows in read.values() for row in rows} == {"1"}


def test_export_needs_a_target(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a target there is nothing to do, said in one line."""
    assert main(["export", str(recording)]) == 2
    assert "--csv" in capsys.readouterr().err


def test_the_live_view_counts_what_it_sees() -> None:
    """Power, rate, missed slots, names and energies come out of the messages."""
    live = Live()
    energies = Energies(np.array([1], "<u8"), np.array([0]), np.array([1]), np.array([0.25]))
    live.take(
        [
            Ticks(STREAM, ticks(0, 500), epoch()),
            Ticks(STREAM, ticks(500, 500, slot=503), epoch()),
            Found(engine()),
            Records(JOURNAL_STREAM, 1, [inference(0)]),
            energies,
            Status({"board": "b"}),
        ]
    )
    assert live.rails["VDD_IN"].now == pytest.approx(5.0)
    assert (live.missed_slots, live.tick_count, live.inference_count) == (3, 1000, 1)
    assert live.rate_hz() == pytest.approx(999 / 1.002)
    assert live.lateness_us() == pytest.approx((50.0, 50.0))
    assert live.inferences[1].energy_j == 0.25
    assert live.engines["abc"] == "net" and live.simulated and live.fresh == "800 Hz (known)"


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_live_view_fits_and_shows_the_newest_point(width: int) -> None:
    """A narrow terminal loses the oldest points; names that look like markup are shown as they are."""
    live = Live()
    live.rails["[/red]"] = Curve(deque([1.0] * 99, maxlen=40))
    live.rails["[/red]"].add(0, np.array([9.0]))
    live.engines["abc"] = "[/]net"
    live.take([Records(JOURNAL_STREAM, 0, [inference(7)])])
    shown = io.StringIO()
    with Client("ipc:///nowhere") as client:
        Console(file=shown, width=width).print(view(live, client, width))
    lines = shown.getvalue().splitlines()
    (rail,) = [line for line in lines if "[/red]" in line]
    assert rail.rstrip(" │").endswith("▁█") and "…" not in rail
    assert any("[/]net" in line for line in lines) and max(map(len, lines)) <= width


def test_watching_nobody_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a daemon the view waits and asks whether one is running; it ends when its time is over."""
    assert main(["watch", str(tmp_path), "--seconds", "0.3"]) == 0
    assert "is neuralpowerd running?" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", "tcp://host"],
        ["watch", "ipc:///x", "--seconds", "-1"],
        ["record", "nowhere", "-o", "x"],
        ["record", "ipc:///x", "-o", "x", "--past", "yesterday"],
        ["record", "ipc:///x", "-o", "x", "--since", "5"],
        ["record", "ipc:///x", "-o", "x", "--since", "-5m"],
        ["record", "ipc:///x", "-o", "x", "--since", "nan h"],
        ["record", "ipc:///x", "-o", "x", "--since", "m"],
        ["record", "ipc:///x", "-o", "x", "--since", "5m", "--past", "all"],
        ["record", "ipc:///" + "x" * 120, "-o", "x"],
    ],
)
def test_impossible_arguments_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad address or number is refused with status 2 before anything is written."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("neuralpower:") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("5m", 300.0), ("1.5h", 5400.0), ("1d", 86400.0), ("0s", 0.0)]
)
def test_since_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    """What people say of the past."""
    from neuralpower.cli.measuring.record import _since

    assert _since(text) == seconds
