"""``neuralpower rank``: which network to deploy."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import console
from neuralpower.cli.modelling.features import add_input_shape, input_shape, say_packaged, whole
from neuralpower.cli.modelling.predict import add_gpu_mhz, gpu_mhz
from neuralpower.cli.outputs import OutputFile
from neuralpower.errors import Failure, InputError

if TYPE_CHECKING:
    from neuralpower.features.network import Network
    from neuralpower.models.six import SixModels
    from neuralpower.ranking import Candidate, PredictedValue

HELP = """Order networks by energy or time for one item, or by the energy-precision ratio error^alpha * energy.

Each network is predicted with each model, batch size and precision. An engine has its own batch and precision; ONNX and torch take those
that are asked for. --model adds models of other devices or power modes. The limits are those of one inference with its whole batch (time)
and of one item (energy): "yes" where the whole interval is within, "perhaps" where the prediction is. Where layers have no model a sum is a
lower bound: it has a "≥", comes behind the others, and is never surely within a limit. Models of runtime alone order by time.

The accuracy file is JSON, {"resnet18": 69.8}, or CSV with the columns network and accuracy, as percentages or as shares.

examples:
  neuralpower rank model.json resnet18.onnx mobilenet_v2.onnx --accuracy top1.json --max-runtime-ms 20
  neuralpower rank 15w.json *.onnx --model 30w=30w.json --batch 1,8 --precision FP16,INT8 --plot pareto.svg"""

MOST_CANDIDATES = 2000
LARGEST_FILE = 16 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "models",
        metavar="MODEL.json",
        type=Path,
        help="what neuralpower fit wrote, or a model that comes with the package",
    )
    parser.add_argument("networks", metavar="NETWORK", nargs="+", help="engine JSON, ONNX, or torch:module:callable")
    parser.add_argument("--model", metavar="NAME=FILE", action="append", default=[], help="another model, repeatable")
    parser.add_argument("--accuracy", metavar="FILE", type=Path, help="accuracy of the networks, JSON or CSV")
    parser.add_argument(
        "--by",
        choices=("energy", "runtime", "epr"),
        help="order (epr with --accuracy, else energy; runtime where no power is known)",
    )
    parser.add_argument(
        "--alpha", type=float, default=1.0, help="weight of the error in the energy-precision ratio (1)"
    )
    parser.add_argument("--batch", default="1", metavar="N,...", help="batch sizes where the model leaves it open (1)")
    parser.add_argument(
        "--precision",
        default="",
        metavar="P,...",
        help="FP32, FP16, INT8, ... for ONNX and torch (FP32 weights: that of most training data)",
    )
    add_gpu_mhz(parser)
    add_input_shape(parser)
    parser.add_argument("--max-runtime-ms", type=float, metavar="MS", help="limit of one inference")
    parser.add_argument("--max-energy-mj", type=float, metavar="MJ", help="limit of one item")
    parser.add_argument(
        "--plot", action=OutputFile, metavar="FILE", type=Path, help="energy against error or time (.svg, .png, .pdf)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Predict every candidate, order them, print."""
    from neuralpower.ranking import CRITERIA, Limits, front, ranked

    batches, precisions = sizes_asked(args.batch), precisions_asked(args.precision)
    limits = Limits(_limit("--max-runtime-ms", args.max_runtime_ms), _limit("--max-energy-mj", args.max_energy_mj))
    if not (math.isfinite(args.alpha) and args.alpha >= 0):
        raise InputError(f"--alpha {args.alpha}: 0 or more")
    if args.plot and args.plot.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InputError(f"{args.plot}: a plot ends in .svg, .png or .pdf")
    by = args.by or ("epr" if args.accuracy else "energy")
    if by == "epr" and not args.accuracy:
        raise InputError("--by epr needs --accuracy FILE")
    assert by in CRITERIA
    models = _models(args)
    errors = read_errors(args.accuracy) if args.accuracy else {}
    networks, refused = _networks(args, batches)
    asked = len(networks) * len(models) * len(precisions)
    if asked > MOST_CANDIDATES:
        raise InputError(f"{asked} candidates, at most {MOST_CANDIDATES} are ranked at once")
    forms = [(precision, gpu_mhz(args.gpu_mhz)) for precision in precisions]
    found, unpredicted, notes = _candidates(models, networks, errors, forms)
    refused += unpredicted
    if args.by is None and all(each.energy_j is None for each in found):
        by = "runtime"
    order = ranked(found, by, limits, args.alpha)
    best = front([each for each, met in order if met != "no"])
    if args.plot:
        if all(each.energy_j is None for each in found):
            raise InputError(f"{args.plot}: a plot of energy, and no power model for any layer of these networks")
        _plot(args.plot, order, best, limits)
    for line in notes:
        print(f"note: {line}", file=sys.stderr)
    if args.json:
        console.print_json(_document(args, by, order, best, refused))
    else:
        _print(args, by, order, best, refused, len(models) > 1)
    return 0


