"""Estimates of layers' power while things run: a process beside the daemon makes them, this end starts it and takes what it says.

A process and not a thread: numpy holds the interpreter's lock for milliseconds at a time, and acquiring a sensor takes seconds, in which
nothing would be published. It reads both logs like any reader, so nothing is handed to it and nothing waits for it; at the
lowest priority it gets what the rest leaves, and no more than a share of one processor (`estimates.most_cpu`). It is started with the first inference.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from neuralpower_wire import WireError
from neuralpower_wire.batch import unpack

from ..config import Config

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 20
AGAIN_S = 60.0
"""A process that ended is not started again before."""
END_S = 1.0


class EstimatesProcess:
    """The daemon's end. `take` never waits."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = b""
        self._first = 0
        self._not_before_s = 0.0
        self._told: dict[str, Any] = {}
        self.ended = 0

    @property
    def status(self) -> dict[str, Any]:
        """For the daemon's status."""
        settings = self._config.estimates
        if not settings.enabled:
            return {"state": "off"}
        running = self._process is not None
        bounds = {"most_cpu": settings.most_cpu, "running": running, "ended": self.ended}
        return {"state": "waiting", "why": "the first inference", **self._told, **bounds}

    @property
    def pid(self) -> int | None:
        """Of the process, None where there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process unless it runs, is not wanted, or has just failed."""
        settings = self._config.estimates
        if self._process is not None or not settings.enabled or time.monotonic() < self._not_before_s:
            return
        words = [self._config.runtime_dir, settings.window_s, settings.every_s, settings.most_cpu, self._first]
        command = [sys.executable, "-m", "neuralpowerd.live.estimates_worker", *map(str, words)]
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")},
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=Path("/")
            )
        except OSError as error:
            log.warning("no estimates: %s cannot be started: %s", sys.executable, error.strerror)
            self._not_before_s = time.monotonic() + AGAIN_S
            return
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def take(self) -> list[list[bytes]]:
        """Messages to publish that came since the last look."""
        if self._process is None or self._process.stdout is None:
            return []
        with contextlib.suppress(BlockingIOError):
            self._waiting += os.read(self._process.stdout.fileno(), MOST_BYTES)
        found = []
        while len(self._waiting) >= 4:
            (length,) = struct.unpack_from("<I", self._waiting)
            if len(self._waiting) < 4 + length:
                break
            try:
                body = unpack(self._waiting[4 : 4 + length], MOST_BYTES)
            except WireError as error:
                log.warning("estimates: %s", error)
                body = {}
            self._waiting = self._waiting[4 + length :]
            if body:
                found.append(body["frames"])
                self._told = body["status"]
                self._first += 1
        code = self._process.poll()
        if code is not None:
            self.ended += 1
            self._not_before_s = time.monotonic() + AGAIN_S
            log.warning("the process that estimates ended with %d; started again in %.0f s if need be", code, AGAIN_S)
            self._let_go()
        return found

    def _let_go(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process, self._waiting = None, b""

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        process = self._process
        self._let_go()
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
