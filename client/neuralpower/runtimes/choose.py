"""Which runtime runs here: the one that is asked for, or the first that works, and why not those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import InputError
from .runtime import Runtime

AUTO, VIRTUAL = "auto", "virtual"
NAMES = ("tensorrt", "tensorrt_rtx", "torch")
"""Those of a GPU, in the order in which they are tried: what a service would run comes first."""
CHOICES = (AUTO, *NAMES, VIRTUAL)


@dataclass(frozen=True)
class ChosenRuntime:
    """The runtime that was chosen, None where none works, and a line for each that was looked at before it."""

    runtime: Runtime | None
    passed_over: tuple[str, ...] = ()


def choose(
    name: str = AUTO, makers: Mapping[str, Callable[[], Runtime]] | None = None, *, eager: bool = False
) -> ChosenRuntime:
    """The runtime called `name`, or the first of `makers` that works; `eager`: as of PyTorch's.

    Raises:
        InputError: the one that was asked for does not work here, or there is none of that name.
    """
    makers = _makers(eager) if makers is None else makers
    if name != AUTO:
        if name not in makers:
            raise InputError(f"no runtime {name!r}; there are {', '.join((AUTO, *makers))}")
        runtime = makers[name]()
        if reason := runtime.why_not():
            raise InputError(f"--runtime {name}: {reason}")
        return ChosenRuntime(runtime)
    passed: list[str] = []
    for each, make in makers.items():
        runtime = make()
        reason = runtime.why_not()
        if not reason:
            return ChosenRuntime(runtime, tuple(passed))
        passed.append(f"{each}: {reason}")
    return ChosenRuntime(None, tuple(passed))


def _makers(eager: bool = False) -> dict[str, Callable[[], Runtime]]:
    from .tensorrt.runtime import TensorrtRuntime
    from .torch.runtime import TorchRuntime

    return {
        "tensorrt": TensorrtRuntime,
        "tensorrt_rtx": lambda: TensorrtRuntime("tensorrt_rtx"),
        "torch": lambda: TorchRuntime(eager=eager),
    }
