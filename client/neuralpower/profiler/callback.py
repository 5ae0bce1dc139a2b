"""The object that TensorRT calls with each layer's time.

TensorRT calls in a burst after the inference, and swallows what the callback raises (KeyboardInterrupt too), so the
callback only appends, keeps an error for later, and everything else happens outside of it.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class Burst:
    """What one `report_to_profiler` told: names and milliseconds in the order of the calls, and what went wrong."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ms: list[float] = []
        self.error: BaseException | None = None

    def add(self, name: str, ms: float) -> None:
        """One call."""
        try:
            self.names.append(name)
            self.ms.append(ms)
        except BaseException as error:  # raised by whoever reads the burst: here TensorRT would swallow it
            self.error = error

    def clear(self) -> None:
        """Forget the last burst."""
        self.names.clear()
        self.ms.clear()
        self.error = None


def bindings_of(context: Any) -> ModuleType | None:
    """The bindings that `context` comes from (`tensorrt`, `tensorrt_lean`, ...), None where it is not TensorRT's.

    Asking the context, and not importing `tensorrt` by name, gives the very module whose `IProfiler` it accepts.
    """
    module = importlib.import_module(type(context).__module__.partition(".")[0])
    return module if hasattr(module, "IProfiler") else None


def callback_for(context: Any, burst: Burst) -> Any:
    """An object with `report_layer_time` that fills `burst`: a `IProfiler` of the context's own bindings."""
    bindings = bindings_of(context)
    base: Any = bindings.IProfiler if bindings else object

    class Callback(base):  # type: ignore[misc]  # the base is known only when the context is
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 insists on this exact call

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            burst.add(layer_name, ms)

    return Callback()
