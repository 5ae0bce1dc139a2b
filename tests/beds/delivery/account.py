"""The account of a log: which indices were delivered, which reported lost, and which neither. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Stretch = tuple[int, int]
"""[first, stop) of indices."""
Prints = npt.NDArray[np.uint64]
_WEIGHTS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)


@dataclass
class Entries:
    """What one client said of one stream of a log: stretches delivered, each with the sum of its entries' fingerprints, and lost ones."""

    delivered: list[tuple[int, int, int]] = field(default_factory=list)
    lost: list[Stretch] = field(default_factory=list)


@dataclass(frozen=True)
class Account:
    """Numbers of indices of one client and log from `first` to `stop`."""

    first: int
    stop: int
    delivered: int
    lost: int
    unaccounted: int
    twice: int
    """Delivered more than once, or delivered and reported lost."""
    different: int
    """In stretches of which the content is not that of the reference."""

    @property
    def sound(self) -> bool:
        """Whether each index was delivered once, as it is, or reported lost."""
        return not (self.unaccounted or self.twice or self.different)


def united(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same indices in stretches that neither overlap nor touch, in order."""
    out: list[Stretch] = []
    for first, stop in sorted(each for each in stretches if each[1] > each[0]):
        if out and first <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], stop)
        else:
            out.append((first, stop))
    return out


def size(stretches: Iterable[Stretch]) -> int:
    """How many indices these have, each counted as often as it comes."""
    return sum(stop - first for first, stop in stretches)


def account(
    said: Entries, stop: int | None = None, reference: Reference | None = None, first: int | None = None
) -> Account:
    """What becomes of each index from `first` to `stop`, by default the first and the last that the client spoke of."""
    delivered = [(first, end) for first, end, _ in said.delivered]
    every = united([*delivered, *said.lost])
    begin = every[0][0] if every else 0
    begin = begin if first is None else min(first, begin)
    end = max(stop or 0, every[-1][1] if every else 0)
    got = united(delivered)
    once = united([*got, *said.lost])
    lost = size(united(said.lost))
    return Account(
        begin,
        end,
        size(got),
        size(once) - size(got),
        end - begin - size(once),
        size(delivered) - size(got) + (size(got) + lost - size(once)),
        0 if reference is None else sum(b - a for a, b, prints in said.delivered if not reference.holds(a, b, prints)),
    )


class Reference:
    """One client's entries, by which those of the others are judged: (n,) indices, growing, and their fingerprints."""

    def __init__(self, index: npt.NDArray[np.uint64], prints: Prints) -> None:
        self.index = index.astype(np.int64)
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(prints, dtype=np.uint64)])

    def holds(self, first: int, stop: int, prints: int) -> bool:
        """Whether the entries from `first` on sum up to these prints; what the reference does not hold whole is not judged."""
        begin, end = np.searchsorted(self.index, [first, stop]).tolist()
        if end - begin != stop - first:
            return True
        return (int(self._sums[end]) - int(self._sums[begin])) % 2**64 == prints


def tick_prints(ticks: Any) -> Prints:
    """(n,) fingerprints of ticks, rows of `neuralpower_wire.tick_dtype`: of index, slot, time and values."""
    values = np.ascontiguousarray(ticks["readings"]["value"]).astype(np.int64).view(np.uint64)
    factors = np.arange(3, 3 + values.shape[1], dtype=np.uint64) * np.uint64(_WEIGHTS[0])
    found: Prints = (values * factors).sum(axis=1, dtype=np.uint64)
    for name, weight in zip(("index", "slot", "t_ns"), _WEIGHTS, strict=True):
        found = found + ticks[name].astype(np.int64).view(np.uint64) * np.uint64(weight)
    return found * _place(ticks["index"].astype(np.int64).view(np.uint64))


def _place(index: Prints) -> Prints:
    """An odd factor of its own for each index, so that the sum of two entries in each other's place is another."""
    return index * np.uint64(2) + np.uint64(1)


def record_prints(first: int, kinds: Sequence[int], bodies: Sequence[bytes]) -> Prints:
    """(n,) fingerprints of journal records from index `first` on."""
    crc = np.array(
        [zlib.crc32(body, zlib.crc32(bytes([kind]))) for kind, body in zip(kinds, bodies, strict=True)], dtype=np.uint64
    )
    index = np.arange(first, first + len(crc), dtype=np.uint64)
    return (crc + np.uint64(_WEIGHTS[1])) * np.uint64(_WEIGHTS[0]) * _place(index)


def summed(prints: Prints) -> int:
    """Their sum, modulo 2⁶⁴."""
    return int(prints.sum(dtype=np.uint64))
