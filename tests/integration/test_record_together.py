"""Several devices recorded into one folder, each clock held against the recorder's; daemons reduced to their sockets, with clocks of their own (simulated)."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.patience import PATIENCE_S, until
from tests.worlds.fake_daemon import STREAM, T0_NS, FakeDaemon, engine, epoch, inference, ticks

from neuralpower import Failure, InputError, Recording
from neuralpower.address import parse
from neuralpower.cli import main
from neuralpower.recordings.devices.folder import devices_in, one_of
from neuralpower.recordings.devices.together import named, record_together
from neuralpower.recordings.recorder import Summary
from neuralpower.recordings.verifying import repair, verify
from neuralpower.subscriber import comparison
from neuralpower_wire import Kind, Record

CLOCKS = {"nano": (5_000_000_000, 40.0), "orin": (-700_000_000_000, -25.0)}
"""Device -> by how much its clock is behind this machine's, in ns, and by how many ppm it is slower."""


def clock(name: str, begin_ns: int) -> Callable[[], int]:
    """What the device's clock shows now (simulated)."""
    return lambda: shown(name, comparison.now_ns(), begin_ns)


def shown(name: str, now_ns: int, begin_ns: int) -> int:
    """What it shows at a time of this machine: the truth that the mapping is held against."""
    offset_ns, ppm = CLOCKS[name]
    return T0_NS + 10**12 + now_ns - begin_ns - offset_ns - round((now_ns - begin_ns) * ppm * 1e-6)


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, FakeDaemon], int]]:
    """Two of them, with ticks and an inference, and when their clocks begin."""
    begin_ns = comparison.now_ns()
    with ExitStack() as stack:
        found = {}
        for name in CLOCKS:
            run = tmp_path_factory.mktemp(name)
            daemon = found[name] = stack.enter_context(FakeDaemon(run, clock=clock(name, begin_ns)))
            daemon.add_ticks(ticks(0, 300), publish=False)
            daemon.add_records([Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM}), engine(), inference(0)])
        yield found, begin_ns


class Together:
    """`record_together` in a thread."""

    def __init__(self, devices: dict[str, Any], folder: Path) -> None:
        self.stop, self.told, self.notices = threading.Event(), dict[str, Summary](), list[str]()
        self.result: dict[str, Summary] | Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(devices, folder))
        self._thread.start()

    def _run(self, devices: dict[str, Any], folder: Path) -> None:
        try:
            words = {"past": True, "stop": self.stop, "on_progress": self.told.update, "on_notice": self.notices.append}
            self.result = record_together(devices, folder, **words)
        except Exception as error:
            self.result = error

    def end(self) -> dict[str, Summary] | Exception | None:
        """Stop, and what came of it."""
        self.stop.set()
        self._thread.join(PATIENCE_S)
        return self.result