def _models(args: argparse.Namespace) -> dict[str, SixModels]:
    """Name -> models: the first one is called after its file."""
    from neuralpower.models.store import load

    named = [(args.models.stem, args.models)]
    for given in args.model:
        name, equals, path = given.partition("=")
        if not (name and equals and path):
            raise InputError(f"--model {given}: write NAME=FILE")
        named.append((name, Path(path)))
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise InputError(f"two models are called {twice[0]}; give them names with --model NAME=FILE")
    found = {name: load(path) for name, path in named}
    for _, path in named:
        say_packaged(path)
    return found


def _networks(args: argparse.Namespace, batches: list[int]) -> tuple[list[Network], list[str]]:
    """Every network in every batch size, an engine once; and a line for each batch size that a network cannot have.

    Names that occur twice are told apart by their path. InputError where a network can be read in no batch size.
    """
    from neuralpower.features.network import load_network

    twice = [spec for spec, count in Counter(args.networks).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: named twice")
    shape = input_shape(args.input_shape)
    loaded: list[tuple[str, Network]] = []
    refused: list[str] = []
    for spec in args.networks:
        every: list[Network] = []
        for batch in batches:
            try:
                every.append(load_network(spec, batch, shape))
            except InputError as reason:
                if len(batches) == 1:
                    raise
                refused.append(f"{spec}: batch {batch}: {reason}")
                continue
            if every[-1].source == "engine":
                break
        if not every:
            raise InputError(refused[-1])
        loaded += [(spec, network) for network in every]
    owners: dict[str, set[str]] = {}
    for spec, network in loaded:
        owners.setdefault(network.name, set()).add(spec)
    named = [replace(n, name=n.name if len(owners[n.name]) == 1 else spec) for spec, n in loaded]
    return named, refused


def _candidates(
    models: dict[str, SixModels], networks: list[Network], errors: dict[str, float], forms: list[tuple[str, int | None]]
) -> tuple[list[Candidate], list[str], list[str]]:
    """The candidates in every form, (precision, clock), an engine in its own precision; a line for each that cannot be predicted; and what was assumed.

    InputError where none can be predicted.
    """
    from neuralpower.features.network import network_name
    from neuralpower.models.conditions import as_priced
    from neuralpower.models.network import predict_network
    from neuralpower.ranking import candidate

    found, refused = [], []
    notes: dict[str, None] = {}
    for name, six in models.items():
        for network in networks:
            short = network_name(Path(network.name))
            error = errors.get(network.name, errors.get(short))
            for precision, mhz in [("", forms[0][1])] if network.source == "engine" else forms:
                try:
                    priced = as_priced(six, network, precision, mhz)
                    predicted = predict_network(six, network.name, priced.layers)
                    found.append(candidate(predicted, name, error, six.simulated_))
                except InputError as reason:
                    refused.append(f"{reason}, by {name}")
                    continue
                by = f" by {name}" if len(models) > 1 else ""
                notes |= {f"{network.name}{'' if line in network.notes else by}: {line}": None for line in priced.notes}
    if not found:
        raise InputError(refused[0])
    return found, list(dict.fromkeys(refused)), list(notes)


def read_errors(path: Path) -> dict[str, float]:
    """Network -> share of wrong answers, from accuracies. Values up to 1 are shares, others percentages; InputError on a mixture."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: too large for a file of accuracies")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: neither JSON nor CSV") from None
    told = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_csv(path, text)
    found: dict[str, float] = {}
    for name, value in told:
        try:
            accuracy = float(value) if not isinstance(value, (bool, dict, list, type(None))) else math.nan
        except ValueError:
            accuracy = math.nan
        if not 0 < accuracy <= 100:
            # Lists and objects within each other can be deeper than Python prints.
            shown = "a list or an object" if isinstance(value, (dict, list)) else f"{value!r:.60}"
            raise InputError(f"{path}: the accuracy of {name} is {shown}, not a number above 0 and up to 100")
        if name in found and found[name] != accuracy:
            raise InputError(f"{path}: {name} has two accuracies")
        found[name] = accuracy
    if not found:
        raise InputError(f"{path}: no accuracy in it")
    shares = [accuracy <= 1 for accuracy in found.values()]
    if any(shares) and not all(shares):
        raise InputError(f"{path}: accuracies up to 1 and above 1 are mixed; give shares or percentages")
    scale = 1.0 if all(shares) else 0.01
    return {name: 1 - scale * accuracy for name, accuracy in found.items()}


def _from_json(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        read = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(read, list) or not all(isinstance(pair, tuple) for pair in read):
        raise InputError(f'{path}: not accuracies by network, such as {{"resnet18": 69.8}}')
    return read


def _from_csv(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(map(str.strip, row))]
    except csv.Error as error:
        raise InputError(f"{path}: broken CSV: {error}") from None
    if rows and [cell.lower() for cell in rows[0][:2]] == ["network", "accuracy"]:
        rows = rows[1:]
    if any(len(row) < 2 for row in rows):
        raise InputError(f"{path}: a line without network and accuracy")
    return [(row[0], row[1]) for row in rows]


def sizes_asked(given: str) -> list[int]:
    """Batch sizes of a list such as 1,4. InputError where it is none."""
    parts = [part.strip() for part in given.split(",")]
    if not all(0 < whole(part) < 1 << 20 for part in parts):
        raise InputError(f"--batch {given}: sizes such as 1,4,16")
    return list(dict.fromkeys(map(int, parts)))


def precisions_asked(given: str) -> list[str]:
    """Precisions of a list such as FP16,INT8; one that is empty where none is given. InputError where it is none."""
    from neuralpower.models.conditions import PRECISIONS

    parts = [part.strip().upper() for part in given.split(",")] if given else [""]
    if given and not all(part in PRECISIONS for part in parts):
        raise InputError(f"--precision {given}: of {', '.join(PRECISIONS)}")
    return list(dict.fromkeys(parts))


def _limit(name: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} {value:g}: above 0")
    return None if value is None else value * 1e-3


def _print(
    args: argparse.Namespace,
    by: str,
    order: list[tuple[Candidate, str]],
    best: list[Candidate],
    refused: list[str],
    several: bool,
) -> None:
    limited = args.max_runtime_ms is not None or args.max_energy_mj is not None
    known = any(each.error is not None for each, _ in order)
    columns = ["#", "network", *(["model"] if several else []), "precision", "batch", "energy mJ/item", "runtime ms"]
    columns += ["ms/item"] if any(each.batch > 1 for each, _ in order) else []
    columns += ["error %", "EPR mJ"] if known else []
    columns += [*(["limits"] if limited else []), "Pareto", "covered", "outside"]
    rows: list[list[console.Cell]] = []
    for place, (each, met) in enumerate(order, 1):
        ranks = met != "no" and not each.least(by)
        row: list[console.Cell] = [place if ranks else None, console.shortened(each.network)]
        row += [each.model] if several else []
        row += [each.precision, each.batch, _told(each.item_energy_j, 1e3, each.energy_least)]
        row += [_told(each.runtime_s, 1e3, each.runtime_least)]
        row += [_told(each.item_runtime_s, 1e3, each.runtime_least)] if "ms/item" in columns else []
        if known:
            ratio = _told(each.epr(args.alpha), 1e3, each.energy_least)
            row += [None if each.error is None else 100 * each.error, ratio]
        row += [met] if limited else []
        rows.append([*row, "*" if each in best else "", f"{each.covered}/{each.layers}", each.outside])
    what = {"energy": "energy for one item", "runtime": "time for one item", "epr": "energy-precision ratio"}[by]
    alpha = f" (alpha {args.alpha:g})" if by == "epr" else ""
    console.table(f"By {what}{alpha}", columns, rows, simulated=any(each.simulated for each, _ in order))
    told: dict[str, None] = {}
    for each, _ in order:
        for reason, count in each.not_covered.items():
            which = "energy" if reason in each.timed_without_energy else "sums"
            told[f"not in the {which}: {each.network}: {count} of {each.layers} layers: {reason}"] = None
        if each.no_support[0]:
            count, seconds, joules = each.no_support
            energy = "" if each.energy_j is None else f", {100 * joules:.0f} % of the energy"
            told[
                f"no support: {each.network}, batch {each.batch}: {count} predicted layers, {100 * seconds:.0f} % of the runtime{energy}"
            ] = None
    if any(each.least(by) for each, _ in order):
        told["≥: layers are missing in the sum, which is a lower bound; such rows have no place in the order"] = None
    strange = sum(bool(each.outside) for each, _ in order)
    if strange:
        told[
            f"warning: outside: predicted layers beyond the data of the models; {strange} of {len(order)} rows have some, and their intervals promise nothing"
        ] = None
    for line in (*told, *(f"not ranked: {line}" for line in refused)):
        print(line)


def _told(estimate: PredictedValue | None, scale: float, least: bool) -> str | None:
    """A value with its interval; a lower bound has no upper end."""
    if estimate is None:
        return None
    scaled = estimate.scaled(scale)
    return f"≥ {scaled.value:.4g}" if least else f"{scaled.value:.4g} ({scaled.low:.3g} to {scaled.high:.3g})"


def _document(
    args: argparse.Namespace,
    by: str,
    order: list[tuple[Candidate, str]],
    best: list[Candidate],
    refused: list[str],
) -> dict[str, Any]:
    rows = []
    for each, met in order:
        ratio = each.epr(args.alpha)
        item = each.item_energy_j
        derived = {"item_energy_j": asdict(item) if item else None, "item_runtime_s": asdict(each.item_runtime_s)}
        epr = {"epr_j": asdict(ratio) if ratio else None, "within_limits": met, "pareto": each in best}
        rows.append({**asdict(each), **derived, **epr})
    return {"by": by, "alpha": args.alpha, "candidates": rows, "not_ranked": refused}


def _plot(path: Path, order: list[tuple[Candidate, str]], best: list[Candidate], limits: Any) -> None:
    from neuralpower.report.pareto_plot import pareto
    from neuralpower.report.plots import save

    try:
        save(pareto([each for each, _ in order], best, limits), path)
    except OSError as error:
        raise Failure(f"{path}: cannot write the plot: {error.strerror or error}") from None
