"""Profiling in somebody's service with one line of its code, which can only ever leave the service as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .layer_profiler import LayerProfiler

log = logging.getLogger(__name__)


class Attached:
    """A service's function that runs one inference, measured; called as the function is, and returns what it returns.

    What goes wrong with the profiler is logged once, kept in `fault`, and ends the profiling, not the service.
    """

    def __init__(self, profiler: LayerProfiler, infer: Callable[..., Any]) -> None:
        self.profiler = profiler
        self.fault: Exception | None = None
        self.__wrapped__ = infer

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run it."""
        if self.fault is not None:
            return self.__wrapped__(*arguments, **named)
        inference = self.profiler.inference()
        inference.__enter__()
        try:
            result = self.__wrapped__(*arguments, **named)
        except BaseException as error:
            inference.__exit__(type(error), error, error.__traceback__)
            raise
        try:
            inference.__exit__(None, None, None)
        except Exception as error:
            self.fault = error
            log.warning("profiling has ended: %s", error)
            self.profiler.close(0)
        return result


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
