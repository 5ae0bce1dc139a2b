"""Where between its anchors an inference's layers ran: what is not known of that, as parameters with priors.

TensorRT reports durations and no times; the host knows when it began to enqueue and when the stream had finished. An edge between
layers (the first layer's begin is edge 0) of an inference with the room r, what its durations leave between the anchors, lies at

    begin + m / 2 + sum of durations before it + lead + gaps

m: median room of the engine. The parameters, each of which moves edges in proportion:

    lead   how much of the room that an inference has beside the median lies before its layers: a share for those with less than
           usual, one for those with more, one for what goes beyond twice the usual spread, one for what goes beyond four times. A
           host whose waking up scatters and whose enqueue does not has shares near 0. Where the enqueue scatters and waking up is
           late now and then, rooms beyond the usual are those of late waking, and have less before their layers than shorter ones:
           the third may be below 0.
    gap    from the end of a kernel to the begin of the next. A runtime that reports from event to event has it in its durations: 0.
    spread how much of the room beside the median lies in the gaps.
    own    what an engine's lead and gap are beside those common to all, where several engines ran.

Several engines also tell the gap by their rooms alone (`Rooms`): the host waits as long for each, and each further kernel adds a gap.

All are centred so that they hardly turn with the sensor's delay, which the mean place of all layers cannot be told from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAD_LESS, LEAD_MORE, LEAD_FAR, LEAD_FARTHER, SPREAD, GAP = range(6)
"""Number: where each parameter is in the vector of the layout."""
COMMON, OWN = 6, 2
"""Number: parameters of all engines together; behind them those of each engine: its own lead and gap, us."""
LEAD_CENTRE, LEAD_SPREAD = 0.4, 0.3
"""Prior: a share between 0 and 1 of which little is known; hosts' wake-up scatters more than their enqueue."""
FAR_CENTRE, FAR_SPREAD = 0.25, 0.5
"""Prior: a room far beyond the usual is a late wake-up rather than a late launch; of neither less is known than where rooms are usual."""
SPREAD_CENTRE, SPREAD_SPREAD = 0.1, 0.15
"""Prior: little of the room beside the median lies in the gaps; most is the host that wakes up."""
GAP_CENTRE_US, GAP_SPREAD_US = 1.0, 1.5
"""Prior: 0.5 to 2 us between kernels of one stream is usual, 5 and more happens; 0 where durations have it in them."""
OWN_LEAD_US, OWN_GAP_US = 10.0, 0.15
"""Prior: of what engines on one host differ by."""
OWN_WAIT_US, WAITS_WORTH = 20.0, 2.0
"""Prior: what engines' waits differ by beside the gaps; it counts as much as so many engines of which it is measured."""
FAR, FARTHER = 2.0, 4.0
"""Rule: in spreads (half the distance of the 16th and 84th percentile): where room counts as far beyond the usual, and as farther."""
FARTHEST = 12.0
"""Tuning: room beyond so many spreads moves layers no further."""
LEAST_PERCENT, MOST_WIDTH = 1.0, 3.0
"""Tuning: percentile of an engine's rooms that is taken for the least; by how much of the usual room beyond that the scatter grows."""
LIKELY = 3.0
"""Tuning: in prior standard deviations: gaps farther away are not tried."""
MOST_GAP = 1.0
"""Prior: of the engine's smallest usual room: gaps fill no more."""
US = 1e3
"""Number: ns in a microsecond, the unit of parameters that are times."""
LEADS, ROOMS = 4, 7
"""Number: rows of the room that shares of the lead move, and all rows."""
NEAR, WIDTH, TOLD = range(4, 7)
"""Number: rows of what an inference's room says: what its shares of the lead move, then `Room.near`, `Room.width`, and whether any of it is told."""


