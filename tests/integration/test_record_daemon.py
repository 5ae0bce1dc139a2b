"""Recording a real daemon with the chip in software: paused, killed, restarted, on a full disk."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S, until

from neuralpower import Client, Recording

pytest.importorskip("neuralpowerd")

PERIOD_NS = 1_000_000
"""Of a daemon that is told none."""


def start_daemon(run: Path) -> subprocess.Popen[bytes]:
    """A daemon over the simulated chip, up and sampling."""
    command = [sys.executable, "-m", "neuralpowerd", "run", "--source", "sim", "--runtime-dir", str(run)]
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def ticking() -> bool:
        assert daemon.poll() is None
        with Client(str(run), past=True) as client:
            return bool(client._history.ask("ticks", first=0, count=1))

    until(lambda: (run / "history.ipc").exists() and ticking())
    return daemon


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run directory."""
    from neuralpower_sampler import AVAILABLE

    if not AVAILABLE:
        pytest.skip("the sampler is not built")
    return tmp_path / "run"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that end with the test, however it ends."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        with process:  # closes its pipes and waits
            process.kill()


def recorder(run: Path, folder: Path, *more: str, limit: int | None = None) -> subprocess.Popen[bytes]:
    """The command `neuralpower record`, with the largest file it may write."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "neuralpower.cli", "record", str(run), "-o", str(folder), "--json", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limited)


def taken(run: Path) -> int:
    """Ticks that the daemon has taken, whoever records them."""
    with Client(str(run), past=True) as client:
        reply = client._history.ask("ticks", first=0, count=1)
    return reply.reply.next if reply else 0


def held(folder: Path) -> int:
    """Ticks in a recording that is still being written."""
    return len(Recording(folder).ticks()) if (folder / "recording.json").exists() else 0


@pytest.mark.slow
def test_pause_late_joining_and_a_killed_daemon_lose_nothing(
    run: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """Joining late, a pause of 5,000 ticks and kill -9 of the daemon with a restart: every tick is held, missed slots are exact."""
    daemon = start_daemon(run)
    processes.append(daemon)
    until(lambda: taken(run) > 1000)
    recording = recorder(run, tmp_path / "rec", "--past", "all")
    processes.append(recording)
    until(lambda: held(tmp_path / "rec") > 1500)
    recording.send_signal(signal.SIGSTOP)
    paused = taken(run)
    until(lambda: taken(run) > paused + 5000)
    recording.send_signal(signal.SIGCONT)
    until(lambda: held(tmp_path / "rec") > paused)
    daemon.kill()
    daemon.wait()
    slots_again_ns = time.monotonic_ns() + 500 * PERIOD_NS
    until(lambda: time.monotonic_ns() > slots_again_ns)
    processes.append(start_daemon(run))
    before = held(tmp_path / "rec")
    until(lambda: held(tmp_path / "rec") > before + 1000)
    recording.send_signal(signal.SIGINT)
    out, err = recording.communicate(timeout=PATIENCE_S)
    assert recording.returncode == 0, err
    summary = json.loads(out)
    assert (summary["ticks_lost"], summary["records_lost"], summary["simulated"]) == (0, 0, True)
    ticks = Recording(tmp_path / "rec").ticks()
    assert ticks["index"].tolist() == list(range(len(ticks)))
    assert summary["ticks"] == len(ticks)
    assert summary["missed_slots"] == int(ticks["slot"][-1] - ticks["slot"][0]) + 1 - len(ticks) >= 500
    statistics = Recording(tmp_path / "rec").tick_statistics()
    assert (statistics.missed_slots, statistics.epochs) == (summary["missed_slots"], 2)


def test_a_killed_recorder_costs_nothing_once_it_is_started_again(
    run: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """kill -9 leaves all synced ticks readable; the next run on the folder fetches the rest."""
    processes.append(start_daemon(run))
    first = recorder(run, tmp_path / "rec")
    processes.append(first)
    until(lambda: held(tmp_path / "rec") > 1500)
    first.kill()
    first.wait()
    assert held(tmp_path / "rec") > 1500
    second = recorder(run, tmp_path / "rec", "--seconds", "1")
    processes.append(second)
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, err
    assert json.loads(out)["ticks_lost"] == 0
    recording = Recording(tmp_path / "rec")
    index = recording.ticks()["index"]
    assert index.tolist() == list(range(int(index[0]), int(index[-1]) + 1))
    assert recording.losses().records_lost == 0


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_costs_nothing_written(
    run: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """At the limit the recorder ends with status 1 and one line; what was synced is readable, and recording can go on."""
    processes.append(start_daemon(run))
    full = recorder(run, tmp_path / "rec", limit=400_000)
    processes.append(full)
    _, err = full.communicate(timeout=PATIENCE_S)
    assert full.returncode == 1
    lines = [line for line in err.decode().splitlines() if line.startswith("neuralpower:")]
    assert len(lines) == 1 and "the disk is full" in lines[0] and "are safe" in lines[0]
    assert b"Traceback" not in err
    saved = held(tmp_path / "rec")
    assert saved > 1000
    more = recorder(run, tmp_path / "rec", "--seconds", "1")
    processes.append(more)
    _, err = more.communicate(timeout=PATIENCE_S)
    assert more.returncode == 0, err
    index = Recording(tmp_path / "rec").ticks()["index"]
    assert len(index) > saved and index.tolist() == list(range(int(index[0]), int(index[-1]) + 1))


def test_a_recorder_waits_for_a_daemon(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """Where no daemon is, the recorder waits, says so once, and a stop ends it with one line."""
    waiting = recorder(tmp_path, tmp_path / "rec")
    processes.append(waiting)
    assert waiting.stderr is not None
    said = b""
    while b"is neuralpowerd running?" not in said:
        said = waiting.stderr.readline()
        assert said, "the recorder ended"
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 1
    assert b"no daemon at" in err and b"Traceback" not in err
