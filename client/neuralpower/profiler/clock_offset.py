"""How far the host's clock lies from the GPU's, and how fast the two part, from bounds on one side and the other.

An event cannot have been recorded before the host enqueued it, nor after the host saw it complete. Each inference so gives a
lower and an upper bound of the offset (host's clock less GPU's), and either is as far from the truth as a delay is long.
Delays have a floor and a long tail, as those of packets have: it is the problem of measuring one-way delays, solved alike.

- Moon, Skelly, Towsley, "Estimation and removal of clock skew from network delay measurements" (INFOCOM 1999): the rate is
  the slope of the line that runs below all upper bounds and is highest, one edge of their hull. Theirs is highest at the
  mean time of the bounds; here it is at the middle of the window, so that a burst of inferences does not weigh more.
- Zhang, Liu, Xia, "Clock synchronization algorithms for network measurements" (INFOCOM 2002): that edge from a convex hull.

What they leave out: a rate is not constant. Each bound is therefore let grow with its age, by what a rate may change
meanwhile. That also settles which bounds are kept, see :class:`Hull`.
"""

from __future__ import annotations

from bisect import bisect_left

LARGEST_RATE = 500e-6
"""Between the clocks. CLOCK_MONOTONIC is corrected by at most 500 ppm (the kernel's MAXFREQ); crystals are within 100."""
WANDER = 0.5e-6 / 1e9
"""How fast the rate changes at most, per ns: crystals change by some 1 ppm per kelvin, and a board warms by half of one in 1 s."""
WINDOW_NS = 10e9
"""Older bounds are forgotten: a rate that wanders as it may has parted the clocks by 25 µs in 10 s, as much as a wake-up is late."""
RESOLUTION_NS = 1024.0
"""How exact times of events are: the GPU's stamps are multiples of 1.024 µs on most parts, and a float of 10,000 ms has 1 µs."""
MOST_KEPT = 64
_ROUNDING_NS = 1.0


class Hull:
    """The bounds of one side that can still matter, oldest first: the corners of a convex hull.

    A bound `y` that was found at `x` says, at age `a` and for a rate `r`, that the offset is at most y + r a + W a² / 2 with
    W = :data:`WANDER`. Which of two bounds is the lesser depends on r, and by the square on nothing but their own x: those
    that are the least for some r are the corners of the lower hull of (x, y + W x² / 2). They hold all corners of the plain
    hull. The square bends the hull, so corners lie some seconds apart however long the window is, and few are kept.

    Lower bounds are upper bounds of the negative; whoever asks turns the sign.
    """

    def __init__(self) -> None:
        self.x: list[float] = []
        self.y: list[float] = []

    def add(self, x: float, y: float) -> None:
        """Take a bound that is not older than any before."""
        if self.x and x <= self.x[-1]:
            if y >= self.y[-1]:
                return
            self._drop(-1)
        while len(self.x) > 1 and _turn(self.x[-2], self.y[-2], self.x[-1], self.y[-1], x, y) <= 0:
            self._drop(-1)
        self.x.append(x)
        self.y.append(y)
        while x - self.x[0] > WINDOW_NS:
            self._drop(0)
        if len(self.x) > MOST_KEPT:
            self._drop(self._flattest())

    def least(self, now: float, rate: float) -> tuple[float, float]:
        """The least bound of the offset at `now` if the rate is `rate`, and its age.

        Along a convex hull what the bounds say falls and then rises: the search begins at the newest, which is nearly always near.
        """
        least, age = float("inf"), 0.0
        for x, y in zip(reversed(self.x), reversed(self.y), strict=True):
            since = now - x
            bound = y + rate * since + WANDER * since * since / 2
            if bound > least:
                break
            least, age = bound, since
        return least, age

    def slope(self) -> float:
        """Of the line below all bounds that is highest in the middle of the window; 0 of a single one."""
        x, y = self._plain()
        if len(x) < 2:
            return 0.0
        right = max(bisect_left(x, (x[0] + x[-1]) / 2), 1)
        return (y[right] - y[right - 1]) / (x[right] - x[right - 1])

    def _plain(self) -> tuple[list[float], list[float]]:
        """The corners of the hull without the square."""
        x: list[float] = []
        y: list[float] = []
        for newer, bound in zip(self.x, self.y, strict=True):
            while len(x) > 1 and (bound - y[-1]) * (x[-1] - x[-2]) <= (y[-1] - y[-2]) * (newer - x[-1]):
                x.pop()
                y.pop()
            x.append(newer)
            y.append(bound)
        return x, y

    def _flattest(self) -> int:
        """The corner that lies least below the line between its neighbours: without it bounds are the least weaker."""
        x, y = self.x, self.y

        def depth(at: int) -> float:
            before, behind = x[at] - x[at - 1], x[at + 1] - x[at]
            turn = _turn(x[at - 1], y[at - 1], x[at], y[at], x[at + 1], y[at + 1])
            return turn * before * behind / (before + behind)

        return min(range(1, len(x) - 1), key=depth)

    def _drop(self, at: int) -> None:
        del self.x[at], self.y[at]


