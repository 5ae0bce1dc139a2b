"""The demo from beginning to end, and what it prints."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import console
from ..attribution import Attribution, EngineAttribution, attribute
from ..collect import rows_of
from ..dataset import Dataset, write_dataset
from ..errors import Failure, InputError
from ..models import store
from ..models.network import NetworkPrediction, predict_network
from ..models.six import SixModels
from ..recordings.recording import Recording
from ..report.write import write_report
from ..show.attribution import print_engine, summary
from ..show.models import print_models, print_published
from ..virtual.device.truth import EngineTruth, Truth
from . import judgement, workload
from .sensor import DrawnSensor
from .stage import DemoRecording, record_everything


def run(directory: Path, seed: int) -> dict[str, Any]:
    """Record, attribute, fit, predict and report into `directory`, printing each result; returns the main ones.

    Raises:
        Failure: a part of it failed.
    """
    begin = time.monotonic()
    directory.mkdir(parents=True, exist_ok=True)
    sensor = DrawnSensor.draw(seed)
    outcome = record_everything(directory, sensor)
    recording = Recording(outcome.recording)
    print_ticks(recording, outcome)
    if not recording.inferences():
        print("no network ran: TensorRT with a GPU is needed for layers; `neuralpower profile` runs one")
        return facts(recording, sensor, begin)
    with console.progress("attributing power to layers"):
        attribution = attribute(recording)
    by_name = {engine.name: engine for engine in attribution.engines.values()}
    print_layers(attribution, by_name.get(workload.SHOWN), outcome.truth)
    everything = rows_of(attribution, str(outcome.recording))
    training = everything.take(everything["network"] != workload.HELD_OUT)
    models, no_models = fit(training, directory)
    held_out, predictions = by_name.get(workload.HELD_OUT), list[NetworkPrediction]()
    if held_out is None:
        print(f"{workload.HELD_OUT} was not attributed: there is nothing to hold its prediction against")
    elif models is None:
        print(f"{workload.HELD_OUT} is not predicted: there are no models")
    else:
        layers = [layer.geometry for layer in held_out.layers if layer.geometry is not None]
        predictions.append(predict_network(models, held_out.name, layers))
        print_held_out(training, predictions[0], held_out, outcome.truth)
    report = directory / "report.html"
    write_report(
        report,
        recording=recording,
        attribution=attribution,
        models=models,
        evaluation=everything.take(everything["network"] == workload.HELD_OUT),
        predictions=predictions,
        provenance={"command": f"neuralpower demo --seed {seed}"},
        true_w=_true_layers(outcome.truth),
    )
    print_end(sensor, attribution, outcome, report, time.monotonic() - begin)
    return facts(recording, sensor, begin) | {
        "models": directory / "models.json" if models is not None else None,
        "no_models": no_models or None,
        "dataset": directory / "layers.parquet",
        "report": report,
        "sensor": _sensor(sensor, attribution) if outcome.truth else None,
        "judged": judgement.document(judgement.judge(attribution, outcome.truth)) if outcome.truth else None,
        "held_out": {"network": held_out.name, **_held_out(predictions[0], held_out, outcome.truth)}
        if held_out is not None and predictions
        else None,
    }


def facts(recording: Recording, sensor: DrawnSensor, begin: float) -> dict[str, Any]:
    """What was recorded, and since `begin` (time.monotonic) how long it took."""
    losses = recording.losses()
    return {
        "seed": sensor.seed,
        "simulated": recording.simulated,
        "seconds": time.monotonic() - begin,
        "recording": recording.directory,
        "sampling": asdict(recording.tick_statistics()),
        "inferences": len(recording.inferences()),
        "ticks_lost": losses.ticks_lost,
        "records_lost": losses.records_lost,
    }


def fit(training: Dataset, directory: Path) -> tuple[SixModels | None, str]:
    """Store the dataset; fit the six models, store them and print their table, or None and why too little is known for any."""
    write_dataset(training.table, directory / "layers.parquet", training.provenance)
    try:
        with console.progress("fitting six models", 6) as advance:
            models = SixModels().fit(training, advance=advance)
    except (Failure, InputError) as error:
        print(f"no models: {error}")
        return None, str(error)
    store.save(models, directory / "models.json")
    print_models(models, "The six models")
    print_published(models)
    return models, ""


def print_ticks(recording: Recording, outcome: DemoRecording) -> None:
    """How the sampling went, from the recording itself."""
    losses = recording.losses()
    ticks = recording.tick_statistics()
    fresh = "unknown" if ticks.fresh_rate_hz is None else f"{ticks.fresh_rate_hz:.0f} per second, {ticks.freshness}"
    late = f"p50 {ticks.lateness_p50_us:.0f} µs, p99 {ticks.lateness_p99_us:.0f} µs"
    rows: list[list[console.Cell]] = [
        ["ticks", f"{ticks.ticks} in {ticks.duration_s:.1f} s, {ticks.rate_hz:.1f} per second"],
        ["fresh rate", fresh],
        ["lateness", late if ticks.epochs else None],
        ["missed slots", str(ticks.missed_slots)],
        ["lost", f"{losses.ticks_lost} ticks, {losses.records_lost} journal records"],
        ["inferences", str(len(recording.inferences()))],
        ["loop", str(outcome.status.get("realtime", "unknown"))],
    ]
    if unread := outcome.status.get("underruns"):
        rows.append(["without readings", f"{unread} ticks"])
    print()
    console.table("Sampling", ["what", "measured"], rows, simulated=recording.simulated)
    if outcome.truth and (note := outcome.truth.held_up_note()):
        print(f"note: {note}")
        print()


def print_layers(attribution: Attribution, engine: EngineAttribution | None, truth: Truth | None) -> None:
    """One network's layers, with the truth beside them where there is one; and what there is to say of all engines."""
    if engine is None:
        print(f"{workload.SHOWN} was not attributed")
    else:
        true_w = dict(zip(*_true_power(truth.engines[engine.hash], truth.total), strict=True)) if truth else None
        print_engine(engine, true_w, simulated=attribution.simulated)
    for line in summary(attribution):
        print(line)
    print()
    if truth:
        judgement.show(judgement.judge(attribution, truth))


