"""What everybody said, held against what there was; printed as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from neuralpower.recordings.lost import NOT_TOLD
from neuralpower.recordings.recording import Recording
from neuralpower_wire import Event, Inference, Kind

from .account import Account, Entries, Reference, account, record_prints, size, tick_prints, united
from .chaos import Bed, Recorder
from .held import flat
from .reader import Said

HEAD = (
    "client",
    "sessions",
    "log",
    "first",
    "last",
    "delivered",
    "lost",
    "unaccounted",
    "twice",
    "different",
    "not past retention",
)


def judge(bed: Bed) -> bool:
    """Print the accounts; whether all is accounted for, and nothing lost that was held."""
    rows: list[tuple[str, int, str, Account, int]] = []
    sound = True
    references: dict[tuple[str, str], Reference] = {}
    for recorder in bed.recorders:
        recording = Recording(recorder.folder)
        for log, (stream, stop) in bed.ends.items():
            entries, reference = _recorded(recording, log, stream)
            references.setdefault((log, stream), reference)
            found = account(entries, stop, references[log, stream], 0 if bed.daemon.mine else None)
            within = recorder.within_retention if log == "ticks" else 0
            rows.append((recorder.name, recorder.killed + 1, log, found, within))
        sound = _complains(recorder, recording) and sound
    for reader in bed.readers:
        rows += _rows(bed, references, reader.name, reader.accounts, True, reader.past is True)
    rows += _rows(bed, references, "joined", [path for each in bed.joined for path in each.accounts], False)
    _print(rows)
    sound = all(found.sound and not within for _, _, _, found, within in rows) and sound
    sound = _inferences(bed) and sound
    sound = _pauses(Recording(bed.recorders[0].folder), bytes.fromhex(bed.ends["ticks"][0])) and sound
    stays = flat(bed.held) if bed.held else None
    return sound and (stays is not False or bool(bed.daemon.kills))


def _rows(
    bed: Bed,
    references: dict[tuple[str, str], Reference],
    name: str,
    paths: list[Path],
    whole: bool,
    everything: bool = False,
) -> list[tuple[str, int, str, Account, int]]:
    """One row for each log, all sessions of a client together; with `whole` the last session must reach the end, with `everything` the first begin with the log."""
    said = [Said(path) for path in paths]
    for failure, times in Counter(failure for each in said for failure in each.failures).items():
        print(f"{name}: {times} of {len(said)} sessions: {failure}")
    if whole and not said[-1].ended:
        print(f"{name}: it ended by itself")
    rows = []
    for log, (stream, stop) in bed.ends.items():
        accounts = []
        for each in said:
            entries = each.entries.get((log, stream), Entries())
            last = stop if whole and each is said[-1] else None
            if entries.delivered or entries.lost or last:
                begin = 0 if whole and each is said[0] and everything and bed.daemon.mine else None
                accounts.append(account(entries, last, references[log, stream], begin))
        within = sum(each.within_retention for each in said) if log == "ticks" else 0
        rows.append((name, len(said), log, _total(accounts), within))
    return rows


def _total(accounts: list[Account]) -> Account:
    """Of several sessions: the numbers added, from the first index of all to the last."""
    ends = [each for each in accounts if each.stop > each.first]
    numbers = [
        sum(getattr(each, name) for each in accounts)
        for name in ("delivered", "lost", "unaccounted", "twice", "different")
    ]
    return Account(min((e.first for e in ends), default=0), max((e.stop for e in ends), default=0), *numbers)


def _recorded(recording: Recording, log: str, stream: str) -> tuple[Entries, Reference]:
    """What a recording holds of a log, and was told lost."""
    wanted, entries = bytes.fromhex(stream), Entries()
    index, prints = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    if log == "ticks":
        for part in recording.tick_parts(wanted) if wanted in recording.streams else ():
            index.append(part["index"])
            prints.append(tick_prints(part))
    else:
        for at, record in recording._journal.get(wanted, []):  # each with its index, which no door gives
            packed = record.packed()
            index.append(np.array([at], np.uint64))
            prints.append(record_prints(at, [packed.kind], [packed.body]))
    every, sums = np.concatenate(index).astype(np.int64), np.concatenate(prints)
    cuts = [0, *(np.flatnonzero(np.diff(every) != 1) + 1).tolist(), len(every)] if len(every) else [0]
    for a, b in pairwise(cuts):
        entries.delivered.append((int(every[a]), int(every[b - 1]) + 1, int(sums[a:b].sum(dtype=np.uint64))))
    told = recording.explained_losses().get((log, wanted), [])
    entries.lost = [(hole.start, hole.stop) for hole, why in told if why != NOT_TOLD]
    return entries, Reference(every, sums)


def _complains(recorder: Recorder, recording: Recording) -> bool:
    """Print what is damaged, and how the last run of it ended."""
    code = recorder.process.returncode if recorder.process is not None else None
    for line in recording.damaged:
        print(f"{recorder.name}: {line}")
    if code:
        print(f"{recorder.name}: its last run ended with status {code}")
    return not code and not recording.damaged


def _inferences(bed: Bed) -> bool:
    """Of each number that the inferring process gave: whether it is in the journal once, or told lost or refused."""
    counts = bed.inferences()
    if counts is None:
        return True
    import hashlib

    name = hashlib.sha256(b"neuralpower session" + bytes.fromhex(counts["session"])).digest()[:16]
    records = Recording(bed.recorders[0].folder).records()
    journaled = Counter(r.body.seq for r in records if isinstance(r.body, Inference) and r.body.session == name)
    told = [
        (int(r.body.more["first"]), int(r.body.more["first"]) + int(r.body.more["count"]))
        for r in records
        if isinstance(r.body, Event) and r.body.name == "inferences-lost" and r.body.more.get("session") == name
    ]
    told += [
        (int(r.body.more["seq"]), int(r.body.more["seq"]) + 1)
        for r in records
        if isinstance(r.body, Event) and r.body.name == "inference-refused"
    ]
    offered = counts["offered"]
    twice = sum(1 for times in journaled.values() if times > 1)
    once = united([*((seq, seq + 1) for seq in journaled), *united(told)])
    unaccounted = offered - size([(a, min(b, offered)) for a, b in once])
    print(
        f"inferences: {offered} made, {len(journaled)} journaled, {size(united(told))} told lost, {twice} twice, {unaccounted} unaccounted "
        f"(the profiler's own count: {counts['acknowledged']} acknowledged, {counts['dropped']} dropped, {counts['forgotten']} forgotten, "
        f"{counts['refused']} refused)"
    )
    return not twice and not unaccounted


def _pauses(recording: Recording, stream: bytes) -> bool:
    """Of each place where an epoch begins and deadlines passed without a tick: whether the journal tells how many."""
    told = {
        each.body.more["next"]: each.body.more["slots"]
        for part in recording.record_parts(Kind.EVENT)
        for each in part
        if isinstance(each.body, Event) and each.body.name == "sampling-paused" and each.body.more["stream"] == stream
    }
    found: dict[int, int] = {}
    before: tuple[int, int, int] | None = None
    for part in recording.tick_parts(stream) if stream in recording.streams else ():
        for at in [0, *(np.flatnonzero(np.diff(part["epoch"])) + 1).tolist()]:
            if at:
                before = int(part["index"][at - 1]), int(part["slot"][at - 1]), int(part["epoch"][at - 1])
            index, slot, epoch = (int(part[name][at]) for name in ("index", "slot", "epoch"))
            if before is not None and before[0] + 1 == index and before[2] != epoch and slot > before[1] + 1:
                found[index] = slot - before[1] - 1
        before = int(part["index"][-1]), int(part["slot"][-1]), int(part["epoch"][-1])
    untold = [index for index, slots in found.items() if told.get(index) not in (slots, None) or index not in told]
    print(
        f"pauses of sampling: {len(found)}, {sum(found.values())} deadlines without a tick; untold before ticks {untold or 'none'}"
    )
    return not untold


def _print(rows: Iterable[tuple[str, int, str, Account, int]]) -> None:
    lines = [HEAD]
    for name, sessions, log, found, within in rows:
        numbers = (
            found.first,
            found.stop - 1,
            found.delivered,
            found.lost,
            found.unaccounted,
            found.twice,
            found.different,
            within,
        )
        lines.append((name, str(sessions), log, *map(str, numbers)))
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    for line in lines:
        print(
            "  ".join(
                word.ljust(width) if at in (0, 2) else word.rjust(width)
                for at, (word, width) in enumerate(zip(line, widths, strict=True))
            )
        )
