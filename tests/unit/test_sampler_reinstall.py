"""The command that installs the distribution again, from wherever it came."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuralpower_sampler._reinstall import reinstall_command

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lays the records of an installed neuralpower before all others on the path."""

    def lay(origin: dict[str, Any] | None, installer: str = "pip\n") -> None:
        info = tmp_path / "neuralpower-9.8.7.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: neuralpower\nVersion: 9.8.7\n")
        (info / "INSTALLER").write_text(installer)
        if origin is not None:
            (info / "direct_url.json").write_text(json.dumps(origin))
        monkeypatch.syspath_prepend(str(tmp_path))

    return lay


@pytest.mark.parametrize(
    ("origin", "arguments"),
    [
        (None, ["neuralpower==9.8.7"]),
        ({"url": "file:///a%20b/neuralpower-9.8.7.tar.gz", "archive_info": {}}, ["/a b/neuralpower-9.8.7.tar.gz"]),
        ({"url": "file:///src", "dir_info": {}}, ["/src"]),
        ({"url": "file:///src", "dir_info": {"editable": True}}, ["-e", "/src"]),
        ({"url": "https://example.org/n.tar.gz", "archive_info": {}}, ["neuralpower @ https://example.org/n.tar.gz"]),
        (
            {"url": "https://example.org/n", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
            ["neuralpower @ git+https://example.org/n@0a1b"],
        ),
    ],
)
def test_it_installs_from_where_the_distribution_came(
    install: Install, origin: dict[str, Any] | None, arguments: list[str]
) -> None:
    """The last words of the command name the index, archive, folder, checkout or commit that was installed from."""
    install(origin)
    words = shlex.split(reinstall_command())
    assert words[:5] == ["NEURALPOWER_SAMPLER=required", sys.executable, "-m", "pip", "install"]
    assert words[-len(arguments) :] == arguments


def test_it_is_a_command_of_uv_where_uv_installed(install: Install) -> None:
    """An environment that uv made often has no pip, so the command is uv's and names the interpreter."""
    install(None, installer="uv")
    words = shlex.split(reinstall_command())
    assert words[1:6] == ["uv", "pip", "install", "--python", sys.executable]
    assert words[-1] == "neuralpower==9.8.7"


def test_what_a_build_left_in_a_checkout_is_not_an_installation(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An .egg-info folder earlier on the path, which no installer wrote, is passed over."""
    install(None)
    left = tmp_path / "checkout" / "neuralpower.egg-info"
    left.mkdir(parents=True)
    (left / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: neuralpower\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(str(left.parent))
    assert shlex.split(reinstall_command())[-1] == "neuralpower==9.8.7"
