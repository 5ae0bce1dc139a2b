"""Following a log: joining, repairing, changing streams, against a model of the daemon's history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuralpower.subscriber.asking import Answer
from neuralpower.subscriber.follower import RETRY_S, TICKS, Follower
from neuralpower.subscriber.messages import GONE, OLDER, UNREADABLE, Ended, Lost, Short, Ticks
from neuralpower_wire import Batch, tick_dtype, ticks_to_batch
from neuralpower_wire.history import Reply

MILLISECOND = 1_000_000


def batch(stream: bytes, first: int, count: int) -> Batch:
    """Consecutive ticks, one each millisecond, as a live batch."""
    ticks = np.zeros(count, tick_dtype(1))
    ticks["index"] = first + np.arange(count)
    ticks["t_ns"] = ticks["index"] * MILLISECOND
    return ticks_to_batch(stream, ticks)


@dataclass
class Daemon:
    """A history that holds [oldest, next) of its newest stream, and the ends of streams before it if it `keeps` them."""

    stream: bytes = b"A" * 16
    oldest: int = 0
    next: int = 0
    keeps: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def answer(self, question: dict[str, Any]) -> Answer:
        """The answer to a follower's question, as the history socket gives it."""
        stream = question.get("stream", self.stream)
        if stream != self.stream and stream not in self.keeps:
            return Answer(Reply(1, error="no such stream"), None)
        oldest, end = (self.oldest, self.next) if stream == self.stream else self.keeps[stream]
        first = max(question["first"], oldest)
        count = min(question["first"] + question["count"], end) - first
        return Answer(
            Reply(1, stream=stream, oldest=oldest, next=end), batch(stream, first, count) if count > 0 else None
        )


@dataclass
class Reader:
    """What came out of a follower."""

    follower: Follower
    delivered: dict[bytes, list[int]] = field(default_factory=dict)
    lost: dict[bytes, list[int]] = field(default_factory=dict)
    why: set[str] = field(default_factory=set)
    ended: list[tuple[bytes, int, bool]] = field(default_factory=list)
    short: list[str] = field(default_factory=list)

    def take(self, messages: list[Any]) -> None:
        """Sort messages into delivered and lost."""
        for message in messages:
            if isinstance(message, Ticks):
                self.delivered.setdefault(message.stream, []).extend(message.ticks["index"].tolist())
            elif isinstance(message, Lost):
                self.lost.setdefault(message.stream, []).extend(range(message.first, message.last + 1))
                self.why.add(message.why)
            elif isinstance(message, Ended):
                self.ended.append((message.stream, message.next, message.known))
            elif isinstance(message, Short):
                self.short.append(str(message))

    def settle(self, daemon: Daemon, now: float = 0.0) -> None:
        """Ask until nothing is missing."""
        for _ in range(200):
            question = self.follower.question(now)
            if question is None:
                return
            self.take(self.follower.answered(question, daemon.answer(question), now))
            now += RETRY_S / 10
        raise AssertionError("the follower keeps asking")


def test_joining_begins_at_the_head() -> None:
    """Without a past the first tick wanted is the next one."""
    daemon = Daemon(oldest=5, next=100)
    reader = Reader(Follower(TICKS))
    reader.settle(daemon)
    reader.take(reader.follower.live(batch(daemon.stream, 100, 10)))
    assert reader.delivered == {daemon.stream: list(range(100, 110))}


def test_all_of_the_past_begins_at_the_oldest() -> None:
    """past=True takes what the history holds, and what came before that is not called lost."""
    daemon = Daemon(oldest=5, next=10_000)
    reader = Reader(Follower(TICKS, past=True))
    reader.settle(daemon)
    assert reader.delivered == {daemon.stream: list(range(5, 10_000))}
    assert reader.lost == {}


def test_the_past_that_is_overwritten_while_it_is_asked_for_is_not_lost() -> None:
    """A full ring overwrites its oldest entry every period; only what came after joining can be lost."""
    daemon = Daemon(oldest=5, next=10_000)
    reader = Reader(Follower(TICKS, past=True))
    question = reader.follower.question(0.0)
    assert question is not None
    reader.take(reader.follower.answered(question, daemon.answer(question), 0.0))
    daemon.oldest = 20
    reader.settle(daemon)
    assert reader.delivered == {daemon.stream: list(range(20, 10_000))}
    assert reader.lost == {} and reader.follower.lost == 0


