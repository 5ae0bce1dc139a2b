"""The real daemon as a process: what clients, signals and broken hardware see of it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from daemon_process import SMALL, Daemon, Process, receive
from tests.patience import PATIENCE_S

from neuralpower_sampler import AVAILABLE, RingReader
from neuralpower_wire import (
    Channel,
    Epoch,
    Kind,
    ReadingState,
    batch_to_ticks,
    decode,
    tick_dtype,
    total_power_w,
)
from neuralpower_wire.history import Reply, Request
from neuralpowerd.live.keys import make_keys

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    made = Daemon()
    yield made
    made.close()


def test_publishes_what_it_holds(daemon: Daemon) -> None:
    """Live ticks are contiguous, the history gives the same ticks, and everything says that it is simulated."""
    daemon.start()
    live, status = [], None
    for batch in receive(daemon.connect(zmq.SUB, "live"), PATIENCE_S):
        if batch.topic == b"rails":
            live.append(batch_to_ticks(batch)[1])
        elif batch.topic == b"status":
            status = batch.header["status"]
        if status is not None and sum(map(len, live)) > 500:
            break
    ticks = np.concatenate(live)
    assert np.all(np.diff(ticks["index"].astype("i8")) == 1) and len(ticks) > 500
    assert np.array_equal(daemon.ticks(int(ticks["index"][0]), len(ticks)), ticks)
    (document,) = daemon.ask("epochs").body["epochs"]
    epoch = Epoch.from_dict(document)
    assert epoch.simulated and epoch.freshness == "nominal" and epoch.fresh_rate_hz == 1000
    assert epoch.chips[0].scan_ns == 840_000, "a chip that scans faster than it is read is fresh once a tick"
    assert np.nanmean(total_power_w(epoch, ticks)) == pytest.approx(3.0, rel=0.05)
    assert np.array_equal(Epoch.from_dict(daemon.records(Kind.EPOCH)[0].body).to_dict(), epoch.to_dict())
    assert status is not None and status["simulated"] and status["rails"]["VDD_IN"] == pytest.approx(3.0, rel=0.1)
    assert status["ticks"]["lost"] == status["underruns"] == 0
    assert status["ticks"]["holds_s"] == pytest.approx(30) and 0 < status["ticks"]["held_s"] < 30 + PATIENCE_S
    assert status["ticks"]["bytes"] == 30_000 * ticks.dtype.itemsize and status["journal"]["bytes"] == 2 << 20
    assert status["journal"]["held_s"] > 0
    assert daemon.ask("status").body["pid"] == daemon.process.pid  # type: ignore[union-attr]  # the fixture started it
    assert [oct(path.stat().st_mode & 0o777) for path in daemon.folder.glob("*.ipc")] == ["0o660"] * 3
    code, _ = daemon.stop()
    assert code == 0 and not list(daemon.folder.glob("*.ipc"))


def test_kill_and_restart_go_on_in_the_same_logs(daemon: Daemon) -> None:
    """After kill -9 both logs keep their streams and indices, and the slots tell how long nobody measured."""
    daemon.start()
    tick_stream, journal_stream = daemon.ask("ticks").stream, daemon.ask("journal").stream
    daemon.until(lambda: daemon.ask("ticks").next > 300)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    assert daemon.ask("ticks").stream == tick_stream and daemon.ask("journal").stream == journal_stream
    ticks = daemon.ticks(0, daemon.ask("ticks").next)
    assert np.array_equal(ticks["index"], np.arange(len(ticks)))
    (border,) = np.flatnonzero(np.diff(ticks["epoch"]))
    assert ticks["epoch"][0] == 1 and ticks["epoch"][-1] == 2
    assert int(ticks["slot"][border + 1] - ticks["slot"][border]) > 20
    late_ns = (
        ticks["t_ns"] - ticks["slot"].astype("i8") * 1_000_000
    )  # less where the grid begins; some tick is punctual
    assert late_ns[: border + 1].min() == pytest.approx(late_ns[border + 1 :].min(), abs=50e6)
    reply = daemon.ask("ticks", first=int(border), count=10)
    assert reply.batch is not None and reply.batch.header["count"] == 1, "a batch spans two epochs"
    (paused,) = [record.body for record in daemon.records(Kind.EVENT) if record.body["name"] == "sampling-paused"]
    assert paused["slots"] == int(ticks["slot"][border + 1] - ticks["slot"][border]) - 1
    assert paused["next"] == border + 1 and paused["why"] == "the daemon was killed, or crashed"
    daemon.stop()
    daemon.start()
    daemon.until(lambda: daemon.events().count("sampling-paused") == 2)
    last = [record.body for record in daemon.records(Kind.EVENT) if record.body["name"] == "sampling-paused"][-1]
    assert last["why"] == "the daemon was stopped" and last["slots"] > 0 and last["stream"] == tick_stream


def test_reload_begins_an_epoch_and_a_bad_file_changes_nothing(daemon: Daemon) -> None:
    """SIGHUP takes a new period or other rails in a new epoch, and keeps the old configuration where the new one is wrong."""
    daemon.start()
    assert daemon.process is not None
    stream = daemon.ask("ticks").stream
    daemon.configure("period_us = 50")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: "reload-refused" in daemon.events())
    assert len(daemon.records(Kind.EPOCH)) == 1
    daemon.configure("period_us = 2000")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: "sampling-paused" in daemon.events())
    (paused,) = [record.body for record in daemon.records(Kind.EVENT) if record.body["name"] == "sampling-paused"]
    assert paused["why"] == "reload" and paused["slots"] is None, "slots of two grids were compared"
    assert daemon.ask("ticks").stream == stream and daemon.records(Kind.EPOCH)[-1].body["period_ns"] == 2_000_000
    daemon.configure("", tables=SMALL + '[sim]\nrails = ["VDD_IN"]\nidle_uw = [2000000]\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: len(daemon.records(Kind.EPOCH)) == 3)
    body = daemon.records(Kind.EPOCH)[-1].body
    assert body["stream"] != stream and body["previous"] == stream
    assert daemon.ask("ticks", stream=stream, count=5).batch is not None, "the stream before is no longer served"
    code, logged = daemon.stop()
    assert code == 0 and f"{daemon.file}: period_us: 50 is impossible" in logged


def test_a_second_daemon_gives_up_before_any_socket(daemon: Daemon) -> None:
    """A second daemon on the same folder says so in one line and leaves the first one's sockets and timeline alone."""
    daemon.start()
    before = {path.name: path.stat().st_ino for path in daemon.folder.iterdir()}
    command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(daemon.file)]
    second = subprocess.run(
        command, capture_output=True, text=True, env=daemon.environment, timeout=PATIENCE_S, check=False
    )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1 and "already sampled by another process" in second.stderr
    assert {path.name: path.stat().st_ino for path in daemon.folder.iterdir()} == before
    assert daemon.ask("ticks").next > 0


