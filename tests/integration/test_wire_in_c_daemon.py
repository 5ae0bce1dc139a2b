"""The subscriber under examples/, written from docs/wire.md: built, run against a real daemon, and held against the Python client."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from daemon_process import Daemon, Process
from tests.patience import PATIENCE_S
from tests.worlds.subscriber_in_c import Summary, built

from neuralpower import Client
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Kind

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")


@pytest.fixture(scope="module")
def subscriber(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with sanitizers."""
    return built(tmp_path_factory.mktemp("c"))


def test_the_same_numbers_as_the_client(daemon: Daemon, subscriber: Path) -> None:
    """Mean power of each rail and of the total over the very same ticks, and the inferences among the very same records."""
    with subprocess.Popen(
        [subscriber, str(daemon.folder), "1500", "7"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline()]  # it has ticks: what comes now it sees
        process = Process(daemon)
        process.hello()
        process.infer_many(7)
        lines.append(running.communicate(timeout=PATIENCE_S)[0])
    assert running.returncode == 0 and "simulated" in lines[0]
    told = Summary.parse("".join(lines))
    assert told.lost == 0 and told.ticks >= 1500 and told.inferences >= 7 and told.simulated

    powers: dict[str, list[np.ndarray]] = {}
    total, index, inferences, record = [], [], 0, -1
    with Client(daemon.folder, past=True) as client:
        while not index or index[-1][-1] < told.first + told.ticks or record < told.journal_first + told.records:
            for message in client.poll():
                if isinstance(message, Ticks):
                    index.append(message.ticks["index"].astype(int))
                    total.append(message.total_power_w())
                    for rail, power_w in message.rail_power_w().items():
                        powers.setdefault(rail, []).append(power_w)
                elif isinstance(message, Records):
                    for record, each in enumerate(message.records, message.first):
                        within = told.journal_first <= record < told.journal_first + told.records
                        inferences += within and each.kind is Kind.INFERENCE
    numbers = np.concatenate(index)
    same = (numbers >= told.first) & (numbers < told.first + told.ticks)
    assert np.count_nonzero(same) == told.ticks
    assert list(told.rails) == list(powers)
    for rail, parts in powers.items():
        count, mean_w = told.rails[rail]
        power_w = np.concatenate(parts)[same]
        assert count == np.count_nonzero(np.isfinite(power_w))
        assert mean_w == pytest.approx(np.nanmean(power_w), rel=1e-9)
    assert told.total_w == pytest.approx(np.mean(np.concatenate(total)[same]), rel=1e-9)
    assert told.inferences == inferences
