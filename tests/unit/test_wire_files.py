"""Files are replaced whole or not at all, wherever the house replaces one."""

from __future__ import annotations

import ast
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.unit.test_recording_folder import recorded

from neuralpower import files
from neuralpower.address import parse
from neuralpower.errors import Failure, InputError
from neuralpower.recordings.exports import exporting
from neuralpower.recordings.exports.perfetto import write_perfetto
from neuralpower.recordings.files import layout
from neuralpower.recordings.recording import Recording
from neuralpower.subscriber.keys import keys_for
from neuralpower.virtual.device.truth import Truth
from neuralpower_wire import create_timeline
from neuralpower_wire.files import LEFT, replace_file, replacing
from neuralpowerd.errors import DaemonError
from neuralpowerd.live.keys import make_keys
from neuralpowerd.system.restore import change_files

ROOT = Path(__file__).parents[2]
SHIPPED = ("align", "client", "daemon", "sampler_c", "wire")


def saved(path: Path) -> None:
    setting = path.parent / "update_interval"
    setting.write_text("7\n")
    change_files(path, {setting: "0"})


def clients_pair(path: Path) -> None:
    with pytest.raises(InputError, match="copy the device"):
        keys_for(parse("tcp://jetson:7380"))


class Writer(NamedTuple):
    """Who replaces a file: its name, what writes it, and the mode that a new one has."""

    name: str
    write: Callable[[Path], object]
    mode: int = 0o644
    keeps: bool = True
    """The mode of the old file; else it is always the writer's own."""
    again: bool = True
    """Whether an old file is written over."""


WRITERS = (
    Writer("file", lambda path: replace_file(path, b"new\n")),
    Writer("models.json", lambda path: files.write_whole(path, b"new\n", "the models")),
    Writer(
        "recording.json", lambda path: layout.write_document(path.parent, layout.Document("ipc:///x", "now", "0.1.0"))
    ),
    Writer("trace.pftrace", lambda path: write_perfetto(Recording(path.parent / "recording"), path)),
    Writer("trace.pftrace.gz", lambda path: write_perfetto(Recording(path.parent / "recording"), path)),
    Writer("rails.csv", lambda path: exporting.write_csv(Recording(path.parent / "recording"), path.parent)),
    Writer("truth.json", lambda path: Truth(1, [], "", [], 0.0).write(path)),
    Writer("saved.json", saved, 0o640, keeps=False),
    Writer("timeline", lambda path: create_timeline(path, ["VDD_IN"], [1]), 0o640, keeps=False),
    Writer("server.secret", lambda path: make_keys(path.parent), 0o600, keeps=False, again=False),
    Writer("client.secret", clients_pair, 0o600, keeps=False, again=False),
)
OVER = [writer for writer in WRITERS if writer.again]


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test's writer puts its file."""
    monkeypatch.setenv("NEURALPOWER_KEYS", str(tmp_path))
    writer: Writer = request.node.callspec.params["writer"]
    if ".pftrace" in writer.name or ".csv" in writer.name:
        recorded(tmp_path / "recording")
    return tmp_path / writer.name


by_all = pytest.mark.parametrize("writer", WRITERS, ids=[writer.name for writer in WRITERS])
over_an_old_one = pytest.mark.parametrize("writer", OVER, ids=[writer.name for writer in OVER])


