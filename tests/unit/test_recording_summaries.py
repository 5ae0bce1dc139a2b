"""Summaries beside segments: what they say is what the ticks say, and with them no segment is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.worlds.fake_daemon import JOURNAL_STREAM, PERIOD_NS, STREAM, T0_NS, engine, epoch, inference, ticks

from neuralpower import InputError, Recording, parquet
from neuralpower.cli import main
from neuralpower.cli.analysing.info import recording_facts
from neuralpower.recordings.files import layout, summaries
from neuralpower.recordings.levels import LEVELS, TOTAL
from neuralpower.recordings.span import part_of
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_wire import Kind, Record

SEGMENT, SEGMENTS = 700, 6
WALL_NS = 1_700_000_000_000_000_000


def made(first: int, count: int, number: int = 1) -> Any:
    """Ticks whose current rises and falls, one in nine without a reading."""
    rows = ticks(first, count, number=number)
    rows["readings"]["value"][:, 1] = 5000 + 40 * (rows["index"] % 97)
    rows["readings"]["state"][rows["index"] % 9 == 4, 1] = 3
    return rows


def clock(t_ns: int) -> Record:
    """A clock map whose wall time runs as the clock of the ticks does."""
    body = {"monotonic_ns": t_ns, "boottime_ns": t_ns, "realtime_ns": WALL_NS + t_ns, "bracket_ns": 1}
    return Record(Kind.CLOCK, t_ns, body)


def write(folder: Path) -> None:
    """Six segments of 0.7 s, of which the third lacks ten ticks and the fifth begins a new epoch; an inference in each."""
    writer, record = Writer(folder, "ipc:///run/neuralpower"), 0
    begun = [Record(Kind.EPOCH, 1, {**epoch(number).to_dict(), "stream": STREAM}) for number in (1, 2)]
    for segment in range(SEGMENTS):
        first, number = segment * SEGMENT, 1 + (segment >= 4)
        rows = made(first, SEGMENT, number)
        for part in (rows[:300], rows[310 if segment == 2 else 300 :]):
            writer.keep(Ticks(STREAM, part, epoch(number)))
        t_ns = T0_NS + first * PERIOD_NS
        records = [*([] if segment else [*begun, engine()]), clock(t_ns + 1), inference(segment, t_ns=t_ns + 5_000_000)]
        writer.keep(Records(JOURNAL_STREAM, record, records))
        record += len(records)
        writer.turn_over()
    writer.finish()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That recording."""
    path = tmp_path_factory.mktemp("recorded") / "rec"
    write(path)
    return path


def without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What info tells of a recording that has no summaries."""

    def none(segment: Path, whole: bool = False) -> Any:
        raise summaries.Unusable("")

    with monkeypatch.context() as patched:
        patched.setattr(summaries, "read", none)
        return recording_facts(Recording(folder))


def alike(one: Any, other: Any) -> bool:
    """Equal, sums to their last digits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(each, other[name]) for name, each in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == pytest.approx(other, rel=1e-9, nan_ok=True)) if isinstance(one, float) else bool(one == other)


def test_they_say_what_the_ticks_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that info tells: losses, missed slots, lateness, states, powers, energy, engines."""
    facts = recording_facts(Recording(folder))
    assert facts["ticks_lost"] == 10 and facts["inferences"] == SEGMENTS and facts["streams"][0]["epochs"] == 2
    assert alike(facts, without(folder, monkeypatch))


def test_no_segment_is_opened_for_info(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for an hour's energy by the minute."""
    for name in ("read_table", "read_range"):
        monkeypatch.setattr(parquet, name, lambda *_, **__: pytest.fail("a segment was opened"))
    recording = Recording(folder)
    assert recording_facts(recording)["streams"][0]["ticks"] == SEGMENT * SEGMENTS - 10
    assert all(len(recording.power_levels(seconds).begin_ns) for seconds in LEVELS)


def by_hand(recording: Recording) -> float:
    """Joules of the board, tick by tick."""
    rows, watts = recording.ticks(), recording.total_power_w()
    near = (np.diff(rows["index"]) == 1) & (np.diff(rows["epoch"]) == 0)
    joules = 0.5 * (watts[1:] + watts[:-1]) * np.diff(rows["t_ns"]) * 1e-9
    return float(np.nansum(joules[near]))


@pytest.mark.parametrize("span", [(0, 4200), (0, 700), (350, 1050), (1, 4199), (1700, 3500), (2790, 2810)])
def test_energy_is_that_of_the_ticks(folder: Path, span: tuple[int, int]) -> None:
    """Over segments, within one, across what is lost and a new epoch, where none is counted."""
    begin_ns, end_ns = (T0_NS + at * PERIOD_NS for at in span)
    part = Recording(folder).between(begin_ns, end_ns)
    energy = part.energy()
    assert energy.total_j == pytest.approx(by_hand(part), rel=1e-9)
    assert energy.rails_j["VDD_IN"] == pytest.approx(energy.total_j)
    seconds = part.power_levels(1)
    assert seconds.energy_j()[TOTAL] == pytest.approx((energy.total_j, energy.total_covered_s))
    assert (part.ticks()["t_ns"] >= begin_ns).all() and (part.ticks()["t_ns"] < end_ns).all()