@dataclass(frozen=True)
class Rooms:
    """What the rooms of several engines say of the gaps between their kernels.

    `middle_us` (k,): the median room of each; `kernels` (k,): how many gaps are in it; `engine` (k,): whose they are. A room is what the
    host waits for before the first kernel and after the last one, w for all engines within `OWN_WAIT_US`, and the gaps.
    """

    middle_us: Floats
    kernels: Floats
    engine: Ints

    def told(self, size: int) -> tuple[Floats, Floats]:
        """Precision (size, size) of a layout's values, and their likeliest values (size,) where it is any: w may be whatever it is."""
        precision, centre = np.zeros((size, size)), np.zeros(size)
        if self.kernels.size < 2 or np.ptp(self.kernels) == 0:
            return precision, centre
        variance = OWN_WAIT_US**2 + (OWN_GAP_US * self.kernels) ** 2
        line = np.stack([np.ones(self.kernels.size), self.kernels], axis=1) / np.sqrt(variance)[:, None]
        wait, gap = np.linalg.lstsq(line, self.middle_us / np.sqrt(variance), rcond=None)[0]
        beside = self.middle_us - wait - gap * self.kernels
        worth = WAITS_WORTH + self.kernels.size - 2
        wait_variance = OWN_WAIT_US**2 * (WAITS_WORTH + float(np.sum(beside**2 / variance))) / worth
        levers = np.zeros((self.kernels.size, size))
        own = COMMON + OWN * self.engine + 1
        levers[:, GAP] = levers[np.arange(self.kernels.size), own] = self.kernels
        free = levers - levers.mean(axis=0)
        precision = free.T @ free / wait_variance
        centre[GAP] = gap
        centre[own] = beside / np.maximum(self.kernels, 1.0)
        return precision, centre


@dataclass(frozen=True)
class Layout:
    """Values (6 + 2 e,) of the parameters for e engines: shares, and us. `most_gap_us`: what the room leaves for gaps between kernels."""

    value: Floats
    engines: int
    most_gap_us: float = np.inf
    apart: bool = True
    rooms: Rooms | None = None
    still: bool = False
    """Whether the gap stays what it is: while edges are wide on purpose they draw it away from where sharp ones have their maximum."""

    @classmethod
    def usual(cls, engines: int, gap_us: float = GAP_CENTRE_US, most_gap_us: float = np.inf) -> Layout:
        """Before anything is measured."""
        value = np.zeros(COMMON + 2 * engines)
        value[:SPREAD] = LEAD_CENTRE, LEAD_CENTRE, FAR_CENTRE, FAR_CENTRE
        value[SPREAD] = SPREAD_CENTRE
        value[GAP] = float(np.clip(gap_us, 0.0, most_gap_us))
        return cls(value, engines, most_gap_us, engines > 1)

    @property
    def size(self) -> int:
        """How many parameters."""
        return self.value.size

    @property
    def prior(self) -> tuple[Floats, Floats]:
        """Precision (6 + 2 e, 6 + 2 e) and means (6 + 2 e,) of what is known beforehand."""
        usual, precision = Layout.usual(self.engines).value, np.diag(self.deviation**-2)
        if self.rooms is None:
            return precision, usual
        more, centre = self.rooms.told(self.size)
        total = precision + more
        return total, np.asarray(np.linalg.solve(total, precision @ usual + more @ centre), np.float64)

    @property
    def likely_gaps_us(self) -> tuple[float, float]:
        """Between what the common gap may lie, if engines have none of their own."""
        precision, centre = replace(self, apart=False).prior
        spread = LIKELY * float(np.sqrt(np.linalg.inv(precision)[GAP, GAP]))
        least = float(np.clip(centre[GAP] - spread, 0.0, self.most_gap_us))
        return least, float(np.clip(centre[GAP] + spread, least, self.most_gap_us))

    @property
    def deviation(self) -> Floats:
        """Prior standard deviations without what rooms say. Of one engine its own parameters are the common ones."""
        own = (OWN_LEAD_US, OWN_GAP_US) if self.apart else (1e-6, 1e-6)
        common = [LEAD_SPREAD, LEAD_SPREAD, FAR_SPREAD, LEAD_SPREAD, SPREAD_SPREAD, GAP_SPREAD_US]
        return np.array([*common, *(own * self.engines)])

    def gap_us(self, engine: int) -> float:
        """Between kernels of an engine."""
        return float(max(self.value[GAP] + self.value[COMMON + 2 * engine + 1], 0.0))

    def with_values(self, other: Layout) -> Layout:
        """With the values of another layout, whose engines are the first of these."""
        value = np.array(self.value)
        value[: other.size] = other.value
        return replace(self, value=value)

    def of_gap(self, engine: int) -> Floats:
        """By which parameters the gap of an engine changes (6 + 2 e,), 1."""
        change = np.zeros(self.size)
        change[[GAP, COMMON + 2 * engine + 1]] = 1.0
        return change

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """What can be: least and most of each."""
        least, most = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        least[:COMMON], most[:GAP], most[GAP] = 0.0, 1.0, self.most_gap_us
        least[LEAD_FAR] = -1.0
        if self.still:
            least[GAP] = most[GAP] = self.value[GAP]
        return least, most

    def with_engines(self, engines: int) -> Layout:
        """With more engines behind those that it has, of which nothing of their own is known."""
        more = np.zeros(OWN * (engines - self.engines))
        return replace(self, value=np.append(self.value, more), engines=engines)

    def moved(self, change: Floats) -> Layout:
        """After a step, kept within what can be."""
        return replace(self, value=np.clip(self.value + change, *self.bounds))


