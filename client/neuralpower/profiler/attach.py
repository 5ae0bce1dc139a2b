"""Profiling in somebody's service with one line of its code, which can only ever leave the service as it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .layer_profiler import LayerProfiler

log = logging.getLogger(__name__)


class Attached:
    """A service's function that runs one inference, measured; called as the function is, and returns what it returns.

    What goes wrong with the profiler is logged once, kept in `fault`, and ends the profiling, not the service. A call that begins
    while another is being measured, in another thread or within it, runs as it is.
    """

    def __init__(self, profiler: LayerProfiler, infer: Callable[..., Any]) -> None:
        self.profiler = profiler
        self.fault: Exception | None = None
        self.__wrapped__ = infer
        self._measuring = threading.Lock()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run it."""
        if self.fault is not None or not self._measuring.acquire(blocking=False):
            return self.__wrapped__(*arguments, **named)
        try:
            inference = self._begun()
            try:
                result = self.__wrapped__(*arguments, **named)
            except BaseException as error:
                self._ended(inference, error)
                raise
            self._ended(inference, None)
            return result
        finally:
            self._measuring.release()

    def _begun(self) -> AbstractContextManager[None] | None:
        """The inference that begins, None if it cannot be measured."""
        try:
            inference = self.profiler.inference()
            inference.__enter__()
        except Exception as fault:
            self._give_up(fault)
            return None
        return inference

    def _ended(self, inference: AbstractContextManager[None] | None, error: BaseException | None) -> None:
        """Take what was measured, or leave it where the service's own code raised `error`."""
        if inference is None:
            return
        try:
            inference.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except Exception as fault:
            if fault is not error:
                self._give_up(fault)

    def _give_up(self, fault: Exception) -> None:
        self.fault = fault
        log.warning("profiling has ended: %s", fault)
        try:
            self.profiler.close(0)
        except Exception as error:
            log.warning("the profiler could not be closed: %s", error)


def attach(context: Any, infer: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Measure every call of `infer`, which must enqueue one inference on `context` and wait for its end::

        infer = neuralpower.attach(context, infer)

    Options are those of :class:`LayerProfiler`. Where the context cannot be profiled (layers that overlap, an engine that tells
    nothing) `infer` itself comes back, and a warning says why.
    """
    try:
        return Attached(LayerProfiler(context, **options), infer)
    except Exception as error:
        log.warning("not profiled: %s", error)
        return infer
