"""The folder of a recording: which file is what, and its one describing document. docs/recordings.md explains it to others."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from neuralpower_wire.files import replace_file

from ...errors import InputError

FORMAT = "neuralpower recording"
VERSION = 1
DOCUMENT = "recording.json"
CHECKSUM = "checksum"
"""Key of the document: CRC-32 of the others."""
LOCK = "lock"
FACTS = "facts.wal"
"""Engines and epochs that were asked for because the journal, as far as it was recorded, does not have them."""

_SEGMENT = re.compile(r"(\d{12,})-(\d{12,})\.parquet")
_STREAM = re.compile(r"[0-9a-f]{32}")
_WAL = re.compile(r"(\d{6,})\.wal")


@dataclass
class Document:
    """recording.json. `streams` are the tick streams in the order they began; `simulated` is None until an epoch was seen."""

    address: str
    created: str
    neuralpower: str
    simulated: bool | None = None
    streams: list[str] = field(default_factory=list)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    """Log -> stream -> the index up to which entries were removed because the disk was full."""
    format: str = FORMAT
    version: int = VERSION


UNKNOWN = Document("unknown", "unknown", "unknown")
"""Stands in for a document that is damaged."""


@dataclass(frozen=True)
class Segment:
    """A Parquet file of one log ("ticks" or "journal") and stream; `first` and `last` are the indices at its ends."""

    folder: str
    """Of its stream. No path: a month has 90,000 segments, of which a question wants a few, and their paths take longer than their names."""
    name: str
    log: str
    stream: bytes
    first: int
    last: int

    @cached_property
    def path(self) -> Path:
        """The file."""
        return Path(self.folder, self.name)


def read_document(folder: Path, tell: Callable[[str], None] | None = None) -> Document:
    """The document of the recording in `folder`. Raises InputError if there is none, or one this version cannot read.

    tell: takes the line instead where the document is damaged and the folder is a recording nevertheless; what the document said is
    then taken as not known.
    """
    path = folder / DOCUMENT
    try:
        text = path.read_text("utf-8", errors="replace")
    except NotADirectoryError:
        raise InputError(f"{folder}: a file, not a recording") from None
    except FileNotFoundError:
        if tell is not None and (folder / "wal").is_dir():
            tell(f"{path}: is missing; where and when this was recorded is not known")
            return UNKNOWN
        missing = f"not a recording, it has no {DOCUMENT}" if folder.is_dir() else "no such folder, not a recording"
        raise InputError(f"{folder}: {missing}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return _document(path, text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        line = f"{path}: not the document of a recording ({error})"
        if tell is not None and (folder / "wal").is_dir():
            tell(f"{line}; where and when this was recorded is not known")
            return UNKNOWN
        advice = "; read the rest with --skip-damaged, or make it anew with neuralpower info --repair"
        raise InputError(line + (advice if (folder / "wal").is_dir() else "")) from None


def _document(path: Path, text: str) -> Document:
    body = json.loads(text)
    version = body.pop("version")
    if body.pop("format") != FORMAT:
        raise ValueError("of another format")
    checksum = body.pop(CHECKSUM, None)
    # A later version's checksum fits as it stands; a flipped bit in the number is damage.
    if version != VERSION and checksum in (None, _checksum({**body, "format": FORMAT, "version": version})):
        raise InputError(f"{path}: format version {version}; this neuralpower reads version {VERSION}: update it")
    known = {name: body[name] for name in Document.__dataclass_fields__ if name in body}
    document = Document(**known)
    # Without one it is of an early version, which wrote no other keys either.
    if len(known) != len(body) if checksum is None else checksum != _checksum({**body, **_named(document)}):
        raise ValueError("its checksum does not fit")
    if not isinstance(document.streams, list) or not all(isinstance(name, str) for name in document.streams):
        raise ValueError("streams must be a list of names")
    if not isinstance(document.dropped, dict) or not all(isinstance(each, dict) for each in document.dropped.values()):
        raise ValueError("dropped must be a map of maps")
    return document


def write_document(folder: Path, document: Document) -> None:
    """Write recording.json, whole or not at all."""
    body = asdict(document)
    replace_file(folder / DOCUMENT, (json.dumps({**body, CHECKSUM: _checksum(body)}, indent=2) + "\n").encode())


def _named(document: Document) -> dict[str, object]:
    return {"format": document.format, "version": document.version}


def _checksum(body: dict[str, object]) -> str:
    """CRC-32 of the document's keys and values, in an order that no editor changes."""
    return f"{zlib.crc32(json.dumps(body, sort_keys=True).encode()):08x}"


def segment_path(folder: Path, log: str, stream: bytes, first: int, last: int) -> Path:
    """Where the segment of these entries lies."""
    return folder / log / stream.hex() / f"{first:012d}-{last:012d}.parquet"


def segments(folder: Path, log: str) -> list[Segment]:
    """The segments of a log, by stream and first index. Raises InputError where a folder may not be looked into."""
    found = []
    for stream in _content(folder / log):
        if _STREAM.fullmatch(stream):
            path, identity = str(folder / log / stream), bytes.fromhex(stream)
            for name in _content(Path(path)):
                # The summaries beside them are as many, and looked for by their segments' names.
                if name.endswith(".parquet") and (match := _SEGMENT.fullmatch(name)):
                    found.append(Segment(path, name, log, identity, int(match[1]), int(match[2])))
    return found


def wal_path(folder: Path, number: int) -> Path:
    """Where write-ahead log `number` lies."""
    return folder / "wal" / f"{number:06d}.wal"


def wals(folder: Path) -> list[tuple[int, Path]]:
    """The write-ahead logs not yet turned into segments, oldest first. Raises InputError as :func:`segments`."""
    waiting = folder / "wal"
    return sorted((int(m[1]), waiting / name) for name in _content(waiting) if (m := _WAL.fullmatch(name)))


def _content(folder: Path) -> list[str]:
    """The names in `folder`, sorted; nothing if it is not there. `Path.glob` would take a forbidden folder for an empty one."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
