"""The client: everything a daemon publishes, each entry once and in order, repaired from the daemon's history."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import zmq

from neuralpower_wire import (
    ESTIMATES,
    INFERENCES,
    LAYERS,
    RAILS,
    STATUS,
    TOPICS,
    Engine,
    Epoch,
    EpochBegun,
    Kind,
    PackedRecords,
    Record,
    VersionError,
    WireError,
    decode,
)

from .. import address as addresses
from ..address import AddressLike
from ..errors import Failure, InputError
from .asking import REPAIR_TIMEOUT_S, REQUEST_TIMEOUT_S, Answer, History, configure
from .comparison import ClockComparison, boot, now_ns
from .follower import JOURNAL, TICKS, Follower, Past
from .keys import keys_for
from .messages import Energies, Estimates, Found, Lost, Message, Records, Refused, Status, Ticks
from .newest import Newest

RECEIVE_HIGH_WATER = 4096
"""Live messages that may wait for the caller: about 60 a second come, so this is a minute of a stalled disk and, at 9 KB
for 50 ticks of six readings, some 40 MB at most. What overflows is dropped and repaired from the history."""
DRAIN = 256
"""Messages taken in one poll: 4 s of a busy daemon; a bound so that questions are asked in between."""
LATEST_HIGH_WATER = 256
"""The same of a client that wants the newest only: some seconds of a busy daemon."""
STALE_S = 2.0
"""A client that wants the newest only and did not look for so long connects anew: what waits for it everywhere on the way is old."""
SILENCE_S = 3.0
"""The daemon says something at least once a second (its status); three missed ones mean it is not there."""
ENGINE_PATIENCE_S = 2.0
"""An engine's description follows its first inference in the journal within this; after it the history is asked."""
ENGINE_RETRY_S = 10.0
"""The daemon may itself be waiting for the description: ask again, rarely."""
COMPARE_S = 0.25
"""So long an answer with the device's time is waited for: one that takes longer tells little of the clocks."""
MAX_WAITING_ENGINES = 1024
"""Unknown engines kept in mind: a sweep has hundreds. Beyond it a hostile daemon gets no more memory."""
MAX_KNOWN_ENGINES, MAX_KNOWN_EPOCHS = 4096, 1024
"""Known ones kept in mind, the newest: one that was forgotten is asked for once more."""
ENGINES_AT_A_TIME = 16
"""Descriptions asked for at a time: each may have some megabytes."""
CATCH_UP_S = 10.0
"""At the end the daemon may be in the middle of a restart; without any progress for this long it is given up."""


@dataclass(frozen=True)
class _Asked:
    """A question under way: its number is None where no daemon was connected, and its answer is waited for `until`."""

    question: dict[str, Any]
    number: int | None
    until: float


