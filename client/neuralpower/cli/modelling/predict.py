"""``neuralpower predict``: runtime, power and energy of a network, layer by layer."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.cli.modelling.features import add_input_shape, input_shape, say_notes, say_packaged
from neuralpower.errors import Failure, InputError

if TYPE_CHECKING:
    from neuralpower.features.network import Network
    from neuralpower.models.network import NetworkPrediction, Prediction, WholePrediction
    from neuralpower.models.six import SixModels

HELP = """Predict runtime, power and energy of each layer of a network and of the whole.

Where layers have FP32 weights they are priced in the precision in which most layers in training ran, as an engine there would be built, and a
note says so. A batch size, precision or clock that was never measured is refused.

NETWORK is TensorRT engine JSON (inspector, verbosity DETAILED), an ONNX model, or torch:module:callable. Every layer is
listed; what has no model says so and is not in the sums, which are then lower bounds (≥). Models of runtime alone give runtimes.
Intervals hold 90 % of layers like those in training; those of the sums are wider than that (docs/deploy.md). Status 1 where no layer
can be predicted.

examples:
  neuralpower predict h200-cudnn resnet18.onnx
  neuralpower predict model.json resnet18_trt_engine_info.json
  neuralpower predict model.json resnet18.onnx --batch 4 --precision FP16"""

MOST_NAMES = 5
"""Layers without a prediction that are named in the line below the table; the table has them all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL.json",
        type=Path,
        help="what neuralpower fit wrote, or h200-cudnn or neurstrucenergy-conv, which come with the package",
    )
    parser.add_argument("network", metavar="NETWORK", help="engine JSON, ONNX, or torch:module:callable")
    parser.add_argument("--batch", type=int, default=1, help="batch size where the model leaves it open (1)")
    parser.add_argument(
        "--precision",
        metavar="P",
        help="FP32, FP16, INT8, ... of a network from ONNX or torch (FP32 weights: that of most training data)",
    )
    add_gpu_mhz(parser)
    add_input_shape(parser)
    parser.add_argument("--json", action="store_true", help="print the prediction as JSON")


def run(args: argparse.Namespace) -> int:
    if args.batch < 1:
        raise InputError(f"--batch {args.batch}: 1 or more")
    from neuralpower.features.network import load_network
    from neuralpower.models import store
    from neuralpower.models.conditions import as_priced
    from neuralpower.models.network import predict_network

    models = store.load(args.model)
    network = load_network(args.network, args.batch, input_shape(args.input_shape))
    network = as_priced(models, network, precision_asked(args.precision, network), gpu_mhz(args.gpu_mhz))
    predicted = predict_network(models, network.name, network.layers)
    say_packaged(args.model)
    say_notes(network)
    if args.json:
        console.print_json(document(models, predicted) | {"notes": list(network.notes)})
    else:
        _print_layers(models, predicted)
        _print_totals(models, predicted)
    if not predicted.timed:
        raise Failure(f"{network.name}: no layer of it can be predicted, so there is no sum")
    return 0


def precision_asked(given: str | None, network: Network) -> str:
    """A precision as it is written, "" where none is given. InputError where it is none, or an engine has its own."""
    from neuralpower.models.conditions import PRECISIONS

    if given is None:
        return ""
    if given.upper() not in PRECISIONS:
        raise InputError(f"--precision {given}: one of {', '.join(PRECISIONS)}")
    if network.source == "engine":
        raise InputError(f"--precision {given}: {network.name} is an engine, which has its own")
    return given.upper()


def add_gpu_mhz(parser: argparse.ArgumentParser) -> None:
    """Declare ``--gpu-mhz``."""
    parser.add_argument(
        "--gpu-mhz",
        type=int,
        metavar="MHZ",
        help="clock of the GPU, where the training data vary it (that of most of them)",
    )


def gpu_mhz(given: int | None) -> int | None:
    """The clock asked for. InputError where it is none."""
    from neuralpower.features.layers import MOST_MHZ

    if given is not None and not 0 < given < MOST_MHZ:
        raise InputError(f"--gpu-mhz {given}: from 1 to {MOST_MHZ - 1}")
    return given


