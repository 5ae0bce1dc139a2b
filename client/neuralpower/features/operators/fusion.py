"""Which operators run as one layer: the rules by which TensorRT fuses, as far as its engines show them (docs/features.md has them as a table).

A group of nodes is one layer. Its anchor says what it is; the others ride along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from neuralpower.features.operators.graph import Graph, Node
from neuralpower.features.operators.kinds import (
    CONVOLUTIONS,
    ELEMENTWISE,
    MOVES,
    NORMS,
    PRODUCTS,
    SCALES,
    STANDARD,
    SUMS,
)
from neuralpower.features.operators.patterns import attentions, norms

MOST_STEPS = 24
"""Nodes of one activation; the longest known, GELU by tanh in half precision, has a dozen."""

Rule = Callable[[Node, list[str]], bool]
"""Whether a node may ride along; the list holds the tensors that it needs beside what the group makes."""


@dataclass
class Group:
    """Nodes that run as one layer, in their order. ``kind`` is ``attention`` or ``norm`` where the nodes together are that; else the anchor tells."""

    anchor: Node
    nodes: list[Node]
    kind: str = ""

    @property
    def name(self) -> str:
        """The nodes' names joined as TensorRT joins them; of a pattern of many nodes the first and the last."""
        names = list(dict.fromkeys(node.name for node in self.nodes))
        return f"{names[0]} ... {names[-1]}" if self.kind and len(names) > 2 else " + ".join(names)


