"""Running estimates of layers' power: the process that makes them is started with the first inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..live.endpoints import Endpoints
from ..live.estimates import EstimatesProcess
from ..part import DaemonPart


class EstimatesPart(DaemonPart):
    """Publishes what the process says; `taken` tells how many inferences there were."""

    def __init__(self, process: EstimatesProcess, endpoints: Endpoints, taken: Callable[[], int]) -> None:
        self._process = process
        self._endpoints = endpoints
        self._taken = taken

    def second(self) -> None:
        if self._taken():
            self._process.start()
        for frames in self._process.take():
            self._endpoints.publish(frames)

    def status(self, span_ns: int) -> dict[str, Any]:
        return {"estimates": self._process.status}

    def close(self) -> None:
        self._process.close()