def _print_layers(models: SixModels, predicted: NetworkPrediction) -> None:
    rows: list[list[console.Cell]] = [_row(place, p) for place, p in enumerate(predicted.layers, 1)]
    columns = [
        "#",
        "layer",
        "type",
        "in",
        "out",
        "kernel",
        "runtime µs",
        "90 %",
        "power W",
        "90 % ",
        "energy µJ",
        "note",
    ]
    console.table(f"Predicted layers of {predicted.name}", columns, rows, simulated=models.simulated_)


def _row(place: int, p: Prediction) -> list[console.Cell]:
    layer = p.layer
    note = p.reason
    if p.unsupported:
        note = f"{note}; no support: {', '.join(p.unsupported)}".removeprefix("; ")
    if p.outside:
        note = f"{note}; outside the data: {', '.join(p.outside)}".removeprefix("; ")
    if layer.kind == "unclassified" and layer.note:
        note = f"unclassified: {layer.note}"
    sized = layer.modelled
    return [
        place,
        console.shortened(layer.name),
        layer.kind,
        f"{layer.in_c}x{layer.in_h}x{layer.in_w}" if sized else None,
        f"{layer.out_c}x{layer.out_h}x{layer.out_w}" if sized else None,
        f"{layer.kernel_h}x{layer.kernel_w}/{layer.stride_h}" if sized and layer.kind != "fc" else None,
        _scaled(p.runtime_s, 1e6),
        _ends(p.runtime_interval_s, 1e6),
        _scaled(p.power_w, 1.0),
        _ends(p.power_interval_w, 1.0),
        _scaled(p.energy_j, 1e6),
        note,
    ]


def _print_totals(models: SixModels, predicted: NetworkPrediction) -> None:
    from neuralpower.ranking import sums

    rows: list[list[console.Cell]] = []
    for kind in ("conv", "pool", "fc"):
        chosen = [p for p in predicted.timed if p.layer.kind == kind]
        if chosen:
            seconds = sum(p.runtime_s or 0.0 for p in chosen)
            known = [p.energy_j for p in chosen if p.energy_j is not None]
            rows.append(_sum_row(kind, len(chosen), seconds, sum(known) if known else None))
    if predicted.timed and predicted.remainder_layers:
        joules = predicted.remainder_energy_j if predicted.mean_has_power else None
        name, count = "other, each as the mean one", predicted.remainder_layers
        rows.append(_sum_row(name, count, predicted.remainder_runtime_s, joules))
    if predicted.timed:
        counted = len(predicted.timed) + predicted.remainder_layers
        rows.append(
            [
                "sum",
                counted,
                bound(1e3, predicted.runtime_s, predicted.runtime_least),
                predicted.power_w,
                bound(1e3, predicted.energy_j, predicted.energy_least),
            ]
        )
        ends = [f"{1e3 * each.low:.4g} to {1e3 * each.high:.4g}" if each else None for each in sums(predicted)]
        rows.append(["interval of the sum", None, ends[0], None, ends[1]])
    if predicted.whole:
        rows += _whole_rows(predicted.whole)
    if rows:
        columns = ["layers", "count", "runtime ms", "power W", "energy mJ"]
        console.table(f"Predicted for {predicted.name}", columns, rows, simulated=models.simulated_)
    _print_missing(predicted)
    strange = sum(bool(p.outside) for p in predicted.timed)
    if strange:
        print(
            f"warning: {strange} of {len(predicted.timed)} predictions lie outside the data the models were fitted to"
        )
    leaning, seconds, joules = predicted.unsupported
    if leaning:
        energy = f", {100 * joules:.0f} % of the energy" if predicted.covered else ""
        named = dict.fromkeys(reason for p in predicted.timed for reason in p.unsupported)
        print(
            f"no support: {leaning} of {len(predicted.timed)} predictions, {100 * seconds:.0f} % of the runtime{energy} in the sum: "
            f"nothing like them was measured ({', '.join(named)})"
        )
    errors = [
        f"{model.kind} {model.target} {100 * model.cross_validation.score.rmspe:.0f} %"
        for model in models.models_.values()
    ]
    print(f"error of one layer to expect (RMSPE, cross-validated): {', '.join(errors)}")


