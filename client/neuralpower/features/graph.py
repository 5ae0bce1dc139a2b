"""A network as operators and tensors with static shapes, whoever wrote it: what fusion works on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator, named and parametrised as ONNX does. An input that is not given is empty."""

    op_type: str
    name: str
    input: Sequence[str]
    output: Sequence[str]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""


class Graph:
    """The operators of a network in an order in which they can run.

    Args:
        source: what errors call it.
        nodes: each with one output or more.
        shapes: tensor -> its static shape; a tensor whose shape is not known is missing.
        precisions: tensor -> FP32, FP16, ...
        weights: tensors that are known before the network runs.
        integers: the values of those weights that are lists of integers.
        outputs: tensors that leave the network.
    """

    def __init__(
        self,
        source: str,
        nodes: Iterable[Node],
        shapes: Mapping[str, Shape],
        precisions: Mapping[str, str],
        weights: Collection[str],
        integers: Mapping[str, list[int]],
        outputs: Collection[str],
    ) -> None:
        self.source = source
        self.nodes = list(nodes)
        self._shapes, self._precisions, self._integers = shapes, precisions, integers
        self._outputs = set(outputs)
        self._constants = self._fold(weights)
        self._readers = Counter(name for node in self.nodes for name in set(node.input))
        self._reader = {name: node for node in self.nodes for name in node.input}

    def constant(self, name: str) -> bool:
        """Whether a tensor is known before the network runs."""
        return name in self._constants

    def shape(self, name: str) -> Shape | None:
        """The static shape of a tensor, None when it is not known."""
        return self._shapes.get(name)

    def precision(self, name: str) -> str:
        return self._precisions.get(name, "")

    def integers(self, name: str) -> list[int] | None:
        """The values of a stored integer tensor."""
        return self._integers.get(name)

    def only_reader(self, name: str) -> Node | None:
        """The node that reads a tensor, when there is exactly one and the tensor does not leave the network."""
        return self._reader[name] if self._readers[name] == 1 and name not in self._outputs else None

    def _fold(self, weights: Collection[str]) -> set[str]:
        constants = {"", *weights}
        for node in self.nodes:
            static_shape = node.op_type in ("Shape", "Size") and self.shape(node.input[0]) is not None
            if static_shape or all(name in constants for name in node.input):
                constants.update(node.output)
        return constants
