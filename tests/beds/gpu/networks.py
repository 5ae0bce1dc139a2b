"""(3) Three networks of the zoo: CUPTI against events, layers against the whole, attribution against repeated layers, the profiler's price."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bed import OUT, Bed, Row
from layers import Measured, alone, described, steady, weigh
from tests.worlds import zoo_torch

from neuralpower.errors import Failure, InputError
from neuralpower.experiment import stopping
from neuralpower.experiment.around import Around
from neuralpower.experiment.design import PLAIN_RUN, PROFILED_RUN
from neuralpower.experiment.outcomes import document, energy_ratio, time_ratio
from neuralpower.experiment.power_log import PowerLog
from neuralpower.features.inspector.engine import layers_from_engine
from neuralpower.profiler.marks import Marks
from neuralpower.runtimes.device_bench import DeviceBench
from neuralpower.runtimes.windows import compare, laid_apart

NAMES = ("resnet18", "squeezenet1.1", "alexnet")
"""A residual one, one of many small kernels, and one that waits for memory."""
LOOKS = 100
"""Inferences for the comparison of windows."""
EXPERIMENT_S, WARM_UP_S = 12.0, 8.0
"""Of each network: the designed experiment, and at most so long until temperature and clocks stand still."""
ATTRIBUTE_S = 30.0
"""For `neuralpower attribute` of all three side by side: no network is begun that would leave less; what others leave is added."""
REPEAT_S = 20.0
"""For what is repeated alone."""
WHOLE_TOGETHER = 20
"""Whole inferences that are enqueued at once."""
GROUPS, MEMBERS = 3, 3
"""Of each network, the longest groups of layers that are told together, and the longest layers of each, which are repeated alone."""
MOST_BYTES = 16 << 20


@dataclass
class Whole:
    """A network that ran: what it showed, and its inferences without the profiler."""

    name: str
    inspector: dict[str, Any]
    recording: Path
    measured: Measured
    shown: dict[str, Any]


def run(bed: Bed) -> None:
    """Networks one after another; then power is read, and their recordings are attributed side by side; then their longest layers alone."""
    longer, found = bed.clock.longer, []
    for number, name in enumerate(NAMES):
        if number and bed.clock.left_s < longer * (ATTRIBUTE_S + REPEAT_S + EXPERIMENT_S):
            bed.add(Row(name, math.nan, note="NOT RUN: the time was over"))
        elif one := bed.attempt(name, network, bed, name):
            found.append(one)
    weigh(bed, [each.measured for each in found])
    for each in found:
        each.shown["entry"] = entry(each)
    keep(bed, found)
    told = attributed(bed, found, bed.clock.left_s - longer * REPEAT_S)
    for each, layers in zip(found, told, strict=True):
        each.shown["groups"] = layers
    runs = [bed.attempt(each.name, repeated, bed, each, layers) or [] for each, layers in zip(found, told, strict=True)]
    weigh(bed, [run for each in runs for run in each])
    for each, measured in zip(found, runs, strict=True):
        bed.attempt(f"{each.name}: beside repeated layers", beside, bed, each, measured)
        limit(bed, each.recording)
    keep(bed, found)


def keep(bed: Bed, found: list[Whole]) -> None:
    """As measured networks are written, with what else they showed."""
    shown = [each.shown for each in found]
    entries = [each["entry"] for each in shown]
    bed.keep("networks", {"device": bed.device.runtime().about(), "layers": [], "networks": entries, "shown": shown})


def network(bed: Bed, name: str) -> Whole:
    """One of them, in a recording of its own."""
    module = zoo_torch.module(name)
    runtime = bed.device.runtime()
    program = runtime.module(module, [module.INPUT_SHAPE], {}, bed.device.options, name)
    inspector = json.loads(program.context.engine.create_engine_inspector().get_engine_information())
    (OUT / f"{name}.engine.json").write_text(json.dumps(inspector))
    shown: dict[str, Any] = {"name": name, "timing": inspector.get("Timing", ""), "notes": list(program.notes)}
    shown["windows"] = windows(bed, name, module, program, shown["timing"])
    recording = OUT / f"recording-{name}"
    recorder = record(bed, recording)
    try:
        outcome = experiment(bed, program)
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.communicate(timeout=30 * bed.clock.longer)
    shown["experiment"] = document(outcome)
    time_r, energy_r = time_ratio(outcome, PROFILED_RUN, PLAIN_RUN), energy_ratio(outcome, PROFILED_RUN, PLAIN_RUN)
    bed.add(
        Row(f"{name}: profiled over unprofiled, time", time_r.value, "", 1.0, f"± {time_r.half_width:.3f}"),
        Row(f"{name}: profiled over unprofiled, energy", energy_r.value, "", 1.0, f"± {energy_r.half_width:.3f}"),
    )
    measured = whole(program, inspector)
    sum_s = shown["windows"].get("layers_s", math.nan)
    told = f"{measured.seconds * 1e3:.3f} ms"
    bed.add(Row(f"{name}: layers' sum over the whole inference", sum_s / measured.seconds, "", 1.0, told))
    return Whole(name, inspector, recording, measured, shown)


def windows(bed: Bed, name: str, module: Any, program: Any, timing: str) -> dict[str, float]:
    """Of CUPTI and of events, on the same network; and what laying windows from durations would do."""
    known = looked(program)
    found = {"layers_s": float(np.median((known[:, :, 1] - known[:, :, 0]).sum(axis=1))) * 1e-9}
    if timing != "cupti":
        bed.add(Row(f"{name}: windows by CUPTI", math.nan, note=(program.notes or ("events alone",))[0][:160]))
        return found
    events = bed.device.runtime("events").module(module, [module.INPUT_SHAPE], {}, bed.device.options, name)
    told = compare(known, looked(events))
    found |= {"longer_us": float(np.median(told.longer_s)) * 1e6, "later_us": float(np.abs(told.later_s).max()) * 1e6}
    found |= {"ratio": told.layers_ratio, "laid_us": laid_apart(known) * 1e6}
    bed.add(
        Row(f"{name}: a layer by events, longer than by CUPTI", found["longer_us"], "µs", 0.0, "median"),
        Row(f"{name}: layers' sum, events over CUPTI", told.layers_ratio, "", 1.0),
        Row(f"{name}: windows laid from durations, off by", found["laid_us"], "µs", 0.0, "rms"),
    )
    return found


def looked(program: Any) -> Any:
    """(inferences, steps, 2) ns."""
    program.context.profiler = _Nobody()
    found = []
    try:
        for _ in range(LOOKS):
            program.run()
            found.append(program.context.windows_ns())
    finally:
        program.context.profiler = None
    return np.array(found[5:])


class _Nobody:
    """Takes what is told."""

    def report_layer_time(self, name: str, ms: float) -> None:
        """Nothing."""


def record(bed: Bed, recording: Path) -> subprocess.Popen[str]:
    """A recorder of its own, until it is interrupted."""
    shutil.rmtree(recording, ignore_errors=True)
    command = [sys.executable, "-m", "neuralpower.cli", "record", f"ipc://{bed.folder}", "-o", str(recording)]
    made = bed.child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    until_s = time.monotonic() + 10 * bed.clock.longer
    while not (recording / "recording.json").exists() and made.poll() is None and time.monotonic() < until_s:
        time.sleep(0.05)
    return made


def experiment(bed: Bed, program: Any) -> Any:
    """The designed one, as `neuralpower profile` runs it."""
    rundir = str(bed.folder)
    with Around(
        Marks(rundir), PowerLog(rundir), time.sleep, lambda engine: stopping.Seconds(EXPERIMENT_S), seed=1
    ) as around:
        bench = DeviceBench(program, rundir, warm_up_s=0.5, longest_s=WARM_UP_S)
        outcome = around.experiment(bench, program.notes)
        bench.close(outcome, around.marks)
        return outcome


def whole(program: Any, inspector: dict[str, Any]) -> Measured:
    """Whole inferences without the profiler, back to back; their power is read later."""
    begin_ns, end_ns, runs = steady(program, WHOLE_TOGETHER)
    return Measured(layers_from_engine(inspector)[0], 1, runs, (end_ns - begin_ns) * 1e-9 / runs, begin_ns, end_ns)


def entry(one: Whole) -> dict[str, Any]:
    """As a measured network is written."""
    measured, layers = one.measured, layers_from_engine(one.inspector)
    return {
        "name": one.name, "batch": 1, "ms": measured.seconds * 1e3, "watts": measured.watts, "readings": measured.readings,
        "repeats": measured.runs, "layers": [described(each) for each in layers if each.layer_type != "Idle"],
    }  # fmt: skip


def attributed(bed: Bed, found: list[Whole], seconds: float) -> list[list[dict[str, Any]]]:
    """Of each network the longest layers that attribution tells apart, the longest first."""
    until_s = time.monotonic() + seconds
    started = [bed.started("attribute", str(each.recording), "--json") for each in found]
    every: list[list[dict[str, Any]]] = []
    for one, made in zip(found, started, strict=True):
        every.append([])
        try:
            document = json.loads(bed.told(made, until_s - time.monotonic()))
        except (RuntimeError, ValueError) as error:  # a refusal is a finding: the rest of the stage goes on
            bed.add(Row(f"{one.name}: attributed layers", 0, note=f"REFUSED: {error}"[:200]))
            continue
        (OUT / f"{one.name}.attributed.json").write_text(json.dumps(document))
        engines = [each for each in document.get("engines", []) if len(each.get("layers") or []) > 1]
        units = [each for engine in engines[:1] for each in engine["layers"] if each.get("power_w") is not None]
        units.sort(key=lambda each: -(each.get("runtime_s") or 0))
        if not engines:
            why = "attribution gave none"
        else:
            why = "" if units else str(engines[0].get("withheld") or "none was resolved")[:100]
        bed.add(Row(f"{one.name}: attributed layers", len(units), "", len(one.inspector["Layers"]) // 2 + 1, why))
        every[-1] = units
    return every


def groups(layers: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Those that are told together, the longest group first and the longest layer in each."""
    by_unit: dict[Any, list[dict[str, Any]]] = {}
    for layer in sorted(layers, key=lambda each: -(each.get("runtime_s") or 0)):
        by_unit.setdefault(layer["unit"], []).append(layer)
    return sorted(by_unit.values(), key=lambda each: -sum(layer.get("runtime_s") or 0 for layer in each))


