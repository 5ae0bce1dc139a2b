"""One part of the daemon: what the service's loop calls, and when. A part overrides what concerns it; the rest does nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from neuralpower_wire import Epoch, Ticks

from .config import Config


@dataclass
class Intake:
    """A socket (or a descriptor) and what takes the messages that came to it.

    `take(next_batch_ns)` gets the time of the next batch and returns until when the intake rests: what comes meanwhile waits, and is taken
    then. 0 is no rest. Times are of CLOCK_MONOTONIC.
    """

    socket: zmq.Socket[bytes] | int
    take: Callable[[int], int]
    rests_until_ns: int = 0


class DaemonPart:
    """The protocol. All calls come from the loop's thread, in the order of the service's list, and none may wait.

    An epoch goes: `configure`, (the sampler starts), `begin_epoch`, then again and again `batch`, `see`, `learn`, `second`; when the
    sampler was stopped, `publish` once more. What is raised ends the daemon, so a part raises DaemonError only where it must not go on.
    """

    def intakes(self) -> Sequence[Intake]:
        """Where messages come in; asked for once, before the loop begins."""
        return ()

    def configure(self, config: Config) -> None:
        """Take a configuration, before the sampler starts under it."""

    def begin_epoch(self, epoch: Epoch) -> None:
        """The sampler runs and the epoch is in the journal."""

    def batch(self) -> None:
        """Every `publish.batch_ms`: publishes, unless it has something else to do."""
        self.publish()

    def publish(self) -> None:
        """Publish what is new: in each batch, and before an epoch or the daemon ends."""

    def see(self, ticks: Ticks) -> None:
        """Ticks of the current epoch, one or more, just published: put by what is needed; to work on them is for `learn`."""

    def learn(self, ticks: Ticks) -> None:
        """All ticks seen since the last call, at least one: before each second and each status."""

    def second(self) -> None:
        """Once a second."""

    def conditions(self) -> dict[str, Any]:
        """What it adds to the journal's record of conditions. None stands for what is not known, and is left out."""
        return {}

    def status(self, span_ns: int) -> dict[str, Any]:
        """What it adds to the daemon's status, under keys of its own (docs/operations.md); `span_ns` since the last one, 0 for the first."""
        return {}

    def close(self) -> None:
        """Let go of what it holds. Called once, in the order of the list, even where another part failed."""


class Intakes:
    """All intakes. Those that rest are not listened to, so that what comes there wakes nobody."""

    def __init__(self, intakes: Sequence[Intake]) -> None:
        self._intakes = intakes
        self._pollers: dict[tuple[bool, ...], zmq.Poller] = {}

    def serve(self, next_batch_ns: int) -> None:
        """Wait until something comes, a rest ends or `next_batch_ns`, and take what there is."""
        now = time.monotonic_ns()
        resting = tuple(intake.rests_until_ns > now for intake in self._intakes)
        until_ns = min(
            [next_batch_ns, *(intake.rests_until_ns for intake in self._intakes if intake.rests_until_ns > now)]
        )
        ready = {end for end, _ in self._poller(resting).poll(math.ceil(max(0, until_ns - now) / 1e6))}
        for intake, rested in zip(self._intakes, resting, strict=True):
            if intake.socket in ready or (rested and time.monotonic_ns() >= intake.rests_until_ns):
                intake.rests_until_ns = intake.take(next_batch_ns)

    def _poller(self, resting: tuple[bool, ...]) -> zmq.Poller:
        if resting not in self._pollers:
            self._pollers[resting] = poller = zmq.Poller()
            for intake, rests in zip(self._intakes, resting, strict=True):
                if not rests:
                    poller.register(intake.socket, zmq.POLLIN)
        return self._pollers[resting]


def per_second(gained: int, span_ns: int) -> float | None:
    """A rate; None where no time has passed."""
    return gained * 1e9 / span_ns if span_ns else None
