"""Inside the virtual machine: an hour at 20 Hz; memory, descriptors, and index against slot."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import bed
import numpy as np

from neuralpower_sampler import RingReader

PERIOD_NS, SECONDS, HISTORY_S = 50_000_000, 3600, 300


class Following:
    """A reader that looks at every tick once."""

    def __init__(self, path: Path) -> None:
        self._reader = RingReader(path)
        self.seen = self.lost = self.uneven = self.missing = 0
        self.first_slot = self.last_slot = 0

    def catch_up(self) -> None:
        """Everything written since the last time; slot must grow with index, step by step."""
        while len((part := self._reader.read(self.seen)).ticks):
            slots = part.ticks["slot"].astype(np.int64)
            self.first_slot = self.first_slot if self.seen else int(slots[0])
            self.uneven += int(np.count_nonzero(slots - self.first_slot != part.ticks["index"].astype(np.int64)))
            self.missing += int(np.count_nonzero(part.ticks["readings"]["state"] == 3))
            self.lost += part.lost
            self.seen, self.last_slot = self.seen + len(slots), int(slots[-1])


def main() -> None:
    """The ring holds five minutes of the hour."""
    bed.command("attach", 0x40)
    bed.set_waveform(bed.random_levels(300))
    source = bed.hwmon_source(0x40)
    checks: list[dict[str, Any]] = []
    with bed.Taking(source, PERIOD_NS, HISTORY_S) as taking:
        following, begin = Following(taking.path), time.monotonic()
        while time.monotonic() - begin < SECONDS:
            time.sleep(60)
            source.revive()
            following.catch_up()
            checks.append({"resident": bed.resident_bytes(), "descriptors": bed.descriptors()})
    following.catch_up()
    facts = {
        "period_ns": PERIOD_NS, "seconds": time.monotonic() - begin, "checks": checks, "seen": following.seen,
        "lost": following.lost, "uneven": following.uneven, "missing": following.missing,
        "slots": following.last_slot - following.first_slot + 1, "loop": taking.facts(),
    }  # fmt: skip
    (Path(sys.argv[1]) / "hour.json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