class Fusion:
    """Groups of a graph's running nodes, in the order in which they run."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._taken: set[int] = set()

    def groups(self) -> list[Group]:
        """First what is found by its pattern, and the moves before it; then each node in order takes in what follows."""
        begun = [Group(nodes[-1], nodes, "norm") for nodes in self._found(norms(self._graph))]
        begun += [Group(nodes[-1], nodes, "attention") for nodes in self._found(attentions(self._graph))]
        for node in self._graph.running:
            single = node.op_type in PRODUCTS | NORMS | {"Attention"} and node.domain in STANDARD
            if single and id(node) not in self._taken:
                begun.append(Group(node, [node]))
                self._taken.add(id(node))
        for group in begun:
            self._take_before(group)
        last = {id(group.nodes[-1]): group for group in begun}
        found = []
        for node in self._graph.running:
            if id(node) in last or id(node) not in self._taken:
                group = last.get(id(node)) or Group(node, [node])
                self._taken.add(id(node))
                self._extend(group)
                found.append(group)
        return found

    def _found(self, patterns: Iterator[list[Node]]) -> Iterator[list[Node]]:
        for nodes in patterns:
            if not any(id(node) in self._taken for node in nodes):
                self._taken.update(map(id, nodes))
                yield nodes

    def _take_before(self, group: Group) -> None:
        """Moves whose results the group alone reads: it reads the data where they lie. Attention scales its operands too."""
        waiting = [name for node in group.nodes for name in self._graph.computed(node)]
        attends = "attention" in (group.kind, group.anchor.op_type.lower())
        while waiting:
            node = self._graph.maker(waiting.pop())
            if (
                node is None
                or id(node) in self._taken
                or not (self._moves(node, []) or (attends and self._scale(node, [])))
            ):
                continue
            if self._graph.read_only_by(group.nodes, node.output):
                group.nodes.append(node)
                self._taken.add(id(node))
                waiting += self._graph.computed(node)
        group.nodes.sort(key=self._graph.place)

    # What rides along behind an anchor.

    def _extend(self, group: Group) -> None:
        kind = group.anchor.op_type
        if group.anchor.domain not in STANDARD:
            return
        if kind in CONVOLUTIONS:
            self._epilogue(group)
        elif group.kind == "attention" or kind == "Attention":
            self._repeat(group, self._moves)
        elif group.kind == "norm" or kind in NORMS:
            self._repeat(group, self._generated)
        elif kind in PRODUCTS:
            self._epilogue(group, self._moves)
        elif kind in ELEMENTWISE or self._moves(group.anchor, []):
            self._repeat(group, self._generated)
            self._cut(group)

    def _cut(self, group: Group) -> None:
        """Slices of one tensor are one layer, as a Split is, and ride on what makes the tensor."""
        sliced = group.anchor if len(group.nodes) == 1 and group.anchor.op_type == "Slice" else None
        tensor = self._graph.tensor(sliced.input[0]) if sliced else self._result(group)
        readers = self._graph.readers(tensor) if tensor is not None else []
        slices = [node for node in readers if node.op_type == "Slice" and id(node) not in self._taken]
        if slices and (sliced or len(slices) == len(readers)):
            group.nodes += slices
            self._taken.update(map(id, slices))

    def _epilogue(self, group: Group, *between: Rule) -> None:
        """Scales, an activation, a sum with one more tensor, and an activation; behind a product its result may be moved ``between`` them."""
        self._repeat(group, self._scale, *between)
        for rule in (self._step, self._sum, self._step):
            nodes = self._absorb(group, rule)
            self._repeat(group, *((self._scale,) if len(nodes) > 1 else ()), *between)

    def _repeat(self, group: Group, *rules: Rule) -> None:
        while any(self._absorb(group, rule) for rule in rules):
            pass

    def _absorb(self, group: Group, rule: Rule) -> list[Node]:
        nodes = self._closed(group, rule)
        group.nodes += nodes
        self._taken.update(map(id, nodes))
        return nodes

    def _closed(self, group: Group, rule: Rule) -> list[Node]:
        """The fewest nodes behind a group, all of them allowed, of which again only one is read from outside.

        That is the next node where it alone reads the group's result, or the nodes of an activation like x·sigmoid(x).
        """
        result = self._result(group)
        if result is None:
            return []
        inside, chosen, open_ = {result}, [], {result}
        for node in islice(self._graph.ahead(result), MOST_STEPS):
            others = [name for name in self._graph.computed(node) if name not in inside]
            if (
                id(node) in self._taken
                or not rule(node, others)
                or not all(self._ready(name, group) for name in others)
            ):
                return []
            chosen.append(node)
            if self._graph.read_only_by(chosen, open_):
                return chosen
            inside.update(node.output)
            open_.update(node.output)
        return []

    def _result(self, group: Group) -> str | None:
        """The tensor that a group gives: the one output of its last node that is read."""
        read = [name for name in group.nodes[-1].output if self._graph.readers(name)]
        leaves = any(map(self._graph.leaves, group.nodes[-1].output))
        return read[0] if len(read) == 1 and not leaves else None

    def _ready(self, tensor: str, group: Group) -> bool:
        """Whether a tensor exists before the group's anchor runs: an input of the network, or made by a node before."""
        maker = self._graph.maker(tensor)
        return maker is None or self._graph.place(maker) < self._graph.place(group.anchor)

    # What may ride along.

    def _scale(self, node: Node, others: list[str]) -> bool:
        """One tensor with constants, which go into weights."""
        return (
            node.op_type in SCALES and not others and len(self._graph.computed(node)) == 1 and node.domain in STANDARD
        )

    def _step(self, node: Node, others: list[str]) -> bool:
        """A step of an activation: its operands are constants and what the group gives."""
        return node.op_type in ELEMENTWISE and not others and node.domain in STANDARD

    def _sum(self, node: Node, others: list[str]) -> bool:
        """A sum of the group's result and one more tensor of the same shape."""
        shapes = {self._graph.shape(name) for name in (*node.input, *node.output)}
        return node.op_type in SUMS and len(others) == 1 and len(node.input) == 2 and len(shapes) == 1

    def _moves(self, node: Node, others: list[str]) -> bool:
        looks_up = node.op_type == "Gather" and self._graph.constant(node.input[0])
        return node.op_type in MOVES and not others and not looks_up and node.domain in STANDARD

    def _generated(self, node: Node, others: list[str]) -> bool:
        """What a generated kernel does in one go: elementwise operations with whatever is there, and moves."""
        return self._moves(node, others) or (node.op_type in ELEMENTWISE and node.domain in STANDARD)
