"""Where sampling paused and went on in the same stream: how many deadlines nobody met, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neuralpower_wire import Epoch, Event, Kind, Record, Ticks
from neuralpower_wire.batch import unpack

from ..logs.journal import Journal
from ..logs.ledger import Ledger
from ..sampling import Sampling
from .part import DaemonPart

LOOK_BACK = 64
"""Records at the journal's end: a daemon that stops writes its last word as nearly the last one."""


@dataclass(frozen=True)
class _Last:
    """The tick before an epoch."""

    stream: bytes
    index: int
    slot: int
    t_ns: int
    grid: tuple[int, int] | None
    """Origin and period of its grid; None where its epoch is not known any more."""


class GapsPart(DaemonPart):
    """Stands behind the ticks' feed. `why()` says why the epoch that begins does."""

    def __init__(self, sampling: Sampling, ledger: Ledger, why: Callable[[], str]) -> None:
        self._sampling = sampling
        self._ledger = ledger
        self._why = why
        self._before = how_it_ended(ledger.journal)
        self._last: _Last | None = None

    def begin_epoch(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._last = self._tick_before(epoch.first_index)

    def _tick_before(self, first: int) -> _Last | None:
        reader = self._sampling.reader
        if first <= reader.oldest:
            return None
        got = reader.read(first - 1, max_ticks=1).ticks
        if not len(got) or int(got["index"][0]) != first - 1:
            return None
        documents = {number: document for number, _, document in reader.epochs()}
        known = unpack(documents.get(int(got["epoch"][0]), b"\x80"))
        grid = (known["t0_ns"], known["period_ns"]) if "t0_ns" in known and "period_ns" in known else None
        return _Last(reader.stream, first - 1, int(got["slot"][0]), int(got["t_ns"][0]), grid)

    def see(self, ticks: Ticks) -> None:
        last, self._last = self._last, None
        if last is None or last.stream != self._sampling.stream:
            return
        pause_ns = int(ticks["t_ns"][0]) - last.t_ns
        same = last.grid == (self._epoch.t0_ns, self._epoch.period_ns)
        slots = int(ticks["slot"][0]) - last.slot - 1 if same else None
        why, self._before = self._before or self._why(), ""
        if slots == 0:
            return
        missed = "on another grid from here on" if slots is None else f"{slots} deadlines passed without a tick"
        self._ledger.event(
            "sampling-paused",
            f"{pause_ns / 1e9:.3f} s between ticks {last.index} and {last.index + 1}, {missed}: {why}",
            stream=last.stream,
            next=last.index + 1,
            pause_ns=pause_ns,
            slots=slots,
            why=why,
        )


def how_it_ended(journal: Journal) -> str:
    """What became of the daemon before this one, by the end of its journal; nothing where there was none."""
    first = max(journal.oldest, journal.next_index - LOOK_BACK)
    names = []
    for each in journal.read_packed(first, LOOK_BACK).records:
        if each.kind == Kind.EVENT and isinstance(event := Record.unpack(each.kind, each.t_ns, each.body).body, Event):
            names.append(event.name)
    ends = [name for name in names if name in ("daemon-started", "daemon-stopped")]
    if ends[-1:] == ["daemon-stopped"]:
        return "the daemon was stopped"
    return "the daemon was killed, or crashed" if journal.next_index else ""