def _true_layers(truth: Truth | None) -> dict[str, list[float]] | None:
    """Engine's hash -> true power of each layer, W, where it is known."""
    return {key: _true_power(engine, truth.total)[1] for key, engine in truth.engines.items()} if truth else None


def _true_power(engine: EngineTruth, rail: str) -> tuple[list[str], list[float]]:
    return engine.layers, engine.power_w[:, engine.rails.index(rail)].tolist()


def print_held_out(
    training: Dataset, prediction: NetworkPrediction, measured: EngineAttribution, truth: Truth | None
) -> None:
    """The network that the models have never seen: predicted, measured, and true where that is known."""
    rows: list[list[console.Cell]] = []
    values = _held_out(prediction, measured, truth)
    for quantity, what, scale in (
        ("runtime_s", "runtime ms", 1e3),
        ("power_w", "power W", 1.0),
        ("energy_j", "energy mJ", 1e3),
    ):
        predicted, found = values[quantity]["predicted"], values[quantity]["measured"]
        error = f"{100 * (predicted / found - 1):+.1f} %" if math.isfinite(predicted / found) else None
        cells: list[console.Cell] = [what, predicted * scale, found * scale, error]
        rows.append([*cells, values[quantity]["true"] * scale] if truth else cells)
    columns = ["one inference, its layers", "predicted", "measured", "error", *(["true"] if truth else [])]
    console.table(f"{measured.name}, held out", columns, rows, simulated=measured.simulated)
    seen = {_geometry(layer) for layer in training.layers()}
    known = sum(_geometry(p.layer) in seen for p in prediction.covered)
    if measured.withheld:
        print(f"  its measured power is withheld: {measured.withheld}")
    print(
        f"  {len(prediction.covered)} of {len(prediction.layers)} layers have a model, {prediction.remainder_layers} count "
        f"as the mean other layer; {known} of the modelled ones are like a layer that was trained on"
    )
    if prediction.missing:
        reasons = ", ".join(f"{count} layers ({reason})" for reason, count in prediction.missing.items())
        print(f"  not in the prediction: {reasons}")
    print()


def _held_out(
    prediction: NetworkPrediction, measured: EngineAttribution, truth: Truth | None
) -> dict[str, dict[str, float]]:
    """Runtime, power and energy of one inference's layers: predicted, measured and, where it is known, true; SI units.

    Where no layer has both models nothing is predicted: nan.
    """
    sums = (prediction.runtime_s, prediction.power_w, prediction.energy_j) if prediction.covered else (math.nan,) * 3
    found = (measured.runtime_s, measured.power_w, measured.energy_per_inference_j)
    values = {
        name: {"predicted": math.nan if told is None else told, "measured": each}
        for name, told, each in zip(("runtime_s", "power_w", "energy_j"), sums, found, strict=True)
    }
    if truth:
        for value, true in zip(values.values(), _true_sums(truth.engines[measured.hash], truth.total), strict=True):
            value["true"] = true
    return values


def _geometry(layer: object) -> tuple[object, ...]:
    return tuple(value for name, value in vars(layer).items() if name not in ("name", "layer_type", "note"))


def _true_sums(engine: EngineTruth, rail: str) -> tuple[float, float, float]:
    """Runtime in s, power in W and energy in J of the layers of a mean inference."""
    runtime_s = float(engine.runtime_s.sum())
    energy_j = float(engine.energy_j[:, engine.rails.index(rail)].sum())
    return runtime_s, energy_j / runtime_s, energy_j


def _sensor(sensor: DrawnSensor, attribution: Attribution) -> dict[str, dict[str, float | None]]:
    """What the seed hid and what the estimator found."""
    scan_s = attribution.scan_period_s
    found_ppm = None if scan_s is None else (scan_s / sensor.nominal_scan_s - 1) * 1e6
    return {
        "delay_us": {"true": sensor.delay_us, "found": attribution.delay_s * 1e6},
        "lag_us": {"true": sensor.lag_us, "found": attribution.lag_s * 1e6},
        "scan_period_error_ppm": {"true": sensor.clock_ppm, "found": found_ppm},
    }


def print_end(
    sensor: DrawnSensor, attribution: Attribution, outcome: DemoRecording, report: Path, seconds: float
) -> None:
    """The seed and what it hid, where the report is, and how long it took."""
    if outcome.truth is not None:
        rows: list[list[console.Cell]] = []
        for what, value in _sensor(sensor, attribution).items():
            sign = "+" if what.endswith("ppm") else ""
            cells = ["-" if each is None else f"{each:{sign}.0f}" for each in (value["true"], value["found"])]
            rows.append([what.replace("_us", " µs").replace("_", " "), *cells])
        title = f"What seed {sensor.seed} hid from the estimator, and what it found"
        console.table(title, ["sensor", "true", "found"], rows, simulated=True)
        print(f"Everything above was measured on a simulated board. Again with: make demo SEED={sensor.seed}")
    print(f"recording  {outcome.recording}")
    print(f"report     {report}")
    print(f"took       {seconds:.0f} s")