def test_a_bad_configuration_and_a_taken_port_are_one_line(daemon: Daemon) -> None:
    """Exit status 2 names file and key; exit status 1 names the port."""
    daemon.configure("perod_us = 1000")
    process = daemon.spawn()
    _, logged = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2 and logged.count("\n") == 1 and f"{daemon.file}: perod_us: unknown key" in logged
    subprocess.run([sys.executable, "-m", "neuralpowerd", "keys", "--config", str(keys(daemon, 1))], check=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        keys(daemon, taken.getsockname()[1])
        process = daemon.spawn()
        _, logged = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "Address already in use" in logged and logged.count("\n") == 1


def keys(daemon: Daemon, port: int) -> Path:
    """Configure TCP at the port."""
    daemon.configure("", tables=f'{SMALL}[tcp]\nbind = "127.0.0.1:{port}"\nkeys_dir = "{daemon.folder}/keys"\n')
    return daemon.file


def test_a_refused_start_leaves_no_logs(daemon: Daemon) -> None:
    """Or the next one would seem to resume; logs that were there before stay."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys(daemon, port)
    process = daemon.spawn()
    _, logged = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "no key to read; make one with: neuralpowerd keys" in logged
    assert not list(daemon.folder.glob("*.ring"))
    make_keys(daemon.folder / "keys")
    daemon.start()
    stream = daemon.ask("ticks").stream
    code, logged = daemon.stop()
    assert code == 0 and "a new stream" in logged
    assert f"clients with an allowed key: tcp://127.0.0.1:{port}, live at port {port}, history at {port + 1}" in logged
    (daemon.folder / "keys/server.secret").unlink()
    assert daemon.spawn().communicate(timeout=PATIENCE_S)[1]
    with RingReader(daemon.folder / "ticks.ring") as ring:
        assert ring.stream == stream
    assert (daemon.folder / "journal.ring").exists()


def test_tcp_lets_in_only_allowed_keys(daemon: Daemon) -> None:
    """A client with an allowed key hears the ticks and may ask; one with another key, or none, hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "neuralpowerd"]
    file = str(keys(daemon, port))
    made = subprocess.run([*run, "keys", "--config", file], check=True, capture_output=True, text=True)
    assert oct((daemon.folder / "keys/server.secret").stat().st_mode & 0o777) == "0o600"
    known, stranger = zmq.curve_keypair(), zmq.curve_keypair()
    subprocess.run([*run, "allow", known[0].decode(), "--note", "laptop", "--config", file], check=True)
    daemon.start()

    def connect(kind: int, pair: tuple[bytes, bytes] | None, at: int) -> zmq.Socket[bytes]:
        end: zmq.Socket[bytes] = daemon.context.socket(kind)
        daemon.ends.append(end)
        if pair:
            end.curve_publickey, end.curve_secretkey = pair
            end.curve_serverkey = made.stdout.strip().encode()
        if kind == zmq.SUB:
            end.subscribe(b"rails")
        end.connect(f"tcp://127.0.0.1:{at}")
        return end

    friend, other, naked = (connect(zmq.SUB, pair, port) for pair in (known, stranger, None))
    assert friend.poll(1000 * PATIENCE_S) and decode(friend.recv_multipart()).topic == b"rails"
    asker = connect(zmq.DEALER, known, port + 1)
    asker.send(Request(1, "ticks").encode())
    assert asker.poll(1000 * PATIENCE_S) and Reply.decode(asker.recv_multipart()).next > 0
    assert not other.poll(300) and not naked.poll(0)


