"""Matrix products of ONNX by their sizes: MatMul, Gemm, and Einsum where it is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from neuralpower.features.layers import Unreadable
from neuralpower.features.operators.shapes import broadcast, operands

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """``batch`` products of [rows, inner] with [inner, columns]. An operand is alone where all of the batch share it.

    ``inner`` is 0 where nothing is summed over: an elementwise product.
    """

    batch: int
    rows: int
    inner: int
    columns: int
    first_alone: bool
    second_alone: bool


def product_of(op_type: str, given: Mapping[str, Any], shapes: Sequence[Shape]) -> Product:
    """The sizes of a product. Raises Unreadable on shapes that do not fit, and on an Einsum that is something else."""
    if op_type == "Einsum":
        return _einsum(str(given.get("equation", "")), shapes)
    first, second = operands(op_type, given, shapes)
    lead = prod(broadcast([first[:-2], second[:-2]]))
    return Product(lead, first[-2], first[-1], second[-1], prod(first[:-2]) == 1, prod(second[:-2]) == 1)


def _einsum(equation: str, shapes: Sequence[Shape]) -> Product:
    """Letters of both operands and of the result are the batch, those of both alone are summed over, the others are rows and columns."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) == len(shapes) == 1:  # a transposition, a sum or a diagonal: no product
        return Product(1, 1, 0, 1, True, True)
    if len(terms) != 2 or len(shapes) != 2:
        raise Unreadable(f"an Einsum of {len(terms)} operands")
    dots = ""
    for place, term in enumerate(terms):
        if "..." in term:
            count = len(shapes[place]) - len(term.replace("...", ""))
            letters = "".join(chr(0x391 + at) for at in range(count))  # Greek: no letter of an equation
            dots = max(dots, letters, key=len)
            terms[place] = term.replace("...", letters)
    if not arrow:
        joined = "".join(terms)
        output = "..." + "".join(
            sorted(letter for letter in set(joined) if joined.count(letter) == 1 and letter not in dots)
        )
    output = output.replace("...", dots)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if len(term) != len(shape) or len(set(term)) != len(term):
            raise Unreadable(f"an Einsum {equation!r} of operands that do not fit it")
        for letter, size in zip(term, shape, strict=True):
            if 1 not in (size, sizes.get(letter, size)) and sizes.get(letter, size) != size:
                raise Unreadable(f"an Einsum {equation!r} of operands that do not fit it")
            sizes[letter] = max(size, sizes.get(letter, 1))
    first, second = map(set, terms)
    if (first ^ second) - set(output):
        raise Unreadable(f"an Einsum {equation!r}, which is no matrix product")

    def over(letters: set[str]) -> int:
        return prod(sizes[letter] for letter in letters)

    shared, kept = first & second, set(output)
    inner, batch = shared - kept, shared & kept
    alone = over(batch) == 1
    return Product(over(batch), over(first - second), over(inner) if inner else 0, over(second - first), alone, alone)
