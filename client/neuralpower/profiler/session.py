"""One numbered series of inferences to the daemon; contexts that run one after another may share it."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from neuralpower_wire import WireError
from neuralpower_wire.link import Engine, Hello, Inference

from ..address import DEFAULT, AddressLike
from .link import Carrier, Link


class Session:
    """A link with its number series. Not thread-safe: contexts on streams of their own, in threads or overlapping in time,
    take a session each, because the inferences of one session must follow one another.

    Args:
        address: the daemon's runtime directory or its inferences socket.
        name: what the daemon's log calls this process.
        carrier: makes what carries the inferences after this greeting; a link to `address` if None.
    """

    def __init__(
        self,
        address: AddressLike = DEFAULT,
        name: str = "",
        carrier: Callable[[Hello], Carrier] | None = None,
    ) -> None:
        self._id = os.urandom(16)
        self._seq = 0
        hello = Hello(self._id, os.getpid(), name)
        self.link: Carrier = Link(address, hello) if carrier is None else carrier(hello)

    def add_engine(self, engine: Engine) -> None:
        """Be ready to describe `engine`; WireError where its description is too large."""
        self.link.add_engine(engine)

    def skip(self) -> None:
        """Count an inference that is not sent."""
        self._seq += 1

    def send(
        self, engine: str, begin_ns: int, end_ns: int, durations_ns: npt.NDArray[np.int64], profiled: bool = True
    ) -> None:
        """Send an inference of the engine with this hash; never blocks.

        One that no daemon could take, as with a duration that is not a number, counts as refused.
        """
        seq, self._seq = self._seq, self._seq + 1
        try:
            inference = Inference(self._id, seq, engine, begin_ns, end_ns, durations_ns, profiled)
        except WireError as error:
            self.link.counts.offered += 1
            self.link.counts.refused += 1
            self.link.last_refusal = str(error)
            return
        self.link.offer(inference)

    def close(self, timeout_s: float = 1.0) -> None:
        """Give the daemon up to `timeout_s` to acknowledge what is under way."""
        self.link.close(timeout_s)
