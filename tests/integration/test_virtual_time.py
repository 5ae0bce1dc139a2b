"""A run made in virtual time beside the same run in real time: a daemon, a recorder and `neuralpower profile`."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from daemon_process import Daemon
from tests.patience import until
from tests.worlds.runs.make import BUS_HZ, UserRun, make, write

from neuralpower.cli import main
from neuralpower.profiler.marks import spans
from neuralpower.recordings.recorder import record
from neuralpower.recordings.recording import Recording
from neuralpower.virtual.device.truth import Truth
from neuralpower_wire import Kind

SEED, NETWORK = 5, "alexnet"
TABLES = f"history_seconds = 60\n[sim]\nseed = {SEED}\nbus_hz = {BUS_HZ}\n[realtime]\npriority = 0\n[journal]\nmebibytes = 8\n"
KINDS = {Kind.INFERENCE, Kind.ENGINE, Kind.MARK, Kind.CLOCK, Kind.CONDITION, Kind.EPOCH}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One with this seed's chip."""
    made = Daemon()
    try:
        made.configure("", tables=TABLES)
        yield made.start()
    finally:
        made.close()


@pytest.mark.slow
def test_virtual_time_makes_what_real_time_makes(daemon: Daemon, tmp_path: Path) -> None:
    """The same marks, records, engines and epoch; inferences to the number; durations, anchors, pauses and power to their scatter."""
    stop = threading.Event()
    recorder = threading.Thread(target=record, args=(str(daemon.folder), tmp_path / "real"), kwargs={"stop": stop, "past": True})  # fmt: skip
    recorder.start()
    until(lambda: (tmp_path / "real" / "recording.json").exists() and len(Recording(tmp_path / "real").ticks()) > 1000)
    truth = tmp_path / "truth.json"
    arguments = ["profile", NETWORK, "--virtual", "--seconds", "1", "--seed", str(SEED), "--truth", str(truth)]
    assert main([*arguments, "--address", str(daemon.folder), "--json"]) == 0
    stop.set()
    recorder.join()
    made = make(UserRun(SEED, (NETWORK,), 1.0))
    write(made, tmp_path / "virtual")
    real, virtual = Recording(tmp_path / "real"), Recording(tmp_path / "virtual")
    assert _marks(real) == _marks(virtual)
    assert {each.kind for each in real.records()} >= KINDS and {each.kind for each in virtual.records()} == KINDS
    assert real.engines() == virtual.engines()
    (one,), (other,) = real.epochs(), virtual.epochs()
    own = {"number": 0, "first_index": 0, "t0_ns": 0}
    assert {**one.to_dict(), **own} == {**other.to_dict(), **own}
    assert real.ticks().dtype == virtual.ticks().dtype
    for engine in real.engines():
        mine, theirs = (_inferences(each, engine) for each in (real, virtual))
        assert mine[0].shape == theirs[0].shape
        # Wander of the clock is 0.2 %, and differs.
        np.testing.assert_allclose(mine[1].mean(axis=0), theirs[1].mean(axis=0), rtol=0.02, atol=500)
        assert _slack(mine).mean() == pytest.approx(_slack(theirs).mean(), abs=5_000)
        pauses = [each[0][1:, 0] - each[0][:-1, 1] for each in (mine, theirs)]
        for share in (0.25, 0.5, 0.75):
            assert np.quantile(pauses[0], share) == pytest.approx(np.quantile(pauses[1], share), rel=0.05, abs=50_000)
    (ran,) = Truth.read(truth).engines.values()
    (simulated,) = made.truth.engines.values()
    assert (ran.runs, ran.unprofiled) == (simulated.runs, simulated.unprofiled)
    np.testing.assert_allclose(ran.power_w, simulated.power_w, rtol=0.05)
    power = [_running_w(each) for each in (real, virtual)]
    assert power[0].mean() == pytest.approx(power[1].mean(), rel=0.03)
    assert power[0].std() == pytest.approx(power[1].std(), rel=0.1)


def _marks(recording: Recording) -> Counter[tuple[str, str, str]]:
    """How often each was declared, and of what; what only real time has, waiting, is none."""
    return Counter((span.kind, span.name, json.dumps(sorted(span.more.items()))) for span in spans(recording.records()))


def _inferences(recording: Recording, engine: str) -> tuple[np.ndarray, np.ndarray]:
    """Anchors (n, 2) and durations (n, layers) of an engine, ns."""
    mine = [each for each in recording.inferences() if each.engine == engine]
    anchors = np.array([(each.begin_ns, each.end_ns) for each in mine])
    return anchors, np.stack([each.durations_ns for each in mine])


def _slack(inferences: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Time between the anchors that is no layer's."""
    anchors, durations = inferences
    return np.asarray(np.diff(anchors, axis=1)[:, 0] - durations.sum(axis=1))


def _running_w(recording: Recording) -> np.ndarray:
    """What the board was read to draw from the first inference to the last, W."""
    anchors = np.array([(each.begin_ns, each.end_ns) for each in recording.inferences()])
    t_ns, power_w = recording.ticks()["t_ns"].astype(np.int64), recording.total_power_w()
    return np.asarray(power_w[(t_ns > anchors.min()) & (t_ns < anchors.max()) & np.isfinite(power_w)])