def _print_missing(predicted: NetworkPrediction) -> None:
    """The layers that are not in the sums, by reason; those with a runtime are missing in the energy alone."""
    total = len(predicted.layers)
    for reason in predicted.missing:
        missing = [p for p in predicted.layers if p.energy_j is None and not p.as_mean and p.reason == reason]
        count = len(missing)
        names = [console.shortened(p.layer.name, 32) for p in missing[:MOST_NAMES]]
        more = f", and {count - MOST_NAMES} more" if count > MOST_NAMES else ""
        which = "sum of energy" if missing[0].runtime_s is not None else "sum"
        print(f"not in the {which}: {count} of {total} layers: {reason}: {', '.join(names)}{more}")


def _whole_rows(whole: WholePrediction) -> list[list[console.Cell]]:
    """The remainder and the whole inference, each with its interval."""
    how = "without the profiler" if whole.unprofiled else "with the profiler"
    parts = [("remainder, fitted", whole.remainder_s, None, whole.remainder_j),
             (f"whole inference {how}", whole.runtime_s, whole.power_w, whole.energy_j)]  # fmt: skip
    rows: list[list[console.Cell]] = []
    for name, time, power, energy in parts:
        rows.append([name, None, 1e3 * time[0], power[0] if power else None, 1e3 * energy[0]])
        ends = [
            f"{k * each[1]:.4g} to {k * each[2]:.4g}" if each else None
            for k, each in ((1e3, time), (1.0, power), (1e3, energy))
        ]
        rows.append(["its interval", None, *ends])
    return rows


def _sum_row(name: str, count: int, runtime_s: float, energy_j: float | None) -> list[console.Cell]:
    if energy_j is None:
        return [name, count, runtime_s * 1e3, None, None]
    return [name, count, runtime_s * 1e3, energy_j / runtime_s if runtime_s > 0 else None, energy_j * 1e3]


def bound(scale: float, value: float | None, least: bool) -> console.Cell:
    """A sum as it is shown: "≥" before one in which layers are missing."""
    if value is None:
        return None
    return f"≥ {scale * value:.4g}" if least else scale * value


def document(models: SixModels, predicted: NetworkPrediction) -> dict[str, Any]:
    """The prediction as JSON values, SI units."""
    from neuralpower.ranking import sums

    runtime, energy = sums(predicted)
    return {
        "network": predicted.name,
        "simulated": models.simulated_,
        "devices": models.devices_,
        "layers": [
            {
                "layer": p.layer.name,
                "kind": p.layer.kind,
                "kernel_h": p.layer.kernel_h,
                "kernel_w": p.layer.kernel_w,
                "runtime_s": p.runtime_s,
                "power_w": p.power_w,
                "energy_j": p.energy_j,
                "runtime_interval_s": p.runtime_interval_s,
                "power_interval_w": p.power_interval_w,
                "precision": p.layer.precision,
                "outside": list(p.outside),
                "no_support": list(p.unsupported),
                "reason": p.reason,
                "note": p.layer.note,
            }
            for p in predicted.layers
        ],
        "timed": len(predicted.timed),
        "covered": len(predicted.covered),
        "missing": predicted.missing,
        "other": {
            "layers": predicted.remainder_layers,
            "in_sum": predicted.remainder is not None,
            "runtime_s": predicted.remainder_runtime_s,
            "energy_j": predicted.remainder_energy_j,
        },
        "whole": asdict(predicted.whole) if predicted.whole else None,
        "runtime_s": predicted.runtime_s,
        "power_w": predicted.power_w,
        "energy_j": predicted.energy_j,
        "runtime_interval_s": [runtime.low, runtime.high] if runtime else None,
        "energy_interval_j": [energy.low, energy.high] if energy else None,
        "no_support": dict(zip(("layers", "runtime_share", "energy_share"), predicted.unsupported, strict=True)),
        "runtime_least": predicted.runtime_least,
        "energy_least": predicted.energy_least,
    }


def _ends(interval: tuple[float, float] | None, factor: float) -> str | None:
    return f"{interval[0] * factor:.3g} to {interval[1] * factor:.3g}" if interval else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