def room_ns(begin_ns: Ints, end_ns: Ints, durations_ns: Ints) -> Floats:
    """What durations (m, n) leave between anchors (m,), ns (m,)."""
    return np.asarray(end_ns - begin_ns - durations_ns.sum(axis=1), np.float64)


def most_gap_us(room: Floats, durations_ns: Ints) -> float:
    """The longest gap between kernels that an engine's room (m,) leaves."""
    kernels = int(np.median((durations_ns > 0).sum(axis=1)))
    return MOST_GAP * max(float(np.percentile(room, 16)), 0.0) / max(kernels - 1, 1) / US


@dataclass(frozen=True)
class UsualRoom:
    """Of an engine's rooms, ns: the median, half the distance of the 16th and 84th percentile, the least, and the mean of `_wider`; `ran`
    (n,): which layers take time."""

    middle_ns: float
    spread_ns: float
    least_ns: float
    wider: float
    ran: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, begin_ns: Ints, end_ns: Ints, durations_ns: Ints) -> UsualRoom:
        """From anchors (m,) and durations (m, n)."""
        if not len(durations_ns):
            return cls(0.0, 1.0, 0.0, 1.0, np.zeros(durations_ns.shape[1], bool))
        room = room_ns(begin_ns, end_ns, durations_ns)
        least, low, middle, high = (float(each) for each in np.percentile(room, [LEAST_PERCENT, 16, 50, 84]))
        wider = float(_wider(room, least, middle).mean())
        return cls(middle, max((high - low) / 2, 1.0), least, wider, np.median(durations_ns, axis=0) > 0)


@dataclass(frozen=True)
class Room:
    """What moves an engine's edges, in factors. Of each inference: `beside` (4, m), ns, its room beside the median, split as its shares are
    (LEAD_LESS to LEAD_FARTHER), and `near` (m,), of which a part may lie in gaps. Of each edge (n + 1,): `gaps` before it less half of all, and
    `place` in the inference by gaps, -1/2 to 1/2. `width` (m,), of mean 1: how much wider than usual its place may scatter, squared: where
    there is hardly any room it cannot."""

    beside: Floats
    near: Floats
    gaps: Floats
    place: Floats
    width: Floats

    @classmethod
    def of(cls, begin_ns: Ints, end_ns: Ints, durations_ns: Ints, usual: UsualRoom | None = None) -> Room:
        """From anchors (m,) and durations (m, n); `usual`: of all inferences of the engine, where these are a part of them."""
        usual = usual or UsualRoom.of(begin_ns, end_ns, durations_ns)
        room, spread = room_ns(begin_ns, end_ns, durations_ns), usual.spread_ns
        beside = np.clip(room - usual.middle_ns, -FARTHEST * spread, FARTHEST * spread)
        before = np.append(0, np.maximum(np.cumsum(usual.ran) - 1, 0)).astype(np.float64)
        ends = spread * np.array([-np.inf, 0.0, FAR, FARTHER, np.inf])
        return cls(
            np.stack([np.clip(beside, *each) - np.clip(0.0, *each) for each in pairwise(ends)]),
            np.clip(beside, -FAR * spread, FAR * spread),
            before - before[-1] / 2,
            before / before[-1] - 0.5 if before[-1] else before,
            _wider(room, usual.least_ns, usual.middle_ns) / usual.wider,
        )


def _wider(room: Floats, least: float, middle: float) -> Floats:
    """Squared room beyond the least: so two waits that are never below 0 scatter whose sum is known."""
    if middle - least < 1.0:
        return np.ones(room.size)
    return np.asarray(np.clip((room - least) / (middle - least), 0.0, MOST_WIDTH) ** 2, np.float64)