def test_status_is_documented(daemon: Daemon) -> None:
    """docs/operations.md explains every key of the status and no other."""
    daemon.start()
    daemon.until(lambda: bool(daemon.ask("status").body))
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    rows = text.partition("## Status")[2].partition("\n## ")[0].splitlines()
    first_cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    assert {word for cell in first_cells for word in cell.split("`")[1::2]} == set(daemon.ask("status").body)


def test_greedy_clients_do_not_hold_up_others(daemon: Daemon) -> None:
    """A subscriber that never reads and one that asks for everything and takes no answer cost nobody else a tick."""
    daemon.configure("", tables=f"{SMALL}[publish]\nhigh_water = 10\n")
    daemon.start()
    deaf, greedy = daemon.connect(zmq.SUB, "live"), daemon.connect(zmq.DEALER, "history")
    deaf.rcvhwm = greedy.rcvhwm = 1
    live = daemon.connect(zmq.SUB, "live")
    daemon.until(lambda: bool(live.poll(0)))
    for number in range(900):
        greedy.send(Request(number, "ticks", first=0, count=4096).encode())
    indices: list[int] = []
    for batch in receive(live, PATIENCE_S):
        if batch.topic == b"rails":
            indices += batch_to_ticks(batch)[1]["index"].tolist()
        if len(indices) > 1000:
            break
    assert len(indices) > 1000 and np.all(np.diff(indices) == 1)
    status = daemon.ask("status").body
    assert status["ticks"]["lost"] == 0 and status["rss_bytes"] < 300e6