def kill(descriptor: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@by_all
def test_a_kill_leaves_no_half_file(writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the new bytes are on the disk, there is the old file or none; what is left beside it says what it is."""
    old = b"old\n" if writer.again else None
    if old:
        path.write_bytes(old)
    child = os.fork()
    if not child:
        os.fsync = kill
        writer.write(path)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (path.read_bytes() if path.exists() else None) == old
    (left,) = path.parent.glob(LEFT)
    assert left.name.split(".")[0] == path.name.split(".")[0]
    writer.write(path)
    assert path.read_bytes() not in (b"", old)


@by_all
def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sync the file, rename, sync the folder: a power cut finds one of both."""
    did: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        did.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        did.append(("rename", str(source)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    writer.write(path)
    aside = next(name for what, name in did if what == "rename" and Path(name).name.startswith(path.name))
    at = did.index(("rename", aside))
    assert did[at - 1 : at + 2] == [("sync", aside), ("rename", aside), ("sync", str(path.parent))]
    assert not list(path.parent.rglob(LEFT))


@by_all
def test_a_link_at_the_name_aside_is_not_followed(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even one whose name was foreseen: nothing is written, and it is told."""
    precious = tmp_path / "precious"
    precious.write_text("as it was\n")
    monkeypatch.setattr(os, "urandom", bytes)
    (path.parent / f"{path.name}.00000000.tmp").symlink_to(precious)
    with pytest.raises((OSError, Failure, DaemonError)):
        writer.write(path)
    assert precious.read_text() == "as it was\n" and not path.exists()


@over_an_old_one
def test_the_mode_of_the_old_file_is_kept(writer: Writer, path: Path) -> None:
    """Where nothing says otherwise: who was kept from reading the old one does not read the new one."""
    path.write_text("old\n")
    path.chmod(0o604)
    writer.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == (0o604 if writer.keeps else writer.mode)


@by_all
def test_a_new_file_has_its_mode(writer: Writer, path: Path) -> None:
    """The umask's, or what the writer says whatever the umask is."""
    before = os.umask(0o022 if writer.keeps else 0)
    try:
        writer.write(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == writer.mode


def test_what_is_raised_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing beside it."""
    path = tmp_path / "file"
    path.write_text("old\n")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old\n" and os.listdir(tmp_path) == ["file"]


def test_a_folder_with_nothing_to_sync_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems say EINVAL; another error is told."""
    fsync, number = os.fsync, [22]

    def refused(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number[0], "refused")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    replace_file(tmp_path / "file", b"new\n")
    number[0] = 5
    with pytest.raises(OSError, match="refused"):
        replace_file(tmp_path / "file", b"newer\n")


MAY_WRITE = {
    "client/neuralpower/cli/__init__.py": "/dev/null in the place of a stream that was closed",
    "client/neuralpower/cli/measuring/fetch.py": "a folder that is renamed whole",
    "client/neuralpower/demo/processes.py": "logs",
    "client/neuralpower/demo/stage.py": "a configuration in a temporary folder",
    "client/neuralpower/experiment/zoo.py": "logs, and folders that are renamed whole",
    "daemon/neuralpowerd/logs/journal.py": "the journal keeps the file open and locked that it puts in its place",
    "daemon/neuralpowerd/system/restore.py": "files of sysfs",
    "daemon/neuralpowerd/watch/energy.py": "not synced: counters need not outlive a boot, and the loop may not wait for a disk",
    "sampler_c/neuralpower_sampler/_build.py": "a module that is compiled anew where it is missing",
    "sampler_c/neuralpower_sampler/i2c.py": "the sampler knows nothing of the rest: it has the same few lines",
    "wire/neuralpower_wire/files.py": "the one place",
}


def by_hand(tree: ast.AST) -> list[int]:
    """Lines that rename a file or open one to be written over."""
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        renames = name == "rename" or (name == "replace" and len(node.args) == 1 and not node.keywords)
        opens = name in ("open", "fdopen") and any(text[:1] in "wx" and len(text) < 4 for text in texts if text)
        if renames or opens or name in ("write_text", "write_bytes"):
            found.append(node.lineno)
    return found


def test_no_file_is_replaced_by_hand() -> None:
    """What opens a file to be written over, or renames one, is in `neuralpower_wire.files` or has a reason."""
    places = {
        str(path.relative_to(ROOT)): lines
        for root in SHIPPED
        for path in sorted((ROOT / root).rglob("*.py"))
        if (lines := by_hand(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert places.keys() == MAY_WRITE.keys(), places