def repeated(bed: Bed, one: Whole, units: list[dict[str, Any]]) -> list[Measured]:
    """The longest layers of the longest groups alone, repeated, as far as they can be; each has its layer's name."""
    layers = {each.name: each for each in layers_from_engine(one.inspector)}
    runs: list[Measured] = []
    for unit in [layer for group in groups(units)[:GROUPS] for layer in group[:MEMBERS]]:
        if bed.clock.left_s < 6:
            break
        try:
            runs.append(alone(bed, bed.device.runtime(), layers[unit["name"]]))
        except (KeyError, InputError, Failure):  # what cannot be made alone
            continue
    return runs


def beside(bed: Bed, one: Whole, runs: list[Measured]) -> None:
    """The power of each group as attributed, and that of its layers alone, each for as long as it runs in the network."""
    alone_w = {run.layer.name: run.watts for run in runs}
    told, one.shown["groups"] = groups(one.shown["groups"])[:GROUPS], []
    for group in told:
        known = [layer for layer in group if math.isfinite(alone_w.get(layer["name"], math.nan))]
        if not known:
            continue
        seconds, whole_s = (sum(layer["runtime_s"] for layer in each) for each in (known, group))
        attributed_w = sum(layer["power_w"] * layer["runtime_s"] for layer in known) / seconds
        watts = sum(alone_w[layer["name"]] * layer["runtime_s"] for layer in known) / seconds
        names = [layer["name"] for layer in known]
        one.shown["groups"].append(
            {"layers": names, "attributed_w": attributed_w, "repeated_w": watts, "share": seconds / whole_s}
        )
        title = (
            f"{one.name}: {names[0][:20]} and {len(group) - 1} more"
            if len(group) > 1
            else f"{one.name}: {names[0][:30]}"
        )
        note = f"± {1.96 * known[0]['power_se_w']:.0f}; beside: repeated, {100 * seconds / whole_s:.0f} % of the group's time"
        bed.add(Row(f"{title}: attributed", attributed_w, "W", watts, note))


def limit(bed: Bed, recording: Path) -> None:
    """One recording is kept, of at most 16 MiB; the others have served."""
    size = sum(each.stat().st_size for each in recording.rglob("*") if each.is_file())
    if recording.name == f"recording-{NAMES[0]}" and size <= MOST_BYTES:
        bed.add(Row("the recording that is kept", size / (1 << 20), "MiB", note=recording.name))
        return
    if recording.name == f"recording-{NAMES[0]}":
        bed.add(Row("the recording", size / (1 << 20), "MiB", note="more than 16 MiB: not kept"))
    shutil.rmtree(recording)
