"""Recording through real sockets from a daemon reduced to its two sockets."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.patience import PATIENCE_S, until
from tests.worlds.fake_daemon import STREAM, FakeDaemon, engine, epoch, inference, ticks

from neuralpower import Client, Failure, InputError, Recording
from neuralpower.recordings.recorder import Summary, record
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_wire import Kind, Record, VersionError
from neuralpower_wire.batch import pack


class Recorder:
    """A recorder in a thread."""

    def __init__(self, run: Path, folder: Path, past: bool | float | None = True) -> None:
        self.stop, self.notices = threading.Event(), list[str]()
        self.result: Summary | Exception | None = None
        self.seen = 0
        self._thread = threading.Thread(target=self._run, args=(run, folder, past))
        self._thread.start()

    def _run(self, run: Path, folder: Path, past: bool | float | None) -> None:
        try:
            self.result = record(
                str(run), folder, past=past, stop=self.stop, on_notice=self.notices.append, on_progress=self._progress
            )
        except Exception as error:
            self.result = error

    def _progress(self, summary: Summary) -> None:
        self.seen = summary.ticks

    def end(self) -> Summary:
        """Stop it and return its summary."""
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert isinstance(self.result, Summary), self.result
        return self.result


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run directory of a daemon."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_recording_holds_all_that_was_published_and_all_that_was_not(run: Path, tmp_path: Path) -> None:
    """Live, dropped on the way, or before joining: every tick and inference is in the recording, nothing is lost."""
    with FakeDaemon(run) as daemon:
        daemon.add_ticks(ticks(0, 500), publish=False)
        daemon.add_records([Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM}), engine(), inference(0)])
        recorder = Recorder(run, tmp_path / "rec")
        until(lambda: recorder.seen >= 500)
        for first in range(500, 2000, 50):
            daemon.add_ticks(ticks(first, 50), publish=first % 150 != 0)
            daemon.add_records([inference(first)], publish=first % 100 == 0)
        summary = recorder.end()
    assert (summary.ticks, summary.ticks_lost, summary.inferences, summary.simulated) == (2000, 0, 31, True)
    recording = Recording(tmp_path / "rec")
    assert recording.ticks()["index"].tolist() == list(range(2000))
    assert len(recording.inferences()) == 31
    assert recording.losses().ticks_lost == recording.losses().records_lost == 0
    assert recording.engines()["abc"]["name"] == "net"
    assert recording.total_power_w()[0] == pytest.approx(5.0)
    assert recording.simulated
    assert not list((tmp_path / "rec" / "wal").iterdir())


def test_a_restarted_daemon_loses_nothing_and_its_missed_slots_are_exact(run: Path, tmp_path: Path) -> None:
    """The same stream goes on over a restart; ticks published to nobody are fetched, and the pause shows as missed slots."""
    daemon = FakeDaemon(run)
    with daemon:
        daemon.add_ticks(ticks(0, 100))
        recorder = Recorder(run, tmp_path / "rec")
        until(lambda: recorder.seen >= 100)
        daemon.add_ticks(ticks(100, 30), publish=False)
    daemon.epochs.append(epoch(2, 130))
    with daemon:

        def goes_on() -> bool:
            daemon.add_ticks(ticks(len(daemon.ticks), 1, slot=len(daemon.ticks) + 1000, number=2))
            return recorder.seen > 140

        until(goes_on)
        summary = recorder.end()
    assert (summary.ticks, summary.missed_slots, summary.ticks_lost) == (len(daemon.ticks), 1000, 0)
    statistics = Recording(tmp_path / "rec").tick_statistics()
    assert (statistics.missed_slots, statistics.lost, statistics.epochs) == (1000, 0, 2)
    assert statistics.lateness_p50_us == pytest.approx(50.0)


def test_what_the_history_no_longer_has_is_lost_and_said_so(run: Path, tmp_path: Path) -> None:
    """A gap older than the ring is counted with its index range, in the summary and by the recording."""
    with FakeDaemon(run) as daemon:
        daemon.add_ticks(ticks(0, 100))
        recorder = Recorder(run, tmp_path / "rec")
        until(lambda: recorder.seen >= 100)
        daemon.add_ticks(ticks(100, 200), publish=False)
        daemon.oldest_tick = 250
        daemon.add_ticks(ticks(300, 50))
        summary = recorder.end()
    assert (summary.ticks, summary.ticks_lost) == (200, 150)
    assert any("150 entries (100 to 249) are lost" in line for line in recorder.notices)
    losses = Recording(tmp_path / "rec").losses()
    assert losses.holes == {("ticks", STREAM): [range(100, 250)]}


def test_a_recorder_started_again_goes_on_and_fills_the_gap(run: Path, tmp_path: Path) -> None:
    """Stopping a recorder and starting it on its folder leaves no hole."""
    with FakeDaemon(run) as daemon:
        daemon.add_ticks(ticks(0, 100))
        first = Recorder(run, tmp_path / "rec")
        until(lambda: first.seen >= 100)
        first.end()
        daemon.add_ticks(ticks(100, 77), publish=False)
        second = Recorder(run, tmp_path / "rec", past=None)
        summary = second.end()
    assert summary.ticks == 77
    assert Recording(tmp_path / "rec").ticks()["index"].tolist() == list(range(177))


def test_an_engine_that_fell_out_of_the_journal_is_asked_for(run: Path, tmp_path: Path) -> None:
    """An inference that names an engine nobody described gets its description from the history."""
    with FakeDaemon(run, engines={"abc": dict(engine().body)}) as daemon:
        daemon.add_ticks(ticks(0, 10))
        daemon.add_records([inference(0)])
        recorder = Recorder(run, tmp_path / "rec")
        until(lambda: recorder.seen >= 10)
        recorder.end()
    recording = Recording(tmp_path / "rec")
    assert recording.engines()["abc"]["layers"] == ["a", "b"]
    assert recording.epochs() == [epoch()]


def test_two_recorders_do_not_share_a_folder(run: Path, tmp_path: Path) -> None:
    """The second recorder is refused with a line that names the folder and the first one's process."""
    with FakeDaemon(run) as daemon:
        daemon.add_ticks(ticks(0, 10))
        recorder = Recorder(run, tmp_path / "rec")
        until(lambda: recorder.seen >= 10)
        with pytest.raises(InputError, match=r"rec: another recorder writes here \(process \d+\)"):
            record(str(run), tmp_path / "rec", seconds=0)
        recorder.end()


