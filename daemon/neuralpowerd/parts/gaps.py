"""Where sampling paused and went on in the same stream: how many deadlines nobody met, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from neuralpower_wire import Epoch, EpochBegun, Event, Kind, Record, Ticks
from neuralpower_wire.batch import unpack

from ..logs.journal import Journal
from ..logs.ledger import Ledger
from ..part import DaemonPart
from ..sampling import Sampling

LOOK_BACK = 256
"""Records at the journal's end: what a daemon writes when it starts and stops is some ten of them; a service's inferences may come between."""
KILLED, STOPPED = "the daemon was killed, or crashed", "the daemon was stopped"


@dataclass
class LastWords:
    """What the end of the journal says of the daemons before this one."""

    ended: str = ""
    """How the last one ended; empty where there was none."""
    untold: dict[tuple[bytes, int], str] = field(default_factory=dict)
    """Stream and first index of epochs of which the pause before was not told, as that daemon ended too soon, and why they began."""


class GapsPart(DaemonPart):
    """Stands behind the ticks' feed. `why()` says why the epoch that begins does."""

    def __init__(self, sampling: Sampling, ledger: Ledger, why: Callable[[], str]) -> None:
        self._sampling = sampling
        self._ledger = ledger
        self._why = why
        self._words = last_words(ledger.journal)
        self._waits = False

    def begin_epoch(self, epoch: Epoch) -> None:
        for (stream, first), why in self._words.untold.items():
            if stream == self._sampling.stream and first < epoch.first_index:
                self._tell(first, why)
        self._words.untold.clear()
        self._first, self._waits = epoch.first_index, True

    def see(self, ticks: Ticks) -> None:
        if self._waits:
            self._waits = False
            self._tell(self._first, self._words.ended or self._why())
            self._words.ended = ""

    def _tell(self, first: int, why: str) -> None:
        """Journal the pause before tick `first`, unless there was none, or it is the oldest that the ring holds."""
        reader = self._sampling.reader
        if first <= reader.oldest:
            return
        both = reader.read(first - 1, max_ticks=2).ticks
        if both["index"].tolist() != [first - 1, first]:
            return
        documents = {number: unpack(document) for number, _, document in reader.epochs()}
        grids = [_grid(documents.get(number)) for number in both["epoch"].tolist()]
        same = grids[0] == grids[1] and grids[0] is not None
        slots = int(both["slot"][1]) - int(both["slot"][0]) - 1 if same else None
        pause_ns = int(both["t_ns"][1]) - int(both["t_ns"][0])
        if slots == 0:
            return
        missed = "on another grid from here on" if slots is None else f"{slots} deadlines passed without a tick"
        text = f"{pause_ns / 1e9:.3f} s between ticks {first - 1} and {first}, {missed}: {why}"
        told = {"stream": reader.stream, "next": first, "pause_ns": pause_ns, "slots": slots, "why": why}
        self._ledger.event("sampling-paused", text, **told)


def _grid(epoch: dict[str, Any] | None) -> tuple[int, int] | None:
    """Origin and period of the grid of an epoch; None where it is not known any more."""
    return (epoch["t0_ns"], epoch["period_ns"]) if epoch and "t0_ns" in epoch and "period_ns" in epoch else None


def last_words(journal: Journal) -> LastWords:
    """Read the end of the journal."""
    found = LastWords(KILLED if journal.next_index else "")
    began = ""
    first = max(journal.oldest, journal.next_index - LOOK_BACK)
    for each in journal.read_packed(first, LOOK_BACK).records:
        if each.kind not in (Kind.EVENT, Kind.EPOCH):
            continue
        body = Record.unpack(each.kind, each.t_ns, each.body).body
        if isinstance(body, EpochBegun):
            found.untold[body.stream, body.epoch.first_index] = began or str(body.more.get("reason", ""))
            began = ""
        elif isinstance(body, Event) and body.name == "daemon-started":
            began, found.ended = found.ended, KILLED
        elif isinstance(body, Event) and body.name == "daemon-stopped":
            found.ended = STOPPED
        elif isinstance(body, Event) and body.name == "sampling-paused":
            found.untold.pop((body.more.get("stream"), body.more.get("next")), None)  # type: ignore[arg-type]  # what is no key is not there
    return found
