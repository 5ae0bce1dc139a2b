"""neuralpower info: what a recording or a dataset holds, and what is missing."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower.cli.analysing.device import add_device, opened
from neuralpower.cli.analysing.span import add_span, chosen
from neuralpower.console import Cell, print_json, table
from neuralpower.errors import Failure, InputError
from neuralpower.models.packaged import packaged

if TYPE_CHECKING:
    from neuralpower.recordings.devices.clock import ClockMapping
    from neuralpower.recordings.recording import Recording

HELP = """What a recording, a dataset or a model file holds, and what is missing.

examples:
  neuralpower info monday
  neuralpower info monday --from 2h --to 3h
  neuralpower info monday --verify
  neuralpower info rack --device jetson-1
  neuralpower info model.json --formula
  neuralpower info h200-cudnn"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", help="folder of a recording, a dataset file or a model file")
    parser.add_argument("--formula", action="store_true", help="write out the models of a model file, with units")
    add_device(parser)
    add_span(parser)
    parser.add_argument("--verify", action="store_true", help="read every byte of a recording; 1 where one is damaged")
    parser.add_argument(
        "--repair", action="store_true", help="the same, and mend it; what was damaged is kept beside it"
    )
    parser.add_argument("--skip-damaged", action="store_true", help="read past damaged files of a recording")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is there."""
    path = Path(args.path)
    if not path.exists():
        path = packaged(args.path) or path
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if _is_json(path):
        return _models(path, args)
    if args.formula:
        raise InputError(f"{path}: only a model file has formulas")
    if path.is_dir() and not args.device:
        from neuralpower.recordings.devices.folder import devices_in

        devices = devices_in(path)
        if len(devices) > 1:
            return _several(path, devices, args)
    if args.verify or args.repair:
        return _verified(path, args)
    if path.is_dir():
        facts = recording_facts(chosen(opened(path, args, args.skip_damaged), args))
    elif args.device:
        raise InputError(f"{path}: --device chooses one of several recordings, and this is none")
    elif args.begin or args.end:
        raise InputError(f"{path}: --from and --to choose a part of a recording, and this is none")
    else:
        facts = dataset_facts(path)
    if args.json:
        print_json(facts)
    elif path.is_dir():
        _print_recording(facts)
    else:
        _print_dataset(facts)
    return 0


def _several(path: Path, devices: dict[str, Path], args: argparse.Namespace) -> int:
    """A line for each of several devices' recordings, and how their clocks lie to the recorder's."""
    from neuralpower.recordings.recording import Recording

    if args.verify or args.repair:
        return max(_verified(each, args) for each in devices.values())
    facts = {name: recording_facts(chosen(Recording(each, args.skip_damaged), args)) for name, each in devices.items()}
    if args.json:
        print_json({"folder": str(path), "devices": facts})
        return 0
    rows: list[list[Cell]] = []
    for name, each in facts.items():
        ticks = sum(stream["ticks"] for stream in each["streams"])
        lost = each["ticks_lost"] + each["records_lost"]
        clock = each["streams"][-1]["recorder_clock"] if each["streams"] else None
        told = (
            [f"{clock['bound_us']:.0f}", f"{clock['rate_ppm']:+.2f} ± {clock['rate_bound_ppm']:.2f}"]
            if clock
            else [None] * 2
        )
        duration, watts = round(each["duration_s"], 1), [stream["mean_total_w"] for stream in each["streams"]][-1:]
        rows.append([name, each["began"], duration, ticks, lost, each["inferences"], *(watts or [None]), *told])
    heads = ["device", "began (UTC)", "s", "ticks", "lost", "inferences", "mean total W", "clock to ± µs", "rate ppm"]
    table(f"{path}: {len(devices)} devices", heads, rows, simulated=any(each["simulated"] for each in facts.values()))
    print("clock: device's time on the recorder's clock, and by how much the recorder's is faster")
    return 0


def _verified(path: Path, args: argparse.Namespace) -> int:
    """What is damaged in a recording; 1 where anything is, or was lost before it was mended."""
    from neuralpower.recordings.devices.folder import one_of
    from neuralpower.recordings.verifying import repair, verify

    if not path.is_dir():
        raise InputError(f"{path}: --verify and --repair are for recordings")
    path = one_of(path, args.device)
    try:
        found = repair(path) if args.repair else verify(path)
    except OSError as error:
        raise Failure(f"{error.filename or path}: cannot be mended: {error.strerror or error}") from None
    if args.json:
        print_json(
            {"recording": str(path), "mended": args.repair, "found": [{**vars(f), "path": str(f.path)} for f in found]}
        )
    elif not found:
        print(f"{path}: every byte is as it was written")
    else:
        rows: list[list[Cell]] = [
            [str(f.path.relative_to(path)), f.what, "lost" if f.lost else "no loss"] for f in found
        ]
        table(f"{path}: {'mended' if args.repair else 'damaged'}", ["file", "what", "entries"], rows)
        if args.repair and (path / "damaged").is_dir():
            print(f"the files as they were are in {path / 'damaged'}")
    return int(any(each.lost for each in found) if args.repair else bool(found))


def _is_json(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def _models(path: Path, args: argparse.Namespace) -> int:
    """A model file: what it was fitted to, the errors to expect, and what is missing."""
    from neuralpower.models import store
    from neuralpower.show.models import print_formulas

    six = store.load(path)
    if args.json:
        print_json(store.document(six))
        return 0
    rows: list[list[Cell]] = []
    for (kind, target), model in six.models_.items():
        score = model.cross_validation.score
        counts = [len(model.polynomial.terms), model.polynomial.degree, score.rows]
        errors = [f"{100 * score.rmspe:.1f}", f"{100 * score.median_ape:.1f}"]
        rows.append([f"{kind} {target}", *counts, *errors, ", ".join(model.polynomial.quantities())])
    columns = ["model", "terms", "degree", "rows", "RMSPE %", "median %", "made of"]
    table(f"{path}: {len(six.models_)} models", columns, rows, simulated=six.simulated_)
    told: list[list[Cell]] = [["missing", f"{k} {t}: {reason}"] for (k, t), reason in six.skipped_.items()]
    told += [
        ["fitted to", f"{six.rows_} rows, sha256 {six.sha256_[:16]}…"],
        ["devices", ", ".join(six.devices_) or None],
    ]
    told += [["networks", ", ".join(six.networks_) or None], ["folds, seed", f"{six.folds}, {six.seed}"]]
    table("provenance", ["", "value"], told)
    if args.formula:
        print_formulas(six)
    return 0


def recording_facts(recording: Recording) -> dict[str, Any]:
    """All that is worth knowing of a recording, as plain values."""
    from neuralpower.recordings.statistics import missing
    from neuralpower.subscriber.messages import Ended
    from neuralpower_wire import Kind

    losses = [
        {"log": log, "stream": stream.hex(), "first": hole.start, "count": missing(hole), "why": why}
        for (log, stream), ranges in recording.explained_losses().items()
        for hole, why in ranges
    ]
    journals = recording.journal_contents.values()
    inferences = sum((each.engines for each in journals), Counter[str]())
    kinds = sum((each.kinds for each in journals), Counter[Kind]())
    engines = recording.engines()
    return {
        "recording": str(recording.directory),
        "simulated": recording.simulated,
        "address": recording.document.address,
        "created": recording.document.created,
        "neuralpower": recording.document.neuralpower,
        "began": _began(recording),
        "duration_s": recording.duration_s,
        "streams": [_stream_facts(recording, stream) for stream in recording.streams],
        "inferences": sum(inferences.values()),
        "engines": [
            {
                "hash": engine,
                "name": engines[engine]["name"] if engine in engines else None,
                "layers": len(engines[engine]["layers"]) if engine in engines else None,
                "inferences": inferences[engine],
            }
            for engine in dict.fromkeys([*inferences, *engines])
        ],
        "records": {kind.name.lower(): kinds[kind] for kind in Kind},
        "ticks_lost": _entries("ticks", losses),
        "records_lost": _entries("journal", losses),
        "losses": losses,
        "ends_not_known": [
            {"log": told.log, "stream": told.stream.hex(), "after": told.next - 1}
            for told in recording.told
            if isinstance(told, Ended) and not told.known
        ],
        "dropped": [
            {"log": log, "stream": stream, "before": before}
            for log, streams in recording.document.dropped.items()
            for stream, before in streams.items()
        ],
        "pauses": _pauses(recording),
        "damaged": recording.damaged,
    }


def _pauses(recording: Recording) -> list[dict[str, Any]]:
    """Where the daemon did not sample for a while, as it tells in its journal."""
    return [
        {"next": each.more.get("next"), "slots": each.more.get("slots"), "told": each.text}
        for each in recording.events()
        if each.name == "sampling-paused"
    ]


def _entries(log: str, losses: list[dict[str, Any]]) -> int:
    return sum(each["count"] for each in losses if each["log"] == log)


def _began(recording: Recording) -> str | None:
    """Wall time of the first tick, by the clock map nearest to it; of the first clock map where there are several clocks."""
    from neuralpower.recordings.span import wall_time

    if len(recording.streams) == 1 and recording.tick_summary().ticks:
        began = wall_time(recording, recording.tick_summary().span_ns[0])
    else:
        points = recording.clock_points()
        began = datetime.fromtimestamp(int(points[0, 2]) * 1e-9, timezone.utc) if len(points) else None
    return began.isoformat(timespec="seconds") if began else None


def _stream_facts(recording: Recording, stream: bytes) -> dict[str, Any]:
    epochs = recording.epochs(stream)
    summary, energy = recording.tick_summary(stream), recording.energy(stream)
    return {
        "stream": stream.hex(),
        "board": epochs[-1].board if epochs else None,
        "source": epochs[-1].source if epochs else None,
        **asdict(summary.statistics()),
        "mean_power_w": {rail: mean.value for rail, mean in summary.mean_power_w.items()},
        "mean_total_w": summary.mean_total_w.value,
        "energy_j": energy.rails_j,
        "energy_total_j": energy.total_j if energy.total_covered_s else None,
        "recorder_clock": _clock_facts(recording.recorder_clock(stream)),
        "energy_covered_s": energy.total_covered_s or max(energy.covered_s.values(), default=0.0),
    }


def _clock_facts(clock: ClockMapping) -> dict[str, Any] | None:
    """How the device's clock lies to the recorder's, by its newest line; nothing where nothing compared them."""
    if not clock:
        return None
    last = clock.pieces[-1]
    at, bound = clock.to_recorder_ns([last.end_ns])
    return {
        "boot": last.boot.hex(),
        "pieces": len(clock.pieces),
        "comparisons": sum(piece.comparisons for piece in clock.pieces),
        "device_ns": last.end_ns,
        "recorder_ns": int(at[0]),
        "bound_us": float(bound[0]) / 1e3,
        "rate_ppm": last.rate_ppm,
        "rate_bound_ppm": last.rate_bound_ppm,
        "recorder_wall_minus_clock_ns": last.wall_ns,
    }


def _print_recording(facts: dict[str, Any]) -> None:
    rows: list[list[Cell]] = [
        ["address", facts["address"]],
        ["began (UTC)", facts["began"]],
        ["duration s", round(facts["duration_s"], 3)],
        ["inferences", facts["inferences"]],
        ["records lost", facts["records_lost"]],
    ]
    for number, stream in enumerate(facts["streams"]):
        name = f"stream {number + 1}: " if len(facts["streams"]) > 1 else ""
        rows += [[name + label, value] for label, value in _stream_rows(stream)]
    rows += [
        ["dropped, disk full", f"{each['log']} {each['stream'][:8]} before {each['before']}"]
        for each in facts["dropped"]
    ]
    rows += [
        [
            f"{each['log']}: the end of {each['stream'][:8]}",
            f"not known: what came after {each['after']}, if anything, is lost",
        ]
        for each in facts["ends_not_known"]
    ]
    rows += [["not sampled", pause["told"]] for pause in facts["pauses"]]
    rows += [["damaged", line] for line in facts["damaged"]]
    table(facts["recording"], ["", "value"], rows, simulated=facts["simulated"])
    if facts["losses"]:
        lost: list[list[Cell]] = [
            [
                hole["log"],
                hole["stream"][:8],
                hole["first"],
                hole["first"] + hole["count"] - 1,
                hole["count"],
                hole["why"],
            ]
            for hole in facts["losses"]
        ]
        table("lost", ["log", "stream", "first index", "last index", "entries", "why"], lost)
    if facts["engines"]:
        engines: list[list[Cell]] = [
            [e["name"], e["hash"][:12], e["layers"], e["inferences"]] for e in facts["engines"]
        ]
        table("engines", ["name", "hash", "layers", "inferences"], engines, simulated=facts["simulated"])


def _stream_rows(stream: dict[str, Any]) -> list[tuple[str, Cell]]:
    fresh = "unknown" if stream["fresh_rate_hz"] is None else f"{stream['fresh_rate_hz']:.4g} ({stream['freshness']})"
    states = ", ".join(f"{name} {count}" for name, count in stream["states"].items() if count)
    source = f"{stream['board']}, {stream['source']}" if stream["board"] is not None else None
    late = f"{stream['lateness_p50_us']:.1f}, {stream['lateness_p99_us']:.1f}" if stream["epochs"] else None
    clock = stream["recorder_clock"]
    rate = f"; it is faster by {clock['rate_ppm']:.2f} ± {clock['rate_bound_ppm']:.2f} ppm" if clock else ""
    known = f"known to ± {clock['bound_us']:.0f} µs by {clock['comparisons']} comparisons{rate}" if clock else None
    watts = [(f"mean {rail} W", mean) for rail, mean in stream["mean_power_w"].items()]
    return [
        ("board, source", source),
        ("ticks", stream["ticks"]),
        ("tick rate Hz", round(stream["rate_hz"], 3)),
        ("fresh rate Hz", fresh),
        ("readings", states),
        ("lateness p50, p99 µs", late),
        ("missed slots", stream["missed_slots"]),
        ("ticks lost", stream["lost"]),
        ("epochs", stream["epochs"]),
        *([("recorder's clock", known)] if known else []),
        *watts,
        ("mean total W", stream["mean_total_w"]),
        ("energy total J", stream["energy_total_j"]),
        ("seconds it is of", round(stream["energy_covered_s"], 3)),
    ]


def dataset_facts(path: Path) -> dict[str, Any]:
    """Rows of a dataset by origin and kind, and where it came from."""
    import numpy as np

    from neuralpower.dataset import read_dataset

    dataset = read_dataset(path)
    rows = Counter(zip(dataset["origin"].tolist(), dataset["kind"].tolist(), strict=True))
    return {
        "dataset": str(path),
        "simulated": dataset.simulated,
        "rows": len(dataset),
        "networks": len(set(zip(dataset["network"].tolist(), dataset["engine"].tolist(), strict=True))),
        "by_origin_and_kind": [{"origin": o, "kind": k, "rows": n} for (o, k), n in sorted(rows.items())],
        "measured": {name: int(np.sum(~np.isnan(dataset[name]))) for name in ("runtime_s", "power_w", "energy_j")},
        "withheld": dataset.withheld,
        "implausible": dataset.implausible,
        "provenance": dataset.provenance,
    }


def _print_dataset(facts: dict[str, Any]) -> None:
    counted: list[list[Cell]] = [[row["origin"], row["kind"], row["rows"]] for row in facts["by_origin_and_kind"]]
    title = f"{facts['dataset']}: {facts['rows']} layers of {facts['networks']} networks"
    table(title, ["origin", "kind", "layers"], counted, simulated=facts["simulated"])
    known: list[list[Cell]] = [[f"with {name}", count] for name, count in facts["measured"].items()]
    known += [["power withheld", f"{count}: {reason}"] for reason, count in facts["withheld"].items()]
    known += [["cannot be", f"{count}: {reason}"] for reason, count in facts["implausible"].items()]
    known += [[f"from: {key}", str(value)[:200]] for key, value in facts["provenance"].items()]
    table("provenance", ["", "value"], known)
