"""The zoo of `neuralpower profile --zoo`: which process runs each network, and what is printed at the end."""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from neuralpower.console import Cell, print_json, table
from neuralpower.errors import InputError
from neuralpower.experiment.outcomes import MEANING
from neuralpower.experiment.zoo import REPOSITORY, Zoo, ZooNetwork, chosen, swept
from neuralpower.interval import cells

if TYPE_CHECKING:
    from neuralpower.runtimes.runtime import Runtime

SECONDS = 30.0
"""For each network, where nothing else is asked for."""
SWEPT_SECONDS = 4.0
"""For each repeated layer: two rounds and more of what a sensor with readings 20 ms apart needs."""


def run(args: argparse.Namespace, rundir: str, runtime: Runtime) -> int:
    """Run the zoo; 0 also where networks were skipped."""
    simulated = runtime.simulated
    networks = chosen(args.network) if args.zoo else []
    if args.sweep is not None:
        if simulated:
            raise InputError(
                f"--sweep is for a GPU, and this is the {runtime.about()}; its own sweep is the network named sweep"
            )
        networks += swept(args.seed, args.sweep)
    if not args.output:
        raise InputError("--zoo and --sweep make recordings: say where with -o DIR")
    if not simulated:  # what comes late meets another temperature than what comes early
        random.Random(args.seed).shuffle(networks)
    if args.truth or args.repeat_layers or args.recording:
        raise InputError(
            "--zoo goes without --truth, --repeat-layers and --recording: each network's folder has its own"
        )
    if simulated and (args.precision, args.batch) != ("fp16", 1):
        raise InputError("the zoo of the virtual device runs at fp16 and batch 1")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    budget_s = math.inf if args.budget is None else 60 * args.budget
    zoo = Zoo(
        Path(args.output),
        rundir,
        lambda each, part: command(args, rundir, runtime, each, part),
        args.again,
        say,
        budget_s,
    )
    zoo.run(networks)
    _print(zoo, networks, simulated, args.json)
    return 0


def command(args: argparse.Namespace, rundir: str, runtime: Runtime, network: ZooNetwork, part: Path) -> list[str]:
    """What runs one network."""
    simulated = runtime.simulated
    words = [
        sys.executable,
        "-m",
        "neuralpower.cli",
        "profile",
        network.spec(simulated, args.hub or REPOSITORY),
        "--json",
    ]
    words += ["--address", rundir, "--seed", str(args.seed)]
    if args.runs is not None:
        words += ["--runs", str(args.runs)]
    elif args.until is not None:
        words += ["--until", str(args.until), "--recording", str(part)]
    else:
        usual = SWEPT_SECONDS if network.layers else SECONDS
        words += ["--seconds", str(usual if args.seconds is None else args.seconds)]
    if args.no_unprofiled:
        words.append("--no-unprofiled")
    if simulated:
        return [*words, "--virtual", "--truth", str(part / "truth.json")]
    words += ["--eager"] if args.eager else []
    words += ["--runtime", runtime.name, "--precision", args.precision, "--batch", str(args.batch)]
    return [*words, "--calibration", args.calibration] if args.calibration else words


def _print(zoo: Zoo, networks: list[ZooNetwork], simulated: bool, as_json: bool) -> None:
    # What was left when the time was over has no result; a part of a sweep has an outcome for each of its layers, and none of its own.
    networks = [network for network in networks if network.name in zoo.results]
    found = {network.name: None if network.layers else zoo.outcome(network.name) for network in networks}
    if as_json:
        results = [
            {"name": name, "state": zoo.results[name].state, "reason": zoo.results[name].reason, "outcome": outcome}
            for name, outcome in found.items()
        ]
        print_json({"simulated": simulated, "folder": str(zoo.folder), "networks": results})
        return
    rows: list[list[Cell]] = []
    for name, outcome in found.items():
        result = zoo.results[name]
        figures: list[Cell] = [None, None, None, None, None]
        if outcome:
            time, energy = outcome["inference_s"]["profiled"], outcome["inference_j"]["profiled"]
            # JSON has null for what is not known.
            (seconds, _), (joules, half) = (
                [math.nan if each[part] is None else 1e3 * each[part] for part in ("value", "half_width")]
                for each in (time, energy)
            )
            figures = [outcome["layers"], outcome["inferences"], seconds, *cells(joules, half)]
        rows.append([name, result.state, *figures, result.reason or None])
    heads = ["network", "", "layers", "inferences", "ms", "mJ an inference", "±", "why"]
    table(f"The zoo in {zoo.folder}", heads, rows, simulated=simulated)
    print(MEANING)
    done = sum(result.state == "done" for result in (zoo.results[network.name] for network in networks))
    print(f"{done} of {len(networks)} recorded; next: neuralpower dataset {zoo.folder}/*/ -o layers.parquet")
