"""``neuralpower features``: what a network asks of the machine, and where two descriptions of it disagree."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.errors import InputError

if TYPE_CHECKING:
    from neuralpower.features.differences import Comparison
    from neuralpower.features.layers import Layer
    from neuralpower.features.network import Network

HELP = """The layers of a network with their sizes, operations and memory accesses.

With a second network, a table of the layers with operations (convolutions, pools, products, attention) in which the two differ: a network's ONNX
file and the engine built from it should not.

examples:
  neuralpower features resnet18.onnx --batch 4
  neuralpower features resnet18.onnx resnet18_engine.json
  neuralpower features resnet18.onnx --model h200-cudnn
  neuralpower features torch:my_networks:small"""


MOST_DIGITS = 20
"""Beyond some thousand Python refuses to read a number."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("network", metavar="NETWORK", help="engine JSON, ONNX, or torch:module:callable")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="another to compare it with")
    parser.add_argument("--batch", type=int, default=1, help="batch size where the model leaves it open (1)")
    add_input_shape(parser)
    parser.add_argument(
        "--model",
        metavar="MODEL.json",
        type=Path,
        help="show the network as this model prices it: its precision, and what of each layer is outside its data",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_input_shape(parser: argparse.ArgumentParser) -> None:
    """Declare ``--input-shape``, which may be given once for each input."""
    parser.add_argument(
        "--input-shape",
        metavar="[NAME=]NxCxHxW",
        action="append",
        help="of the input NAME, or of the first one, where the model leaves it open; once for each input",
    )


def run(args: argparse.Namespace) -> int:
    """Print the layers, or the differences."""
    from neuralpower.features.differences import compare
    from neuralpower.features.network import load_network

    if args.batch < 1:
        raise InputError(f"--batch {args.batch}: 1 or more")
    shape = input_shape(args.input_shape)
    networks = [load_network(spec, args.batch, shape) for spec in (args.network, args.other) if spec is not None]
    if args.model:
        networks = [_marked(args.model, network) for network in networks]
    for network in networks:
        say_notes(network)
    if len(networks) == 1:
        if args.json:
            console.print_json(document(networks[0]))
        else:
            _print_layers(networks[0])
        return 0
    comparison = compare(networks[0].layers, networks[1].layers)
    if args.json:
        console.print_json({"networks": [args.network, args.other], **asdict(comparison)})
    else:
        _print_differences(args, comparison)
    return 0


def _marked(path: Path, network: Network) -> Network:
    """The network as the models of a file price it; the notes of its layers say what lies outside of what they were fitted to."""
    from neuralpower.models import store
    from neuralpower.models.conditions import as_priced
    from neuralpower.models.network import predict_network

    models = store.load(path)
    say_packaged(path)
    priced = as_priced(models, network)
    layers = []
    for each in predict_network(models, network.name, priced.layers).layers:
        told = (each.reason, ", ".join(each.unsupported) and f"no support: {', '.join(each.unsupported)}",
                ", ".join(each.outside) and f"outside the data: {', '.join(each.outside)}")  # fmt: skip
        layers.append(replace(each.layer, note="; ".join(filter(None, (each.layer.note, *told)))))
    return replace(priced, layers=layers)


def input_shape(given: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """``1x3x224x224`` (or with commas) is the first input's, ``mask=1x224`` that of the input mask. InputError where it is none."""
    found: dict[str, tuple[int, ...]] = {}
    for each in given or []:
        name, _, sizes = each.rpartition("=")
        parts = sizes.replace("x", ",").split(",")
        fewest = 1 if name else 2
        if len(parts) < fewest or not all(0 < whole(part) < 1 << 31 for part in parts):
            raise InputError(f"--input-shape {each}: sizes such as 1x3x224x224, or NAME=1x3x224x224")
        if name in found:
            raise InputError(
                f"--input-shape {each}: {f'input {name}' if name else 'the first input'} has a shape already"
            )
        found[name] = tuple(int(part) for part in parts)
    return found or None


def whole(text: str) -> int:
    """The whole number that a text is; 0 where it is none, or of more digits than anything here has."""
    return int(text) if text.strip().isdecimal() and len(text) <= MOST_DIGITS else 0


def say_notes(network: Network) -> None:
    """What was assumed of a network, on stderr."""
    for note in network.notes:
        print(f"note: {network.name}: {note}", file=sys.stderr)


def say_packaged(path: Path) -> None:
    """What a model that comes with the package was fitted to, on stderr; nothing of a file."""
    from neuralpower.models.packaged import PACKAGED

    if str(path) in PACKAGED and not path.exists():
        print(f"note: {path}: {PACKAGED[str(path)]}", file=sys.stderr)


def _print_layers(network: Network) -> None:
    columns = [
        "#",
        "layer",
        "kind",
        "in",
        "out",
        "kernel",
        "stride",
        "pad",
        "groups",
        "precision",
        "MFLOP",
        "accesses k",
        "note",
    ]
    rows: list[list[console.Cell]] = [_row(place, layer) for place, layer in enumerate(network.layers, 1)]
    console.table(f"Layers of {network.name} ({network.source})", columns, rows)
    sums: list[list[console.Cell]] = []
    for kind in dict.fromkeys(layer.kind for layer in network.layers):
        chosen = network.of_kind(kind)
        weights, flops = (sum(each) for each in zip(*((x.weights(), x.flops()) for x in chosen), strict=True))
        accesses = sum(x.memory_accesses() for x in chosen) if chosen[0].working else 0
        sums.append([kind, len(chosen), flops / 1e9, accesses / 1e6, weights / 1e6])
    console.table("By kind", ["kind", "layers", "GFLOP", "memory accesses M", "weights M"], sums)


def _row(place: int, layer: Layer) -> list[console.Cell]:
    windowed = layer.kind in ("conv", "deconv", "pool")
    sized = layer.working
    return [
        place,
        console.shortened(layer.name),
        layer.kind,
        _tensor(layer.batch, layer.in_c, layer.in_h, layer.in_w),
        _tensor(layer.batch, layer.out_c, layer.out_h, layer.out_w),
        f"{layer.kernel_h}x{layer.kernel_w}" if windowed else None,
        f"{layer.stride_h}x{layer.stride_w}" if windowed else None,
        f"{layer.pad_h}x{layer.pad_w}" if windowed else None,
        layer.groups if layer.kind in ("conv", "deconv") else None,
        layer.precision or None,
        layer.flops() / 1e6 if sized else None,
        layer.memory_accesses() / 1e3 if sized else None,
        _note(layer),
    ]


def _note(layer: Layer) -> str:
    dilated = f"dilation {layer.dilation_h}x{layer.dilation_w}" if layer.dilation_h * layer.dilation_w > 1 else ""
    return "; ".join(filter(None, ("depthwise" if layer.depthwise else "", dilated, layer.note)))


def _tensor(*sizes: int) -> str | None:
    return "x".join(map(str, sizes)) if all(sizes) else None


def _print_differences(args: argparse.Namespace, found: Comparison) -> None:
    rows: list[list[console.Cell]] = [
        [
            console.shortened(d.first.name) if d.first else None,
            console.shortened(d.second.name) if d.second else None,
            (d.first or d.second).kind,  # type: ignore[union-attr]  # one of the two is always there
            ", ".join(f"{name} {getattr(d.first, name)} / {getattr(d.second, name)}" for name in d.differing)
            or ("only in the first" if d.first else "only in the second"),
        ]
        for d in found.differences
    ]
    if rows:
        console.table("Differences", [str(args.network), str(args.other), "kind", "difference"], rows)
    told = f"{found.equal} conv, pool, fc and product layers are the same, {len(rows)} differ"
    print(told + (f"; {found.precisions} of the same differ in precision" if found.precisions else ""))


def document(network: Network) -> dict[str, Any]:
    """The network as JSON values."""
    return {
        "network": network.name,
        "source": network.source,
        "notes": list(network.notes),
        "layers": [
            {
                **asdict(layer),
                "weights": layer.weights(),
                "flops": layer.flops(),
                "memory_accesses": layer.memory_accesses() if layer.working else None,
                "bytes": layer.memory_bytes() if layer.working else None,
            }
            for layer in network.layers
        ],
    }
