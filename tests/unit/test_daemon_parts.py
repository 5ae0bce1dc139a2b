"""Small parts of the daemon: clocks, notification, failing rails, the join, keys, the suspend."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
import zmq.utils.z85

import neuralpower_sampler
from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Channel, Epoch, Kind, ReadingState, Ticks, VersionError, WireError, tick_dtype
from neuralpower_wire.link import Inference
from neuralpowerd import cli
from neuralpowerd.config import parse
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.live.join import Join
from neuralpowerd.live.keys import allow, allowed_keys, answer_zap, make_keys, revoke, server_keys
from neuralpowerd.live.refusals import Refusals
from neuralpowerd.logs.history import MarkLimit
from neuralpowerd.logs.journal import JournalReader
from neuralpowerd.logs.roles import Role
from neuralpowerd.system.latency import LatencyHold
from neuralpowerd.system.notify import Notifier
from neuralpowerd.watch.clocks import ClockWatch, glance
from neuralpowerd.watch.rails import RailChange, RailWatch

SECOND = 1_000_000_000


def test_clocks_are_compared_not_trusted() -> None:
    """A map each second; a suspend moves BOOTTIME, a step moves REALTIME, slewing and brackets are neither."""
    times = iter(
        [
            (0, 0, 0, 100),
            (SECOND // 2, SECOND // 2, SECOND // 2 + 400_000, 100),
            (SECOND, SECOND, SECOND + 500_000, 100),
            (SECOND + 1, 4 * SECOND + 1, 4 * SECOND + 500_001, 100),
            (SECOND + 2, 4 * SECOND + 2, 3 * SECOND + 500_002, 100),
            (SECOND + 3, 4 * SECOND + 3, 3 * SECOND + 4_500_003, 5_000_000),
        ]
    )
    watch = ClockWatch(lambda: next(times))
    sights = [watch.look() for _ in range(6)]
    assert [sight.map is not None for sight in sights] == [True, False, True, True, True, False]
    assert [sight.suspended_ns for sight in sights] == [0, 0, 0, 3 * SECOND, 0, 0]
    assert [sight.stepped_ns for sight in sights] == [0, 0, 0, 0, -SECOND, 0]


def test_a_glance_decides_whether_the_clocks_are_read() -> None:
    """The clocks are read with care for each map, suspend and step, and only then; what is told is what was read."""
    at = [0]
    reads: list[int] = []

    def read() -> tuple[int, int, int, int]:
        reads.append(at[0])
        return at[0], at[0] + ahead[0], at[0] + ahead[0], 100

    ahead = [0]
    watch = ClockWatch(read, lambda: (at[0], at[0] + ahead[0], at[0] + ahead[0], 5_000))
    for at[0] in range(0, 3 * SECOND, SECOND // 20):
        ahead[0] = 2 * SECOND if at[0] > SECOND + SECOND // 2 else 0
        sight = watch.look()
        assert (sight.map is not None) == (reads[-1] == at[0])
        assert sight.suspended_ns == (2 * SECOND if at[0] == SECOND * 31 // 20 else 0)
        assert sight.map is None or sight.map["bracket_ns"] == 100
    assert reads == [0, SECOND, SECOND * 31 // 20, SECOND * 51 // 20]
    monotonic, boottime, realtime, width = glance()
    assert boottime >= monotonic - width > 0 and realtime > 0 and width >= 0


@pytest.mark.parametrize("abstract", [True, False])
def test_notifies_over_either_kind_of_socket(abstract: bool, tmp_path: Path) -> None:
    """Lines arrive in one datagram at a path or an abstract name; nobody listening is no error."""
    name = f"@np-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name[1:]}" if abstract else name)
        assert Notifier(name, 0).send("READY=1", "STATUS=on")
        assert end.recv(100) == b"READY=1\nSTATUS=on"
    assert not Notifier(str(tmp_path / "gone"), 0).send("READY=1")
    assert not Notifier("", 0).send("READY=1")


EPOCH = Epoch(1, 0, 1_000_000, 0, "hwmon", False, "b", (Channel("A", "bus_uv", "c", 1), Channel("B", "bus_uv", "c", 2)))


def test_a_failing_rail_is_told_once() -> None:
    """However many ticks miss a rail, it is told when it begins and when it has been quiet for two seconds."""
    watch, told = RailWatch(EPOCH), []
    for step in range(80):
        ticks = np.zeros(50, tick_dtype(2))
        ticks["t_ns"] = (step * 50 + np.arange(50)) * 1_000_000
        if 3 <= step < 20:
            ticks["readings"]["state"][::3, 1] = ReadingState.MISSING
            ticks["readings"]["error"][::3, 1] = 11
        told += [(step, change) for change in watch.see(ticks)]
        assert watch.failing == (["B"] if 3 <= step < 59 else [])
    assert told == [(3, RailChange("B", "EAGAIN")), (59, RailChange("B", ""))]


def test_refused_messages_are_told_without_a_flood(caplog: pytest.LogCaptureFixture) -> None:
    """Each peer is told of once a second with what and where, all are counted, and a crowd of peers is not told of."""
    now = [0]
    refusals = Refusals(lambda: now[0])
    for now[0] in (0, 1, SECOND - 1, SECOND):
        for peer in (b"\x0a", b"\x0b"):
            refusals.note("inferences", peer, VersionError(2, 1))
    assert refusals.count == 8 and len(caplog.records) == 4
    assert "inferences, peer 0b: the other end speaks version 2" in caplog.records[-1].getMessage()
    assert refusals.last and refusals.last.startswith("inferences, peer 0b")
    now[0] += SECOND
    for number in range(1000):
        refusals.note("history", number.to_bytes(4, "big"), WireError("x" * 1000))
    assert refusals.count == 1008 and len(caplog.records) < 30 and len(refusals.last) <= 200


def inference(begin_ms: float, end_ms: float, *layers_ms: float) -> Inference:
    """An inference with times in milliseconds."""
    durations = np.array([round(layer * 1e6) for layer in layers_ms], dtype="<i8")
    return Inference(bytes(16), 0, "e", round(begin_ms * 1e6), round(end_ms * 1e6), durations)


def test_the_latency_device_is_held_and_let_go(tmp_path: Path) -> None:
    """0 µs is written while it is wanted; a device that is not there is a state and no crash."""
    device = tmp_path / "cpu_dma_latency"
    device.write_bytes(b"")
    hold = LatencyHold(str(device))
    assert hold.state == "not held"
    hold.want(True)
    assert (hold.state, device.read_bytes()) == ("held at 0 µs", bytes(4))
    hold.want(False)
    assert hold.state == "not held"
    absent = LatencyHold(str(tmp_path / "absent"))
    absent.want(True)
    assert absent.state.startswith("refused: ") and "No such file" in absent.state


def test_restore_does_not_need_a_good_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was broken since is named, and what there is to restore is looked for all the same."""
    (tmp_path / "bad.toml").write_text("perod_us = 1")
    assert cli.main(["restore", "--config", str(tmp_path / "bad.toml"), "--runtime-dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "perod_us: unknown key" in said.err and f"restoring from {tmp_path}" in said.err
    assert said.out == "nothing to restore\n"


JOINED = Epoch(1, 0, 1_000_000, 0, "sim", True, "b", (Channel("VIN", "power_uw", "c", 1),), totals=("VIN",))


def two_watts(begin_ms: int, end_ms: int, missing_from_ms: int = 10**6) -> Ticks:
    """A tick each millisecond in [begin, end) with 2 W, without a value from `missing_from_ms` on."""
    ms = np.arange(begin_ms, end_ms)
    ticks = np.zeros(len(ms), tick_dtype(1))
    ticks["t_ns"], ticks["index"], ticks["epoch"] = ms * 1_000_000, ms, 1
    ticks["readings"]["value"][:, 0] = 2_000_000
    ticks["readings"]["state"][:, 0] = np.where(ms >= missing_from_ms, ReadingState.MISSING, ReadingState.FRESH)
    return ticks


def test_join_waits_for_the_ticks_and_integrates() -> None:
    """An inference is joined once ticks passed its end; energy is power times time, unknown where there was no power."""
    join = Join(bytes(16))
    join.new_epoch(JOINED)
    join.add_inference(7, inference(10, 20, 4, 2))
    join.add_ticks(two_watts(0, 16))
    assert join.finished() is None
    join.add_ticks(two_watts(16, 26, missing_from_ms=24))
    join.add_inference(8, inference(20, 25, 1))
    batch = join.finished()
    assert batch is not None and join.finished() is None
    assert batch.columns["inference_energy_uj"].tolist() == [20_000, -1]
    assert batch.columns["energy_uj"].tolist() == [8_000, 4_000, 2_000]
    assert batch.columns["begin_ns"].tolist() == [12_000_000, 16_000_000, 22_000_000]
    assert batch.columns["inference"].tolist() == [7, 7, 8] and batch.columns["layer"].tolist() == [0, 1, 0]


def test_join_never_integrates_across_epochs() -> None:
    """Energy of an inference that began in the epoch before is unknown."""
    join = Join(bytes(16))
    join.new_epoch(JOINED)
    join.add_ticks(two_watts(0, 10))
    join.new_epoch(JOINED)
    join.add_inference(0, inference(5, 15, 1))
    join.add_ticks(two_watts(10, 20))
    batch = join.finished()
    assert batch is not None and batch.columns["inference_energy_uj"].tolist() == [-1]


def test_keys_and_the_allow_list(tmp_path: Path) -> None:
    """Keys are made once and kept from others; only a listed key passes."""
    public = make_keys(tmp_path)
    assert make_keys(tmp_path) == public and server_keys(tmp_path)[1].decode() == public
    client = zmq.curve_keypair()[0]
    known = zmq.utils.z85.decode(client)
    assert allow(tmp_path, client.decode(), "lap\ntop") and not allow(tmp_path, client.decode(), "")
    assert allowed_keys(tmp_path) == {client: Role.SUBSCRIBE}
    assert allow(tmp_path, client.decode(), "laptop", Role.SUBMIT) and allowed_keys(tmp_path) == {client: Role.SUBMIT}
    with pytest.raises(ConfigError, match="no public key"):
        allow(tmp_path, "short", "")

    def ask(mechanism: bytes, *credentials: bytes) -> bytes:
        answer, key = answer_zap([b"1.0", b"1", b"d", b"a", b"", mechanism, *credentials], allowed_keys(tmp_path), 7)
        assert (answer[4] == b"7 " + client) == (answer[2] == b"200") and (key == client or answer[2] == b"400")
        return answer[2]

    assert ask(b"CURVE", known) == b"200"
    assert ask(b"CURVE", bytes(32)) == ask(b"CURVE", b"x") == ask(b"NULL") == ask(b"PLAIN", known, b"") == b"400"
    (tmp_path / "server.secret").chmod(0o644)
    with pytest.raises(DaemonError, match="others may read it"):
        server_keys(tmp_path)
    (tmp_path / "server.secret").chmod(0o600)
    tmp_path.chmod(0o755)
    with pytest.raises(DaemonError, match="others may enter it"):
        server_keys(tmp_path)


def test_who_may_not_is_told_to_use_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keys are written and where they are read; without a key it says how one is made."""
    with pytest.raises(DaemonError, match=r"no key to read; make one with: neuralpowerd keys, and the same --config"):
        server_keys(tmp_path)
    make_keys(tmp_path)

    def refuse(path: object, *args: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DaemonError, match=r"server\.secret: Permission denied; use sudo, or be the daemon's user$"):
        server_keys(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("neuralpowerd.live.keys._replace", lambda folder, *more: refuse(folder))
    with pytest.raises(DaemonError, match=r"Permission denied; use sudo, or be the daemon's user$"):
        allow(tmp_path, "a" * 40, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
def test_root_shows_the_keys_of_the_daemons_user_and_of_no_other(tmp_path: Path) -> None:
    """The folder's owner is the daemon's user; a secret of somebody else could be replaced by him."""
    public = make_keys(tmp_path)
    os.chown(tmp_path, 4321, 4321)
    os.chown(tmp_path / "server.secret", 4321, 4321)
    assert make_keys(tmp_path) == public
    os.chown(tmp_path / "server.secret", 4322, 4322)
    with pytest.raises(DaemonError, match="belongs to user 4322"):
        make_keys(tmp_path)


def test_a_key_taken_back(tmp_path: Path) -> None:
    """It is gone from the list, whoever else is in it stays, and lines that are none let nobody in."""
    make_keys(tmp_path)
    one, two = (zmq.curve_keypair()[0] for _ in range(2))
    allow(tmp_path, one.decode(), "")
    allow(tmp_path, two.decode(), "role=control", Role.SUBMIT)
    more = f"# note\n{'x' * 40} role=root\nshort role=submit\n"
    (tmp_path / "allowed").write_text((tmp_path / "allowed").read_text() + more)
    assert allowed_keys(tmp_path) == {one: Role.SUBSCRIBE, two: Role.SUBMIT}
    assert revoke(tmp_path, one.decode()) and not revoke(tmp_path, one.decode())
    assert allowed_keys(tmp_path) == {two: Role.SUBMIT}
    assert (tmp_path / "allowed").stat().st_mode & 0o777 == 0o600
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    (tmp_path / "allowed.new").symlink_to(precious)
    assert revoke(tmp_path, two.decode()) and precious.read_text() == "as it was"


@pytest.mark.parametrize(
    "words", [["allow", "-" + "a" * 39], ["allow", "-" + "a" * 39, "--note", "x"], ["revoke", "-" + "b" * 39]]
)
def test_a_key_that_begins_like_an_option(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One in 85 does."""
    (tmp_path / "d.toml").write_text(f'[tcp]\nkeys_dir = "{tmp_path}/keys"\n')
    assert cli.main([words[0], "--config", str(tmp_path / "d.toml"), *words[1:]]) == 0
    said = capsys.readouterr().out
    assert ("allowed to subscribe" in said and str(tmp_path / "keys/allowed") in said) or said == "was not allowed\n"


def test_marks_are_limited_by_peer_and_in_all(tmp_path: Path) -> None:
    """One peer fills a part of what all may, all together an eighth of the journal; after a while they may again."""
    now = [0.0]
    limit = MarkLimit(32 << 20, lambda: now[0])

    def flood(peer: bytes) -> int:
        for number in range(100_000):
            try:
                limit.take(peer, 4096)
            except WireError as error:
                assert "wait" in str(error)
                return number
        return -1

    first = flood(b"one")
    assert 200 < first < 260 and flood(b"one") == 0, "a quarter of 4 MiB"
    assert first + sum(flood(b"%d" % number) for number in range(20)) < (4 << 20) / 4096
    now[0] += 300
    assert flood(b"one") == first


def test_without_the_sampler_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` without the extension prints the exact command that reinstalls with it and ends with 1."""
    monkeypatch.setattr(neuralpower_sampler, "AVAILABLE", False, raising=False)
    assert cli.main(["run"]) == 1
    assert capsys.readouterr().err.rstrip().endswith(neuralpower_sampler.REINSTALL)


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows how it is used."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "neuralpowerd run --source sim" in capsys.readouterr().out


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_a_suspend_begins_an_epoch_and_a_step_does_not(tmp_path: Path, signals: None) -> None:
    """When BOOTTIME has run ahead, a new epoch begins; a step of the wall clock is an event and moves no tick."""
    from neuralpowerd.service import Service

    tables = "[realtime]\npriority = 0\nlock_memory = false\n[journal]\nmebibytes = 1\n"
    config = parse(f'source = "sim"\nruntime_dir = "{tmp_path}"\nhistory_seconds = 10\n{tables}', "f")
    looks = 0

    def clocks() -> tuple[int, int, int, int]:
        nonlocal looks
        looks += 1
        if looks == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        now = time.monotonic_ns()
        slept = 5 * SECOND if looks >= 4 else 0
        return now, now + slept, now + slept + (SECOND if looks >= 8 else 0), 100

    Service(lambda: config, Notifier("", 0), clocks).run()
    records = JournalReader(tmp_path / "journal.ring").read(0, 1000).records
    assert [record.body["reason"] for record in records if record.kind is Kind.EPOCH] == ["a new stream", "resume"]
    events = {record.body["name"]: record.body for record in records if record.kind is Kind.EVENT}
    assert events["suspended"]["suspended_ns"] == 5 * SECOND and events["clock-stepped"]["step_ns"] == SECOND
    assert "daemon-stopped" in events


class Listener(Notifier):
    """Keeps what the service manager would be told, with the time."""

    def __init__(self) -> None:
        super().__init__("", 400_000)
        self.told: list[tuple[float, str]] = []

    def send(self, *lines: str) -> bool:
        self.told += [(time.monotonic(), line) for line in lines]
        return True


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_a_stalled_ring_starves_the_watchdog(tmp_path: Path, signals: None) -> None:
    """While no tick comes the watchdog is not fed and one event says so; when ticks come again it is fed again."""
    from neuralpowerd.service import Service

    tables = "[realtime]\npriority = 0\nlock_memory = false\n[journal]\nmebibytes = 1\n"
    config = parse(f'source = "sim"\nruntime_dir = "{tmp_path}"\nhistory_seconds = 10\n{tables}', "f")
    listener = Listener()
    at: dict[str, float] = {}

    def clocks() -> tuple[int, int, int, int]:
        loop, now = service.sampling._sampler, time.monotonic()
        assert loop is not None
        fed = sum(line == "WATCHDOG=1" for _, line in listener.told)
        if "stop" not in at and fed >= 2:
            loop.stop()
            at["stop"] = now
        elif "stop" in at and "start" not in at and now - at["stop"] > 2.2:
            loop.start()
            at["start"], at["fed"] = now, fed
        elif "start" in at and (fed >= at["fed"] + 2 or now - at["start"] > 10):
            os.kill(os.getpid(), signal.SIGTERM)
        ns = time.monotonic_ns()
        return ns, ns, ns, 100

    service = Service(lambda: config, listener, clocks)
    service.run()
    fed = [when for when, line in listener.told if line == "WATCHDOG=1"]
    assert not [when for when in fed if at["stop"] + 1.3 < when < at["start"]]
    assert [when for when in fed if when > at["start"]], "it was not fed again"
    records = JournalReader(tmp_path / "journal.ring").read(0, 1000).records
    assert [r.body["name"] for r in records if r.kind is Kind.EVENT].count("ring-stalled") == 1
    conditions = [r.body for r in records if r.kind is Kind.CONDITION]
    assert len(conditions) >= 3 and conditions[-1]["freshness"] == "nominal" and conditions[-1]["filter_s"] == 0.0
    assert (
        conditions[-1]["fresh_rate_low_hz"] <= conditions[-1]["fresh_rate_hz"] <= conditions[-1]["fresh_rate_high_hz"]
    )
