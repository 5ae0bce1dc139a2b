"""Begin and end of each kernel, from CUPTI's activity records (`cupti-python`), on the GPU's clock in ns.

A record tells the call that launched it by a number. From the host, calls are tied to steps by a second number that is pushed
around the step (external correlation), which CUPTI tells only beside records of the calls themselves. In a CUDA graph one call launches all; there the order tells: kernels of one stream run in the order in
which they were captured, and how many belong to each step was counted when the steps ran from the host. Both must agree in number
and names, or it is said that they do not.

Written from CUPTI's documentation and headers and the interface of cupti-python 13; it has not run on a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...errors import Failure
from .context import Ints

BUFFER_BYTES = 8 << 20
"""Of records on their way, as NVIDIA's own samples have it: some 30,000 kernels."""
_WORK = ("CONCURRENT_KERNEL", "MEMCPY", "MEMSET")
_TIES = ("RUNTIME", "DRIVER", "EXTERNAL_CORRELATION")
"""Some libraries launch through the runtime, some through the driver; both must be recorded for what is pushed to be told."""
_FLUSH_FORCED = 1


class KernelWork(NamedTuple):
    """A kernel, copy or fill: when it began and ended, ns, the number of the call that launched it, and its name."""

    begin_ns: int
    end_ns: int
    call: int
    name: str


class Activities:
    """Collects activity records of this process. There may be one at a time: CUPTI's callbacks are the process's."""

    def __init__(self, cupti: Any = None) -> None:
        self._cupti = importlib.import_module("cupti.cupti") if cupti is None else cupti
        kinds = self._cupti.ActivityKind
        self._kinds = [getattr(kinds, name) for name in _WORK]
        self._ties = [getattr(kinds, name) for name in _TIES]
        self._tied = kinds.EXTERNAL_CORRELATION
        self._own = self._cupti.ExternalCorrelationKind.CUSTOM0
        self._work: list[KernelWork] = []
        self._steps: dict[int, int] = {}
        self._cupti.activity_register_callbacks(lambda: (BUFFER_BYTES, 0), self._take)

    def enable(self, on: bool) -> None:
        """Begin or end to look at what runs on the GPU."""
        self._switch(self._kinds, on)

    def tie(self, on: bool) -> None:
        """Begin or end to look at the calls that launch it, which costs the host something at each."""
        self._switch(self._ties, on)

    def _switch(self, kinds: Sequence[Any], on: bool) -> None:
        for kind in kinds:
            (self._cupti.activity_enable if on else self._cupti.activity_disable)(kind)
        if not on:
            self.collect()

    @contextmanager
    def tied_to(self, step: int) -> Iterator[None]:
        """Calls within the block belong to a step."""
        self._cupti.activity_push_external_correlation_id(self._own, step + 1)  # 0 stands for none
        try:
            yield
        finally:
            self._cupti.activity_pop_external_correlation_id(self._own)

    def collect(self) -> tuple[list[KernelWork], dict[int, int]]:
        """What came in since the last time, in the order of time, and the step of each call that was tied to one."""
        self._cupti.activity_flush_all(_FLUSH_FORCED)
        work, steps = sorted(self._work), self._steps
        self._work, self._steps = [], {}
        return work, steps

    def _take(self, activities: Sequence[Any]) -> None:
        for each in activities:
            if each.kind == self._tied:
                if each.external_kind == self._own:
                    self._steps[each.correlation_id] = each.external_id - 1
            elif each.kind in self._kinds:
                name = str(getattr(each, "name", "") or each.kind)
                self._work.append(KernelWork(int(each.start), int(each.end), int(each.correlation_id), name))


class KernelTimes:
    """As :class:`~neuralpower.runtimes.torch.context.StepTimes`, from records: nothing is put between the kernels.

    Args:
        records: where they come from.
        steps: how many.
        captured: whether the inference is a CUDA graph.
    """

    def __init__(self, records: Activities, steps: int, captured: bool) -> None:
        self._records, self._steps, self._captured = records, steps, captured
        self._names: list[list[str]] = []

    def attach(self, attached: bool) -> None:
        """Begin or end to look; at calls too where each inference is launched call by call."""
        self._records.enable(attached)
        if not self._captured:
            self._records.tie(attached)

    def around(self, step: int) -> AbstractContextManager[None]:
        """Tie what is launched to the step; what is captured is launched later."""
        return self._records.tied_to(step)

    def pattern(self, run: Callable[[], None]) -> None:
        """Learn how many kernels of which names each step has."""
        self._records.tie(True)
        try:
            self._records.collect()
            run()
            self._names = [[each.name for each in one] for one in self._by_call(*self._records.collect())]
        finally:
            self._records.tie(False)

    def windows(self) -> Ints:
        """A step without a kernel takes no time, where the one before it ended.

        Raises:
            Failure: the records are not those of one inference.
        """
        work, steps = self._records.collect()
        parts = self._by_order(work) if self._captured else self._by_call(work, steps)
        if any(not each.begin_ns for each in work):
            raise Failure(
                "CUPTI: records without a time; after some 25 million of a process they have none: start anew"
            )
        found, last = [], next((part[0].begin_ns for part in parts if part), 0)
        for part in parts:
            begin, end = (part[0].begin_ns, max(each.end_ns for each in part)) if part else (last, last)
            if begin < last:
                raise Failure("CUPTI: kernels of two layers ran at the same time")
            found.append((begin, end))
            last = end
        return np.array(found, np.int64)

    def _by_call(self, work: Sequence[KernelWork], steps: Mapping[int, int]) -> list[list[KernelWork]]:
        parts: list[list[KernelWork]] = [[] for _ in range(self._steps)]
        for each in work:
            if 0 <= (step := steps.get(each.call, -1)) < self._steps:
                parts[step].append(each)
        if not any(parts):
            raise Failure("CUPTI: no kernel was recorded")
        return parts

    def _by_order(self, work: Sequence[KernelWork]) -> list[list[KernelWork]]:
        if [each.name for each in work] != [name for names in self._names for name in names]:
            wanted = sum(map(len, self._names))
            raise Failure(
                f"CUPTI: the graph ran {len(work)} kernels, not the {wanted} that its steps run from the host"
            )
        edges = np.cumsum([0, *map(len, self._names)]).tolist()
        return [list(work[low:high]) for low, high in pairwise(edges)]
