"""Continuity: whatever is lost, doubled or reordered on the way, each index is delivered once or counted lost once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neuralpower.subscriber.continuity import Continuity


def test_in_order_batches_pass_through() -> None:
    """Batches that follow one another are delivered as they come."""
    log: Continuity[list[int]] = Continuity(5)
    assert log.offer(5, [5, 6]) == [(5, [5, 6])]
    assert log.offer(7, [7]) == [(7, [7])]
    assert log.gap(100) is None


def test_a_gap_is_asked_for_and_then_closed() -> None:
    """A batch behind a gap waits; the gap's entries release it."""
    log: Continuity[list[int]] = Continuity(0)
    assert log.offer(3, [3, 4]) == []
    assert log.gap(100) == (0, 3)
    assert log.gap(2) == (0, 2)
    assert log.offer(0, [0, 1, 2]) == [(0, [0, 1, 2]), (3, [3, 4])]
    assert log.lost == 0


def test_duplicates_are_dropped_and_overlaps_cut() -> None:
    """Entries already delivered are not delivered again."""
    log: Continuity[list[int]] = Continuity(0)
    log.offer(0, [0, 1, 2])
    assert log.offer(0, [0, 1]) == []
    assert log.offer(1, [1, 2, 3]) == [(3, [3])]


def test_what_the_history_lacks_is_lost_with_its_range() -> None:
    """Only the part of the gap that the history no longer holds is lost."""
    log: Continuity[list[int]] = Continuity(10)
    log.offer(20, [20])
    assert log.gone(15) == (range(10, 15), [])
    assert log.gap(100) == (15, 5)
    assert log.gone(20) == (range(15, 20), [(20, [20])])
    assert log.lost == 10


def test_more_held_batches_than_allowed_are_asked_for_later() -> None:
    """The bound on memory drops the newest batches, which the history still has, and loses nothing."""
    log: Continuity[list[int]] = Continuity(0, held_batches=2)
    for first in (1, 2, 3, 4):
        log.offer(first, [first])
    assert log.offer(0, [0]) == [(0, [0]), (1, [1]), (2, [2])]
    assert log.gap(100) == (3, 2)


@st.composite
def journeys(draw: st.DrawFn) -> tuple[int, int, list[tuple[str, int, int]], int]:
    """A log of up to 60 entries, a start, live batches in any order with losses and doubles, and what is overwritten."""
    total, start = draw(st.integers(1, 60)), draw(st.integers(0, 20))
    batches = draw(
        st.lists(st.tuples(st.integers(0, total - 1), st.integers(1, 9)).map(lambda b: ("live", *b)), max_size=40)
    )
    asks = draw(st.lists(st.tuples(st.integers(1, 7), st.integers(0, total)).map(lambda a: ("ask", *a)), max_size=20))
    return total, start, draw(st.permutations(batches + asks)), draw(st.integers(1, 5))


@given(journeys())
def test_every_index_is_delivered_once_or_lost_once(journey: tuple[int, int, list[tuple[str, int, int]], int]) -> None:
    """From the start to the end, delivered and lost entries partition the log, in order, whatever the way did."""
    total, start, events, held = journey
    log: Continuity[list[int]] = Continuity(start, held_batches=held)
    delivered: list[int] = []
    lost: list[int] = []
    oldest = 0

    def deliver(ready: list[tuple[int, list[int]]]) -> None:
        for first, items in ready:
            assert items[0] == first
            delivered.extend(items)

    def ask(most: int) -> bool:
        gap = log.gap(most)
        if gap is None:
            return False
        first, count = gap
        assert 0 < count <= most
        gone, ready = log.gone(oldest)
        lost.extend(gone)
        deliver(ready)
        held_by_history = list(range(max(first, oldest), min(first + count, total)))
        if held_by_history:
            deliver(log.offer(held_by_history[0], held_by_history))
        return True

    for what, a, b in events:
        if what == "live":
            deliver(log.offer(a, list(range(a, min(a + b, total)))))
        else:
            oldest = max(oldest, min(b, total))
            ask(a)
    log.reaches(total)
    while ask(5):
        pass
    assert delivered == sorted(set(delivered))
    assert not set(delivered) & set(lost)
    assert sorted(delivered + lost) == list(range(start, max(start, total, oldest)))
    assert log.lost == len(lost)
