"""The daemon and the recorder as processes of their own, talking over the real sockets; none is left running."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import Failure

START_TIMEOUT_S = 30.0
"""A daemon is ready in under a second; a busy machine that imports numpy from a cold disk may need twenty."""
STOP_TIMEOUT_S = 60.0
"""The recorder writes its last segment on the way out; a daemon stops within its 3 s."""


@contextlib.contextmanager
def runtime_directory() -> Iterator[Path]:
    """A folder for the logs and sockets that goes away with the block; in memory where there is such a file system.

    Its path is short because a local socket's path is limited to 107 bytes.
    """
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="neuralpower-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Process:
    """A command of ours with its log; leaving the block stops it with `stop_signal`, then by force.

    Raises:
        Failure: it ended by itself, or with another status than 0; the message ends with its last line.
    """

    def __init__(self, arguments: Sequence[str], log: Path, stop_signal: signal.Signals) -> None:
        self.name = arguments[0]
        self._arguments = [sys.executable, "-m", *arguments]
        self._log = log
        self._stop_signal = stop_signal

    def __enter__(self) -> Process:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT_S)
            finally:  # by force also where a second Ctrl-C cuts the waiting short
                self._process.kill()
                self._process.wait()
        if kind is None and self._process.returncode != 0:
            raise Failure(self.last_words())

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()` is true; Failure when the process ends first or it takes longer than START_TIMEOUT_S."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} was not ready within {START_TIMEOUT_S:.0f} s; its log is {self._log}")
            time.sleep(0.1)

    def check(self) -> None:
        """Failure if the process has ended."""
        if self._process.poll() is not None:
            raise Failure(self.last_words())

    def last_words(self) -> str:
        """How it ended: status, last line, log."""
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"{self.name} ended with status {self._process.returncode}: {lines[-1]} (log: {self._log})"