def test_rows_of_a_level_are_of_their_ticks(folder: Path) -> None:
    """Count, least, greatest and mean of each second; minutes and hours are made of seconds."""
    recording = Recording(folder)
    seconds, t_ns, watts = recording.power_levels(1), recording.ticks()["t_ns"], recording.rail_power_w()["VDD_IN"]
    assert seconds.begin_ns.tolist() == [T0_NS + at * 1_000_000_000 for at in range(5)]
    for row, begin in enumerate(seconds.begin_ns):
        inside = watts[(t_ns >= begin) & (t_ns < begin + 1_000_000_000)]
        rail = seconds.rails["VDD_IN"]
        assert rail.readings[row] == np.count_nonzero(~np.isnan(inside))
        expected = np.nanmin(inside), np.nanmax(inside), np.nanmean(inside)
        assert (rail.min_w[row], rail.max_w[row], rail.mean_w[row]) == pytest.approx(expected)
    assert recording.power_levels(60).total.readings.tolist() == [seconds.total.readings.sum()]
    with pytest.raises(ValueError, match="rows of 7 s"):
        recording.power_levels(7)


def test_a_span_opens_the_segments_it_is_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks of one segment's time are read from it alone; inferences that lie in it are given, and all engines."""
    opened: list[str] = []
    read = parquet.read_range

    def counted(path: Path, *rest: Any) -> Any:
        opened.append(path.name)
        return read(path, *rest)

    monkeypatch.setattr(parquet, "read_range", counted)
    part = Recording(folder).between(T0_NS + 750 * PERIOD_NS, T0_NS + 1000 * PERIOD_NS)
    assert part.ticks()["index"].tolist() == list(range(750, 1000))
    assert opened == ["000000000700-000000001399.parquet"]
    assert part.inferences() == [] and list(part.engines()) == ["abc"] and len(part.epochs()) == 2
    part = Recording(folder).between(T0_NS + 700 * PERIOD_NS, T0_NS + 1000 * PERIOD_NS)
    assert [each.seq for each in part.inferences()] == [1]
    assert [record.kind for record in part.records()] == [Kind.CLOCK, Kind.INFERENCE]
    assert part.between(T0_NS, T0_NS + 800 * PERIOD_NS).ticks()["index"].tolist() == list(range(700, 800))
    with pytest.raises(ValueError, match="ends before it begins"):
        part.between(5, 4)


def test_one_that_is_damaged_costs_nothing(tmp_path: Path) -> None:
    """Each byte of one flipped in turn is told, and what is told is what the segment says."""
    write(tmp_path)
    sound = recording_facts(Recording(tmp_path))
    path = summaries.path_of(layout.segments(tmp_path, "ticks")[0].path)
    whole = path.read_bytes()
    for at in [*range(40), *range(40, len(whole), 61), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        facts = recording_facts(Recording(tmp_path))
        assert path.name in facts["damaged"][0]
        assert alike({**facts, "damaged": []}, sound)
    path.write_bytes(whole[:10])
    assert path.name in recording_facts(Recording(tmp_path))["damaged"][0]


@pytest.mark.parametrize(
    ("log", "key"),
    [
        *(("ticks", key) for key in ("whole", "edges", "unexplained", "3600")),
        *(("journal", key) for key in ("whole", "described", "clocks")),
    ],
)
def test_one_that_nobody_of_ours_wrote_is_one_line(tmp_path: Path, log: str, key: str) -> None:
    """Its checksum fits and what it holds does not: a line that says what to do, and nothing else is raised."""
    write(tmp_path)
    segment, refused = layout.segments(tmp_path, log)[0].path, 0
    body = summaries.read(segment, whole=True)
    for value in ({}, [5], {"a": b"x"}, 7, [["x", 1, {}]]):
        size, seal = body["segment"]
        summaries.write(segment, {**body, key: value}, size, seal)
        try:
            recording = Recording(tmp_path)
            recording_facts(recording)
            refused += bool(recording.damaged)
        except InputError as error:
            assert "remove the files *.summary" in str(error)
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("begin", "end", "span"),
    [
        ("1", None, (1000, 4200)),
        (None, "1.5s", (0, 1500)),
        ("0.05m", "4", (3000, 4000)),
        ("2023-11-14T22:13:22.500", None, (1500, 4200)),
        ("2023-11-14T23:13:22+01:00", "2023-11-14T22:13:23Z", (1000, 2000)),
    ],
)
def test_times_are_named_as_people_do(folder: Path, begin: str | None, end: str | None, span: tuple[int, int]) -> None:
    """After the first tick in any unit, or on the wall, which the clock maps tell."""
    index = part_of(Recording(folder), begin, end).ticks()["index"]
    assert (int(index[0]), int(index[-1]) + 1) == pytest.approx(span, abs=1)


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        ("soon", None, "--from soon: give seconds"),
        ("3", "2", "is not before"),
        ("1h", None, "has 4.2 s of ticks"),
        (None, "2001-01-01T00:00:00", "is not before|none of them"),
    ],
)
def test_other_times_are_refused(folder: Path, begin: str | None, end: str | None, reason: str) -> None:
    """One line says what to give."""
    with pytest.raises(InputError, match=reason):
        part_of(Recording(folder), begin, end)


def test_commands_take_a_span(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """info and export tell of it alone."""
    assert main(["info", str(folder), "--from", "1s", "--to", "2s", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["streams"][0]["ticks"] == 990 and facts["began"] == "2023-11-14T22:13:22+00:00"
    assert main(["export", str(folder), "--csv", str(tmp_path), "--from", "1", "--to", "2"]) == 0
    assert len((tmp_path / "rails.csv").read_text().splitlines()) == 991
    assert len((tmp_path / "inferences.csv").read_text().splitlines()) == 2
