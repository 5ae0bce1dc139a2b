"""The fuzz guided by coverage: what it begins with is sound, what is planted comes up, and a machine without its tools is told so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.guided import codec, run

from neuralpower_wire import WireError


@pytest.mark.parametrize("number", range(len(codec.seeds())))
def test_what_the_codec_begins_with_is_read(number: int) -> None:
    """Each seed goes through its reader to the end; a seed that is refused would teach nothing."""
    seed = codec.seeds()[number]
    list(codec.READERS.values())[seed[0]](codec.frames_of(seed[1:]))


def test_every_reader_has_something_to_begin_with() -> None:
    """None is left to chance."""
    assert {seed[0] for seed in codec.seeds()} == set(range(len(codec.READERS)))


def test_what_a_reader_must_not_do_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is none of the wire's, and one of the wire's in two lines, end the fuzz; a refusal does not."""
    case = codec.case_of("request", [b"\xc1"])
    codec.one(case)
    for planted in (ZeroDivisionError("planted"), WireError("two\nlines"), WireError(" ")):

        def broken(frames: list[bytes], error: Exception = planted) -> None:
            raise error

        monkeypatch.setitem(codec.READERS, "request", broken)
        with pytest.raises((ZeroDivisionError, AssertionError)):
            codec.one(case)


def test_frames_are_cut_as_they_were_put_together() -> None:
    """Of a case of any bytes; a length that is not there gives what is."""
    frames = [b"", b"a" * 300, b"bc"]
    assert codec.frames_of(codec.case_of("ticks", frames)[1:]) == frames
    assert codec.frames_of(b"\x05\x00ab") == [b"ab"] and codec.frames_of(b"\x01") == []


def test_a_machine_without_the_tools_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, which CI takes for not run, and no success."""
    monkeypatch.setattr(run, "OUT", tmp_path)
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["run", "--minutes", "0.001", "--harness", "sysfs_text"])
    assert run.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"not run: missing: apt install {run.PACKAGES}"


def test_each_harness_in_c_is_there() -> None:
    """With the files that it is for."""
    assert {path.stem for path in run.HERE.glob("*.c")} == set(run.MEANT)
    assert all(run.path_of(name).exists() for names in run.MEANT.values() for name in names)


def test_the_example_client_begins_with_what_a_daemon_says() -> None:
    """Messages of a journal and of ticks, and the bytes of a whole session."""
    told = codec.messages()
    assert {each[0] for each in told} == {0, 1} and all(b"rails" in each for each in told)
