"""The flight recorder: when something happens, the minutes around it go to the disk, in a thread of their own."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from neuralpower_wire import Epoch, Kind, PackedRecords, Record, Ticks
from neuralpower_wire.history import MAX_RECORDS, MAX_REPLY

from ..config import Config
from ..logs.ledger import Ledger
from ..logs.saved import FAULTS, SUFFIX, SavedFile, SavedFolder, incident
from ..part import DaemonPart
from ..watch.triggers import Trigger, Triggers

log = logging.getLogger(__name__)

MOST_REASONS = 16
"""Told of one incident; what else happened in it is in its journal."""
MOST_TEXT = 200
NICE = 10
"""Of the thread that saves: it has time, the loop has not."""
_HEARD = (Kind.MARK, Kind.EVENT, Kind.CONDITION)


class Incident:
    """What is to be saved: from `before_s` before its first trigger to `after_s` after its last one, and no longer than both together twice."""

    def __init__(self, first: Trigger, before_ns: int, after_ns: int) -> None:
        self.begin_ns = first.at_ns - before_ns
        self._latest_ns = self.begin_ns + 2 * (before_ns + after_ns)
        self._after_ns = after_ns
        self.end_ns = first.at_ns + after_ns
        self.at_ns = first.at_ns
        self.reasons = [first]

    def add(self, trigger: Trigger) -> None:
        """One more, before the incident has ended."""
        self.end_ns = min(max(self.end_ns, trigger.at_ns + self._after_ns), self._latest_ns)
        if len(self.reasons) < MOST_REASONS:
            self.reasons.append(trigger)


class RecorderPart(DaemonPart):
    """Follows the logs, collects triggers into incidents, and saves one at a time. Does nothing without a folder.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, config: Config, ledger: Ledger, status: Callable[[], Mapping[str, Any]]) -> None:
        self.saved: SavedFolder | None = None
        self._table = table = config.recorder
        self._runtime = Path(config.runtime_dir)
        self._ledger = ledger
        self._status = status
        self._triggers = Triggers(table)
        self._next = ledger.journal.next_index
        self._due: Incident | None = None
        self._thread: threading.Thread | None = None
        self._outcome: SavedFile | str | None = None
        self._count = self._failed = 0
        if table.folder:
            self.saved = SavedFolder(Path(table.folder), table.mebibytes << 20)
            log.info(
                "flight recorder: at most %d MiB in %s, %d files there",
                table.mebibytes,
                table.folder,
                len(self.saved.files),
            )

    def begin_epoch(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._triggers.begin_epoch(epoch)
        if self.saved is not None and not epoch.totals and (self._table.power_w or self._table.energy_j):
            log.warning("recorder.power_w and recorder.energy_j are of the total, and none is known here")

    def publish(self) -> None:
        if self.saved is not None:
            for record in self._new_records():
                self._take(self._triggers.record(record))

    def learn(self, ticks: Ticks) -> None:
        if self.saved is not None:
            self._take(self._triggers.ticks(ticks))

    def second(self) -> None:
        if self.saved is None:
            return
        self._finish_thread()
        estimates = self._status().get("estimates", {})
        self._take(self._triggers.estimator(time.monotonic_ns(), estimates.get("restarts", 0)))
        if self._due is not None and self._thread is None and time.monotonic_ns() >= self._due.end_ns:
            self._begin_saving(self._due)
            self._due = None

    def status(self, span_ns: int) -> dict[str, Any]:
        if self.saved is None:
            return {"recorder": {"on": False}}
        files = self.saved.files
        told = {
            "on": True,
            "files": len(files),
            "bytes": sum(each.bytes for each in files),
            "most_bytes": self.saved.most_bytes,
            "saved": self._count,
            "failed": self._failed,
            "waiting": self._due is not None or self._thread is not None,
        }
        return {"recorder": told}

    def close(self) -> None:
        """What waits for its end is saved as it is: a daemon that is stopped does not come back to it."""
        if self.saved is None:
            return
        if self._thread is not None:
            self._thread.join()
            self._tell()
        if self._due is not None:
            self._save(self._due)
            self._tell()

    def _new_records(self) -> Iterable[Record]:
        """Of the kinds that may be triggers, since the last look. What was overwritten meanwhile triggers nothing."""
        while True:
            got = self._ledger.journal.read_packed(self._next, MAX_RECORDS, MAX_REPLY)
            if not got.records:
                return
            self._next = got.first + len(got.records)
            heard = [each for each in got.records if each.kind in _HEARD]
            yield from PackedRecords.of(heard)

    def _take(self, triggers: Iterable[Trigger]) -> None:
        for trigger in triggers:
            if self._due is not None and trigger.at_ns < self._due.end_ns:
                self._due.add(trigger)
            elif self._due is None:
                table = self._table
                self._due = Incident(trigger, round(table.before_s * 1e9), round(table.after_s * 1e9))
                log.info("flight recorder: %s: %s", trigger.what, trigger.text[:MOST_TEXT])  # one line for each file

    # ---- saving --------------------------------------------------------------------------------

    def _begin_saving(self, due: Incident) -> None:
        self._thread = threading.Thread(target=self._save_in_thread, args=(due,), name="flight-recorder", daemon=True)
        self._thread.start()

    def _save_in_thread(self, due: Incident) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        except OSError:
            log.debug("the thread that saves is as urgent as others")
        self._save(due)

    def _save(self, due: Incident) -> None:
        """Leaves the outcome for the loop to tell: the file, or why there is none."""
        assert self.saved is not None
        now = datetime.now(timezone.utc)
        told = {
            "at": now.isoformat(timespec="seconds"),
            "begin_ns": due.begin_ns,
            "end_ns": due.end_ns,
            "board": self._epoch.board,
            "simulated": self._epoch.simulated,
            "reasons": [[each.at_ns, each.what, each.text[:MOST_TEXT]] for each in due.reasons],
        }
        name = f"{now:%Y%m%dT%H%M%SZ}-{max(0, due.at_ns)}{SUFFIX}"
        try:
            self._outcome = self.saved.save(name, told, incident(self._runtime, due.begin_ns, due.end_ns))
        except FAULTS as error:
            self._outcome = f"{self.saved.folder}: {getattr(error, 'strerror', None) or error}"

    def _finish_thread(self) -> None:
        if self._thread is not None and not self._thread.is_alive():
            self._thread.join()
            self._thread = None
            outcome = self._tell()
            if isinstance(outcome, SavedFile):
                text = f"{outcome.name}, {outcome.bytes} bytes"
                self._ledger.event("incident-saved", text, file=outcome.name, bytes=outcome.bytes)
            elif outcome:
                self._ledger.event("incident-not-saved", outcome)

    def _tell(self) -> SavedFile | str | None:
        """Log what became of the last one; the journal may be closed by now."""
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, SavedFile):
            self._count += 1
            log.info("flight recorder: saved %s, %d bytes", outcome.name, outcome.bytes)
        elif outcome:
            self._failed += 1
            log.error("flight recorder: nothing was saved: %s; free some room, or give it another folder", outcome)
        return outcome
