"""PyTorch's networks exported to ONNX by both exporters, beside what torch itself counts: a table, and 1 where a line of it is not as it must be.

`python -m tests.beds.torch_exports.run [NETWORK ...]` from the top of the checkout, where torch, onnxscript and torchvision are installed.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.worlds import torch_networks as networks

from neuralpower.features.layers import Layer
from neuralpower.features.network import load_network

SECONDS = 5.0
"""Of the processor. A command that shows a network answers within this."""


@dataclass(frozen=True)
class Read:
    """What was read from one exporter's file, and the processor's seconds that it took."""

    layers: list[Layer]
    seconds: float
    notes: tuple[str, ...]

    @property
    def flops(self) -> int:
        return networks.multiplying(self.layers)

    def count(self, kind: str) -> int:
        return sum(layer.kind == kind for layer in self.layers)

    @property
    def arithmetic(self) -> int:
        """Layers that compute shapes or indices: what they give is no number of the network's."""
        return sum(not layer.precision for layer in self.layers)


def read(file: Path) -> Read:
    begun = time.process_time()
    network = load_network(file)
    return Read(network.layers, time.process_time() - begun, network.notes)


def line(name: str) -> tuple[list[str], bool]:
    """The network's cells in the table, and whether it is as it must be."""
    import torch

    model, shape = networks.of_our_own(name) if name in networks.OWN else networks.of_torchvision(name)
    with tempfile.TemporaryDirectory() as folder:
        found = [read(networks.exported(torch, model, shape, Path(folder), dynamo=dynamo)) for dynamo in (False, True)]
    expected = networks.flops_by_torch(torch, model, shape, without=networks.ALONE.get(name, ""))
    good = all(
        each.flops == expected
        and each.seconds < SECONDS
        and not each.arithmetic
        and not each.count("unclassified")
        and any("need weights alone" in note for note in each.notes) == (name in networks.ALONE)
        for each in found
    )
    both = ["equal" if each.flops == expected else f"{each.flops / expected:.4f}" for each in found]
    cells = [name, f"{expected:,}", " / ".join(both)]
    cells += [
        " / ".join(str(value) for value in values)
        for values in (
            [len(each.layers) for each in found],
            [each.count("other") for each in found],
            [each.arithmetic for each in found],
            [f"{each.seconds:.1f}" for each in found],
        )
    ]
    return cells, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "networks", metavar="NETWORK", nargs="*", help="of torchvision, or of ours; all of the tests' without one"
    )
    chosen = parser.parse_args().networks or [*networks.OTHERS, *networks.OWN]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    print(
        "| network | operations by torch | TorchScript / dynamo | layers | of them other | shape arithmetic | CPU s to read |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    wrong = []
    for name in chosen:
        cells, good = line(name)
        print(f"| {' | '.join(cells)} |", flush=True)
        wrong += [] if good else [name]
    print(
        f"\n{len(chosen) - len(wrong)} of {len(chosen)} as they must be{': not ' + ', '.join(wrong) if wrong else ''}"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
