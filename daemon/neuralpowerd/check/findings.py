"""What a check finds: one line each, with a verdict and what to do; and the page they make."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GOOD, BETTER, PROBLEM, UNKNOWN = "good", "could be better", "problem", "not known"

_MARKS = {GOOD: ("✓", "32"), BETTER: ("~", "33"), PROBLEM: ("✗", "31"), UNKNOWN: ("?", "36")}
_TOPIC = 24


@dataclass(frozen=True)
class Finding:
    """`topic` is `value`, which is `verdict`; `advice` says what to do, or is empty."""

    group: str
    topic: str
    value: str
    verdict: str
    advice: str = ""


def page(findings: Sequence[Finding], title: str, columns: int | None = None, colour: bool | None = None) -> str:
    """The findings for people, by group; coloured on a terminal."""
    colour = sys.stdout.isatty() if colour is None else colour
    columns = max(70, min(120, columns or shutil.get_terminal_size((100, 24)).columns))
    shown = [_paint(title, "1", colour)]
    group = ""
    for each in findings:
        if each.group != group:
            group = each.group
            shown += ["", _paint(group, "1", colour)]
        shown += _lines(each, columns, colour)
    counts = [(verdict, sum(each.verdict == verdict for each in findings)) for verdict in _MARKS]
    legend = [
        f"{_paint(_MARKS[verdict][0], _MARKS[verdict][1], colour)} {count} {verdict}" for verdict, count in counts
    ]
    return "\n".join([*shown, "", "   ".join(legend)])


def _lines(each: Finding, columns: int, colour: bool) -> list[str]:
    mark, tint = _MARKS[each.verdict]
    indent = " " * (_TOPIC + 4)
    width = columns - len(indent)
    value = textwrap.wrap(each.value, width) or [""]
    advice = textwrap.wrap(each.advice, width - 2)
    first, rest = f"  {_paint(mark, tint, colour)} {each.topic:<{_TOPIC}}", value
    if len(each.topic) < _TOPIC:
        first, rest = first + value[0], value[1:]
    more = [f"{indent}{line}" for line in rest]
    arrows = [f"{indent}{_paint(('→ ' if not at else '  ') + line, '2', colour)}" for at, line in enumerate(advice)]
    return [first, *more, *arrows]


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if colour else text
