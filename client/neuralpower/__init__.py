"""neuralpower: what energy each layer of a CNN costs, measured and predicted.

The names below are the public API; each is imported when it is first used, so that an inference process which only wants
:class:`LayerProfiler` does not pay for scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import Failure, InputError

if TYPE_CHECKING:
    from .profiler import LayerProfiler
    from .profiler.attach import attach
    from .profiler.marks import mark, window
    from .recordings.recording import Recording
    from .subscriber.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "Failure", "InputError", "LayerProfiler", "Recording", "__version__", "attach", "mark", "window"]

_LAZY = {
    "Client": "subscriber.client",
    "LayerProfiler": "profiler",
    "Recording": "recordings.recording",
    "attach": "profiler.attach",
    "mark": "profiler.marks",
    "window": "profiler.marks",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
