"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of published measurements: NEURALPOWER_DATA, or shared/data beside the checkout; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NEURALPOWER_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no published measurements in {folder}; NEURALPOWER_DATA names the folder")
    return folder
