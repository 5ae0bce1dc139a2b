"""(3) Three networks of the zoo: CUPTI against events, layers against the whole, attribution against repeated layers, the profiler's price."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
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
EXPERIMENT_S = 8.0
ATTRIBUTE_S = 25.0
"""For `neuralpower attribute`, so that three networks leave time for the rest; a rehearsal has four times as much."""
WHOLE_TOGETHER = 20
"""Whole inferences that are enqueued at once."""
GROUPS = 3
"""Of the longest layers, those that are repeated alone."""
MOST_BYTES = 16 << 20


def run(bed: Bed) -> None:
    """Each network has a third of the time."""
    kept: list[dict[str, Any]] = []
    whole_s = bed.clock.left_s
    for number, name in enumerate(NAMES):
        if bed.clock.left_s < whole_s / len(NAMES) / 2:
            bed.add(Row(name, math.nan, note="NOT RUN: the time was over"))
            continue
        kept.append(
            network(bed, name, EXPERIMENT_S * min(1.0, bed.clock.left_s / whole_s * len(NAMES) / (len(NAMES) - number)))
        )
        bed.keep(
            "networks",
            {
                "device": bed.device.runtime().about(),
                "layers": [],
                "networks": [each["entry"] for each in kept],
                "shown": kept,
            },
        )


def network(bed: Bed, name: str, seconds: float) -> dict[str, Any]:
    """One of them: what it showed, and an entry as measured networks are written."""
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
        outcome = experiment(bed, program, seconds)
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.communicate(timeout=30)
    shown["experiment"] = document(outcome)
    time_r, energy_r = time_ratio(outcome, PROFILED_RUN, PLAIN_RUN), energy_ratio(outcome, PROFILED_RUN, PLAIN_RUN)
    bed.add(
        Row(f"{name}: profiled over unprofiled, time", time_r.value, "", 1.0, f"± {time_r.half_width:.3f}"),
        Row(f"{name}: profiled over unprofiled, energy", energy_r.value, "", 1.0, f"± {energy_r.half_width:.3f}"),
    )
    entry, measured = whole(bed, name, program, inspector)
    shown["entry"] = entry
    sum_s = shown["windows"].get("layers_s", math.nan)
    bed.add(
        Row(
            f"{name}: layers' sum over the whole inference",
            sum_s / measured.seconds,
            "",
            1.0,
            f"{measured.seconds * 1e3:.3f} ms",
        )
    )
    shown["groups"] = attributed(bed, name, runtime, recording, inspector)
    limit(bed, recording)
    return shown


def windows(bed: Bed, name: str, module: Any, program: Any, timing: str) -> dict[str, float]:
    """Of CUPTI and of events, on the same network; and what laying windows from durations would do."""
    known = looked(program)
    found = {"layers_s": float(np.median((known[:, :, 1] - known[:, :, 0]).sum(axis=1))) * 1e-9}
    if timing != "cupti":
        bed.add(Row(f"{name}: windows by CUPTI", math.nan, note="no cupti-python here: events alone"))
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
    import shutil

    shutil.rmtree(recording, ignore_errors=True)
    command = [sys.executable, "-m", "neuralpower.cli", "record", f"ipc://{bed.folder}", "-o", str(recording)]
    made = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    time.sleep(1.5)
    return made


def experiment(bed: Bed, program: Any, seconds: float) -> Any:
    """The designed one, as `neuralpower profile` runs it."""
    rundir = str(bed.folder)
    with Around(
        Marks(rundir), PowerLog(rundir), time.sleep, lambda engine: stopping.Seconds(seconds), seed=1
    ) as around:
        return around.experiment(DeviceBench(program, rundir, warm_up_s=0.5), program.notes)


def whole(bed: Bed, name: str, program: Any, inspector: dict[str, Any]) -> tuple[dict[str, Any], Measured]:
    """Time and power of whole inferences without the profiler, back to back."""
    layers = layers_from_engine(inspector)
    begin_ns, end_ns, runs = steady(program, WHOLE_TOGETHER)
    measured = Measured(layers[0], 1, runs, (end_ns - begin_ns) * 1e-9 / runs, begin_ns, end_ns)
    weigh(bed, [measured])
    entry = {
        "name": name, "batch": 1, "ms": measured.seconds * 1e3, "watts": measured.watts, "readings": measured.readings, "repeats": runs,
        "layers": [described(each) for each in layers if each.layer_type != "Idle"],
    }  # fmt: skip
    return entry, measured


def attributed(bed: Bed, name: str, runtime: Any, recording: Path, inspector: dict[str, Any]) -> list[dict[str, Any]]:
    """The longest layers that attribution tells apart, and the same alone, repeated."""
    most_s = min(bed.clock.left_s, ATTRIBUTE_S * (4 if bed.simulated else 1))
    try:
        told = json.loads(bed.command("attribute", str(recording), "--json", seconds=most_s))
    except RuntimeError as error:  # a refusal is a finding: the rest of the stage goes on
        bed.add(Row(f"{name}: attributed layers", math.nan, note=f"REFUSED: {error}"[:200]))
        return []
    (OUT / f"{name}.attributed.json").write_text(json.dumps(told))
    layers = {each.name: each for each in layers_from_engine(inspector)}
    engines = [each for each in told.get("engines", []) if each.get("layers") and len(each["layers"]) > 1]
    if not engines:
        bed.add(Row(f"{name}: attributed layers", 0, note="attribution gave none"))
        return []
    units = [each for each in engines[0]["layers"] if each.get("power_w") is not None and each["name"] in layers]
    units.sort(key=lambda each: -(each.get("runtime_s") or 0))
    found: list[dict[str, Any]] = []
    runs: list[Measured] = []
    for unit in units:
        if len(runs) == GROUPS or bed.clock.left_s < 6:
            break
        try:
            runs.append(alone(bed, runtime, layers[unit["name"]]))
        except (InputError, Failure):
            continue
        found.append({"name": unit["name"], "runtime_s": unit["runtime_s"], "attributed_w": unit["power_w"]})
    weigh(bed, runs)
    for each, one in zip(found, runs, strict=True):
        each |= {"repeated_w": one.watts, "repeated_s": one.seconds}
        bed.add(
            Row(
                f"{name}: {each['name'][:30]}: attributed power",
                each["attributed_w"],
                "W",
                one.watts,
                "beside: the same layer repeated",
            )
        )
    if not units:
        bed.add(Row(f"{name}: attributed layers", 0, note=str(engines[0].get("withheld") or "none was resolved")[:100]))
    return found


def limit(bed: Bed, recording: Path) -> None:
    """One recording is kept, of at most 16 MiB; the others have served."""
    import shutil

    size = sum(each.stat().st_size for each in recording.rglob("*") if each.is_file())
    if recording.name == f"recording-{NAMES[0]}" and size <= MOST_BYTES:
        bed.add(Row("the recording that is kept", size / (1 << 20), "MiB", note=recording.name))
        return
    if recording.name == f"recording-{NAMES[0]}":
        bed.add(Row("the recording", size / (1 << 20), "MiB", note="more than 16 MiB: not kept"))
    shutil.rmtree(recording)
