"""A user's file as bytes, text or JSON: told by its content, within limits, and refused in one line that says what it is instead.

Nothing here looks at a file's name. docs/dataset.md states the limits.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import InputError

LARGEST_TEXT = 256 << 20
"""Bytes of a text or JSON file. An engine of 50,000 layers, more than any network has, is about 120 MiB of JSON."""
MOST_VALUES = 8_000_000
"""Values of a JSON document, told by its commas and brackets: such an engine has 3 million. Each takes up to some 110 bytes as an object and
each letter up to 4, so that reading stays below 4 GiB whatever a file holds; 3.1 GiB is the most that was found."""
DEEPEST = 100
"""Objects and lists within each other. Engine information has 5, ONNX as JSON 10 and 4 more for each body within a body."""
MOST_WRAPPED = 3
"""How often a JSON document may stand in a string of JSON: a tool that keeps an inspector's answer as text writes it once."""
HEAD = 512
"""Bytes that tell what a file is."""

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_FOREIGN = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself; fetch it with: git lfs pull"),
    (b"ftrt", "a serialised TensorRT engine; give its inspector's JSON (trtexec --exportLayerInfo=FILE)"),
    (b"ptrt", "a serialised TensorRT engine; give its inspector's JSON (trtexec --exportLayerInfo=FILE)"),
    (b"PK\x05\x06", "a ZIP archive with nothing in it"),
    (b"7z\xbc\xaf\x27\x1c", "packed with 7-Zip; unpack it first"),
    (b"Rar!\x1a\x07", "packed with RAR; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an Office document; save its table as CSV"),
    (b"<?xml", "an XML file, such as OpenVINO's; export ONNX"),
    (b"\x1f\x8b", "packed with gzip; unpack it first"),
    (b"\xfd7zXZ", "packed with xz; unpack it first"),
    (b"BZh", "packed with bzip2; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it first"),
    (b"PAR1", "a Parquet file, as datasets are"),
    (b"ARROW1", "an Arrow (Feather) file; write the table as Parquet or CSV"),
    (b"FEA1", "a Feather file; write the table as Parquet or CSV"),
    (b"\x89HDF", "an HDF5 file, perhaps Keras weights; export ONNX"),
    (b"\x93NUMPY", "a numpy array; write it as CSV or Parquet"),
    *(
        (bytes((0x80, protocol)), "a Python pickle, perhaps PyTorch weights, which is never opened; export ONNX")
        for protocol in range(2, 6)
    ),
    (b"GGUF", "weights of a language model (GGUF), without its operators; export ONNX"),
    (b"\x7fELF", "a program or library"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"SQLite format 3", "an SQLite database, such as Nsight Systems writes; export what is wanted as CSV"),
)
_ZIPPED = (
    (b"[Content_Types].xml", "an Excel or other Office document; save its table as CSV"),
    (b"_rels/", "an Excel or other Office document; save its table as CSV"),
    (b".npy", "numpy arrays (npz); write them as CSV or Parquet"),
)
"""How the name of an archive's first file ends or begins -> what the archive is."""
_OF_TORCH = re.compile(
    rb"[^/]+/(?:data\.pkl|data/\d+|data/weights/weight_\d+|archive_format|\.format_version|byteorder)$|serialized_exported_program"
)
"""The first file's name in what torch.save, torch.jit.save and torch.export.save write."""
_LINES = (
    (
        re.compile(rb"&&&& RUNNING|\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \["),
        "what trtexec prints; give what it writes (--exportLayerInfo=FILE)",
    ),
    (re.compile(rb"\[(?:net|network)\]\s"), "a network of Darknet; export ONNX"),
    (
        re.compile(rb"(?:Layers:\s+)?Layer\(\w+\): "),
        "TensorRT's layers as lines of text; ask its inspector for JSON (trtexec --exportLayerInfo=FILE)",
    ),
    (re.compile(rb"<(?:!doctype|html|head)\b", re.I), "a web page, not the file it may lead to; download that"),
)
"""How a text begins -> what it is."""


