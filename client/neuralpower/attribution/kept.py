"""Results that are kept beside the recording they were made from, so that the next command need not make them again.

One file for each method and its options, in the folder `attribution` of the recording:

    a line    JSON: format, version, what it was made from, SHA-256 of the rest
    the rest  JSON: the :class:`Attribution`, field by field; what was not measured is NaN

A result counts only where it says that it was made from exactly what lies there now, by exactly this estimator, and where its checksum is
right. Any other is made anew: it is a copy of what can be made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

import neuralpower
import neuralpower_align
import neuralpower_wire
from neuralpower import __version__
from neuralpower.attribution.attribute import attribute
from neuralpower.attribution.results import Attribution
from neuralpower.recordings.recording import Recording
from neuralpower_align.result.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_wire.files import replace_file

FOLDER = "attribution"
FORMAT, VERSION = "neuralpower attribution", 1
"""Number: of the file; another version is made anew."""
MOST_BYTES = 1 << 28
"""Bound: a hundred times what the largest result takes: what is larger is none, and is not read."""
CHUNK = 1 << 20
"""Tuning: files are read a part of so many bytes at a time for their checksum, so that none is held whole."""
CODE = (".py", ".so", ".pyd")
"""Names of what runs end so."""
ROOMS = ("attribution", "features", "profiler", "recordings")
"""Rooms of this package in whose hands a result is, beside all of `neuralpower_align` and `neuralpower_wire`."""


class _NotKept(Exception):
    """Why there is no result to be used; the words are for people, "" where there is nothing to be said."""


def attributed(
    recording: Recording,
    method: str = "least-squares",
    *,
    rail: str | None = None,
    half_width: float = HALF_WIDTH,
    group_error: float = GROUP_ERROR,
    told: Callable[[float], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Attribution:
    """What :func:`attribute` gives: the result that is kept beside the recording, where it is of just this; else made, and kept.

    told: is told the share that is done. say: takes a line where a kept result was damaged, or the new one could not be kept, which is
    no error; it is called once at most. Raises as `attribute` does.
    """
    options: dict[str, Any] = {"method": method, "rail": rail, "half_width": half_width, "group_error": group_error}
    if recording.within is not None:
        options["within"] = list(recording.within)
    path = recording.directory / FOLDER / f"{method}-{_digest(options)[:8]}.json"
    line, made_from = "", None
    try:
        made_from = _made_from(recording, options)
        return _read(path, made_from)
    except _NotKept as reason:
        line = str(reason)
    except OSError:
        pass  # a file of the recording went away, or is another user's: whether it is needed, `attribute` says
    found = attribute(recording, method, rail=rail, half_width=half_width, group_error=group_error, told=told)
    try:
        # What a recorder at work has added meanwhile may be in it or not; and what was left out is told each time.
        if made_from and not recording.damaged and made_from == _made_from(recording, options):
            _write(path, made_from, found)
    except OSError as error:
        line = f"{path}: the result cannot be kept there: {error.strerror or error}"
    if line and say is not None:
        say(line)
    return found


def _made_from(recording: Recording, options: Mapping[str, Any]) -> dict[str, Any]:
    """All that a result hangs on, as JSON has it: files by their contents, method and options, and what makes it."""
    return {
        "files": {
            str(path.relative_to(recording.directory)): [path.stat().st_size, _checksum(path)]
            for path in recording.files()
        },
        "options": dict(options),
        "estimator": _estimator(),
    }


@cache
def _estimator() -> dict[str, str]:
    """Version of this package and of numpy, and a checksum of the sources and what was compiled: a change that has no version yet makes another estimator."""
    home = Path(neuralpower.__file__).parent
    rooms = [Path(each.__file__ or "").parent for each in (neuralpower_align, neuralpower_wire)]
    total = hashlib.sha256()
    for room in [*rooms, *(home / name for name in ROOMS)]:
        for path in sorted(each for each in room.rglob("*") if each.suffix in CODE):
            total.update(f"{path.relative_to(room.parent)} {_checksum(path)}\n".encode())
    return {"neuralpower": __version__, "numpy": np.__version__, "sources": total.hexdigest()}


def _checksum(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            total.update(part)
    return total.hexdigest()


def _digest(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def _read(path: Path, made_from: Mapping[str, Any]) -> Attribution:
    """The result in a file, where it was made from this. Raises _NotKept."""
    damaged = f"{path}: the kept result is damaged, and is made anew"
    try:
        if not path.exists():
            raise _NotKept("")
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise _NotKept(damaged)
        first, _, rest = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise _NotKept(f"{path}: the kept result cannot be read ({error.strerror}), and is made anew") from None
    try:
        head = json.loads(first)
        if head["format"] != FORMAT or head["sha256"] != hashlib.sha256(rest).hexdigest():
            raise _NotKept(damaged)
        if head["version"] != VERSION or head["made_from"] != made_from:
            raise _NotKept("")  # whole, and of something else
        found = _built(Attribution, json.loads(rest))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _NotKept(damaged) from None
    assert isinstance(found, Attribution)
    return found


def _write(path: Path, made_from: Mapping[str, Any], found: Attribution) -> None:
    """Put a result into its file, whole or not at all. Raises OSError."""
    rest = json.dumps(_plain(found), separators=(",", ":")).encode()
    head = {"format": FORMAT, "version": VERSION, "made_from": made_from, "sha256": hashlib.sha256(rest).hexdigest()}
    path.parent.mkdir(exist_ok=True)
    replace_file(path, json.dumps(head).encode() + b"\n" + rest)


def _plain(value: Any) -> Any:
    """A result as JSON has it, numbers exactly."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _built(kind: Any, value: Any) -> Any:
    """A value of a type that results have, from what JSON has of it. Raises TypeError or KeyError where it is no such thing."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else _built(next(each for each in inner if each is not type(None)), value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{name: _built(hint, value[name]) for name, hint in hints.items()})
    if origin is tuple:
        return tuple(_built(inner[0], each) for each in value)
    if origin is not None:
        return {str(key): _built(inner[1], each) for key, each in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of a dataclass's fields."""
    every = get_type_hints(kind)
    return {each.name: every[each.name] for each in fields(kind)}
