"""What an importer hands back, and the one way in which layers and measurements by name are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from neuralpower.dataset import Dataset, row
from neuralpower.features.layers import Layer


@dataclass(frozen=True)
class Imported:
    """A dataset, a line per source that was read, and a line per thing that was left out, with its reason."""

    dataset: Dataset
    read: list[str]
    skipped: list[str]


@dataclass(frozen=True)
class Measured:
    """A layer's measurements over its inferences; what was not measured is an empty sequence.

    ``runtimes_s`` has one entry per inference, ``powers_w`` one per inference whose power is known.
    ``count`` is the number of inferences, where that is more than the runtimes listed.
    """

    runtimes_s: Sequence[float] = ()
    powers_w: Sequence[float] = ()
    count: int = 0

    def columns(self) -> dict[str, object]:
        """Dataset columns: means and their standard errors; energy is mean power times mean runtime."""
        runtime, runtime_se = mean_and_error(self.runtimes_s)
        power, power_se = mean_and_error(self.powers_w)
        return {
            "runtime_s": runtime,
            "runtime_se_s": runtime_se,
            "power_w": power,
            "power_se_w": power_se,
            "energy_j": power * runtime,
            "energy_se_j": float(np.hypot(power * runtime_se, runtime * power_se)),
            "count": self.count or len(self.runtimes_s),
        }


@dataclass
class Join:
    """Rows of one network: its layers in order, with the measurements of the same name."""

    network: str
    method: str
    rows: list[dict[str, object]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, layers: Sequence[Layer], measured: Mapping[str, Measured]) -> None:
        """Join by name. A layer without a measurement, or one measured but not listed, is skipped with its reason.

        Sources key measurements by name, so of layers that share one only the first can have it.
        """
        left = dict(measured)
        for position, layer in enumerate(layers):
            found = left.pop(layer.name, None)
            if found is None:
                self.skipped.append(f"{self.network}: {layer.name}: no measurement")
                continue
            columns = found.columns()
            if not found.runtimes_s:
                self.skipped.append(f"{self.network}: {layer.name}: no runtime")
                continue
            method = {"origin": "import", "method": self.method}
            self.rows.append(row(layer, network=self.network, position=position, **method, **columns))  # type: ignore[arg-type]  # mixed columns
        self.skipped += [f"{self.network}: {name}: measured, but not a layer of the engine" for name in left]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error s/sqrt(n); nan where there are too few values."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean()) if known.size else float("nan")
    error = float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else float("nan")
    return mean, error
