"""The process that estimates: a reader of both logs, which ends with the daemon and never keeps it waiting."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.patience import PATIENCE_S, until

from neuralpower_align.errors import Unattributable
from neuralpower_align.readings.channel_readings import FIRST_TICKS, RailReadings, rail_readings
from neuralpower_align.stream.online import HOLD_NS
from neuralpower_sampler import AVAILABLE, Ring
from neuralpower_wire import READING, Channel, Chip, Epoch, Kind, Record, WireError, decode, encode
from neuralpower_wire.batch import pack
from neuralpower_wire.estimates import EngineEstimate, batch_to_estimates, estimates_to_batch
from neuralpowerd.config import Config, EstimatesTable
from neuralpowerd.live.estimates import EstimatesProcess as End
from neuralpowerd.live.estimates_worker import BEHIND, Worker
from neuralpowerd.logs.journal import Journal, boot_id

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")
MS = 1_000_000
BEGIN_NS = 10**12

EPOCH = Epoch(
    1, 0, MS, BEGIN_NS, "hwmon", False, "board",
    (Channel("VDD_IN", "bus_uv", "c", 1, lsb=8000), Channel("VDD_IN", "shunt_uv", "c", 1, shunt_uohm=5000, lsb=40)),
    (Chip("c", 140, 140, 1, 840_000, "nominal"),), ("VDD_IN",),
)  # fmt: skip


class Logs:
    """Both logs in a folder, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ring = Ring.create(folder / "ticks.ring", 2, MS, 10)
        self.journal = Journal(folder / "journal.ring", 1 << 20, boot_id())
        self.ring.begin_epoch(pack(EPOCH.to_dict()))
        self.at = 0

    def ticks(self, count: int, shunt_uv: int = 5000) -> None:
        """More ticks of 5 V and some current."""
        readings = np.zeros(2, READING)
        readings["value"] = 5_000_000, shunt_uv
        readings["end_ns"] = 50_000
        for _ in range(count):
            self.ring.append(self.at, BEGIN_NS + self.at * MS, 1, readings)
            self.at += 1

    def inference(self, at_ms: float, engine: str = "e", layers: int = 3) -> None:
        """One of 1.5 ms."""
        begin = BEGIN_NS + int(at_ms * MS)
        body = {
            "session": bytes(16), "seq": 0, "engine": engine, "begin_ns": begin, "end_ns": begin + 3 * MS // 2,
            "durations_ns": np.full(layers, MS // 3, "<i8"),
        }  # fmt: skip
        self.journal.append(Record(Kind.INFERENCE, begin + 2 * MS, body))


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    """Empty ones."""
    made = Logs(tmp_path)
    yield made
    made.ring.close()
    made.journal.close()


def test_readings_are_those_of_the_rail() -> None:
    """Current times the supply's voltage, from the tick that tells the supply on; held and missing ones left out."""
    from neuralpower_wire import Flag, ReadingState, tick_dtype

    ticks = np.zeros(FIRST_TICKS, tick_dtype(2))
    ticks["t_ns"] = BEGIN_NS + np.arange(FIRST_TICKS) * MS
    ticks["readings"]["value"] = 5_000_000, 5000
    ticks["readings"]["end_ns"] = 70_000
    ticks["readings"]["state"][3, 1] = ReadingState.MISSING
    ticks["readings"]["flags"][4, 1] = Flag.HELD
    rail = RailReadings(EPOCH, "VDD_IN")
    assert rail.take(ticks[:100], BEGIN_NS) is None
    found = rail.take(ticks[100:], BEGIN_NS)
    assert found is not None and found.read_ns.size == FIRST_TICKS - 2
    np.testing.assert_allclose(found.power_w, 5.0)
    # The chip hands the register over after 30 of the 48 bits of the shortest read.
    assert found.read_ns[3] == BEGIN_NS + 5 * MS + 70_000 * 30 // 48
    assert (found.window_ns, found.scan_ns, found.averaging) == (140e3, 840e3, 1)
    np.testing.assert_allclose(found.step_w, 0.04)
    with pytest.raises(Unattributable, match="no reading of power"):
        RailReadings(EPOCH, "VDD_SOC")


def test_the_worker_waits_for_a_full_window_and_says_for_what(logs: Logs) -> None:
    """It counts inferences from the journal, those from before it looked too, and says nothing twice."""
    logs.ticks(2100)
    for number in range(400):
        logs.inference(10 + 4 * number)
    worker = Worker(logs.folder, 60.0)
    worker.look()
    message = worker.message(7)
    assert message is not None
    first, engines = batch_to_estimates(decode(message["frames"]))
    assert first == 7 and [each.engine for each in engines] == ["e"]
    assert (engines[0].state, engines[0].inferences, len(engines[0].unit)) == ("waiting", 400, 0)
    assert "more of readings" in engines[0].why and message["status"]["state_bytes"] > 0
    assert worker.message(8) is None
    logs.inference(1700)
    logs.ticks(100)
    worker.look()
    again = worker.message(8)
    assert again is not None and batch_to_estimates(decode(again["frames"]))[1][0].inferences == 401


def test_the_worker_goes_on_behind_an_unknown_record(logs: Logs) -> None:
    """A record of a newer version's kind is passed over."""
    logs.ticks(2100)
    logs.inference(10)
    logs.journal.append(Record(Kind.UNKNOWN, BEGIN_NS + 15 * MS, {"kind": 8, "packed": b"\x80"}))
    logs.inference(20)
    worker = Worker(logs.folder, 60.0)
    worker.look()
    online = worker.stream.online
    assert online is not None and online.arrived.engines["e"].count == 2


def test_ticks_that_were_overwritten_are_counted(logs: Logs) -> None:
    """The ring went round while the worker got no processor."""
    logs.ticks(100)
    worker = Worker(logs.folder, 60.0)
    worker.look()
    logs.ticks(logs.ring.capacity + 500)
    worker.look()
    first = logs.ring.next_index - int(BEHIND * logs.ring.capacity)
    assert worker.counts.skipped_ticks == first - 100 >= 500 and first >= logs.ring.oldest


def test_what_ran_while_a_sensor_was_acquired_is_not_late(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acquiring takes long, and both logs go on meanwhile: of any time inferences are handed over before readings are worked on."""
    logs.ticks(2100)
    logs.inference(10)
    worker = Worker(logs.folder, 60.0)
    worker.look()
    online, begins, newest = worker.stream.online, [], []
    assert online is not None

    def add_inference(engine: str, begin_ns: int, *_: object) -> None:
        begins.append(begin_ns)
        # As long as a chunk waits for inferences: what comes later than that is late.
        assert online.newest_ns < begin_ns + HOLD_NS

    def step() -> bool:
        if not newest:
            logs.ticks(20_000)
            for number in range(200):
                logs.inference(2200 + 100 * number)
        newest.append(online.newest_ns)
        return False

    monkeypatch.setattr(online, "add_inference", add_inference)
    monkeypatch.setattr(online, "step", step)
    for _ in range(2):
        logs.ticks(10)
        worker.look()
    assert len(begins) == 200 and newest[-1] > BEGIN_NS + 20_000 * MS


def test_too_many_layers_are_refused_and_engines_bounded(logs: Logs) -> None:
    """What cannot be held is left out; the engine unseen for longest makes room."""
    from neuralpower_align.stream.arrivals import MAX_ENGINES, MAX_LAYERS

    logs.ticks(2100)
    worker = Worker(logs.folder, 60.0)
    worker.look()
    logs.inference(10, "wide", MAX_LAYERS + 1)
    for number in range(MAX_ENGINES + 3):
        logs.inference(20 + 5 * number, f"e{number}")
    worker.look()
    online = worker.stream.online
    assert online is not None and online.arrived.left_out == 1
    assert list(online.arrived.engines) == [f"e{number}" for number in range(3, MAX_ENGINES + 3)]


def _until(end: End) -> list[list[bytes]]:
    """The next messages of the process."""
    found: list[list[bytes]] = []

    def came() -> bool:
        found.extend(end.take())
        return bool(found)

    until(came, every_s=0.05)
    return found


def test_the_process_says_what_it_knows_and_ends_with_its_daemon(logs: Logs) -> None:
    """Started once, its messages are numbered on, and closing the pipe is enough to end it."""
    logs.ticks(2100)
    logs.inference(10)
    config = replace(Config(), runtime_dir=str(logs.folder), estimates=EstimatesTable(window_s=10.0, every_s=0.5))
    end = End(config)
    assert end.status["state"] == "waiting" and end.pid is None and end.take() == []
    end.start()
    end.start()
    process = end._process
    assert process is not None and process.stdin is not None
    found = _until(end)
    assert found and batch_to_estimates(decode(found[0]))[0] == 0
    assert end.status["running"] and end.status["state"] == "waiting"
    process.stdin.close()
    assert process.wait(PATIENCE_S) == 0, "at the lowest priority"
    end.take()
    assert end.pid is None and end.ended == 1
    end.start()
    assert end.pid is None, "not at once again"
    end.close()


def test_the_process_takes_no_more_than_its_share() -> None:
    """Under a share of a quarter it pauses three times as long as it works, whatever it works on. Counted in pauses: how long a busy machine
    takes for it says nothing."""
    program = """
import time
from neuralpowerd.live import estimates_worker
slept = []
time.sleep = slept.append
begin_s = time.process_time()
with estimates_worker.bounded(0.25):
    while time.process_time() < begin_s + 1:
        sum(range(1000))
print(sum(slept), time.process_time() - begin_s)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    slept_s, worked_s = map(float, done.stdout.split())
    assert slept_s / (slept_s + worked_s) > 0.7, "but for a slice that was begun"


def test_nothing_is_started_where_it_is_not_wanted(tmp_path: Path) -> None:
    """Switched off."""
    end = End(replace(Config(), runtime_dir=str(tmp_path), estimates=EstimatesTable(enabled=False)))
    end.start()
    assert end.pid is None and end.status == {"state": "off"}


def test_the_message_is_checked() -> None:
    """What is sent is what is read; columns and rows must fit together."""
    power = np.array([4.0, 4.0, np.nan])
    sent = EngineEstimate("e", "running", "", 400, np.array([0, 0, 1], np.uint32), power, power / 10, 0.01, 0.001)
    waiting = EngineEstimate("f", "waiting", "more", 3, np.zeros(0, np.uint32), np.zeros(0), np.zeros(0))
    batch = decode(encode(estimates_to_batch(3, [sent, waiting])))
    first, engines = batch_to_estimates(batch)
    assert first == 3 and (engines[0].inferences, engines[0].energy_j, engines[1].why) == (400, 0.01, "more")
    np.testing.assert_array_equal(engines[0].power_w, power)
    for broken in ({"state": "asleep"}, {"layers": 2}, {"layers": -1}, {"energy_j": "much"}, {"hash": 5}):
        rows = [{**batch.header["engines"][0], **broken}, batch.header["engines"][1]]
        with pytest.raises(WireError):
            batch_to_estimates(replace(batch, header={**batch.header, "engines": rows}))


@pytest.mark.parametrize("milliohm", [0, 50, 100])
def test_a_supply_that_gives_way_is_told_though_the_board_idled_first(milliohm: int) -> None:
    """Portions that begin with a minute of idling are the powers of the whole: what the supply does is told once something ran."""
    from neuralpower_wire import tick_dtype

    random = np.random.default_rng(8)
    ticks = np.zeros(80_000, tick_dtype(2))
    ticks["t_ns"] = BEGIN_NS + np.arange(ticks.size) * MS
    ran = np.arange(ticks.size) >= 60_000
    ampere = np.where(ran & (np.arange(ticks.size) // 7 % 2 == 0), 2.5, 1.0)
    volt = 5 - milliohm * 1e-3 * ampere + 0.002 * random.standard_normal(ticks.size)
    ticks["readings"]["value"] = np.stack([8000 * np.rint(volt / 0.008), 40 * np.rint(ampere * 5000 / 40)], axis=-1)
    ticks["readings"]["end_ns"] = 70_000
    whole = rail_readings(EPOCH, ticks, "VDD_IN", [])
    rail = RailReadings(EPOCH, "VDD_IN")
    parts = []
    for low in range(0, ticks.size, 250):
        some = ticks[low : low + 250]
        ran_ns = BEGIN_NS + 60_000 * MS if some["t_ns"][-1] >= BEGIN_NS + 60_000 * MS else None
        parts.append(rail.take(some, ran_ns))
    told = [part for part in parts if part is not None]
    assert whole is not None and told[0].read_ns[0] <= BEGIN_NS + 60_000 * MS
    power = np.concatenate([part.power_w for part in told])
    np.testing.assert_allclose(power, whole.power_w[-power.size :], rtol=2e-3)
    loaded = power[-20_000:][ampere[-20_000:] > 2]
    assert loaded.mean() == pytest.approx(2.5 * (5 - milliohm * 2.5e-3), rel=3e-3)


def test_readings_in_portions_are_those_of_the_whole(logs: Logs) -> None:
    """The same code makes both, waits of a driver included; portions know supply and transfer from the first ticks."""
    from neuralpower_wire import tick_dtype

    epoch = replace(EPOCH, chips=(replace(EPOCH.chips[0], behaviour="waiting"),))
    random = np.random.default_rng(3)
    ticks = np.zeros(3 * FIRST_TICKS, tick_dtype(2))
    ticks["t_ns"] = BEGIN_NS + np.arange(ticks.size) * MS
    current = 5000 + 40 * random.integers(-20, 20, ticks.size)
    ticks["readings"]["value"] = np.stack([5_000_000 - 8 * current, current], axis=-1)
    length = np.where(random.random((ticks.size, 2)) < 0.3, 400_000, 70_000)
    ticks["readings"]["begin_ns"] = np.cumsum(length, axis=1) - length
    ticks["readings"]["end_ns"] = np.cumsum(length, axis=1)
    whole = rail_readings(epoch, ticks, "VDD_IN", [])
    rail = RailReadings(epoch, "VDD_IN")
    parts = [
        part for low in range(0, ticks.size, 700) if (part := rail.take(ticks[low : low + 700], BEGIN_NS)) is not None
    ]
    assert whole is not None and whole.waits_ns is not None and len(parts) > 3
    np.testing.assert_array_equal(np.concatenate([part.read_ns for part in parts]), whole.read_ns)
    np.testing.assert_allclose(np.concatenate([part.power_w for part in parts]), whole.power_w, rtol=1e-3)
    seen = np.concatenate([part.waits_ns for part in parts if part.waits_ns is not None])
    np.testing.assert_array_equal(seen, whole.waits_ns)
    assert {part.place for part in parts} == {whole.place} and whole.place != 1.0
