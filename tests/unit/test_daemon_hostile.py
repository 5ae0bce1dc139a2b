"""A runtime directory, a configuration and an environment that somebody else wrote: nothing else is touched, one line says why."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from neuralpower_sampler import SamplerError
from neuralpower_wire import create_timeline
from neuralpowerd import cli
from neuralpowerd.config import Config, parse
from neuralpowerd.errors import ConfigError
from neuralpowerd.logs.journal import Journal
from neuralpowerd.sampling import bounded_memory, ring_bytes
from neuralpowerd.sources.registry import make_plan
from neuralpowerd.system.notify import Notifier
from neuralpowerd.system.restore import change_files, restore_all, restore_files

SYSFS = "sys/devices/platform/i2c-1/1-0040/hwmon/hwmon1"


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file that no daemon of ours may write."""
    path = tmp_path / "precious"
    path.write_text("as it was\n")
    return path


def interval(root: Path) -> Path:
    """A driver's update_interval, reached as sysfs has it: by a link of the class."""
    (root / SYSFS).mkdir(parents=True)
    (root / SYSFS / "update_interval").write_text("7\n")
    (root / "sys/class/hwmon").mkdir(parents=True)
    (root / "sys/class/hwmon/hwmon1").symlink_to(f"../../../{SYSFS}")
    return root / "sys/class/hwmon/hwmon1/update_interval"


def remembered(folder: Path, entries: dict[str, object]) -> Config:
    """A runtime directory in which a daemon is said to have left these changed."""
    (folder / "rt").mkdir(exist_ok=True)
    (folder / "rt/saved.json").write_text(json.dumps(entries))
    return Config(sysfs_root=str(folder), runtime_dir=str(folder / "rt"))


def test_what_was_changed_is_put_back(tmp_path: Path) -> None:
    """Through the links of sysfs, which lead to sysfs."""
    path = interval(tmp_path)
    config = remembered(tmp_path, {str(path): "26"})
    assert restore_all(config) == [f"{path}: 26 again"] and path.read_text() == "26\n"


@pytest.mark.parametrize("place", ["e/update_interval", "sys/update_interval"])
def test_restore_writes_nothing_but_sysfs(place: str, precious: Path, tmp_path: Path) -> None:
    """A link from outside of sysfs, or from within to a file that is none of it, is not followed."""
    link = tmp_path / place
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    assert restore_all(remembered(tmp_path, {str(link): "12345"})) == []
    assert precious.read_text() == "as it was\n"


def test_restore_writes_no_file_beside_sysfs(tmp_path: Path) -> None:
    """Of the right name, and in the wrong place."""
    other = tmp_path / "e/update_interval"
    other.parent.mkdir()
    other.write_text("7\n")
    assert restore_all(remembered(tmp_path, {str(other): "12345"})) == [] and other.read_text() == "7\n"


@pytest.mark.parametrize("text", ["²", "1" * 5000, "-1", "1\n2", ""])
def test_restore_writes_nothing_but_an_interval(text: str, tmp_path: Path) -> None:
    """Digits of another script, too many, or none are no interval."""
    path = interval(tmp_path)
    assert restore_all(remembered(tmp_path, {str(path): text})) == [] and path.read_text() == "7\n"


def test_odd_files_of_a_runtime_directory(tmp_path: Path) -> None:
    """Brackets without end, a zero byte in a path, a pipe: nothing to restore, or one line."""
    folder = tmp_path / "rt"
    folder.mkdir()
    saved = folder / "saved.json"
    for content in ("[" * 100_000, '{"\\u0000/update_interval": "1"}', '{"a": 1', "5"):
        saved.write_text(content)
        assert restore_files(saved, tmp_path) == []
    saved.unlink(missing_ok=True)
    os.mkfifo(saved)
    assert restore_files(saved, tmp_path) == []
    (folder / "i2c.saved").write_text("[" * 100_000)
    with pytest.raises(SamplerError, match="no saved config"):
        restore_all(Config(sysfs_root=str(tmp_path), runtime_dir=str(folder)))