def test_deleted_sockets_are_made_anew(daemon: Daemon) -> None:
    """New clients find a daemon again whose sockets' files were deleted, and those that were connected never lost it."""
    daemon.start()
    live, asker = daemon.connect(zmq.SUB, "live"), daemon.connect(zmq.DEALER, "history")
    daemon.until(lambda: bool(live.poll(0)))
    for name in ("live", "history", "inferences"):
        (daemon.folder / f"{name}.ipc").unlink()
    assert daemon.ask("status").body, "asked again until the socket is back"
    daemon.until(lambda: daemon.events().count("socket-deleted") == 3)
    assert Process(daemon).hello().grant and (daemon.folder / "live.ipc").stat().st_mode & 0o777 == 0o660
    asker.send(Request(7, "ticks").encode())
    assert asker.poll(1000 * PATIENCE_S) and Reply.decode(asker.recv_multipart()).next > 0
    newest, indices = daemon.ask("ticks").next, list[int]()
    for batch in receive(live, PATIENCE_S):
        if batch.topic == b"rails":
            indices += batch_to_ticks(batch)[1]["index"].tolist()
            if indices[-1] >= newest:
                break
    assert indices[-1] >= newest and np.all(np.diff(indices) == 1)
    status, logged = daemon.stop()
    assert status == 0 and logged.count("live.ipc was deleted") == 1


def test_without_its_folder_the_daemon_ends(daemon: Daemon) -> None:
    """Where there is no folder to make a socket in, the daemon ends with a failure, so that it is started again."""
    daemon.start()
    away = daemon.folder.with_name(daemon.folder.name + "-away")
    daemon.folder.rename(away)  # in one step: sockets that are deleted one by one may be back before the folder is gone
    assert daemon.process is not None
    _, logged = daemon.process.communicate(timeout=PATIENCE_S)
    away.rename(daemon.folder)
    # Which of the files in it is missed first, a socket or the timeline, is chance.
    assert daemon.process.returncode == 1
    assert "cannot be made a socket" in logged or "no timeline" in logged, logged


