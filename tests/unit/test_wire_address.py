"""One address for the sockets of a daemon."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from neuralpower_wire import WireError
from neuralpower_wire.address import DEFAULT, Address

ROOT = Path(__file__).parents[2]
SHIPPED = ("align", "client", "daemon", "sampler_c", "wire", "benchmarks")


@pytest.mark.parametrize(
    ("text", "live", "history", "printed"),
    [
        ("ipc:///run/np", "ipc:///run/np/live.ipc", "ipc:///run/np/history.ipc", "ipc:///run/np"),
        ("/run/np/", "ipc:///run/np/live.ipc", "ipc:///run/np/history.ipc", "ipc:///run/np"),
        (Path("/run/np"), "ipc:///run/np/live.ipc", "ipc:///run/np/history.ipc", "ipc:///run/np"),
        ("/run/np/history.ipc", "ipc:///run/np/live.ipc", "ipc:///run/np/history.ipc", "ipc:///run/np"),
        ("tcp://jetson:7380", "tcp://jetson:7380", "tcp://jetson:7381", "tcp://jetson:7380"),
        ("tcp://[fe80::1]:1", "tcp://[fe80::1]:1", "tcp://[fe80::1]:2", "tcp://[fe80::1]:1"),
    ],
)
def test_an_address_names_its_sockets(text: str | Path, live: str, history: str, printed: str) -> None:
    """In each of its forms; what it prints is read again as the same."""
    address = Address.parse(text)
    assert (address.live, address.history, str(address)) == (live, history, printed)
    assert Address.parse(str(address)) == address == Address.parse(address)


def test_a_relative_folder_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a path, or as text with a slash; a single word is taken for a mistake."""
    monkeypatch.chdir(tmp_path)
    assert Address.parse("./np").folder == Address.parse(Path("np")).folder == f"{tmp_path}/np"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jetson",
        "jetson:7380",
        "ipc://run/neuralpower",
        "tcp://jetson",
        "tcp://jetson:0",
        "tcp://jetson:65535",
        "tcp://jetson:99999",
        "tcp://*:7380",
        "tcp://a b:7380",
        "http://jetson:7380/x",
        "/" + "x" * 100,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(WireError, match=r"; (write|choose|use|name) "):
        Address.parse(text)


@pytest.mark.parametrize(("text", "live"), [("*:7380", "tcp://*:7380"), ("[::]:7380", "tcp://[::]:7380")])
def test_a_daemon_listens_at_a_host_or_at_all(text: str, live: str) -> None:
    assert Address.parse_bind(text).live == live


@pytest.mark.parametrize("text", ["7380", "*:", "*:65535", "*:x", "tcp://*:7380", "a b:1"])
def test_what_cannot_be_listened_at_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Address.parse_bind(text)


def test_inferences_are_local() -> None:
    """Their times are of the device's clock; the socket's own path will do, under another name too."""
    assert Address.parse("/x/my.ipc").inferences == "ipc:///x/my.ipc"
    assert Address.parse("/x/my.ipc").history == "ipc:///x/history.ipc"
    assert DEFAULT.inferences == "ipc:///run/neuralpower/inferences.ipc"
    with pytest.raises(WireError, match="on the device itself"):
        Address.parse("tcp://jetson:7380").inferences  # noqa: B018


def test_no_address_is_put_together_by_hand() -> None:
    """Only the class knows the names of the sockets and the forms of an address; help and docstrings may show one."""
    by_hand = re.compile(r"ipc://|tcp://|\b(live|history|inferences)\.ipc")
    found = []
    for root in SHIPPED:
        for path in sorted((ROOT / root).rglob("*.py")):
            if path.name == "address.py" and root == "wire":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            shown = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.keyword) and node.arg == "help":
                    shown.add(id(node.value))
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
                    shown.add(id(node.value))
            for node in ast.walk(tree):
                text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
                if id(node) not in shown and by_hand.search(text):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {text[:60]}")
    assert not found, "\n".join(found)