def test_a_daemon_that_is_gone_at_the_end_is_said_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was received is kept, and the failure says that the end could not be asked for."""
    monkeypatch.setattr("neuralpower.subscriber.client.Client.catch_up.__defaults__", (0.5,))
    with FakeDaemon(run) as daemon:
        daemon.add_ticks(ticks(0, 10))
        recorder = Recorder(run, tmp_path / "rec")
        until(lambda: recorder.seen >= 10)
    recorder.stop.set()
    until(lambda: recorder.result is not None)
    assert isinstance(recorder.result, Failure)
    assert "gave no answer" in str(recorder.result)
    assert len(Recording(tmp_path / "rec").ticks()) == 10


def test_a_client_reads_rails_with_their_power(run: Path) -> None:
    """The laptop's loop: batches of ticks with watts, in order."""
    with FakeDaemon(run) as daemon, Client(str(run), past=True) as client:
        daemon.add_ticks(ticks(0, 100))
        batch = next(client.rails())
        assert (batch.first, len(batch)) == (0, 100)
        assert batch.total_power_w() == pytest.approx(5.0)
        assert batch.rail_power_w()["VDD_IN"] == pytest.approx(5.0)
        assert client.simulated
        assert client.epochs() == [epoch()]
        assert client.engine("unknown") is None
        client.mark("begin", "of the test")
        assert daemon.marks == [("begin", "of the test")]
        assert client.status() == {"ok": True}


def test_a_client_that_is_paused_misses_nothing(run: Path) -> None:
    """Live messages beyond the receive limit are dropped by the socket and fetched from the history, each tick once."""
    with FakeDaemon(run) as daemon, Client(str(run), past=True) as client:
        daemon.add_ticks(ticks(0, 10))
        next(client.rails())
        for first in range(10, 10 + 10 * 6000, 10):
            daemon.add_ticks(ticks(first, 10))
        got: list[int] = []

        def caught_up() -> bool:
            daemon.add_ticks(ticks(len(daemon.ticks), 1))
            for message in client.poll(0.5):
                assert isinstance(message, Ticks)
                got.extend(message.ticks["index"].tolist())
            return len(got) > 60_000

        until(caught_up)
        assert got == list(range(10, 10 + len(got)))
        assert client.ticks_lost == 0


def test_asking_nobody_is_one_clear_line(run: Path) -> None:
    """Without a daemon, asking fails with the address and the question whether it is running."""
    with Client(str(run)) as client:
        assert not client.connected
        with pytest.raises(Failure, match=r"no daemon at ipc://.*: is neuralpowerd running\?"):
            client.status()


def test_a_daemon_of_another_version_is_named(run: Path) -> None:
    """A client ends with the reason instead of receiving nothing for ever."""
    with FakeDaemon(run) as daemon, Client(str(run)) as client:

        def meet() -> bool:
            daemon.publish([b"rails", pack({"v": 2, "columns": []})])
            client.poll(0.05)
            return False

        with pytest.raises(VersionError, match="install the same neuralpower on both"):
            until(meet)


def test_a_slow_answer_is_waited_for(run: Path) -> None:
    """An answer that takes longer than a poll, as of a large engine or over a slow link, is taken and not asked for again."""
    with FakeDaemon(run, delay_s=0.4) as daemon:
        daemon.add_ticks(ticks(0, 200), publish=False)
        daemon.add_records([engine(), inference(1)], publish=False)
        got: list[Any] = []
        with Client(str(run), past=True) as client:
            until(lambda: got.extend(client.poll(0.05)) or sum(map(len, filter(_entries, got))) == 202)
    questions = [(request.do, request.first, request.hash) for request in daemon.asked if request.count]
    assert len(questions) == len(set(questions)) > 1


def _entries(message: Any) -> bool:
    return isinstance(message, Ticks | Records)