def test_a_dead_virtual_device_is_noticed(daemon: Daemon) -> None:
    """A timeline whose writer died is closed and the rails idle; underruns are counted until then."""
    daemon.start()
    code = (
        "import os, sys, time; from neuralpower_wire import TimelineWriter; w = TimelineWriter(sys.argv[1]);"
        "t = time.monotonic_ns(); w.append([t], [t + 100_000_000], [[9_000_000] * 3]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(daemon.folder / "timeline")], check=True)
    daemon.until(lambda: "timeline-abandoned" in daemon.events())
    daemon.until(lambda: daemon.ask("status").body["underruns"] > 0)
    daemon.until(lambda: daemon.ask("status").body["rails"]["VDD_IN"] == pytest.approx(3.0, rel=0.1))


# ---- real files --------------------------------------------------------------------------------


def test_rails_of_sysfs_may_fail_and_return(daemon: Daemon) -> None:
    """Rails are read from sysfs; one that vanishes is missing, one line and one event each way, and the others go on."""
    chip = daemon.folder / "root/sys/class/hwmon/hwmon7"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina3221\n")
    for channel, rail in enumerate(("VDD_IN", "VDD_SOC"), 1):
        texts = {f"in{channel}_label": rail, f"in{channel}_input": "5000", f"in{channel + 3}_input": "4000"}
        for name, text in {**texts, f"shunt{channel}_resistor": "5000"}.items():
            (chip / name).write_text(f"{text}\n")
    daemon.configure(f'sysfs_root = "{daemon.folder}/root"')
    daemon.file.write_text(daemon.file.read_text().replace('source = "sim"', 'source = "auto"'))
    daemon.start()
    daemon.until(lambda: daemon.ask("status").body.get("total_w") is not None)
    status = daemon.ask("status").body
    assert not status["simulated"] and status["total_w"] == pytest.approx(4.0) and status["freshness"] == "unknown"
    (chip / "in5_input").write_text("")
    daemon.until(lambda: "rail-failing" in daemon.events())
    newest = daemon.ask("ticks").next - 1
    readings = daemon.ticks(newest, 1)["readings"][0]
    assert readings["state"].tolist().count(ReadingState.MISSING) == 1 and readings["value"][1] == 4000
    (chip / "in5_input").write_text("4000\n")
    daemon.until(lambda: "rail-recovered" in daemon.events())
    _, logged = daemon.stop()
    assert logged.count("VDD_SOC cannot be read") == 1 and logged.count("VDD_SOC can be read again") == 1


def test_a_rail_that_cannot_be_is_doubted(daemon: Daemon) -> None:
    """A shunt in the wrong unit: the total is not told, and status, journal and log name the rail and count its ticks."""
    chip = daemon.folder / "root/sys/class/hwmon/hwmon7"
    chip.mkdir(parents=True)
    texts = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000", "in4_input": "4500", "shunt1_resistor": "5"}
    for name, text in texts.items():
        (chip / name).write_text(f"{text}\n")
    daemon.configure(f'sysfs_root = "{daemon.folder}/root"')
    daemon.file.write_text(daemon.file.read_text().replace('source = "sim"', 'source = "auto"'))
    daemon.start()
    daemon.until(lambda: daemon.ask("status").body.get("doubted"))
    status = daemon.ask("status").body
    assert status["total_w"] is None and status["totals"] == [] and status["covers"] == ""
    doubted = status["doubted"]["VDD_IN"]
    assert doubted["ticks"] > 0 and doubted["why"] == "its shunt of 5 µΩ is not plausible"
    daemon.until(lambda: daemon.ask("status").body["doubted"]["VDD_IN"]["ticks"] > doubted["ticks"])
    assert daemon.events().count("rail-doubted") == 1
    _, logged = daemon.stop()
    assert logged.count("rail VDD_IN is doubted: its shunt of 5 µΩ is not plausible") == 1


def test_a_recording_is_replayed(daemon: Daemon) -> None:
    """Source replay gives recorded readings, each once and under their epoch's names, then none; simulated stays simulated."""
    ticks = np.zeros(200, tick_dtype(2))
    ticks["readings"]["value"] = 1000 + np.arange(400).reshape(200, 2)
    np.save(daemon.folder / "old.npy", ticks)
    channels = (Channel("A", "power_uw", "c", 1), Channel("B", "power_uw", "c", 2))
    old = Epoch(7, 0, 2_000_000, 0, "hwmon", True, "a board", channels, totals=("A",))
    (daemon.folder / "old.json").write_text(json.dumps(old.to_dict()))
    daemon.configure(f'replay = "{daemon.folder}/old.npy"')
    daemon.file.write_text(daemon.file.read_text().replace('source = "sim"', 'source = "replay"'))
    daemon.start()
    daemon.until(lambda: daemon.ask("ticks").next > 220)
    readings = daemon.ticks(0, 220)["readings"]
    assert np.array_equal(readings["value"][:200], ticks["readings"]["value"])
    assert np.all(readings["state"][200:] == ReadingState.MISSING) and np.all(readings["error"][200:] == errno.ENODATA)
    (document,) = daemon.ask("epochs").body["epochs"]
    epoch = Epoch.from_dict(document)
    assert (epoch.source, epoch.simulated, epoch.period_ns, epoch.rails()) == ("replay", True, 2_000_000, ["A", "B"])


def test_an_impossible_reload_goes_on_as_before(daemon: Daemon) -> None:
    """A period that the bus cannot carry is refused with what can be, and ticks go on coming."""
    daemon.start()
    assert daemon.process is not None
    daemon.configure("period_us = 1000", tables=f"{SMALL}[sim]\nbus_hz = 100000\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: "reload-refused" in daemon.events())
    daemon.until(lambda: len(daemon.records(Kind.EPOCH)) == 2)
    before = daemon.ask("ticks").next
    daemon.until(lambda: daemon.ask("ticks").next > before + 100)
    refused = [record.body for record in daemon.records(Kind.EVENT) if record.body["name"] == "reload-refused"]
    assert "possible: period_us = 2970 with 3 rails" in refused[0]["text"]
    assert daemon.records(Kind.EPOCH)[-1].body["reason"] == "reload refused"


def test_a_reload_whose_loop_cannot_start_goes_on_as_before(daemon: Daemon) -> None:
    """A processor that is not there: said in one line, and the ticks go on in their stream."""
    daemon.start()
    assert daemon.process is not None
    stream = daemon.ask("ticks").stream
    before = Epoch.from_dict(daemon.ask("epochs").body["epochs"][-1])
    daemon.configure("", tables=SMALL.replace("priority = 0", "priority = 0\ncpu = 900"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until(lambda: "reload-refused" in daemon.events())
    reached = daemon.ask("ticks").next
    daemon.until(lambda: daemon.ask("ticks").next > reached + 100)
    (refused,) = [record.body for record in daemon.records(Kind.EVENT) if record.body["name"] == "reload-refused"]
    assert "900" in refused["text"] and daemon.ask("ticks").stream == stream
    after = Epoch.from_dict(daemon.ask("epochs").body["epochs"][-1])
    assert (after.period_ns, after.channels, after.source) == (before.period_ns, before.channels, before.source)


@pytest.mark.parametrize(
    ("driver", "kind", "rate_hz"), [("continuous", "estimated", 1e6 / 6600), ("i2c", "known", 1e6 / 6600)]
)
def test_the_fresh_rate_is_told_with_its_kind(daemon: Daemon, driver: str, kind: str, rate_hz: float) -> None:
    """At the reset configuration the live rate is estimated or counted, with an interval."""
    sim = f'[sim]\nconfig = 0x7127\ndriver = "{driver}"\nbus_hz = 400000\n'
    daemon.configure("period_us = 2000", tables=SMALL + sim)
    daemon.start()
    daemon.until(lambda: daemon.ask("status").body.get("freshness") == kind)
    daemon.until(lambda: daemon.ask("status").body["fresh_rate_hz"] == pytest.approx(rate_hz, rel=0.01))
    status = daemon.ask("status").body
    assert status["fresh_rate_low_hz"] < status["fresh_rate_hz"] < status["fresh_rate_high_hz"]
    assert status["filter_s"] == 0.0
    assert status["bus_hz"] == {"sim@0": 400_000} and status["behaviour"]["sim@0"]["kind"] == "continuous"
    assert status["bus_occupancy"] > 0.3 and status["wakeups_per_s"]["loop"] > 100
    daemon.until(lambda: daemon.records(Kind.CONDITION)[-1].body["freshness"] == kind)
    condition = daemon.records(Kind.CONDITION)[-1].body
    assert condition["loop_wakeups_per_s"] > 100


def test_tells_the_service_manager(daemon: Daemon) -> None:
    """READY after the first tick and before any watchdog feed, a status text, a reload with its time, and the end."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(f"\0np-test-{os.getpid()}")
    channel.settimeout(PATIENCE_S)
    daemon.environment |= {"NOTIFY_SOCKET": f"@np-test-{os.getpid()}", "WATCHDOG_USEC": "200000"}
    process = daemon.spawn()
    seen: list[str] = []

    def wait_for(text: str) -> None:
        last = time.monotonic() + PATIENCE_S
        while not any(line.startswith(text) for line in seen):
            assert time.monotonic() < last, f"no {text} in {seen}"
            seen.extend(channel.recv(4096).decode().split("\n"))

    wait_for("READY=1")
    assert not any(line.startswith("WATCHDOG") for line in seen[: seen.index("READY=1")])
    wait_for("WATCHDOG=1")
    wait_for("STATUS=")
    process.send_signal(signal.SIGHUP)
    wait_for("MONOTONIC_USEC=")
    process.send_signal(signal.SIGTERM)
    wait_for("STOPPING=1")
    assert process.wait(PATIENCE_S) == 0
    channel.close()
