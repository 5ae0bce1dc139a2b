"""An exported program of PyTorch as steps: each operator that runs is one, with the views before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...features.layers import Layer
from .context import Step


class ProgramCourse:
    """Runs the nodes of a `torch.export.ExportedProgram` in their order, a step at a time, on tensors that stay where they are.

    Args:
        program: exported with static shapes.
        given: its inputs in their order.
        layers: (name of a node, layer) for each that does work, in order.
    """

    def __init__(self, program: Any, given: Sequence[Any], layers: Sequence[tuple[str, Layer]]) -> None:
        self._program = program
        self._fixed = _fixed(program, given)
        self._nodes = [node for node in program.graph.nodes if node.op in ("call_function", "get_attr")]
        self._dead = _last_uses(self._nodes)
        self._values: dict[str, Any] = dict(self._fixed)
        views = self._views()
        kept = [(name, layer) for name, layer in layers if name not in views]
        self.steps = self._steps(kept)

    def begin(self) -> None:
        """Before the first step of an inference."""
        self._values = dict(self._fixed)

    def _steps(self, layers: Sequence[tuple[str, Layer]]) -> list[Step]:
        """What stands behind the last layer (a view, the output) goes with it."""
        by_name, steps, low = dict(layers), [], 0
        places = [at for at, node in enumerate(self._nodes) if node.name in by_name]
        for number, at in enumerate(places):
            high = len(self._nodes) if number + 1 == len(places) else at + 1
            steps.append(Step((by_name[self._nodes[at].name],), self._part(low, high)))
            low = high
        return steps

    def _part(self, low: int, high: int) -> Callable[[], None]:
        def enqueue() -> None:
            for at in range(low, high):
                self._one(at)

        return enqueue

    def _one(self, at: int) -> Any:
        node, values = self._nodes[at], self._values
        if node.op == "get_attr":
            answer = getattr(self._program.graph_module, node.target)
        else:
            answer = node.target(*_filled(node.args, values), **_filled(node.kwargs, values))
        values[node.name] = answer
        for name in self._dead[at]:
            values.pop(name, None)
        return answer

    def _views(self) -> set[str]:
        """Nodes whose answer lies in the memory of one of their operands: nothing runs for them, unless they write into it."""
        self.begin()
        found = set()
        for at, node in enumerate(self._nodes):
            operands = {_place(self._values.get(each.name)) for each in node.all_input_nodes} - {None}
            answer = self._one(at)
            parts = answer if isinstance(answer, (list, tuple)) else [answer]
            places = {_place(part) for part in parts}
            if places and None not in places and places <= operands and not _writes(node):
                found.add(node.name)
        return found


def _writes(node: Any) -> bool:
    """Whether an operator writes into its operands: those of ATen end in an underscore."""
    return str(node.target).split(".")[-2:-1] != [] and str(node.target).split(".")[-2].endswith("_")


def _place(value: Any) -> int | None:
    """Where a tensor's memory begins; None of anything else."""
    storage = getattr(value, "untyped_storage", None)
    return int(storage().data_ptr()) if storage is not None else None


def _fixed(program: Any, given: Sequence[Any]) -> dict[str, Any]:
    """The values of placeholders: parameters, buffers and constants of the program, and its inputs."""
    values, left = {}, iter(given)
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT":
            values[spec.arg.name] = next(left)
        else:
            held: Mapping[str, Any] = program.state_dict if spec.target in program.state_dict else program.constants
            values[spec.arg.name] = held[spec.target]
    return values


def _last_uses(nodes: Sequence[Any]) -> list[list[str]]:
    """For each node the names that nobody needs behind it: their memory serves others, as in eager PyTorch."""
    last: dict[str, int] = {}
    for at, node in enumerate(nodes):
        for each in node.all_input_nodes:
            last[each.name] = at
        last.setdefault(node.name, at)
    mine = {node.name for node in nodes}
    dead: list[list[str]] = [[] for _ in nodes]
    for name, at in last.items():
        if name in mine:
            dead[at].append(name)
    return dead


def _filled(given: Any, values: Mapping[str, Any]) -> Any:
    """Arguments with values in the place of nodes."""
    if hasattr(given, "op") and hasattr(given, "all_input_nodes"):
        return values[given.name]
    if isinstance(given, dict):
        return {key: _filled(value, values) for key, value in given.items()}
    if isinstance(given, slice):
        return slice(*(_filled(each, values) for each in (given.start, given.stop, given.step)))
    if isinstance(given, (list, tuple)):
        return type(given)(_filled(value, values) for value in given)
    return given
