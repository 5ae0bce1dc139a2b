"""Sets the stage: daemon, recorder and workload at work together, and a recording at the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..console import progress
from ..errors import Failure, InputError
from ..subscriber.client import Client
from ..virtual.device.truth import Truth
from ..virtual.run import SWEEP, run_virtual
from . import workload
from .processes import Process, runtime_directory
from .sensor import DrawnSensor

RAILS_ONLY_SECONDS = 30.0
"""How long real rails are recorded where there is no network to run on them."""


@dataclass(frozen=True)
class DemoRecording:
    """What was recorded, the daemon's last status, and the truth where the device was virtual."""

    recording: Path
    status: dict[str, Any]
    truth: Truth | None


def record_everything(directory: Path, sensor: DrawnSensor) -> DemoRecording:
    """Run the daemon, the recorder and the workload; returns when all of them have ended.

    Raises:
        Failure: one of them failed.
    """
    recording = directory / "recording"
    with ExitStack() as stack:
        rundir = stack.enter_context(runtime_directory())
        config = directory / "neuralpowerd.toml"
        config.write_text(sensor.daemon_config(rundir), encoding="utf-8")
        daemon = stack.enter_context(
            Process(["neuralpowerd", "run", "--config", str(config)], directory / "neuralpowerd.log", signal.SIGTERM)
        )
        client = stack.enter_context(Client(rundir))
        daemon.wait_until(lambda: _answers(client))
        recorder = stack.enter_context(
            Process(
                ["neuralpower.cli", "record", str(rundir), "-o", str(recording), "--past", "all"],
                directory / "recorder.log",
                signal.SIGINT,
            )
        )
        recorder.wait_until((recording / "recording.json").exists)
        truth = _run_workload(client, rundir, directory, sensor.seed, [daemon, recorder])
        status = client.status()
    return DemoRecording(recording, status, truth)


def _answers(client: Client) -> bool:
    try:
        return bool(client.status())
    except (Failure, InputError):
        return False


def _run_workload(
    client: Client, rundir: Path, directory: Path, seed: int, processes: Sequence[Process]
) -> Truth | None:
    """The networks on the virtual device, or, on real rails, the time to watch them."""
    if not client.status().get("simulated"):
        _watch_rails(processes)
        return None
    with progress("running networks and single layers on the virtual device (simulated)", 1) as advance:

        def show(done: int, total: int, name: str) -> None:
            check(processes)
            advance(done / total, f"{done} of {total} {name}")

        return run_virtual(
            [*workload.TRAINING, workload.HELD_OUT, workload.REPEATED, SWEEP],
            rundir,
            seed,
            workload.SECONDS_EACH,
            show,
            sweep_size=workload.SWEEP_SIZE,
            sweep_seconds=workload.SWEEP_SECONDS,
            idle_s=workload.IDLE_S,
            truth_path=directory / "truth.json",
        )


def _watch_rails(processes: Sequence[Process]) -> None:
    with progress("recording this machine's rails", RAILS_ONLY_SECONDS) as advance:
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < RAILS_ONLY_SECONDS:
            check(processes)
            advance(passed, f"{passed:.0f} s")
            time.sleep(0.5)


def check(processes: Sequence[Process]) -> None:
    """Failure if one of them has ended."""
    for process in processes:
        process.check()
