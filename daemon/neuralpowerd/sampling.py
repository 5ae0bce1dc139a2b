"""One run of the sampler: ring, source, loop, and the epoch that explains its ticks."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from neuralpower_sampler import Ring, RingReader, Sampler, SamplerError, Source, Stats
from neuralpower_sampler.errors import Own
from neuralpower_wire import Epoch, WireError, close_if_abandoned
from neuralpower_wire.batch import pack
from neuralpower_wire.files import LEFT

from .config import Config
from .errors import DaemonError
from .sources.plan import Plan
from .sources.registry import make_plan
from .system.restore import restore_all

log = logging.getLogger(__name__)


class Sampling:
    """Holds the ring's lock from construction on; ticks flow between `start` and `stop`.

    Raises:
        DaemonError: another daemon samples into this ring, or the source asked for is not there.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.path = Path(config.runtime_dir) / "ticks.ring"
        refuse_a_second(self.path)
        for line in restore_all(config):
            log.info("left changed by a daemon before: %s", line)
        self.plan: Plan = make_plan(config)
        self.epoch: Epoch | None = None
        self._ring = self._open_ring()
        for left in self.path.parent.glob(LEFT):
            left.unlink(missing_ok=True)
        self._source: Source | None = None
        self._sampler: Sampler | None = None
        self.reader = RingReader(self.path)
        self._past: RingReader | None = None

    def _open_ring(self) -> Ring:
        config = self.config
        try:
            return Ring.create(self.path, len(self.plan.channels), self.plan.period_ns, config.history_seconds)
        except SamplerError as error:
            text = _taken(self.path) if error.errno == Own.HELD else str(error)
            raise DaemonError(text) from None

    @property
    def stream(self) -> bytes:
        """The ring's 16 bytes."""
        return self._ring.stream

    @property
    def resumed(self) -> bool:
        """Whether the ring goes on in the stream of a daemon before."""
        return self._ring.resumed

    @property
    def running(self) -> bool:
        """Whether the loop was started and not stopped."""
        return self._sampler is not None

    @property
    def previous(self) -> bytes | None:
        """The stream before this one, if any."""
        return self._ring.previous

    def start(self) -> Epoch:
        """Open the source, enter a new epoch in the ring's table and start the loop; DaemonError, and nothing runs, where that cannot be."""
        config, ring = self.config, self._ring
        number, realtime = ring.next_epoch, config.realtime
        try:
            self._source = self.plan.open()
            self.plan = self.plan.opened(self._source)
            epoch = self.plan.epoch(number, ring.next_index, self.plan.period_ns, ring.t0_ns)
            ring.begin_epoch(pack(epoch.to_dict()))
            sampler = Sampler(
                ring,
                self._source,
                self.plan.period_ns,
                number,
                priority=realtime.priority or None,
                cpu=None if realtime.cpu < 0 else realtime.cpu,
                lock_memory=realtime.lock_memory,
                spin_ns=realtime.spin_us * 1000,
            )
            sampler.start()
        except BaseException as error:
            self.stop()  # the source is given back: what failed does not run
            if isinstance(error, SamplerError):
                raise DaemonError(str(error)) from None
            raise
        self._sampler = sampler
        self.epoch = epoch
        return epoch

    def stop(self) -> str:
        """End the loop and give the source back; returns what had ended the loop before, or nothing."""
        error = ""
        if self._sampler is not None:
            try:
                self._sampler.stop()
            except SamplerError as raised:
                error = str(raised)
        self._sampler = None
        if self._source is not None:
            self._source.close()
        self._source = None
        for line in self.plan.undo():
            log.info("%s", line)
        return error

    def change(self, config: Config) -> bool:
        """Take another configuration while stopped; True where a new stream began. Nothing changes where it raises."""
        plan = make_plan(config)
        if config is self.config and plan.source != self.plan.source:
            return False  # looking again, as after a suspend: rails that are gone for now are missing, not simulated
        same = (len(plan.channels), plan.period_ns, config.history_seconds) == (
            len(self.plan.channels),
            self.plan.period_ns,
            self.config.history_seconds,
        )
        before, (self.config, self.plan) = (self.config, self.plan), (config, plan)
        if same:
            return False
        self._ring.close()
        try:
            self._ring = self._open_ring()
        except DaemonError:
            self.config, self.plan = before
            self._ring = self._open_ring()  # which goes on in its stream
            raise
        past, self.reader = self.reader, RingReader(self.path)
        if past.stream == self.stream:
            past.close()
            return False
        if self._past:
            self._past.close()
        self._past = past
        return True

    def readers(self) -> list[RingReader]:
        """This stream's reader and, after a change of stream, that of the one before, whose late readers may still come."""
        return [self.reader, self._past] if self._past else [self.reader]

    def stats(self) -> Stats:
        """The loop's account of itself; only between `start` and `stop`."""
        assert self._sampler is not None, "no stats before start"
        return self._sampler.stats()

    def housekeeping(self) -> bool:
        """Once a second: re-open files that came back; True where a virtual device died and its timeline was closed.

        Raises:
            DaemonError: the timeline's file was deleted, so that no virtual device can find it.
        """
        if self._source is not None:
            self._source.revive()
        try:
            return self.plan.timeline is not None and close_if_abandoned(self.plan.timeline)
        except WireError as error:
            raise DaemonError(str(error)) from None

    def close(self) -> None:
        """Stop, and let the ring go; what it holds stays."""
        self.stop()
        for reader in self.readers():
            reader.close()
        self._ring.close()


def refuse_a_second(ring: Path) -> None:
    """DaemonError where another daemon samples into this ring: known before the chip is probed, which would disturb it."""
    try:
        descriptor = os.open(f"{ring}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DaemonError(_taken(ring)) from None
    finally:
        os.close(descriptor)


def _taken(ring: Path) -> str:
    return f"{ring}: already sampled by another process; stop that neuralpowerd, or choose another --runtime-dir"
