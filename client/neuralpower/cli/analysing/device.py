"""The option that names one device of a folder with recordings of several, alike for all commands that read one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuralpower.recordings.recording import Recording


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare --device."""
    parser.add_argument("--device", metavar="NAME", help="of a folder with recordings of several devices, this one")


def opened(path: str | os.PathLike[str], args: argparse.Namespace, skip_damaged: bool = False) -> Recording:
    """The recording at `path`, or of the device that was named in it. Raises InputError."""
    from neuralpower.recordings.devices.folder import one_of
    from neuralpower.recordings.recording import Recording

    return Recording(one_of(Path(path), args.device), skip_damaged)
