"""Networks, or their layers repeated, through the experiment, one after another, under whichever runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ..address import AddressLike
from ..experiment.around import Around
from ..experiment.experiment import Outcome
from ..experiment.repeat import TARGET_S, TRIAL, copies_needed, distinct_of
from ..experiment.sweep import PREFIX, layers_of
from ..features.layers import Layer
from .options import Options
from .runtime import Program, Runtime


class Job(NamedTuple):
    """A program to come: its name, and what builds it."""

    name: str
    load: Callable[[], Program]


def jobs(runtime: Runtime, specs: Sequence[str], options: Options, repeat_layers: bool = False) -> Iterator[Job]:
    """A program for each network, or for each distinct layer of it, or of a sweep, repeated.

    Raises:
        InputError: from any of them, when its turn comes.
    """
    for spec in specs:
        if spec.startswith(PREFIX):
            yield from (repeated(runtime, layer, options) for layer in layers_of(spec))
            continue
        if not repeat_layers:
            yield Job(spec, lambda spec=spec: runtime.load(spec, options))  # type: ignore[misc]  # mypy takes no default
            continue
        for each in distinct_of(runtime.layers(spec, options)):
            yield repeated(runtime, each.layer, options)


def repeated(runtime: Runtime, layer: Layer, options: Options, target_s: float = TARGET_S) -> Job:
    """A layer alone, so many times over that it runs for `target_s`: found by timing a few copies."""
    name = f"repeat/{layer.name}"

    def load() -> Program:
        trial = runtime.repeated(layer, TRIAL, options, f"{name} trial")
        copies = copies_needed(runtime.seconds(trial) / TRIAL, target_s)
        return runtime.repeated(layer, copies, options, name)

    return Job(name, load)


def built(every: Iterable[Job]) -> list[Job]:
    """The same, built now: where building would disturb what is being measured."""
    programs = [(each.name, each.load()) for each in every]
    return [Job(name, lambda program=program: program) for name, program in programs]  # type: ignore[misc]  # mypy takes no default


def run(runtime: Runtime, every: Iterable[Job], around: Around, address: AddressLike) -> Iterator[Outcome]:
    """The experiment of each; building is declared as no part of any. What must be said of the whole run is noted with the last."""
    held: Outcome | None = None
    for job in every:
        if held is not None:
            yield held
        with around.aside(f"loading {job.name}"):
            program = job.load()
            bench = runtime.bench(program, address)
        held = around.experiment(bench, program.notes)
        runtime.ended(bench, held, around.marks)
    if held is not None:
        held.notes += runtime.notes()
        yield held
