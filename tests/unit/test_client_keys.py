"""This user's keys: nobody else's to read or to replace."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from neuralpower.address import parse
from neuralpower.errors import InputError
from neuralpower.subscriber.keys import keys_for

DEVICE = parse("tcp://jetson:7380")


def mode(path: Path) -> int:
    """Of a file or a folder."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pair made under a umask that hides nothing, and the key of a device."""
    folder = tmp_path / "deep" / "mine"
    monkeypatch.setenv("NEURALPOWER_KEYS", str(folder))
    before = os.umask(0)
    try:
        with pytest.raises(InputError, match="no key in"):
            keys_for(DEVICE)
    finally:
        os.umask(before)
    (folder / "jetson.public").write_text((folder / "client.public").read_text())
    return folder


def test_keys_are_made_for_their_user_alone(mine: Path) -> None:
    """Whatever the umask."""
    assert (mode(mine.parent), mode(mine), mode(mine / "client.secret")) == (0o700, 0o700, 0o600)
    assert keys_for(DEVICE) is not None and keys_for(parse("/run/neuralpower")) is None


@pytest.mark.parametrize(
    ("name", "loose", "advice"),
    [
        (".", 0o755, "chmod 700"),
        (".", 0o770, "chmod 700"),
        ("client.secret", 0o640, "chmod 600"),
        ("client.secret", 0o604, "chmod 600"),
    ],
)
def test_keys_that_others_reach_are_not_used(mine: Path, name: str, loose: int, advice: str) -> None:
    """One line says what to do, and then they are."""
    (mine / name).chmod(loose)
    with pytest.raises(InputError, match=advice):
        keys_for(DEVICE)
    (mine / name).chmod(0o700 if name == "." else 0o600)
    assert keys_for(DEVICE) is not None
