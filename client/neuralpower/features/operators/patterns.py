"""Layers that exporters write as many operators: normalisations and attention."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import prod

from neuralpower.features.operators.graph import Graph, Node
from neuralpower.features.operators.kinds import ELEMENTWISE, PRODUCTS, REDUCTIONS, STANDARD

MOST_STEPS = 24
"""Nodes between the ends of a pattern: a normalisation has nine, attention with two masks and changes of precision a dozen."""

_ROOTS = {"Sqrt", "Pow", "Rsqrt", "ReduceL2"}


def norms(graph: Graph) -> Iterator[list[Node]]:
    """Normalisations written out: a mean or norm of x, and the steps from it that scale x, in order."""
    for node in graph.running:
        if node.op_type not in REDUCTIONS or node.domain not in STANDARD:
            continue
        seed, source = [node], graph.tensor(node.input[0])
        square = graph.maker(source)
        if square is not None and _is_square(square) and graph.read_only_by(seed, square.output):
            seed, source = [square, node], graph.tensor(square.input[0])
        if nodes := _normalised(graph, source, seed):
            yield nodes


def _is_square(node: Node) -> bool:
    return node.op_type in ("Pow", "Square") or (
        node.op_type == "Mul" and len(node.input) == 2 and node.input[0] == node.input[1]
    )


def _normalised(graph: Graph, source: str, seed: list[Node]) -> list[Node]:
    """The nodes from a reduction of the source to the scaled source; empty where they are no normalisation."""
    chosen = list(seed)
    inside = {source, *(name for node in seed for name in node.output)}
    for node in islice(graph.ahead(seed[-1].output[0]), MOST_STEPS):
        beside = [graph.maker(name) for name in graph.computed(node) if name not in inside]
        steps = [each for each in (*beside, node) if each is not None]
        plain = all(_is_step(each) for each in steps)
        from_source = all(set(graph.computed(each)) <= {source} for each in steps[:-1])
        if not plain or not from_source or len(steps) <= len(beside):
            return []
        chosen += [each for each in steps if each not in chosen]
        inside.update(name for each in steps for name in each.output)
        inner = [name for each in chosen if each is not node for name in each.output]
        scaled = node.op_type in ("Div", "Mul") and graph.shape(node.output[0]) == graph.shape(source)
        if scaled and _ROOTS & {each.op_type for each in chosen} and graph.read_only_by(chosen, inner):
            return sorted(chosen, key=graph.place)
    return []


def _is_step(node: Node) -> bool:
    return node.op_type in ELEMENTWISE | REDUCTIONS | {"Expand"} and node.domain in STANDARD


def attentions(graph: Graph) -> Iterator[list[Node]]:
    """Softmax between two products of activations, with what scales and masks between them, in order."""
    for softmax in graph.running:
        if softmax.op_type == "Softmax" and softmax.domain in STANDARD:
            before, behind = _before(graph, softmax), _behind(graph, softmax)
            if before and behind:
                yield [*before, softmax, *behind]


def _before(graph: Graph, softmax: Node) -> list[Node]:
    """The nodes from a product of activations to the softmax; empty where there is no such product."""
    nodes: list[Node] = []
    reader = softmax
    for _ in range(MOST_STEPS):
        # Of a sum with a mask, the scores are the larger operand; of two as large, the one that was made last.
        tensors = [name for name in graph.computed(reader) if graph.maker(name) is not None]
        largest = max(tensors, key=lambda name: (_size(graph, name), _place(graph, name)), default="")
        node = graph.maker(largest)
        if node is None or not graph.read_only_by([reader], node.output):
            return []
        nodes.insert(0, node)
        if node.op_type in PRODUCTS:
            return nodes if len(graph.computed(node)) == 2 else []
        if node.op_type not in ELEMENTWISE:
            return []
        reader = node
    return []


def _behind(graph: Graph, softmax: Node) -> list[Node]:
    """The nodes from the softmax to a product of activations; empty where there is no such product."""
    nodes: list[Node] = []
    node = softmax
    for _ in range(MOST_STEPS):
        readers = graph.readers(node.output[0])
        if len(readers) != 1 or not graph.read_only_by(readers, node.output):
            return []
        node = readers[0]
        nodes.append(node)
        if node.op_type in PRODUCTS:
            return nodes if len(graph.computed(node)) == 2 else []
        if node.op_type not in ELEMENTWISE:
            return []
    return []


def _size(graph: Graph, tensor: str) -> int:
    return prod(graph.shape(tensor) or (0,))


def _place(graph: Graph, tensor: str) -> int:
    maker = graph.maker(tensor)
    return -1 if maker is None else graph.place(maker)
