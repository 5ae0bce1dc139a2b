"""``neuralpower report``: one self-contained page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.cli.analysing.attribute import attributed
from neuralpower.cli.analysing.device import add_device, opened
from neuralpower.cli.analysing.span import add_span, chosen
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import InputError

if TYPE_CHECKING:
    from neuralpower.dataset import Dataset
    from neuralpower.models.network import NetworkPrediction
    from neuralpower.models.six import SixModels
    from neuralpower.recordings.recording import Recording

HELP = """Write one self-contained HTML page: conditions, ticks, rails, layers, models.

Give a recording, a model file, a dataset, or one of each; networks that were recorded and that the models have not seen are
predicted and set beside what was measured.

example:
  neuralpower report run1 models.json -o report.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "a recording's folder, a model file (.json) or a dataset (.parquet), at most one of each"
    parser.add_argument("sources", metavar="DIR_OR_MODEL", type=Path, nargs="+", help=what)
    parser.add_argument(
        "-o", "--output", action=OutputFile, metavar="FILE", type=Path, required=True, help="the page to write (.html)"
    )
    parser.add_argument("--method", default="least-squares", help="of the attribution: least-squares or window-mean")
    parser.add_argument(
        "--truth", metavar="FILE", type=Path, help="what a virtual device really did, to draw beside it"
    )
    add_device(parser)
    add_span(parser)
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    from neuralpower.attribution.asked import check
    from neuralpower.attribution.attribute import check_method
    from neuralpower.collect import rows_of
    from neuralpower.report import write_report

    check_method(args.method)
    true_w = _true_power(args.truth) if args.truth else None
    recording, models, dataset = _opened(args)
    if recording is None and args.device:
        raise InputError(f"--device {args.device} chooses one of several recordings, and none is given")
    if recording is not None:
        recording = chosen(recording, args)
    elif args.begin or args.end:
        raise InputError("--from and --to choose a part of a recording: give one")
    attribution = None
    if recording is not None and recording.inferences():
        check(recording, args.method)
        attribution = attributed(recording, args.method)
        if dataset is None and models is not None:
            dataset = rows_of(attribution, str(args.sources[0]))
    predictions = _unseen(recording, models) if attribution is not None else []
    provenance = {"sources": ", ".join(path.name for path in args.sources)}
    write_report(
        args.output, recording=recording, attribution=attribution, models=models, evaluation=dataset if models else None,
        predictions=predictions, provenance=provenance, title=args.title,
        true_w=true_w,
    )  # fmt: skip
    if args.json:
        size = args.output.stat().st_size
        console.print_json({"written": str(args.output), "bytes": size, "predicted": [p.name for p in predictions]})
    else:
        print(f"wrote {args.output}")
    return 0


def _opened(args: argparse.Namespace) -> tuple[Recording | None, SixModels | None, Dataset | None]:
    """A recording, models and a dataset, each where one was given. InputError on two of a kind or none that can be read."""
    found: dict[str, Any] = {}
    for path in args.sources:
        kind, source = _open(path, args)
        if kind in found:
            raise InputError(f"{path}: a second {kind}; a page shows one")
        found[kind] = source
    if set(found) == {"dataset"}:
        raise InputError(f"{args.sources[0]}: a dataset alone has no report; add the models to compare it with")
    return found.get("recording"), found.get("model file"), found.get("dataset")


def _open(path: Path, args: argparse.Namespace) -> tuple[str, Any]:
    if path.is_dir():
        return "recording", opened(path, args)
    if not path.exists():
        raise InputError(f"{path}: no such recording, model file or dataset")
    if path.suffix == ".parquet":
        from neuralpower.dataset import read_dataset

        return "dataset", read_dataset(path)
    from neuralpower.models.store import load

    return "model file", load(path)


def _true_power(path: Path) -> dict[str, list[float]]:
    """Engine's hash -> each layer's true power on the rail that feeds the board. InputError where `path` holds no truth."""
    from neuralpower.virtual.device.truth import Truth

    try:
        truth = Truth.read(path)
        total = truth.rails.index(truth.total)
        return {name: engine.power_w[:, total].tolist() for name, engine in truth.engines.items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: not the truth of a virtual device ({str(error).splitlines()[0][:80]})") from None


def _unseen(recording: Recording | None, models: SixModels | None) -> list[NetworkPrediction]:
    """Predictions of the recorded networks that the models were not fitted to; engines of one or two layers left out."""
    if recording is None or models is None:
        return []
    from neuralpower.features.inspector.engine import layers_from_engine
    from neuralpower.models.network import predict_network

    unseen = []
    for body in recording.engines().values():
        if body["name"] in models.networks_ or len(body["layers"]) < 3:
            continue
        try:
            layers = layers_from_engine(body["inspector"], body["name"])
        except InputError:
            continue
        if len({(layer.kind, layer.in_c, layer.out_c, layer.in_h) for layer in layers}) > 1:
            unseen.append(predict_network(models, body["name"], layers))
    return unseen
