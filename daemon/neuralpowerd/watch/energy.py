"""Energy of rails and total as counters that only grow, and go on where a restarted daemon finds them.

What is told was stored before, so a counter that somebody has read is never found smaller after a crash.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuralpower_wire import Epoch, Ticks, rail_power_w

from ..logs.feeds import in_one

log = logging.getLogger(__name__)

GAP_NS = 1_000_000_000
"""Between two readings farther apart nobody measured: a sum of guesses would be told as energy."""
GAP_PERIODS = 3
GPUS = "nvml"
"""The source whose total is that of GPUs, beside a machine that nobody measures."""
MOST_FILE = 64 * 1024
"""Bytes: 64 rails of 256 characters with their numbers are a third of it."""
_FORMAT = 1

Rails = tuple[str, ...]


@dataclass(frozen=True)
class EnergyCounter:
    """Joules and the seconds in which they were measured, since `created_s` (Unix time); `mean_w` is that of the last second, or nan."""

    created_s: float
    joules: float = 0.0
    seconds: float = 0.0
    mean_w: float = math.nan

    def grown(self, joules: float, seconds: float) -> EnergyCounter:
        """With what the last second added. Of a rail that gave back more than it took nothing is added: a counter does not fall."""
        mean_w = joules / seconds if seconds else math.nan
        return replace(self, joules=self.joules + max(0.0, joules), seconds=self.seconds + seconds, mean_w=mean_w)


@dataclass(frozen=True)
class EnergyCounters:
    """Counters of the rails, and of the total with the rails that it adds; `simulated` where the readings are."""

    rails: dict[str, EnergyCounter]
    total: EnergyCounter | None = None
    total_of: Rails = ()
    board: str = ""
    simulated: bool = False
    gpus: bool = False
    """The rails are whole GPUs: their sum is no host's."""
    covers: str = ""
    """What the total is the power of, as in the epoch."""


class EnergyWatch:
    """Integrates the ticks of one epoch after the other: straight lines between readings. `told` is what others may know.

    Args:
        path: the file that the counters are kept in, of this boot; it lies in memory, beside the logs.
        boot: names this boot; the counters of another one are not gone on with.
        now_s: Unix time.
    """

    def __init__(self, path: Path, boot: bytes, now_s: Any = time.time) -> None:
        self._path = path
        self._boot = boot.hex()
        self._now_s = now_s
        self._kept = _load(path, self._boot)
        self.told = EnergyCounters({})
        self._refused = False

    def begin_epoch(self, epoch: Epoch) -> None:
        """The readings that come are of this epoch. Another board's, and simulated ones, are counted from 0."""
        gpus = epoch.source == GPUS
        kept, total_of = self._kept, () if gpus else tuple(epoch.totals)
        if (kept.board, kept.simulated) != (epoch.board, epoch.simulated):
            kept = EnergyCounters({}, board=epoch.board, simulated=epoch.simulated)
        rails = {rail: kept.rails.get(rail) or EnergyCounter(self._now_s()) for rail in epoch.rails()}
        total = kept.total if kept.total_of == total_of else None
        if total_of and total is None:
            total = EnergyCounter(self._now_s())
        self._kept = replace(kept, rails=rails, total=total if total_of else None, total_of=total_of)
        self._kept = replace(self._kept, gpus=gpus, covers=epoch.covers)
        self._epoch = epoch
        self._gap_ns = max(GAP_NS, GAP_PERIODS * epoch.period_ns)
        self._last: Ticks | None = None

    def see(self, ticks: Ticks) -> None:
        """Count these ticks of the epoch, which follow the ones before."""
        joined = ticks if self._last is None else in_one([self._last, ticks])
        self._last = ticks[-1:].copy()
        t_ns = joined["t_ns"]
        powers = rail_power_w(self._epoch, joined)
        rails = {rail: self._grown(each, t_ns, powers[rail]) for rail, each in self._kept.rails.items()}
        total = self._kept.total
        if total is not None:
            total = self._grown(total, t_ns, np.sum([powers[rail] for rail in self._kept.total_of], axis=0))
        self._kept = replace(self._kept, rails=rails, total=total)

    def tell(self) -> None:
        """Store the counters, and only then let others know of them. Where they cannot be stored, `told` stays as it is."""
        if self._store():
            self.told = self._kept

    def _grown(self, counter: EnergyCounter, t_ns: np.ndarray, power_w: np.ndarray) -> EnergyCounter:
        known = np.isfinite(power_w)
        at, power_w = t_ns[known], power_w[known]
        step_ns = np.diff(at)
        seconds = np.where((step_ns > 0) & (step_ns <= self._gap_ns), step_ns, 0) * 1e-9
        joules = float(np.sum((power_w[1:] + power_w[:-1]) / 2 * seconds))
        return counter.grown(joules, float(np.sum(seconds)))

    def _store(self) -> bool:
        body = {"format": _FORMAT, "boot": self._boot, **asdict(self._kept)}
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            # Not synced: it need not outlive this boot, and the loop may not wait for a disk.
            with suppress(FileNotFoundError):
                aside.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(aside, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(body, file)
            aside.replace(self._path)
        except OSError as error:
            if not self._refused:
                log.warning(
                    "%s: %s; the energy counters stand still until it can be written", self._path, error.strerror
                )
            self._refused = True
            return False
        self._refused = False
        return True


def _load(path: Path, boot: str) -> EnergyCounters:
    """What a daemon of this boot has left; nothing where that cannot be used."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            body = json.loads(file.read(MOST_FILE))
        if body["format"] != _FORMAT or body["boot"] != boot:
            return EnergyCounters({})
        rails = {str(rail): _counter(values) for rail, values in body["rails"].items()}
        total = _counter(body["total"]) if body["total"] is not None else None
        return EnergyCounters(rails, total, _names(body["total_of"]), str(body["board"]), body["simulated"] is True)
    except FileNotFoundError:
        return EnergyCounters({})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        log.warning("%s: no counters that can be read; energy is counted from 0", path)
        return EnergyCounters({})


def _names(values: Iterable[Any]) -> Rails:
    return tuple(str(value) for value in values)


def _counter(values: Any) -> EnergyCounter:
    made = EnergyCounter(float(values["created_s"]), float(values["joules"]), float(values["seconds"]))
    if not all(math.isfinite(each) and each >= 0 for each in (made.created_s, made.joules, made.seconds)):
        raise ValueError("no counter")
    return made
