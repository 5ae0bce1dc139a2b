"""Recording a daemon into a folder, so that nothing is lost that could be had.

Everything that arrives is appended to a write-ahead log and synced each second; a process killed at any instant loses at most
that second of its own disk, and asks the daemon's history for it when it is started again on the same folder.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .. import address as addresses
from ..address import AddressLike
from ..errors import Failure
from ..subscriber.client import Client
from ..subscriber.follower import Past
from ..subscriber.messages import Ended, Lost, Message, Refused, Short, Ticks
from .files.space import FULL, STOP
from .statistics import MissedSlots
from .writer import Writer

SYNC_S = 1.0
"""What a crash may cost. A sync takes milliseconds on a laptop's disk; ten times a second would wear it for nothing."""
POLL_S = 0.2
"""How soon a stop is noticed."""

COMPARISONS, NARROW_NS = 4, 1_000_000
"""The clocks are compared so often each second until an answer came within this: on a busy machine one of several does."""


@dataclass(frozen=True)
class Summary:
    """What one run of the recorder has added to the recording, or so far has."""

    seconds: float
    """Since the first entry arrived."""
    ticks: int
    inferences: int
    records: int
    missed_slots: int
    """Deadlines without a tick between the first and the last tick of this run."""
    ticks_lost: int
    records_lost: int
    simulated: bool
    connected: bool
    refused: str
    """This client's public key where the daemon turned it away."""


def record(
    address: AddressLike,
    directory: str | os.PathLike[str],
    seconds: float | None = None,
    past: Past = None,
    on_progress: Callable[[Summary], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
    when_full: str = STOP,
) -> Summary:
    """Record until `seconds` after the first entry, or until `stop` is set; then fetch what is missing and finish the files.

    Args:
        address: of the daemon, which need not be there yet.
        directory: made if missing; an existing recording of this daemon is continued and the gap since then fetched.
        past: also take what the daemon holds from before now: True for all, or seconds.
        on_progress: called each second.
        on_notice: told one line for each thing found damaged, refused or dropped.
        when_full: what a full disk does: "stop", or "drop-oldest", which lets the oldest minutes go for the newest.

    Raises:
        InputError: the address, or a folder that is something else or in use by another recorder.
        Failure: the disk is full or failed (what was synced stays readable), or the daemon was gone at the end.
    """
    with _Session(address, Path(directory), past, on_notice or (lambda line: None), when_full) as session:
        return session.run(seconds, on_progress or (lambda summary: None), stop or threading.Event())


class _Session:
    """One run of the recorder: a client that reads, a writer that keeps, and the errors of the disk made into one line."""

    def __init__(
        self, address: AddressLike, folder: Path, past: Past, notice: Callable[[str], None], when_full: str
    ) -> None:
        self._folder, self._notice = folder, notice
        self._began: float | None = None
        self._missed = MissedSlots()
        try:
            self._writer = Writer(folder, str(addresses.parse(address)), notice, when_full)
        except OSError as error:
            raise Failure(_disk_line(folder, error, "nothing was recorded")) from None
        try:
            self._client = Client(address, past=past, resume=self._writer.resume())
        except BaseException:
            self._writer.abandon()
            raise

    def __enter__(self) -> _Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if kind is not None:
            self._writer.abandon()
        if isinstance(error, OSError):
            kept = f"the {self._writer.ticks} ticks and {self._writer.inferences} inferences already synced are safe"
            raise Failure(_disk_line(self._folder, error, kept)) from None

    def run(self, seconds: float | None, on_progress: Callable[[Summary], None], stop: threading.Event) -> Summary:
        synced = time.monotonic()
        while not stop.is_set() and not self._over(seconds):
            self._keep(self._client.poll(POLL_S))
            if time.monotonic() - synced >= SYNC_S:
                self._compare_clocks()
                self._writer.sync()
                synced = time.monotonic()
                on_progress(self.summary())
        self._writer.sync()
        unanswered = self._catch_up()
        self._writer.finish()
        if unanswered:
            received = "" if self._began is None else f"; what was received is in {self._folder}"
            raise Failure(f"{unanswered}{received}")
        return self.summary()

    def _compare_clocks(self) -> None:
        """Once a second: what ties the device's clock to this machine's, and so several devices to each other."""
        for _ in range(COMPARISONS if self._client.connected else 0):
            comparison = self._client.compare_clocks()
            if comparison is None:
                return
            self._writer.compared(comparison)
            if comparison.bracket_ns < NARROW_NS:
                return

    def _catch_up(self) -> str:
        """Fetch what is missing up to now; returns why that could not be done, or nothing."""
        try:
            for messages in self._client.catch_up():
                self._keep(messages)
                self._writer.sync()
            self._keep(self._client.find_engines())
        except Failure as failure:
            return str(failure)
        return ""

    def _over(self, seconds: float | None) -> bool:
        return seconds is not None and self._began is not None and time.monotonic() - self._began >= seconds

    def _keep(self, messages: list[Message]) -> None:
        for message in messages:
            self._writer.keep(message)
            if isinstance(message, Ticks):
                self._missed.take_message(message)
            elif isinstance(message, (Lost, Short)) or (isinstance(message, Ended) and not message.known):
                self._notice(str(message))
            elif isinstance(message, Refused):
                self._notice(f"{message.topic.decode(errors='replace')}: a message was refused: {message.reason}")
        if messages and self._began is None:
            self._began = time.monotonic()

    def summary(self) -> Summary:
        return Summary(
            seconds=0.0 if self._began is None else time.monotonic() - self._began,
            ticks=self._writer.ticks,
            inferences=self._writer.inferences,
            records=self._writer.records,
            missed_slots=self._missed.count,
            ticks_lost=self._client.ticks_lost,
            records_lost=self._client.records_lost,
            simulated=self._writer.simulated,
            connected=self._client.connected,
            refused=self._client.refused,
        )


def _disk_line(folder: Path, error: OSError, kept: str) -> str:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return f"{folder}: the disk is full ({reason}); recording ended, {kept}; free some space and run the same command again"
    return f"{folder}: cannot write ({reason}); recording ended, {kept}"
