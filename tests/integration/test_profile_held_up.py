"""A virtual device that is stopped for seconds while it runs, against a real daemon: it goes on, and what was read is true."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from daemon_process import Daemon

from neuralpower.experiment.experiment import ASIDE
from neuralpower.profiler.marks import spans
from neuralpower.virtual.device.truth import Truth
from neuralpower_wire import Kind, ReadingState, Timeline

STOPPED_S = 3.0


def test_a_device_that_was_stopped_goes_on(daemon: Daemon) -> None:
    """Every inference arrives, ticks miss readings for just the time that was not published, and the others show what was."""
    truth_path = daemon.folder / "truth.json"
    command = [sys.executable, "-m", "neuralpower.cli", "profile", "lenet5", "--virtual", "--runs", "900", "--json"]
    command += ["--address", str(daemon.folder), "--truth", str(truth_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as device:
        daemon.until(lambda: len(daemon.records(Kind.INFERENCE)) > 20)
        device.send_signal(signal.SIGSTOP)
        until_ns = time.monotonic_ns() + round(STOPPED_S * 1e9)
        daemon.until(lambda: time.monotonic_ns() >= until_ns)
        device.send_signal(signal.SIGCONT)
        told, errors = device.communicate(timeout=120)
    assert device.returncode == 0, errors
    (engine,) = json.loads(told)["engines"]
    truth = Truth.read(truth_path)
    assert engine["acknowledged"] == engine["inferences"] + engine["unprofiled"] == truth.named("lenet5").runs
    assert truth.unpublished_s > STOPPED_S - 2.0 and any("came too late" in note for note in engine["notes"])

    begin_ns = truth.named("lenet5").begin_ns[0]
    ticks = daemon.ticks(0, daemon.ask("ticks").next)
    ticks = ticks[ticks["t_ns"] > begin_ns]
    missing = (ticks["readings"]["state"] == ReadingState.MISSING).all(axis=1)
    missing_s = np.diff(ticks["t_ns"])[missing[1:]].sum() * 1e-9
    assert missing_s == pytest.approx(truth.unpublished_s, rel=0.2)
    timeline = Timeline(daemon.folder / "timeline")
    records = timeline._records[: timeline.count].copy()
    timeline.close()
    at = np.searchsorted(records["start_ns"], ticks["t_ns"][~missing], side="right") - 1
    drawn_w = records["power_uw"][at, 0] * 1e-6
    read_w = np.prod(ticks["readings"]["value"][~missing][:, :2], axis=1) * 1e-12 / 5000e-6
    assert read_w.mean() == pytest.approx(drawn_w.mean(), rel=0.01)
    for span in spans(daemon.records(Kind.MARK)):
        assert span.kind != ASIDE or not np.any(
            (np.array(truth.named("lenet5").begin_ns) < span.end_ns)
            & (np.array(truth.named("lenet5").end_ns) > span.begin_ns)
        )
