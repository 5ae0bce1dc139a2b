"""How a network is to be built, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Options:
    """How to build: `batch` stands for a dynamic first dimension; `calibration` is a .npy file of inputs (n, ...) for INT8.

    `capabilities`: compute capabilities ("8.6") to build for, with TensorRT for RTX alone; none is what the builder takes by itself.
    """

    precision: str = "fp16"
    batch: int = 1
    calibration: str | None = None
    capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"no precision {self.precision!r}; there are {', '.join(PRECISIONS)}")
        if self.batch < 1:
            raise InputError(f"a batch of {self.batch} is impossible")
