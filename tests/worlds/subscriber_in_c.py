"""The subscriber under examples/: how it is built, and what it prints at its end."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "examples" / "subscriber"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def built(folder: Path) -> Path:
    """The program in `folder`, with every warning an error, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    program = folder / "subscriber"
    subprocess.run(["gcc", *WARNINGS, *SANITIZERS, "-o", program, *sorted(SOURCES.glob("*.c")), "-lm"], check=True)
    return program


@dataclass
class Summary:
    """What stands in its last lines; `rails` is name -> (ticks with a value, mean watts)."""

    first: int = 0
    ticks: int = 0
    ticks_lost: int = 0
    unexplained: int = 0
    journal_first: int = 0
    records: int = 0
    records_lost: int = 0
    inferences: int = 0
    simulated: bool = False
    total_w: float = float("nan")
    covers: str = ""
    rails: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """What did not arrive or could not be read."""
        return self.ticks_lost + self.records_lost + self.unexplained

    @classmethod
    def parse(cls, text: str) -> Summary:
        """The summary behind the lines of seconds; a line that it does not know is an error."""
        made = cls()
        for line in f"\n{text}".partition("\nstream ")[2].splitlines()[1:]:
            name, _, rest = line.partition(" ")
            if name == "rail":
                ticks, mean_w, rail = rest.split(" ", 2)
                made.rails[rail] = int(ticks), float(mean_w)
            elif name == "total":
                total_w, made.covers = rest.split()
                made.total_w = float(total_w)
            elif name == "simulated":
                made.simulated = rest == "true"
            else:
                assert isinstance(getattr(made, name), int), line
                setattr(made, name, int(rest))
        return made