def test_what_came_after_joining_and_is_overwritten_is_lost() -> None:
    """A reader that joined and then slept longer than the ring holds says what it missed, and nothing from before."""
    daemon = Daemon(oldest=5, next=100)
    reader = Reader(Follower(TICKS, past=True))
    question = reader.follower.question(0.0)
    assert question is not None
    reader.take(reader.follower.answered(question, daemon.answer(question), 0.0))
    daemon.oldest, daemon.next = 150, 200
    reader.follower.locate()
    reader.settle(daemon)
    assert reader.delivered == {daemon.stream: list(range(150, 200))}
    assert reader.lost == {daemon.stream: list(range(100, 150))}
    assert reader.why == {OLDER}


@given(st.integers(0, 300), st.integers(1, 3000), st.floats(0.001, 4.0))
def test_seconds_of_the_past_begin_at_the_first_tick_within(oldest: int, count: int, seconds: float) -> None:
    """past=seconds begins at the first entry that is at most so much older than the newest."""
    daemon = Daemon(oldest=oldest, next=oldest + count)
    reader = Reader(Follower(TICKS, past=seconds))
    reader.settle(daemon)
    newest = (daemon.next - 1) * MILLISECOND
    wanted = [i for i in range(oldest, daemon.next) if i * MILLISECOND >= newest - int(seconds * 1e9)]
    assert reader.delivered[daemon.stream] == wanted
    short_s = seconds - (count - 1) * MILLISECOND * 1e-9
    assert reader.short == (
        [f"ticks: the daemon holds the last {seconds - short_s:.0f} s, and not {seconds:.0f} s"]
        if short_s >= 1.5
        else []
    )


def test_a_recording_goes_on_where_it_ended() -> None:
    """A resumed stream is asked for from its first missing index; what is overwritten is lost."""
    daemon = Daemon(oldest=50, next=100)
    reader = Reader(Follower(TICKS, resume={daemon.stream: 40}))
    reader.settle(daemon)
    assert reader.delivered == {daemon.stream: list(range(50, 100))}
    assert reader.lost == {daemon.stream: list(range(40, 50))}


def test_no_answer_is_asked_again_later() -> None:
    """A daemon that does not answer is given time before the question is repeated."""
    follower = Follower(TICKS)
    question = follower.question(10.0)
    assert question is not None
    follower.answered(question, None, 10.0)
    assert follower.question(10.0 + RETRY_S / 2) is None
    assert follower.question(10.0 + RETRY_S) == question


def test_an_unreadable_entry_is_narrowed_down_to_itself() -> None:
    """An answer that breaks the format costs the one entry that does, not its neighbours."""
    daemon, poison = Daemon(oldest=0, next=100), 37
    reader = Reader(Follower(TICKS, past=True))
    for now in range(200):
        question = reader.follower.question(float(now))
        if question is None:
            break
        answer = daemon.answer(question)
        if question["count"] and question["first"] <= poison < question["first"] + question["count"]:
            answer = Answer(answer.reply, None, "bent")
        reader.take(reader.follower.answered(question, answer, float(now)))
    assert reader.lost == {daemon.stream: [poison]}
    assert reader.why == {f"{UNREADABLE}: bent"}
    assert reader.delivered == {daemon.stream: [i for i in range(100) if i != poison]}


def test_a_new_stream_is_taken_from_its_beginning() -> None:
    """After a restart with another stride the new ring is read from its oldest tick, the old one to its end if still had."""
    old, new = b"A" * 16, b"B" * 16
    for keeps, tail in (({old: (0, 30)}, []), ({}, list(range(20, 30)))):
        daemon = Daemon(stream=old, next=10)
        reader = Reader(Follower(TICKS, past=True))
        reader.settle(daemon)
        reader.take(reader.follower.live(batch(old, 10, 10)))
        reader.follower.locate()
        reader.follower.answered({"first": 0, "count": 0}, Answer(Reply(1, stream=old, next=30), None), 0.0)
        daemon = Daemon(stream=new, oldest=0, next=7, keeps=keeps)
        reader.take(reader.follower.live(batch(new, 5, 2)))
        reader.settle(daemon)
        reader.take(reader.follower.live(batch(new, 7, 2)))
        assert reader.delivered[new] == list(range(9))
        assert reader.lost.get(old, []) == tail
        assert reader.delivered[old] == [i for i in range(30) if i not in tail]
        assert reader.ended == [(old, 30, bool(keeps))]
        assert reader.why == ({GONE} if tail else set())


