"""What every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How many threads there are decides how sums are split, and so how they are rounded. Read when numpy is imported, here and
# in the processes that tests start.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

LOAD = (HealthCheck.too_slow,)
"""Judges the machine and what else runs on it, not the test."""

# A change is judged by the same cases everywhere; --hypothesis-profile=random draws new ones.
settings.register_profile("same", derandomize=True, database=None, deadline=None, suppress_health_check=LOAD)
settings.register_profile("random", derandomize=False, deadline=None, suppress_health_check=LOAD, print_blob=True)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which tests share a process under pytest-xdist: those of a file, which share what they draw; and all that start processes
    of their own, which would slow each other and then judge the machine."""
    for item in items:
        group = "integration" if item.path.parent.name == "integration" else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of published measurements: NEURALPOWER_DATA, or shared/data beside the checkout; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NEURALPOWER_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no published measurements in {folder}; NEURALPOWER_DATA names the folder")
    return folder


@pytest.fixture
def signals() -> Iterator[None]:
    """Puts the handlers of signals back after a service ran in this process."""
    kept = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    }
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
