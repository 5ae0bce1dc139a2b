"""A real Prometheus scrapes a real daemon (source sim), through a kill and a restart of it, and is asked what it has seen.

Exit status 1 where a check fails, or where the bed cannot run: then the last line begins with "not run:".
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
CONFIG = """global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: neuralpower
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
DAEMON = """source = "sim"
runtime_dir = "{folder}/run"
history_seconds = 60
[realtime]
priority = 0
[journal]
mebibytes = 2
[prometheus]
port = {port}
"""
SCRAPES = 10
"""Before the kill, and again after it."""


class NotRun(Exception):
    """The bed cannot run on this machine."""


class Failed(Exception):
    """What does not hold."""


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as end:
        return int(end.getsockname()[1])


def fetch(url: str) -> bytes:
    """The page at `url`; empty where nobody answers yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return b""


def until(what: str, condition: Callable[[], Any]) -> Any:
    """What the condition gives, once that is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.2)
    return found


class Bed:
    """The daemon, Prometheus, and questions to it."""

    def __init__(self, folder: Path, prometheus: str) -> None:
        self.folder, self.page, self.port = folder, free_port(), free_port()
        (folder / "d.toml").write_text(DAEMON.format(folder=folder, port=self.page))
        (folder / "p.yml").write_text(CONFIG.format(port=self.page))
        self.running: list[subprocess.Popen[bytes]] = []
        self.daemon = self.start_daemon()
        until("the page", lambda: fetch(self.url))
        words = [
            f"--config.file={folder}/p.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with open(folder / "prometheus.log", "wb") as log:
            self.running.append(subprocess.Popen([prometheus, *words], stdout=log, stderr=log))

    @property
    def url(self) -> str:
        """Of the daemon's page."""
        return f"http://127.0.0.1:{self.page}/metrics"

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """The daemon as a user starts it."""
        command = [sys.executable, "-m", "neuralpowerd", "run", "--config", str(self.folder / "d.toml")]
        with open(self.folder / "daemon.log", "ab") as log:
            process = subprocess.Popen(command, stderr=log)
        self.running.append(process)
        return process

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """An instant query: labels and value of each series."""
        text = fetch(f"http://127.0.0.1:{self.port}/api/v1/query?query={urllib.parse.quote(query)}")
        answer = json.loads(text) if text else {"status": "success", "data": {"result": []}}
        if answer["status"] != "success":
            raise Failed(f"{query}: {answer}")
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def one(self, query: str) -> float:
        """The value of the one series."""
        found = self.ask(query)
        if len(found) != 1:
            raise Failed(f"{query}: {len(found)} series, not one: {found}")
        return found[0][1]

    def scraped(self, times: int) -> None:
        """Wait until the target was up so often in the last two minutes."""
        query = 'sum_over_time(up{job="neuralpower"}[2m])'
        until(f"{times} scrapes", lambda: any(value >= times for _, value in self.ask(query)))

    def close(self) -> None:
        """End what was started here."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check(bed: Bed) -> None:
    """Raises Failed with the first thing that does not hold; prints each that does."""
    text = fetch(bed.url)
    promtool = shutil.which("promtool")
    if promtool:
        ran = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
        if ran.returncode:
            raise Failed(f"promtool check metrics: {ran.stdout.decode()}{ran.stderr.decode()}")
        print(f"promtool check metrics: {len(text)} bytes, nothing to say")
    bed.scraped(SCRAPES)
    before = bed.one("hw_host_energy_joules_total")
    bed.daemon.kill()
    bed.daemon.wait()
    bed.daemon = bed.start_daemon()
    bed.scraped(2 * SCRAPES)
    until("the counter after the restart", lambda: bed.one("hw_host_energy_joules_total") > before)
    after = bed.one("hw_host_energy_joules_total")
    resets = bed.one("resets(hw_host_energy_joules_total[2m])")
    print(f"total (simulated): {before:.3f} J before the kill, {after:.3f} J after it, {resets:.0f} resets")
    if resets:
        raise Failed("the counter fell")
    power_w = bed.one("rate(hw_host_energy_joules_total[2m]) / rate(neuralpower_host_measured_seconds_total[2m])")
    print(f"mean power by the two counters (simulated): {power_w:.4f} W of 3 W")
    if abs(power_w - 3.0) > 0.06:
        raise Failed("the counters do not give the power that is simulated")
    rails = {labels["hw_id"]: value for labels, value in bed.ask("hw_power_watts")}
    print(f"rails beside the total (simulated): {', '.join(f'{rail} {value:.3f} W' for rail, value in rails.items())}")
    if set(rails) != {"VDD_CPU_GPU_CV", "VDD_SOC"}:
        raise Failed("the total is among its parts, or a part is missing")
    late = bed.one("histogram_quantile(0.99, sum by (le) (rate(neuralpower_tick_lateness_seconds_bucket[2m])))")
    print(f"lateness, 99 %: {late * 1e6:.0f} µs")
    (states, series) = bed.ask("neuralpower_estimator_state == 1"), bed.one("count(neuralpower_estimator_state)")
    if [labels["state"] for labels, _ in states] != ["waiting"] or series != 4:
        raise Failed(f"estimator: {states}")
    print(
        f"{bed.one('scrape_samples_scraped'):.0f} samples a scrape, {bed.one('scrape_duration_seconds') * 1e3:.1f} ms each"
    )


def main() -> int:
    """Exit status."""
    prometheus = shutil.which("prometheus")
    try:
        if prometheus is None:
            raise NotRun("missing packages: prometheus")
        with tempfile.TemporaryDirectory(prefix="np") as name:
            os.environ.pop("NOTIFY_SOCKET", None)
            bed = Bed(Path(name), prometheus)
            try:
                version = subprocess.run([prometheus, "--version"], capture_output=True, text=True, check=False)
                print((version.stdout + version.stderr).splitlines()[0])
                check(bed)
            finally:
                bed.close()
    except NotRun as reason:
        print(f"not run: {reason}")
        return 1
    except Failed as reason:
        print(f"FAILED: {reason}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
