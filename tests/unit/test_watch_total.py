"""The live view says what a total covers and what is doubted."""

from __future__ import annotations

import io
from collections import deque

import pytest
from rich.console import Console

from neuralpower import Client
from neuralpower.cli.measuring.live import Curve, Live
from neuralpower.cli.measuring.watch import facts, total_line, view


def live(covers: str, doubted: object) -> Live:
    """A view of two rails."""
    made = Live()
    for rail in ("VDD_IN", "VDD_SOC"):
        made.rails[rail] = Curve(deque([1.0], maxlen=40))
    made.totals, made.covers, made.status = ("VDD_IN",), covers, {"doubted": doubted}
    return made


@pytest.mark.parametrize(
    ("covers", "doubted", "line"),
    [
        ("module", {}, "total VDD_IN: the module"),
        ("board", {}, "total VDD_IN: module and carrier board"),
        ("", {}, ""),
        ("of a newer daemon", None, ""),
        ("", {"VDD_SOC": {"ticks": 3, "why": "x"}}, "doubted: VDD_SOC (neuralpowerd check says why)"),
        (
            "module",
            {"total": {}, "\x1b[2J": {}},
            "total VDD_IN: the module; doubted: total (neuralpowerd check says why)",
        ),
        ("module", ["VDD_SOC"], "total VDD_IN: the module"),
    ],
)
def test_the_total_says_what_it_covers(covers: str, doubted: object, line: str) -> None:
    """In words where the field is known, with rails of this view alone."""
    made = live(covers, doubted)
    assert total_line(made) == line
    shown = io.StringIO()
    with Client("ipc:///nowhere") as client:
        Console(file=shown, width=90).print(view(made, client, 90))
        assert facts(made, client)["covers"] == covers
    assert line in shown.getvalue()
