"""The write-ahead log: whatever happens to its tail, the messages before it survive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralpower.errors import InputError
from neuralpower.recordings.files.wal import HEADER, Wal, read

MESSAGES = st.lists(st.lists(st.binary(max_size=40), max_size=4), min_size=1, max_size=6)
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def written(path: Path, messages: list[list[bytes]]) -> list[int]:
    """Write a fresh log; returns the file's size after the header and after each message."""
    path.unlink(missing_ok=True)
    wal = Wal(path)
    ends = [wal.size]
    for message in messages:
        wal.append(message)
        ends.append(wal.size)
    wal.close()
    return ends


@SHARED_FOLDER
@given(MESSAGES)
def test_what_is_written_is_read(tmp_path: Path, messages: list[list[bytes]]) -> None:
    """All messages come back in order."""
    ends = written(tmp_path / "a.wal", messages)
    content = read(tmp_path / "a.wal")
    assert (content.messages, content.valid_bytes, content.damaged_bytes) == (messages, ends[-1], 0)


@SHARED_FOLDER
@given(MESSAGES, st.data())
def test_a_cut_at_any_byte_keeps_the_whole_messages_before_it(
    tmp_path: Path, messages: list[list[bytes]], data: st.DataObject
) -> None:
    """A torn tail costs only the message it tears, and opening cuts it off so that appending goes on."""
    path = tmp_path / "cut.wal"
    ends = written(path, messages)
    size = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, size)
    whole = sum(end <= size for end in ends[1:])
    assert read(path).messages == messages[:whole]
    wal = Wal(path)
    assert wal.bytes_cut == size - (ends[whole] if size >= HEADER.size else 0)
    wal.append([b"more"])
    wal.close()
    assert read(path).messages == [*messages[:whole], [b"more"]]


@SHARED_FOLDER
@given(MESSAGES, st.data())
def test_a_flipped_bit_costs_the_message_it_lies_in(
    tmp_path: Path, bodies: list[list[bytes]], data: st.DataObject
) -> None:
    """The messages before and behind it are read, every byte is accounted for, and a log opened again goes on."""
    path = tmp_path / "flip.wal"
    messages = [[data.draw(st.sampled_from([b"rails", b"inferences"])), *body] for body in bodies]
    ends = written(path, messages)
    at = data.draw(st.integers(0, ends[-1] - 1))
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    hit = sum(end <= at for end in ends) - 1
    kept = [message for number, message in enumerate(messages) if number != hit]
    content = read(path)
    assert content.messages == kept
    lost = [range(HEADER.size)] if at < HEADER.size else [range(ends[hit], ends[hit + 1])]
    tail = at >= HEADER.size and hit == len(messages) - 1
    assert content.holes == ([] if tail else lost) and bool(content.damaged_bytes) == tail
    assert content.valid_bytes + content.damaged_bytes == len(whole)
    wal = Wal(path)
    wal.append([b"rails"])
    wal.close()
    assert read(path).messages == [*kept, [b"rails"]]


@pytest.mark.parametrize("start", [b"PAR1" + bytes(30), b"NPWALOG\n" + (99).to_bytes(4, "little") + bytes(4)])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, start: bytes) -> None:
    """A file of another kind or version is never truncated."""
    path = tmp_path / "other.wal"
    path.write_bytes(start)
    with pytest.raises(InputError, match=r"other\.wal"):
        Wal(path)
    assert path.read_bytes() == start