def opened(path: Path) -> tuple[bytes, int]:
    """The first `HEAD` bytes of a file and its size. InputError where it is missing, empty, a folder, or no file but a device or a pipe."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: a folder; name a file in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: a device, a pipe or a socket; save what it gives as a file")
        with path.open("rb") as file:
            head = file.read(HEAD)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError:
        raise
    except ValueError:  # a zero byte in it
        raise InputError(f"{str(path)!r}: no name of a file") from None
    if not head:
        raise InputError(f"{path}: an empty file")
    return head, size


def foreign(head: bytes) -> str:
    """What a file is that begins so, and what to do, where it is nothing that is read here; "" where it may be something."""
    if told := next((what for magic, what in _FOREIGN if head.startswith(magic)), ""):
        return told
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model; convert it to ONNX"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < LARGEST_TEXT:
        return "weights alone (safetensors), without the network's operators; export ONNX"
    if head.startswith(b"PK\x03\x04"):
        return _archive(head)
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    encoding, mark = encoding_of(head)
    start = head[mark:].lstrip() if encoding == "utf-8" else head[mark:].decode(encoding, "replace").encode().lstrip()
    return next((what for begins, what in _LINES if begins.match(start)), "")


def _archive(head: bytes) -> str:
    """What a ZIP archive is by the name of its first file."""
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if _OF_TORCH.match(first):
        return "a PyTorch file (torch.save or torch.export.save), which is never opened; export ONNX or name torch:module:callable"
    told = next((what for name, what in _ZIPPED if first.startswith(name) or first.endswith(name)), "")
    return told or "a ZIP archive; unpack it first"


def read_bytes(path: Path, largest: int) -> bytes:
    """All of a file. InputError where it is larger than `largest` bytes, or `opened` refuses it."""
    _, size = opened(path)
    if size > largest:
        raise InputError(f"{path}: {size >> 20} MiB, at most {largest >> 20} are read")
    try:
        with path.open("rb") as file:
            return file.read(largest)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except MemoryError:
        raise InputError(f"{path}: {size >> 20} MiB, more than there is memory for") from None


def read_text(path: Path) -> str:
    """A text file in UTF-8, UTF-16 or UTF-32, the latter two with a byte order mark or told by their zero bytes.

    Raises InputError on anything else, which it names.
    """
    content = read_bytes(path, LARGEST_TEXT)
    if told := foreign(content[:HEAD]):
        raise InputError(f"{path}: {told}")
    encoding, mark = encoding_of(content)
    try:
        return content[mark:].decode(encoding)
    except UnicodeDecodeError as error:
        at = mark + error.start
        what = "not a text file" if b"\0" in content[:HEAD] and encoding == "utf-8" else f"text, but not in {encoding}"
        raise InputError(f"{path}: {what}: byte {at} is 0x{content[at]:02x}; save it as UTF-8") from None
    except MemoryError:
        raise InputError(f"{path}: more text than there is memory for") from None


def encoding_of(content: bytes) -> tuple[str, int]:
    """The encoding of a text and the length of its byte order mark; without one, the zero bytes around its first letters tell."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding, len(mark)
    zeros = tuple(byte == 0 for byte in content[:4])
    told: dict[tuple[bool, ...], str] = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return told.get(zeros, "utf-8"), 0


