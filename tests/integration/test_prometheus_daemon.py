"""The page for Prometheus of a real daemon: its joules are those of its ticks, and go on after it was killed."""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from daemon_process import SMALL, Daemon

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Epoch, rail_power_w

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
pytest.importorskip("prometheus_client")


def free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as end:
        return int(end.getsockname()[1])


class Scraped:
    """A daemon with a page, and the page's samples: (name, value of the label that tells them apart) → value."""

    def __init__(self) -> None:
        self.daemon, self.port = Daemon(), free_port()
        self.daemon.configure("", tables=SMALL + f"[prometheus]\nport = {self.port}\n")

    def samples(self) -> dict[tuple[str, str], float]:
        from prometheus_client.parser import text_string_to_metric_families

        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as page:
            text = page.read().decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                assert labels.pop("simulated", "true") == "true"
                found[sample.name, labels.get("hw_id") or labels.get("state") or ""] = sample.value
        return found

    def until(self, *name: str, above: float) -> dict[tuple[str, str], float]:
        """The samples once one of them has risen above a value."""
        seen: dict[tuple[str, str], float] = {}

        def risen() -> bool:
            seen.update(self.samples())
            return seen.get((name[0], name[1]), -1.0) > above

        self.daemon.until(risen)
        return seen


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    """A daemon that is not started yet."""
    made = Scraped()
    yield made
    made.daemon.close()


def measured(daemon: Daemon) -> dict[str, float]:
    """Joules of each rail over all ticks that it holds, of each epoch by itself."""
    epochs = {each["number"]: Epoch.from_dict(each) for each in daemon.ask("epochs").body["epochs"]}
    ticks = daemon.ticks(0, daemon.ask("ticks").next)
    joules: dict[str, float] = {}
    for number, epoch in epochs.items():
        mine = ticks[ticks["epoch"] == number]
        for rail, power_w in rail_power_w(epoch, mine).items():
            means_w, steps_s = (power_w[1:] + power_w[:-1]) / 2, np.diff(mine["t_ns"]) * 1e-9
            joules[rail] = joules.get(rail, 0.0) + float(np.sum(means_w * steps_s))
    return joules


def test_joules_are_those_of_the_ticks_and_outlive_a_kill(scraped: Scraped) -> None:
    """What a scrape has seen is never more than the ticks hold, nor more than a later one sees, kill or not."""
    scraped.daemon.start()
    first = scraped.until("hw_host_energy_joules_total", "total", above=3.0)
    assert ("hw_power_watts", "VDD_IN") not in first, "the total is among its parts"
    assert first["hw_host_power_watts", "total"] == pytest.approx(3.0, rel=0.05)
    assert first["hw_power_watts", "VDD_SOC"] == pytest.approx(0.9, rel=0.1)
    assert first["neuralpower_estimator_state", "waiting"] == 1.0
    scraped.daemon.stop(signal.SIGKILL)
    scraped.daemon.start()
    scraped.daemon.until(lambda: ("hw_host_energy_joules_total", "total") in scraped.samples())
    second = scraped.samples()
    for name in (("hw_host_energy_joules_total", "total"), ("hw_energy_joules_total", "VDD_SOC")):
        assert second[name] >= first[name]
        assert (
            second[name[0].replace("_total", "_created"), name[1]]
            == first[name[0].replace("_total", "_created"), name[1]]
        )
    third = scraped.until(
        "hw_host_energy_joules_total", "total", above=second["hw_host_energy_joules_total", "total"] + 3.0
    )
    joules = third["hw_host_energy_joules_total", "total"]
    assert 6.0 < joules <= measured(scraped.daemon)["VDD_IN"] * (1 + 1e-6)
    seconds = third["neuralpower_host_measured_seconds_total", "total"]
    assert joules / seconds == pytest.approx(3.0, rel=0.02)
    assert third["neuralpower_ticks_total", ""] > 0 and third["process_resident_memory_bytes", ""] > 0
    code, logged = scraped.daemon.stop()
    assert code == 0 and f"metrics for Prometheus at http://127.0.0.1:{scraped.port}/metrics" in logged


def test_a_taken_port_ends_the_start(scraped: Scraped) -> None:
    """With one line, and before any socket."""
    with socket.create_server(("127.0.0.1", scraped.port)):
        process: Any = scraped.daemon.spawn()
        _, logged = process.communicate(timeout=60)
    assert process.returncode == 1
    assert logged.strip().splitlines()[-1].endswith("Address already in use; choose another port")
    assert not list(scraped.daemon.folder.glob("*.ipc"))