def test_what_is_stored_follows_no_link(precious: Path, tmp_path: Path) -> None:
    """In a folder of somebody else, files to be made are links to others: these stay as they are."""
    folder = tmp_path / "rt"
    folder.mkdir()
    (folder / "journal.ring").symlink_to(precious)
    path = interval(tmp_path)
    change_files(folder / "saved.json", {path: "0"})
    assert json.loads((folder / "saved.json").read_text()) == {str(path): "7"}
    create_timeline(folder / "timeline", ["A"], [1])
    with pytest.raises(OSError):
        Journal(folder / "journal.ring", 1 << 20, b"x" * 16)
    (folder / "other.ring.new").symlink_to(precious)
    Journal(folder / "other.ring", 1 << 20, b"x" * 16).close()
    assert precious.read_text() == "as it was\n"
    for name in ("saved.json", "timeline"):
        assert stat.S_IMODE((folder / name).stat().st_mode) & 0o007 == 0 and not (folder / name).is_symlink()


def test_a_loose_umask_makes_nothing_writable_by_others(tmp_path: Path) -> None:
    """The daemon's folder is not the world's, whatever its parent process had set."""
    before = os.umask(0)
    try:
        file = tmp_path / "d.toml"
        file.write_text(f'runtime_dir = "{tmp_path}/rt"\nsource = "hwmon"\nsysfs_root = "{tmp_path}"\n')
        assert cli.main(["run", "--config", str(file)]) == 1
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "rt").stat().st_mode) & 0o022 == 0


def test_keys_are_made_for_the_daemon_alone_whatever_the_umask(tmp_path: Path) -> None:
    """The secret and its folder are nobody else's; no folder above it is others' to change."""
    file, folder = tmp_path / "d.toml", tmp_path / "deep/keys"
    file.write_text(f'[tcp]\nkeys_dir = "{folder}"\n')
    before = os.umask(0)
    try:
        assert cli.main(["keys", "--config", str(file)]) == 0
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "server.secret", folder.parent)]
    assert modes[:2] == [0o700, 0o600] and modes[2] & 0o022 == 0


@pytest.mark.parametrize(
    "text",
    [
        "a=" + "[" * 20_000,
        "history_seconds=" + "9" * 5000,
        "a." * 500 + "b=1",
        'runtime_dir="a\\u0000b"',
        'source="a\\nb"',
    ],
    ids=["brackets", "digits", "dots", "zero", "line"],
)
def test_an_odd_configuration_is_one_line(text: str) -> None:
    """Nested without end, numbers without end, text that no path can be."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert str(caught.value).startswith("f: ") and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["²", "x", "-5", "9" * 5000])
def test_an_odd_watchdog_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd cannot have said is not heard."""
    monkeypatch.setenv("WATCHDOG_USEC", text)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert Notifier().watchdog_ns == 0


def test_memory_is_said_and_bounded_before_it_is_taken() -> None:
    """Logs of more than half of the memory are refused, with what is possible; others are told of with their size."""
    config = parse("history_seconds = 86400\n", "f")
    plan = make_plan(parse('source = "sim"\n', "f"))
    assert ring_bytes(config, plan) > 15e9
    with pytest.raises(
        ConfigError, match=r"history_seconds: .* MB .* more than half of the 8000 MB .* up to [0-9]+$"
    ) as caught:
        bounded_memory(config, plan, 8_000_000_000)
    most = int(str(caught.value).rpartition(" ")[2])
    assert "MB for the journal" in bounded_memory(parse(f"history_seconds = {most}\n", "f"), plan, 8_000_000_000)
    with pytest.raises(ConfigError):
        bounded_memory(parse(f"history_seconds = {most + 10}\n", "f"), plan, 8_000_000_000)
    with pytest.raises(ConfigError, match="smaller journal"):
        bounded_memory(parse("[journal]\nmebibytes = 4096\n", "f"), plan, 2_000_000_000)


def test_sockets_for_everybody_are_refused() -> None:
    """A mode that lets others in is a mistake: who may come is a group."""
    with pytest.raises(ConfigError, match=r"sockets\.mode.*sockets\.group"):
        parse('[sockets]\nmode = "0666"\n', "f")