class _Newest(OrderedDict[Any, Any]):
    """A dictionary of at most so many entries: the one set longest ago goes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)


class Client:
    """A subscriber of one daemon. It may be started before the daemon, outlive restarts of it, and be paused.

        with Client("ipc:///run/neuralpower") as client:
            for batch in client.rails():
                print(batch.total_power_w().mean())

    Args:
        address: `ipc:///run/neuralpower`, the path of that folder, or `tcp://host:port`.
        topics: any of "rails", "inferences", "layers", "status", "estimates".
        past: also deliver what the daemon still holds from before joining: True for all, or seconds.
        resume: for a recording that goes on: log name ("ticks", "journal") -> stream -> first index still wanted.
        latest: for a live view: the newest of what is published, each entry at most once and in order. What is missed is passed over, not asked
            for; no `past`, no `resume`.

    Not thread-safe. Raises InputError for an address or topic that cannot be, and for a TCP address without keys
    (:mod:`neuralpower.subscriber.keys`).
    """

    def __init__(
        self,
        address: AddressLike = addresses.DEFAULT,
        topics: Iterable[str | bytes] = ("rails", "inferences"),
        past: Past = None,
        resume: dict[str, dict[bytes, int]] | None = None,
        latest: bool = False,
    ) -> None:
        self.address = addresses.parse(address)
        self.topics = {topic.encode() if isinstance(topic, str) else topic for topic in topics}
        if unknown := self.topics - set(TOPICS):
            raise InputError(
                f"no topic {min(unknown).decode(errors='replace')!r}; there are {', '.join(t.decode() for t in TOPICS)}"
            )
        resume = resume or {}
        followed = [(RAILS, TICKS), (INFERENCES, JOURNAL)]
        if latest and (past or resume):
            raise InputError("latest: a client that wants the newest only gets nothing of the past")
        wanted = [(topic, log) for topic, log in followed if topic in self.topics]
        self._newest = {topic: Newest(log) for topic, log in wanted} if latest else {}
        self._followers = {
            topic: Follower(log, past, resume.get(log.name)) for topic, log in wanted if topic not in self._newest
        }
        self._latest, self._polled_s = latest, _awake_s()
        self.known_epochs: dict[tuple[bytes, int], Epoch] = _Newest(MAX_KNOWN_EPOCHS)
        """Epochs seen so far, by stream and number, the newest of them."""
        self._known_engines: dict[str, bool] = _Newest(MAX_KNOWN_ENGINES)
        self._waiting_engines: dict[str, float] = {}
        self._heard = float("-inf")
        self._questions: dict[str, _Asked] = {}
        """Under way, by log or by what is asked for."""
        self._keys = keys = keys_for(self.address)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._history = History(self._context, self.address.history, keys)
        self._live = self._subscribed()

    def _subscribed(self) -> zmq.Socket[bytes]:
        live = self._context.socket(zmq.SUB)
        configure(live, self._keys)
        live.setsockopt(zmq.RCVHWM, LATEST_HIGH_WATER if self._latest else RECEIVE_HIGH_WATER)
        for topic in self.topics | {STATUS}:  # the status is also the daemon's heartbeat
            live.setsockopt(zmq.SUBSCRIBE, topic)
        live.connect(self.address.live)
        return live

    # Life

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets. Closing twice is fine."""
        if not self._context.closed:
            self._history.close()
            self._live.close(linger=0)
            self._context.term()

    @property
    def connected(self) -> bool:
        """Whether the daemon has been heard in the last three seconds."""
        return time.monotonic() - self._heard < SILENCE_S

    @property
    def refused(self) -> str:
        """This client's public key where the daemon is there and does not allow it, or no more; else nothing."""
        return self._history.refused

    @property
    def nobody(self) -> str:
        """What to say while :attr:`connected` is false."""
        return addresses.nobody(self.address, self.refused)

    @property
    def simulated(self) -> bool:
        """Whether any epoch seen so far comes from the chip in software."""
        return any(epoch.simulated for epoch in self.known_epochs.values())

    @property
    def ticks_lost(self) -> int:
        """Ticks that were missed and that the history no longer had."""
        return self._followers[RAILS].lost if RAILS in self._followers else 0

    @property
    def records_lost(self) -> int:
        """Journal records that were missed and that the history no longer had."""
        return self._followers[INFERENCES].lost if INFERENCES in self._followers else 0

    @property
    def passed_over(self) -> dict[str, int]:
        """Log -> entries that a client with `latest` passed over; empty without."""
        return {newest.log.name: newest.passed_over for newest in self._newest.values()}

    # Receiving

    def __iter__(self) -> Iterator[Message]:
        """All messages, for ever; without a daemon it waits for one."""
        while not self._context.closed:
            yield from self.poll(1.0)

    def rails(self) -> Iterator[Ticks]:
        """Batches of ticks, for ever: in order, each tick once."""
        return (message for message in self if isinstance(message, Ticks))

    def inferences(self) -> Iterator[Record]:
        """Inference records of the journal, for ever."""
        for message in self:
            if isinstance(message, Records):
                yield from PackedRecords.of(message.records).of_kinds(Kind.INFERENCE)

    def poll(self, timeout_s: float = 1.0) -> list[Message]:
        """What has arrived, waiting at most `timeout_s` for something; at most one answer of the history per log.

        What an answer would explain (the epoch of ticks, the engine of inferences) is waited for within the same time, and
        comes with a later call where it takes longer.

        Raises:
            VersionError: the daemon speaks another version of the wire.
        """
        messages: list[Message] = []
        if self._latest and _awake_s() - self._polled_s > STALE_S:
            self._live.close(linger=0)
            self._live = self._subscribed()
        deadline = time.monotonic() + timeout_s
        busy = any(follower.question(time.monotonic()) for follower in self._followers.values())
        if self._live.poll(0 if busy else int(timeout_s * 1000)):
            for _ in range(DRAIN):
                try:
                    frames = self._live.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                messages += self._take(frames)
        for follower in self._followers.values():
            messages += self._repair(follower, deadline)
        self._polled_s = _awake_s()
        return self._explain(messages, deadline)

    def catch_up(self, patience_s: float = CATCH_UP_S) -> Iterator[list[Message]]:
        """Everything up to where the logs stand now, in portions; ends when all of it has come.

        Raises:
            Failure: no daemon was ever there, or it gave nothing for `patience_s`; what it had is not known.
        """
        known = any(follower.started for follower in self._followers.values())
        patience_s = patience_s if known else min(patience_s, REQUEST_TIMEOUT_S)
        for follower in self._followers.values():
            follower.locate()
        deadline = time.monotonic() + patience_s
        while pending := [f for f in self._followers.values() if f.question(float("inf"))]:
            messages = self._explain(
                [m for follower in pending for m in self._repair(follower, time.monotonic() + 0.1)],
                time.monotonic() + 0.1,
            )
            if messages:
                deadline = time.monotonic() + patience_s
                yield messages
            elif time.monotonic() > deadline:
                silence = f"gave no answer for {patience_s:g} s; its last entries are missing"
                raise Failure(f"{self.address}: the daemon {silence}" if known else self.nobody)
            else:
                time.sleep(0.01)

    def _take(self, frames: list[bytes]) -> list[Message]:
        self._heard = time.monotonic()
        topic = bytes(frames[0])
        if topic == STATUS and topic not in self.topics:
            return []
        try:
            batch = decode(frames)
            if follower := self._followers.get(topic) or self._newest.get(topic):
                return follower.live(batch)
            if topic == ESTIMATES:
                return [Estimates.of(batch)]
            return [Energies.of(batch)] if topic == LAYERS else [Status.of(batch)]
        except VersionError:
            raise
        except WireError as error:
            return [Refused(topic, str(error))]

    def _repair(self, follower: Follower, deadline: float) -> list[Message]:
        """Ask for what is missing, or take the answer of a question under way; each log has one at a time."""
        asked = self._questions.pop(follower.log.name, None) or self._put(follower)
        if asked is None:
            return []
        answer = self._received(follower.log.name, asked, deadline)
        if answer is None and follower.log.name in self._questions:
            return []
        return follower.answered(asked.question, answer, time.monotonic())

    def _received(self, name: str, asked: _Asked, deadline: float) -> Answer | None:
        """The answer if it comes until `deadline`; until `asked.until` the question stays under way, by its name."""
        answer = self._history.receive(asked.number, max(deadline - time.monotonic(), 0.0)) if asked.number else None
        now = time.monotonic()
        if answer:
            self._heard = now
        elif asked.number and now < asked.until:
            self._questions[name] = asked
        elif asked.number:
            self._history.forget(asked.number)
        return answer

    def _answered(self, name: str, deadline: float, do: str, **fields: Any) -> Answer | None:
        """The answer to a question that is asked now, or was by an earlier call; None if it is not there until `deadline`."""
        asked = self._questions.pop(name, None)
        if asked is None:
            # The live socket may be there a moment before this one.
            if not self._history.connected(max(deadline - time.monotonic(), 0.0)):
                return None
            asked = _Asked({}, self._history.send(do, **fields), time.monotonic() + REQUEST_TIMEOUT_S)
        return self._received(name, asked, deadline)

    def _put(self, follower: Follower) -> _Asked | None:
        """Send what the follower wants to know, if anything."""
        now = time.monotonic()
        question = follower.question(now)
        if question is None:
            return None
        return _Asked(question, self._history.send(follower.log.name, **question), now + REPAIR_TIMEOUT_S)

    # Explaining: epochs of ticks, engines of inferences

    def _explain(self, messages: list[Message], deadline: float) -> list[Message]:
        """The messages with epochs filled in, and what had to be found out for that, as far as it comes until `deadline`."""
        found: list[Message] = []
        for message in messages:
            if isinstance(message, Records):
                self._note(message.records)
        if any(isinstance(m, Ticks) and self._epoch_of(m) is None for m in messages):
            found += self._find_epochs(deadline)
        if self._waiting_engines:
            found += self._find_engines(deadline, time.monotonic())
        return found + [replace(m, epoch=self._epoch_of(m)) if isinstance(m, Ticks) else m for m in messages]

    def _epoch_of(self, message: Ticks) -> Epoch | None:
        return self.known_epochs.get((message.stream, message.epoch_number))

    def _note(self, entries: Sequence[Record]) -> None:
        records = PackedRecords.of(entries)
        for wanted in records.engines():
            if wanted not in self._known_engines and len(self._waiting_engines) < MAX_WAITING_ENGINES:
                self._waiting_engines.setdefault(wanted, time.monotonic() + ENGINE_PATIENCE_S)
        for record in records.of_kinds(Kind.EPOCH, Kind.ENGINE):
            if isinstance(record.body, EpochBegun):
                self.known_epochs[record.body.stream, record.body.epoch.number] = record.body.epoch
            elif isinstance(record.body, Engine):
                self.knows_engine(record.body.hash)

    def knows_engine(self, engine: str) -> None:
        """Do not ask the daemon for the engine of this hash."""
        self._known_engines[engine] = True
        self._waiting_engines.pop(engine, None)

    def _find_epochs(self, deadline: float) -> list[Message]:
        found: list[Message] = []
        for body in _epochs_of(self._answered("epochs", deadline, "epochs")):
            key = body.stream, body.epoch.number
            if key not in self.known_epochs:
                self.known_epochs[key] = body.epoch
                found.append(Found(Record(Kind.EPOCH, 0, body)))
        return found

    def _find_engines(self, deadline: float, due: float) -> list[Message]:
        """Those whose description was due before, some at a time: all are asked for first, and then waited for together."""
        found: list[Message] = []
        wanted = [engine for engine, when in self._waiting_engines.items() if when <= due][:ENGINES_AT_A_TIME]
        for until in (time.monotonic(), deadline):
            for engine in [each for each in wanted if each in self._waiting_engines]:
                body = _engine_of(self._answered(f"engine {engine}", until, "engine", hash=engine), engine)
                if body is not None:
                    self.knows_engine(engine)
                    found.append(Found(Record(Kind.ENGINE, 0, body)))
        for engine in wanted:
            if engine in self._waiting_engines and f"engine {engine}" not in self._questions:
                self._waiting_engines[engine] = time.monotonic() + ENGINE_RETRY_S
        return found

    def find_engines(self, patience_s: float = REQUEST_TIMEOUT_S) -> list[Message]:
        """Ask now for every engine that inferences named and nobody described, for at most `patience_s` together."""
        found: list[Message] = []
        begin = time.monotonic()
        deadline = begin + patience_s
        self._waiting_engines = dict.fromkeys(self._waiting_engines, begin)
        while time.monotonic() < deadline and any(when <= begin for when in self._waiting_engines.values()):
            found += self._find_engines(deadline, begin)
        return found

    # Asking

    def status(self) -> dict[str, Any]:
        """What the daemon knows of itself. Raises Failure if none answers."""
        return self._asked("status").reply.body

    def epochs(self) -> list[Epoch]:
        """The epochs the daemon still knows, oldest first. Raises Failure if none answers."""
        return [body.epoch for body in _epochs_of(self._asked("epochs"))]

    def engine(self, hash: str) -> dict[str, Any] | None:
        """The description of an engine: hash, name, inspector, layers, simulated; None if the daemon does not have it (yet)."""
        found = _engine_of(self._history.ask("engine", hash=hash), hash)
        return None if found is None else dict(found)

    def compare_clocks(self, patience_s: float = COMPARE_S) -> ClockComparison | None:
        """The device's clock held against this machine's, now; None where no answer comes within `patience_s`, or a daemon has none to give."""
        asked_ns = now_ns()
        number = self._history.send("clock")
        answer = self._history.receive(number, patience_s) if number else None
        answered_ns, wall_ns = now_ns(), time.time_ns()
        if answer is None:
            if number:
                self._history.forget(number)
            return None
        self._heard = time.monotonic()
        device_ns = answer.reply.body.get("monotonic_ns")
        if (
            answer.reply.error
            or not isinstance(device_ns, int)
            or not 0 <= device_ns < 2**62
            or not answer.reply.stream
        ):
            return None
        return ClockComparison(answer.reply.stream, boot(), asked_ns, device_ns, answered_ns, wall_ns)

    def mark(self, name: str, text: str = "") -> None:
        """Put a mark into the journal, now. Raises Failure if no daemon answers or it refuses."""
        self._asked("mark", name=name, text=text)

    def saved(self) -> list[dict[str, Any]]:
        """The flight recorder's files, the oldest first: name, bytes, at, begin_ns, end_ns, board, simulated, reasons.

        Raises Failure if no daemon answers, or its flight recorder is off.
        """
        body = self._asked("saved").reply.body
        if body.get("on") is not True:
            raise Failure(
                f"{self.address}: the flight recorder is off; the device's configuration names recorder.folder"
            )
        files = body.get("files")
        return [each for each in files if isinstance(each, dict)] if isinstance(files, list) else []

    def saved_bytes(self, name: str, first: int, count: int) -> bytes:
        """Some bytes of a saved file from `first` on, at most 256 KiB; none behind its end. Raises Failure where there is no such file (any more)."""
        data = self._asked("fetch", name=name, first=first, count=count).reply.body.get("data")
        if not isinstance(data, bytes) or len(data) > count:
            raise Failure(f"{self.address}: an answer without the bytes that were asked for")
        return data

    def _asked(self, do: str, **fields: Any) -> Answer:
        answer = self._history.ask(do, **fields)
        if answer is None:
            raise Failure(self.nobody)
        if answer.reply.error:
            raise Failure(f"{self.address}: {answer.reply.error}")
        return answer


def _awake_s() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _engine_of(answer: Answer | None, hash: str) -> Engine | None:
    """The description of this engine, if the answer holds it."""
    if answer is None or answer.reply.error:
        return None
    with suppress(WireError):
        engine = Engine.from_map(answer.reply.body)
        return engine if engine.hash == hash else None
    return None


def _epochs_of(answer: Answer | None) -> list[EpochBegun]:
    """The epochs that the daemon still knows; nothing if it did not answer."""
    listed = answer.reply.body.get("epochs") if answer else None
    found = []
    for body in listed if isinstance(listed, list) else []:
        if isinstance(body, dict):
            with suppress(WireError):
                found.append(EpochBegun.from_map({"stream": answer.reply.stream if answer else b"", **body}))
    return found


__all__ = ["Client", "Energies", "Estimates", "Found", "Lost", "Message", "Records", "Refused", "Status", "Ticks"]
