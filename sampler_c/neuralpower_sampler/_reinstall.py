"""The exact shell command that installs this same distribution again, with the sampler compiled."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.metadata import Distribution
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import url2pathname

NAME = "neuralpower"


def reinstall_command() -> str:
    """One line for a shell. Without a C compiler it fails, says why, and leaves what is installed as it is.

    It touches no dependency: a virtual environment on a Jetson often sees the system's numpy, which TensorRT needs.
    """
    # What a build leaves in a checkout (.egg-info) was installed by nobody.
    installed = next((found for found in Distribution.discover(name=NAME) if found.read_text("INSTALLER")), None)
    what = _origin(installed) if installed else [NAME]
    if installed and (installed.read_text("INSTALLER") or "").strip() == "uv":
        command = ["uv", "pip", "install", "--python", sys.executable, "--reinstall", "--no-cache", "--no-deps"]
    else:
        command = [sys.executable, "-m", "pip", "install", "--force-reinstall", "--no-cache-dir", "--no-deps"]
    runtime = [] if find_spec("_cffi_backend") else ["cffi"]  # absent where only the client was installed
    return "NEURALPOWER_SAMPLER=required " + shlex.join(command + runtime + what)


def _origin(installed: Distribution) -> list[str]:
    """Where the distribution came from (its PEP 610 record), as an installer takes it: a path, a URL, or name and version."""
    record = installed.read_text("direct_url.json")
    if record is None:
        return [f"{NAME}=={installed.version}"]
    origin = json.loads(record)
    url: str = origin["url"]
    if "vcs_info" in origin:
        return [f"{NAME} @ {origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"]
    if urlsplit(url).scheme != "file":
        return [f"{NAME} @ {url}"]
    path = url2pathname(urlsplit(url).path)
    return ["-e", path] if origin.get("dir_info", {}).get("editable") else [path]
