"""What several of these tests start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon_process import Daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon on the simulated chip, one for a file; files that need another have their own."""
    made = Daemon()
    try:
        yield made.start()
    finally:
        made.close()
