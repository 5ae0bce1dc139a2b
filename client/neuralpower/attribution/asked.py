"""What is asked of a recording, held against its descriptions of engines and rails before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from neuralpower.attribution.attribute import check_method
from neuralpower.attribution.sources import check_rail, profiled_of
from neuralpower.errors import InputError
from neuralpower.recordings.recording import Recording

NAMED = 12
"""Rule: so many engines are named to those who asked for another."""


def check(recording: Recording, method: str, rail: str | None = None, engine: str | None = None) -> None:
    """Raises InputError where there is no such method, rail or engine, or nothing to attribute. Reads the descriptions alone."""
    check_method(method)
    epochs = [epoch for stream in recording.streams for epoch in recording.epochs(stream)]
    if not epochs:
        raise InputError(f"{recording.directory}: holds no ticks")
    bodies = [body for body in recording.engines().values() if not profiled_of(body)]
    if not bodies:
        raise InputError(f"{recording.directory}: describes no engine: run one with the profiler while it is recorded")
    if rail is not None:
        check_rail(rail, epochs)
    if engine is not None and not any(called(engine, body["name"], body["hash"]) for body in bodies):
        raise no_engine(engine, [body["name"] for body in bodies])


def called(asked: str, name: str, key: str) -> bool:
    """Whether an engine is the one asked for, by its name or the start of its hash."""
    return asked == name or key.startswith(asked)


def no_engine(asked: str, names: Sequence[str]) -> InputError:
    """What to say where no engine is the one asked for."""
    more = ", …" if len(names) > NAMED else ""
    return InputError(f"no engine {asked!r} in this recording; there are {', '.join(names[:NAMED])}{more}")