@pytest.fixture(scope="module")
def rack(daemons: tuple[dict[str, FakeDaemon], int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings of both."""
    folder = tmp_path_factory.mktemp("rack") / "rack"
    recorder = Together({name: str(each.run) for name, each in daemons[0].items()}, folder)
    enough = 3

    def beaten() -> bool:
        for each in daemons[0].values():
            each.beat()
        asked = [sum(question.do == "clock" for question in each.asked) for each in daemons[0].values()]
        return min(asked) >= enough

    until(beaten, 0.1)
    result = recorder.end()
    assert isinstance(result, dict), result
    assert {name: each.ticks for name, each in result.items()} == {"nano": 300, "orin": 300}
    return folder


def test_each_clock_is_mapped_to_the_recorders(rack: Path, daemons: tuple[dict[str, FakeDaemon], int]) -> None:
    """No time of either device is mapped further from the truth than its bound says; and so a moment is the same on both."""
    assert list(devices_in(rack)) == ["nano", "orin"]
    here = None
    for name, path in devices_in(rack).items():
        mapping = Recording(path).recorder_clock(boot=comparison.boot())
        piece = mapping.pieces[0]
        truth = np.linspace(daemons[1] + 10**9, daemons[1] + 3 * 10**9, 20).astype(np.int64)
        there, bound = mapping.to_recorder_ns([shown(name, int(each), daemons[1]) for each in truth])
        error = np.abs(there - truth)
        print(
            f"simulated, {name} (truth: {CLOCKS[name][0]} ns behind, {CLOCKS[name][1]:+} ppm): off by {error.max() / 1e3:.1f} us at most, bound "
            f"{bound.min() / 1e3:.1f} to {bound.max() / 1e3:.1f} us; offset {piece.offset_ns:.0f} ± {piece.offset_bound_ns:.0f} ns"
        )
        assert np.all(error <= bound + 2)
        assert here is None or np.all(np.abs(there - here[0]) <= bound + here[1] + 4)
        here = there, bound


def test_commands_take_the_folder_or_one_device_of_it(
    rack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`info` tells all; tables are of each device, with the recorder's time; where one is meant it has to be named, in one line."""
    assert main(["info", str(rack)]) == 0
    told = capsys.readouterr().out
    assert "2 devices" in told and "simulated" in told and "nano" in told and "orin" in told
    assert main(["info", str(rack), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["devices"]
    assert facts["nano"]["streams"][0]["recorder_clock"]["comparisons"] >= 1
    assert main(["info", str(rack), "--device", "orin"]) == 0
    assert "recorder's clock" in capsys.readouterr().out
    assert main(["info", str(rack), "--verify"]) == 0
    capsys.readouterr()
    assert main(["export", str(rack), "--csv", str(tmp_path / "tables")]) == 0
    for name in CLOCKS:
        with (tmp_path / "tables" / name / "rails.csv").open() as file:
            rows = list(csv.DictReader(file))
        first_ns, _ = Recording(rack / name).recorder_clock().to_recorder_ns([int(rows[0]["t_ns"])])
        assert len(rows) == 300 and int(rows[0]["recorder_ns"]) == first_ns[0] and int(rows[0]["recorder_bound_ns"]) > 0
    capsys.readouterr()
    for words in (
        ["attribute", str(rack)],
        ["report", str(rack), "-o", str(tmp_path / "r.html")],
        ["export", str(rack), "--perfetto", str(tmp_path / "t")],
    ):
        assert main(words) == 2
        error = capsys.readouterr().err.strip()
        assert error.count("\n") == 0 and "holds recordings of 2 devices (nano, orin): name one with --device" in error
    assert main(["export", str(rack), "--device", "nano", "--perfetto", str(tmp_path / "t.pftrace")]) == 0
    assert main(["info", str(rack), "--device", "xavier"]) == 2
    assert "has no recording of a device 'xavier'; there are nano, orin" in capsys.readouterr().err
    assert main(["info", str(rack / "nano"), "--device", "nano"]) == 2
    assert "leave out --device" in capsys.readouterr().err


def test_damage_of_a_clocks_file_costs_what_it_lies_in_and_is_told(rack: Path, tmp_path: Path) -> None:
    """A flipped bit of clock.wal: ticks stay, `verify` tells it, repair leaves the rest."""
    folder = shutil.copytree(rack / "nano", tmp_path / "nano")
    path = folder / "clock.wal"
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 7), *range(len(whole) - 8, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert any(each.path == path for each in verify(folder)), at
        assert len(Recording(folder).ticks()) == 300
    repair(folder)
    assert not verify(folder)


def test_a_device_that_fails_does_not_end_the_others(
    daemons: tuple[dict[str, FakeDaemon], int], tmp_path: Path
) -> None:
    """One that nobody serves: the other is recorded to its end, and the failure is one line with the device's name."""
    recorder = Together({"nano": str(daemons[0]["nano"].run), "absent": str(tmp_path / "nobody")}, tmp_path / "rack")
    until(lambda: "nano" in recorder.told and recorder.told["nano"].ticks == 300)
    result = recorder.end()
    assert isinstance(result, Failure) and str(result).startswith("absent: no daemon at")
    assert len(Recording(tmp_path / "rack" / "nano").ticks()) == 300
    assert one_of(tmp_path / "rack", "nano") == tmp_path / "rack" / "nano"


def test_one_that_is_not_there_is_not_waited_for_without_end(
    daemons: tuple[dict[str, FakeDaemon], int], tmp_path: Path
) -> None:
    """With a time to end at, all end then; the one that never came is named."""
    devices = {"absent": str(tmp_path / "nobody"), "nano": str(daemons[0]["nano"].run)}
    with pytest.raises(Failure, match=r"^absent: no daemon at"):
        record_together(devices, tmp_path / "rack", seconds=0.5, past=True)
    assert len(Recording(tmp_path / "rack" / "nano").ticks()) == 300


def test_a_daemon_that_knows_no_such_question_is_recorded_without_a_mapping(tmp_path: Path) -> None:
    """One of an earlier version refuses it; nothing is said, and nothing mapped."""
    (tmp_path / "run").mkdir()
    with FakeDaemon(tmp_path / "run") as daemon:
        daemon.add_ticks(ticks(0, 50), publish=False)
        recorder = Together({"old": str(tmp_path / "run")}, tmp_path / "rack")
        until(lambda: daemon.beat() or sum(each.do == "clock" for each in daemon.asked) >= 2, 0.1)
        assert isinstance(recorder.end(), dict)
    recording = Recording(tmp_path / "rack" / "old")
    assert not recording.recorder_clock() and not (tmp_path / "rack" / "old" / "clock.wal").exists()
    assert one_of(tmp_path / "rack") == tmp_path / "rack" / "old"


def test_names_are_told_or_made_of_addresses() -> None:
    made = named([("", parse("tcp://jetson-1:7380")), ("", parse("tcp://[fe80::1]:7380")), ("a", parse("/run/np"))])
    assert list(made) == ["jetson-1", "fe80-1", "a"]
    for pairs, why in (
        ([("", parse("tcp://h:7380")), ("", parse("tcp://h:7382"))], "two devices would be called h"),
        ([("../x", parse("/run/np"))], "is no name of a device"),
        ([(".hidden", parse("/run/np"))], "is no name of a device"),
    ):
        with pytest.raises(InputError, match=why):
            named(pairs)


def test_several_do_not_go_into_one_devices_recording(daemons: tuple[dict[str, FakeDaemon], int], rack: Path) -> None:
    with pytest.raises(InputError, match="is a recording of one device"):
        record_together({"a": "/run/a", "b": "/run/b"}, rack / "nano")