def printable(name: str) -> str:
    """A name of a file or folder that every file of ours can hold: bytes of it that are no UTF-8 become U+FFFD."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def whole_lines(path: Path, text: str) -> tuple[list[str], list[str]]:
    """The lines of a text that somebody may still have been writing, and what was left out: a last line without its end.

    A number may have been cut in that line, and half a number looks like a number.
    """
    lines = (text if "\n" in text else text.replace("\r", "\n")).split("\n")  # some write \r alone
    last = lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    if not last.strip(" \t\r\0"):
        return lines, []
    return lines, [
        f"{path}: line {len(lines) + 1} has no end and may be cut: left out; if it is whole, end it with a new line"
    ]


def read_json(path: Path) -> object:
    """A JSON document, as :func:`json_of` reads it. InputError on a file that is missing, too large, no text or broken."""
    return json_of(path, read_text(path))


class Pairs(list[tuple[str, Any]]):
    """An object of JSON as (name, value) in order: a name that occurs twice is there twice."""


def read_pairs(path: Path) -> object:
    """A JSON document whose objects are `Pairs`."""
    return json_of(path, read_text(path), Pairs)


def json_of(path: Path, text: str, objects: Callable[[list[tuple[str, Any]]], Any] | None = None) -> object:
    """The JSON document in `text`; `path` is what errors call it.

    Control characters in strings are taken as they are (TensorRT 8.6 writes them so), as are NaN and Infinity, and a document in
    a string of JSON is read like the document. Half of a surrogate pair becomes U+FFFD, since no file could hold it.
    Raises InputError where it is broken, cut off, or beyond `DEEPEST` or `MOST_VALUES`.
    """
    document: object = text.rstrip("\0 \t\r\n")
    nothing = InputError(f"{path}: JSON that holds nothing but a text")
    for wrapped in range(MOST_WRAPPED + 1):
        if not isinstance(document, str):
            break
        held = document
        try:
            document = _parsed(path, held, objects)
        except InputError:
            if wrapped and held.lstrip()[:1] not in _DOCUMENTS:
                raise nothing from None
            raise
    if isinstance(document, str):
        raise nothing
    _check_depth(path, document)
    return document


_DOCUMENTS = ("{", "[", '"')
"""How a document begins that may stand in a string, or a string with one."""

_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.S
)


_REST = re.compile(r"[\s,:]*|[a-zA-Z]{1,8}|[-+0-9.eE]{1,400}")
"""What a cut leaves behind the place where JSON breaks, beside a text without its end: nothing, part of a word or of a number."""


def _is_cut(text: str, at: int) -> bool:
    if text[at : at + 1] != '"':
        return _REST.fullmatch(text, at) is not None
    try:
        json.JSONDecoder(strict=False).raw_decode(text, at)
    except json.JSONDecodeError:
        return True
    return False


def _parsed(path: Path, text: str, objects: Callable[[list[tuple[str, Any]]], Any] | None) -> object:
    values = text.count(",") + text.count("[") + text.count("{")
    if values > MOST_VALUES:
        raise InputError(f"{path}: JSON of about {values:,} values, at most {MOST_VALUES:,} are read")
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPE.sub(lambda found: r"\ufffd" if found[1] else found[0], text)
    try:
        return json.loads(text, strict=False, object_pairs_hook=objects)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        cut = _is_cut(text, error.pos)
        raise InputError(
            f"{path}: broken JSON, {'cut off before its end' if cut else 'not as JSON is written'}: {place}: {error.msg}; write it again"
        ) from None
    except RecursionError:
        raise InputError(_too_deep(path)) from None
    except ValueError:
        raise InputError(f"{path}: JSON with a number of thousands of digits, which nothing measures") from None
    except MemoryError:
        raise InputError(f"{path}: more JSON than there is memory for") from None


def _check_depth(path: Path, document: object) -> None:
    """By levels, not by calls: what is nested deeper than Python's stack would end every walk through it later."""
    level = _holders([document])
    for _ in range(DEEPEST):
        level = [each for holder in level for each in _holders(_held(holder))]
    if level:
        raise InputError(_too_deep(path))


def _held(holder: Any) -> Any:
    if isinstance(holder, dict):
        return holder.values()
    return [value for _, value in holder] if isinstance(holder, Pairs) else holder


def _holders(values: Any) -> list[Any]:
    return [each for each in values if isinstance(each, (dict, list))]


def _too_deep(path: Path) -> str:
    return f"{path}: JSON with objects more than {DEEPEST} deep within each other, the most that is read"
