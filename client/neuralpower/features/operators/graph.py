"""A network as operators and tensors with static shapes, whoever wrote it: what fusion works on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

from neuralpower.features.operators.kinds import COPIES, STANDARD, VIEWS

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
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
        notes: what was assumed of the network, a line each.

    ``running`` are the nodes that do something when the network runs: what depends on weights or shapes alone is computed when an engine is built,
    and what only looks at a tensor in another way (a reshape, a dropout, a quantisation, which goes into the layers around it) is that tensor.
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
        notes: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.nodes = list(nodes)
        needed = self._needed(outputs)
        self.unread = [node for node in self.nodes if id(node) not in needed]
        """Nodes that lead to no output of the network: a builder drops them."""
        self.nodes = [node for node in self.nodes if id(node) in needed]
        self.notes = tuple(notes)
        self._shapes, self._precisions, self._integers = shapes, precisions, integers
        self._constants = self._fold(weights)
        self._same: dict[str, str] = {}
        self._quantised: dict[str, str] = {}
        self.running = [node for node in self.nodes if not self._looks(node)]
        self._outputs = {self.tensor(name) for name in outputs}
        self._makers = {name: node for node in self.running for name in node.output}
        self._places = {id(node): place for place, node in enumerate(self.running)}
        self._readers: dict[str, list[Node]] = {}
        for node in self.running:
            for name in dict.fromkeys(map(self.tensor, node.input)):
                self._readers.setdefault(name, []).append(node)

    def constant(self, name: str) -> bool:
        """Whether a tensor is known before the network runs."""
        return name in self._constants

    def shape(self, name: str) -> Shape | None:
        """The static shape of a tensor, None when it is not known."""
        return self._shapes.get(name)

    def precision(self, name: str) -> str:
        """The precision in which a tensor is read: that of its quantised form where it was quantised for the reader."""
        return self._quantised.get(name) or self._precisions.get(name, "")

    def integers(self, name: str) -> list[int] | None:
        """The values of a stored integer tensor."""
        return self._integers.get(name)

    def tensor(self, name: str) -> str:
        """The tensor that a name looks at, through reshapes and what else does nothing."""
        return self._same.get(name, name)

    def computed(self, node: Node) -> list[str]:
        """The tensors that a node reads and that are not known before the network runs, each once."""
        names = (name for name in node.input if name and not self.constant(name))
        return list(dict.fromkeys(map(self.tensor, names)))

    def readers(self, tensor: str) -> list[Node]:
        """The running nodes that read a tensor."""
        return self._readers.get(tensor, [])

    def maker(self, tensor: str) -> Node | None:
        """The running node that makes a tensor; None for an input of the network."""
        return self._makers.get(tensor)

    def place(self, node: Node) -> int:
        """Where a running node stands in the order."""
        return self._places[id(node)]

    def ahead(self, tensor: str) -> Iterator[Node]:
        """The running nodes that need a tensor, at first or second hand, in order."""
        waiting = [(self.place(node), node) for node in self.readers(tensor)]
        heapify(waiting)
        seen = {at for at, _ in waiting}
        while waiting:
            _, node = heappop(waiting)
            yield node
            for each in (reader for name in node.output for reader in self.readers(name)):
                if self.place(each) not in seen:
                    seen.add(self.place(each))
                    heappush(waiting, (self.place(each), each))

    def read_only_by(self, nodes: Iterable[Node], tensors: Iterable[str]) -> bool:
        """Whether these nodes alone read the tensors, and none leaves the network."""
        within = set(map(id, nodes))
        return not any(
            self.leaves(name) or any(id(each) not in within for each in self.readers(name)) for name in tensors
        )

    def leaves(self, tensor: str) -> bool:
        """Whether a tensor is an output of the network."""
        return tensor in self._outputs

    def _needed(self, outputs: Collection[str]) -> set[int]:
        """Ids of the nodes that lead to an output; of all where none is an output's, since nothing is known then."""
        makers = {name: node for node in self.nodes for name in node.output if name}
        waiting = [makers[name] for name in outputs if name in makers]
        if not waiting:
            return set(map(id, self.nodes))
        found: set[int] = set()
        while waiting:
            node = waiting.pop()
            if id(node) not in found:
                found.add(id(node))
                waiting += [makers[name] for name in node.input if name in makers]
        return found

    def _fold(self, weights: Collection[str]) -> set[str]:
        constants = {"", *weights}
        for node in self.nodes:
            static_shape = node.op_type in ("Shape", "Size") and self.shape(node.input[0]) is not None
            if static_shape or all(name in constants for name in node.input):
                constants.update(node.output)
        return constants

    def _looks(self, node: Node) -> bool:
        """Whether a node does nothing when the network runs; its output is then another name of its input."""
        if all(self.constant(name) for name in node.output):
            return True
        if node.domain not in STANDARD or not node.input or not self._same_data(node):
            return False
        source, target = node.input[0], node.output[0]
        self._same[target] = self.tensor(source)
        quantised = self._precisions.get(source, "") if node.op_type == "DequantizeLinear" else ""
        if quantised or source in self._quantised:
            self._quantised[target] = quantised or self._quantised[source]
        return True

    def _same_data(self, node: Node) -> bool:
        if node.op_type in VIEWS:
            return True
        before, after = self.shape(node.input[0]), self.shape(node.output[0])
        if node.op_type == "Cast":
            told = self._precisions.get(node.output[0], "")
            return bool(told) and told == self._precisions.get(node.input[0], "")
        if before is None or after is None:
            return False
        if node.op_type == "Transpose":
            order = node.attributes.get("perm") or range(len(before))[::-1]
            moved = [axis for axis in order if -len(before) <= axis < len(before) and before[axis] != 1]
            return moved == sorted(moved)
        if node.op_type == "Slice":
            steps = self.integers(node.input[4]) if len(node.input) > 4 else [1]
            return before == after and steps is not None and min(steps, default=1) > 0
        if node.op_type in ("MaxPool", "AveragePool"):  # to the size that the map has, as exporters write it
            return before == after and len(node.output) == 1 and set(node.attributes.get("kernel_shape", ())) == {1}
        return node.op_type in COPIES and before == after