def test_where_a_stream_ended_is_asked_for_even_where_nothing_of_it_is_missing() -> None:
    """What the daemon took after the last batch that was heard is delivered, or it is told that nobody knows how much that was."""
    old, new = b"A" * 16, b"B" * 16
    for keeps, delivered, ended in (({old: (0, 30)}, 30, (old, 30, True)), ({}, 10, (old, 10, False))):
        reader = Reader(Follower(TICKS, past=True))
        reader.settle(Daemon(stream=old, next=10))
        reader.follower.locate()
        reader.settle(Daemon(stream=new, next=7, keeps=keeps))
        assert len(reader.delivered[old]) == delivered and reader.ended == [ended]
        assert reader.delivered[new] == list(range(7)) and reader.lost == {}


def test_the_beginning_of_a_stream_that_began_meanwhile_is_lost_where_it_was_overwritten() -> None:
    """A client that slept over a reboot, and longer than the new ring holds, counts what it missed of the new stream too."""
    old, new = b"A" * 16, b"B" * 16
    reader = Reader(Follower(TICKS))
    reader.settle(Daemon(stream=old, next=10))
    reader.follower.locate()
    reader.settle(Daemon(stream=new, oldest=50, next=90))
    assert reader.lost == {new: list(range(50))} and reader.delivered == {new: list(range(50, 90))}


def test_a_recording_that_goes_on_after_a_reboot_hears_what_became_of_the_stream_before() -> None:
    """The recorder was off when the device began another stream: the rest of the one before is not passed over in silence."""
    old, new = b"A" * 16, b"B" * 16
    for keeps, tail, ended in (({old: (0, 60)}, list(range(40, 60)), (old, 60, True)), ({}, [], (old, 40, False))):
        reader = Reader(Follower(TICKS, resume={old: 40}))
        reader.settle(Daemon(stream=new, oldest=2, next=9, keeps=keeps))
        assert reader.delivered.get(old, []) == tail and reader.delivered[new] == list(range(2, 9))
        assert reader.ended == [ended] and reader.lost == {new: [0, 1]} and reader.why == {OLDER}


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, int]]:
    """What may happen: ticks are published or silently dropped, batches come again, the ring laps, the daemon restarts."""
    event = st.one_of(
        st.tuples(st.sampled_from(["publish", "drop"]), st.integers(1, 30)),
        st.tuples(st.just("again"), st.integers(1, 60)),
        st.tuples(st.just("lap"), st.integers(0, 40)),
        st.tuples(st.sampled_from(["ask", "dead", "reboot"]), st.integers(1, 2)),
    )
    return draw(st.lists(event, max_size=40))


@given(lives())
def test_every_tick_of_every_stream_is_delivered_once_or_lost_once(life: list[tuple[str, int]]) -> None:
    """Through losses, doubles, laps, silence and reboots, each stream is a partition into delivered and lost, in order."""
    daemon, clock = Daemon(stream=bytes(16)), 0.0
    reader = Reader(Follower(TICKS, past=True))
    reader.settle(daemon)
    starts: dict[bytes, int] = {daemon.stream: 0}
    for what, number in life:
        clock += 1.0
        if what in ("publish", "drop"):
            live = batch(daemon.stream, daemon.next, number)
            daemon.next += number
            if what == "publish":
                reader.take(reader.follower.live(live))
        elif what == "again" and daemon.next > number:
            reader.take(reader.follower.live(batch(daemon.stream, daemon.next - number, min(number, 5))))
        elif what == "lap":
            daemon.oldest = min(daemon.oldest + number, daemon.next)
        elif what in ("ask", "dead") and (question := reader.follower.question(clock)):
            answer = daemon.answer(question) if what == "ask" else None
            reader.take(reader.follower.answered(question, answer, clock))
        elif what == "reboot":
            reader.follower.locate()
            reader.settle(daemon, clock)
            daemon = Daemon(stream=bytes([len(starts)]) * 16)
            starts[daemon.stream] = 0
            reader.follower.locate()
            reader.settle(daemon, clock)
    reader.follower.locate()
    reader.settle(daemon, clock + 1.0)
    for stream in starts:
        delivered, lost = reader.delivered.get(stream, []), reader.lost.get(stream, [])
        assert delivered == sorted(delivered)
        assert sorted(delivered + lost) == list(range(len(delivered) + len(lost)))
    last = daemon.stream
    ends = {stream: len(reader.delivered.get(stream, [])) + len(reader.lost.get(stream, [])) for stream in starts}
    assert reader.ended == [(stream, end, False) for stream, end in ends.items() if stream != last]
    assert len(reader.delivered.get(last, [])) + len(reader.lost.get(last, [])) == daemon.next