class ClockOffset:
    """The offset of two clocks at the newest bound, and its rate; ns of both clocks count from anywhere."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all bounds: nothing is known of the offset."""
        self._upper, self._lower = Hull(), Hull()
        self._now = 0.0
        self.rate = 0.0
        """By how much the host's clock gains on the GPU's, of 1."""

    def bounded(self, lower: tuple[float, float], upper: tuple[float, float]) -> float:
        """The offset at the upper bound's time, ns, after a pair of bounds more: (time on the GPU's clock, bound), ns.

        It is the least upper bound at the estimated rate, so it is late by about the floor of the delays behind it. Where
        the bounds contradict each other within the limits above, a clock has jumped, and all but this pair are forgotten.
        """
        self._take(lower, upper)
        found = self._allowed(min(max(self._upper.slope(), -LARGEST_RATE), LARGEST_RATE))
        if found is None:
            self.clear()
            self._take(lower, upper)
            found = self._allowed(0.0) or (0.0, upper[1], upper[1])
        self.rate, least, greatest = found
        return max(greatest, least - RESOLUTION_NS)

    def range(self) -> tuple[float, float]:
        """Between which offsets, ns, the true one lies for certain at the newest upper bound, within the limits above."""
        slowest, fastest = self._allowed(-LARGEST_RATE), self._allowed(LARGEST_RATE)
        if slowest is None or fastest is None:  # a pair of bounds that has no offset at all
            return -float("inf"), float("inf")
        return slowest[1] - RESOLUTION_NS, fastest[2] + RESOLUTION_NS

    def _take(self, lower: tuple[float, float], upper: tuple[float, float]) -> None:
        self._lower.add(lower[0], -lower[1])
        self._upper.add(*upper)
        self._now = upper[0]

    def _allowed(self, rate: float) -> tuple[float, float, float] | None:
        """The rate nearest to `rate` at which no upper bound lies below a lower one, and the closest of both at it.

        The room between the bounds is a concave function of the rate: Newton's steps come to its nearest zero from one side,
        in no more steps than there are corners, and turn round only where it has none.
        """
        direction = 0.0
        while abs(rate) <= LARGEST_RATE:
            upper, upper_age = self._upper.least(self._now, rate)
            negative, lower_age = self._lower.least(self._now, -rate)
            room = upper + negative + 2 * RESOLUTION_NS
            if room >= -_ROUNDING_NS:
                return rate, -negative, upper
            turn = upper_age - lower_age
            if turn * direction < 0 or turn == 0:
                return None
            direction = turn
            rate -= room / turn
        return None


def _turn(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    """By how much the slope grows at b, the square of :class:`Hull` included; differences, so that large times cost no digits."""
    return (cy - by) / (cx - bx) - (by - ay) / (bx - ax) + WANDER * (cx - ax) / 2
