"""Sampling is changed as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neuralpower_sampler import AVAILABLE, Ring, SamplerError
from neuralpowerd import sampling as module
from neuralpowerd.config import Config, RealtimeTable
from neuralpowerd.errors import DaemonError
from neuralpowerd.sampling import Sampling

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")


@pytest.fixture
def sampling(tmp_path: Path) -> Iterator[Sampling]:
    """Of the chip in software, small."""
    config = Config(source="sim", runtime_dir=str(tmp_path), history_seconds=30, realtime=RealtimeTable(priority=0))
    made = Sampling(config)
    yield made
    made.close()


def test_a_loop_that_cannot_start_does_not_run(sampling: Sampling) -> None:
    """The source is given back, and what was before can go on."""
    sampling.change(replace(sampling.config, realtime=RealtimeTable(priority=0, cpu=900)))
    with pytest.raises(DaemonError, match="900"):
        sampling.start()
    assert not sampling.running and sampling._source is None
    sampling.change(replace(sampling.config, realtime=RealtimeTable(priority=0)))
    sampling.start()
    assert sampling.running and sampling.stats().ticks >= 0


def test_a_ring_that_cannot_be_made_leaves_the_one_before(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room: stream, plan and configuration stay, and sampling goes on in them."""
    sampling.start()
    sampling.stop()
    before = sampling.config, sampling.plan, sampling.stream
    create = Ring.create

    class Full(Ring):
        @classmethod
        def create(cls, path: object, readings: int, period_ns: int, seconds: float = 0.0) -> Ring:
            if seconds > 30:
                raise SamplerError(f"{path}: no space left on device")
            return create(path, readings, period_ns, seconds)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(module, "Ring", Full)
    with pytest.raises(DaemonError, match="no space"):
        sampling.change(replace(sampling.config, history_seconds=3000))
    assert (sampling.config, sampling.plan, sampling.stream) == before
    sampling.start()
    assert sampling.running
