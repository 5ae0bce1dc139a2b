"""Nodes of an ONNX model in an order in which they can run."""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush
from typing import Any

from neuralpower.features.layers import Unreadable
from neuralpower.features.onnx.inference import captured_by

MOST_TOLD = 3
"""Tensors that nothing makes which are told: where a file is a part of one, the first ones tell where that begins."""


def put_in_order(graph: Any, inputs: Collection[str]) -> list[str]:
    """Put each node of an ``onnx.GraphProto`` behind those whose outputs it reads, as ONNX wants them; parsers of engines do so themselves.

    Returns a line on tensors that nothing makes or holds, if there are any. Raises Unreadable on nodes that need each other.
    """
    stored = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    known = {"", *inputs, *stored, *(each.name for each in graph.input)}
    makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name not in known}
    reads = [[name for name in (*node.input, *captured_by(node)) if name not in known] for node in graph.node]
    order = _order([{makers[name] for name in names if name in makers} for names in reads])
    if len(order) < len(reads):
        node = graph.node[min(set(range(len(reads))) - set(order))]
        raise Unreadable(f"node {_named(node)} needs its own output, by way of others: nothing can run it")
    lost = {name: _named(graph.node[at]) for at in reversed(order) for name in reads[at] if name not in makers}
    if order != sorted(order):
        nodes = [graph.node[at].SerializeToString() for at in order]
        del graph.node[:]
        for node in nodes:
            graph.node.add().ParseFromString(node)
    if not lost:
        return []
    told = [f"{name} (read by {reader})" for name, reader in reversed(lost.items())]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return [f"nothing makes or holds tensor {', '.join(told[:MOST_TOLD])}{more}: the file is damaged, or a part of one"]


def _order(before: list[set[int]]) -> list[int]:
    """Places in an order in which each comes behind those in its set, as they are where they can be; without those that are in a circle."""
    behind: dict[int, list[int]] = {}
    for at, needed in enumerate(before):
        for each in needed:
            behind.setdefault(each, []).append(at)
    unmet = [len(needed) for needed in before]
    ready, order = [at for at, count in enumerate(unmet) if not count], list[int]()
    while ready:
        order.append(heappop(ready))
        for at in behind.get(order[-1], ()):
            unmet[at] -= 1
            if not unmet[at]:
                heappush(ready, at)
    return order


def _named(node: Any) -> str:
    return str(node.name or node.op_type)
