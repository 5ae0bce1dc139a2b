"""Files told by their content: encodings, limits, and what a file is instead."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower import documents
from neuralpower.documents import DEEPEST, Pairs, json_of, read_json, read_pairs, whole_lines
from neuralpower.errors import InputError

HERE = Path("f")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_json_is_read_in_every_encoding_of_unicode(tmp_path: Path, encoding: str) -> None:
    """With a byte order mark or without one: a shell's redirection decides that, not the user."""
    (tmp_path / "f").write_bytes('{"name": "β/卷积"}'.encode(encoding))
    assert read_json(tmp_path / "f") == {"name": "β/卷积"}


def test_what_is_no_unicode_is_named_by_its_byte(tmp_path: Path) -> None:
    """Latin letters of a code page: which byte, and what to do."""
    (tmp_path / "f").write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"byte 7 is 0xe9; save it as UTF-8"):
        read_json(tmp_path / "f")


def test_control_characters_and_half_letters_are_taken() -> None:
    """TensorRT 8.6 writes separators unescaped; half of a pair becomes the letter for what is unknown, whole pairs stay."""
    assert json_of(HERE, '{"a": "x\x1ey"}') == {"a": "x\x1ey"}
    assert json_of(HERE, r'["\ud83d\ude00", "\ud800", "\\ud800", "\uDE00x"]') == ["😀", "\ufffd", "\\ud800", "\ufffdx"]


@given(st.recursive(st.none() | st.booleans() | st.text(), lambda held: st.lists(held) | st.dictionaries(st.text(), held)), st.integers(0, 3))  # fmt: skip
def test_json_in_a_string_is_read_like_json(document: object, times: int) -> None:
    """A document that a tool wrote as text, up to three times, and whatever letters are in it."""
    if isinstance(document, str):
        document = [document]
    text = json.dumps(document)
    for _ in range(times):
        text = json.dumps(text)
    expected = json.loads(json.dumps(document).encode("utf-8", "replace"))
    assert json_of(HERE, text) == json_of(HERE, json.dumps(expected))


def test_nesting_has_a_limit_that_is_exact() -> None:
    """As deep as is stated is read, one deeper is refused, and ten thousand times deeper too."""
    for many in (DEEPEST, DEEPEST + 1, 10_000 * DEEPEST):
        text = "[" * many + "]" * many
        if many == DEEPEST:
            assert json_of(HERE, text)
            continue
        with pytest.raises(InputError, match=f"more than {DEEPEST} deep"):
            json_of(HERE, text)
    objects = '{"a":' * DEEPEST + "1" + "}" * DEEPEST
    assert json_of(HERE, objects) and json_of(HERE, objects, Pairs)


def test_size_and_values_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are counted before the file is read, values before they are made."""
    with (tmp_path / "f").open("wb") as file:
        file.write(b"{")
        file.truncate(documents.LARGEST_TEXT + 1)
    with pytest.raises(InputError, match="256 MiB, at most 256"):
        read_json(tmp_path / "f")
    monkeypatch.setattr(documents, "MOST_VALUES", 100)
    assert json_of(HERE, json.dumps([0] * 99))
    with pytest.raises(InputError, match="at most 100"):
        json_of(HERE, json.dumps([0] * 102))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": [1, 2', "cut off before its end: line 1 column 12"),
        ('{"a" 1}', "line 1 column 6"),
        ('{"a":\n 1,,}', "line 2 column 4"),
        ("[" + "1" * 5000 + "]", "thousands of digits"),
        ('{"a": "b', "cut off before its end"),
        ('{"a": "b\\', "cut off before its end"),
        ('{"a": 1,', "cut off before its end"),
        ('{"a": tru', "cut off before its end"),
        ('{"a": -', "cut off before its end"),
        ('{"a": [1, 2]', "cut off before its end"),
        ('{"a": 1} and more', "not as JSON is written: line 1 column 10"),
        ('{"a": x1}', "not as JSON is written"),
    ],
)
def test_broken_json_says_where(text: str, says: str) -> None:
    """Line and column, and whether its end is missing."""
    with pytest.raises(InputError) as caught:
        json_of(HERE, text)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_names_that_occur_twice_are_both_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"a": 1, "b": {"c": 2}, "a": 3}')
    pairs = read_pairs(tmp_path / "f")
    assert isinstance(pairs, Pairs) and pairs == [("a", 1), ("b", [("c", 2)]), ("a", 3)]


def test_only_a_last_line_without_its_end_is_left_out() -> None:
    """Empty lines, returns and zero bytes at the end cut nothing off."""
    assert whole_lines(HERE, "a\r\nb\n") == (["a", "b"], [])
    assert whole_lines(HERE, "a\n\0\0") == (["a"], [])
    assert whole_lines(HERE, "a\rb\r") == (["a", "b"], [])
    lines, left_out = whole_lines(HERE, "a\nb,1")
    assert lines == ["a"] and "line 2 has no end" in left_out[0]


def zipped(first: str) -> bytes:
    """The beginning of a ZIP archive, whose first file has this name."""
    return b"PK\x03\x04".ljust(26, b"\0") + len(first).to_bytes(2, "little") + b"\0\0" + first.encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"<!DOCTYPE html>", "a web page"),
        (b'<?xml version="1.0"?><net/>', "an XML file"),
        (zipped("[Content_Types].xml"), "an Excel or other Office document; save its table as CSV"),
        (zipped("net/data.pkl"), "a PyTorch file"),
        (zipped("net/data/0"), "a PyTorch file"),
        (zipped("net/data/weights/weight_0"), "a PyTorch file"),
        (zipped("arr_0.npy"), "numpy arrays"),
        (zipped("my/data/table.csv"), "a ZIP archive; unpack it first"),
        (b"PK\x05\x06", "a ZIP archive with nothing in it"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"pickle".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
        (b"ARROW1\0\0", "an Arrow"),
        (b"&&&& RUNNING TensorRT.trtexec", "what trtexec prints"),
        ("\ufeff[12/01/2026-00:00:00] [I] Layers:".encode("utf-16-le"), "what trtexec prints"),
        (
            b"Layers:\nLayer(CaskConvolution): conv1, Tactic: 0x1, x (Half[1,3,32,32]) -> y (Half[1,16,32,32])",
            "ask its inspector for JSON",
        ),
        (b"[net]\nbatch=1\n", "a network of Darknet"),
        (b"PAR1", "a Parquet file"),
        (b"\x80\x02\x8a", "never opened"),
        (b"\x80\x03\x7d", "never opened"),
        (b"\x80\x04\x95", "never opened"),
        (b"ftrt", "serialised TensorRT engine"),
        (b"", "an empty file"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_json(tmp_path / "f")


def test_pipes_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, says in {"pipe": "a pipe", ".": "a folder", "none": "No such file", "a\0b": "no name of a file"}.items():
        with pytest.raises(InputError, match=says):
            read_json(tmp_path / name)


@pytest.mark.parametrize("text", ['"hello"', '""', '"\\"hello\\""'])
def test_a_text_in_json_is_called_one(text: str) -> None:
    """It is not broken, and not cut off: there is nothing in it."""
    with pytest.raises(InputError, match="JSON that holds nothing but a text"):
        json_of(HERE, text)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"GGUF\x03\0\0\0", "weights of a language model"),
        (b"\x3c\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32"', "weights alone (safetensors)"),
        (b'abcdefgh{"a"', ""),
    ],
)
def test_weights_without_operators_are_told(head: bytes, what: str) -> None:
    assert documents.foreign(head).startswith(what) and bool(documents.foreign(head)) is bool(what)
