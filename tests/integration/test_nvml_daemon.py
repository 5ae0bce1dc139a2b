"""The daemon on GPUs: a minute over the stand-in for NVIDIA's library against its truth, and a GPU that is lost. Simulated."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from benchmarks.daemon.nvml import figures
from daemon_process import Daemon
from tests.worlds.gpu.nvml_library import stand_in

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Epoch, Kind, ReadingState, Ticks

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs the C sampler")

TABLES = 'history_seconds = 120\n[journal]\nmebibytes = 2\n[nvml]\nlibrary = "{}"\n'
MINUTE_NS = 63_000_000_000
"""With a turn of the counter at each end."""


def on_gpus(words: str, signed: bool = True) -> Daemon:
    """A daemon on the stand-in that `words` describe, not started yet; only where it is `signed` does it tell a stand-in from NVIDIA's."""
    made = Daemon()
    made.environment["NVML_STAND_IN"] = words
    text = made.file.read_text().partition("\n")[2].partition("\n")[0]
    made.file.write_text(f'source = "nvml"\n{text}\n{TABLES.format(stand_in(signed))}')
    return made


def newest_ns(daemon: Daemon) -> int:
    """When its newest tick was."""
    return int(daemon.ticks(daemon.ask("ticks").next - 1, 1)["t_ns"][0])


@pytest.fixture
def minute() -> Iterator[Daemon]:
    """A daemon that has run for a minute and more."""
    made = on_gpus("")
    try:
        made.start()
        first_ns = newest_ns(made)
        while newest_ns(made) < first_ns + MINUTE_NS:
            assert made.process is not None and made.process.poll() is None
            time.sleep(1)
        yield made
    finally:
        made.close()


def holes_share(ticks: Ticks, longest_ns: int) -> float:
    """Share of the time in which no tick was for longer than this: what a busy machine lets nobody see."""
    gaps = np.diff(ticks["t_ns"])
    return float(np.sum(gaps[gaps > longest_ns]) / (ticks["t_ns"][-1] - ticks["t_ns"][0]))


@pytest.mark.slow
def test_a_minute_of_a_gpu_is_what_it_was(minute: Daemon) -> None:
    """Fresh rates within 1 %, energy within 0.2 % by the counter and 1 % by the ring; everything says simulated."""
    ticks = minute.ticks(0, minute.ask("ticks").next)
    record = minute.records(Kind.EPOCH)[0]
    epoch = Epoch.from_dict(record.body)
    assert epoch.simulated and epoch.source == "nvml" and epoch.totals == ("gpu0",)
    unseen = holes_share(ticks, 40_000_000)
    for (name, _), (ours, truth) in figures(epoch, ticks).items():
        if "counter" in name:
            assert ours == pytest.approx(truth, rel=0.002), name
        elif "ring" in name or name == "fresh rate of gpu0":
            assert ours == pytest.approx(truth, rel=0.01), name
        else:  # a field keeps only its newest value: what a hole hid is lost
            assert truth * (0.99 - unseen) <= ours <= truth * 1.01, name
    status = minute.ask("status").body
    assert (
        status is not None
        and status["simulated"]
        and status["rails"].keys() == {"gpu0", "gpu0.instant", "gpu0.average"}
    )
    rates = status["fresh_rates"]
    assert rates["gpu0 samples"]["kind"] == "known"
    assert rates["gpu0 samples"]["rate_hz"] == pytest.approx(1e3 / 21, rel=0.01 + unseen)
    assert rates["gpu0 instant"]["kind"] == "known"
    condition = minute.records(Kind.CONDITION)[-1].body
    assert condition["power_limit_w.gpu0"] == 700.0 and condition["throttle_reasons.gpu0"].startswith("software")


def test_a_lost_gpu_is_told_and_the_others_go_on() -> None:
    """Its readings are missing with ENODEV, the XID is an event, the other GPU's are there, and the daemon ends well."""
    daemon = on_gpus("gpus=2 lost_after_ms=8000")
    try:
        daemon.start()
        daemon.until(lambda: {"rail-failing", "gpu-error"} <= {*daemon.events()})
        failing = [each.body for each in daemon.records(Kind.EVENT) if each.body["name"] == "rail-failing"]
        assert {each["error"] for each in failing} == {"ENODEV"}
        error = next(each.body for each in daemon.records(Kind.EVENT) if each.body["name"] == "gpu-error")
        assert (error["gpu"], error["xid"]) == (0, 79)
        last = daemon.ticks(daemon.ask("ticks").next - 1, 1)["readings"][0]
        channels = Epoch.from_dict(daemon.records(Kind.EPOCH)[0].body).channels
        lost = [reading["state"] == ReadingState.MISSING for reading in last]
        assert lost == [channel.rail.startswith("gpu0") for channel in channels]
        status, logged = daemon.stop()
        assert status == 0 and "XID 79" in logged and "Traceback" not in logged
    finally:
        daemon.close()
