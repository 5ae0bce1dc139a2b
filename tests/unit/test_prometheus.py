"""What Prometheus is told: joules that only grow, the total apart from its parts, and a page that nobody can hold up."""

from __future__ import annotations

import errno
import json
import math
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.patience import PATIENCE_S, until

from neuralpower_wire import Channel, Epoch, Ticks, tick_dtype
from neuralpower_wire.tick import Flag
from neuralpowerd.config import parse
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.live.scrape import MOST_PEERS, MOST_REQUEST, Scrape
from neuralpowerd.parts.prometheus import PrometheusPart, fed_by
from neuralpowerd.sources.boards import boards
from neuralpowerd.watch.energy import EnergyCounter, EnergyCounters, EnergyWatch
from neuralpowerd.watch.metrics import LATE_NS, Snapshot, TickCounts, families, page

BOOT = bytes(16)
SECOND_NS = 1_000_000_000
STATUS: dict[str, Any] = {
    "board": 'a "board"\nwith a line end',
    "source": "hwmon",
    "driver": "ina3221",
    "covers": "module",
    "ticks": {"lost": 3},
    "journal": {"lost": 4},
    "fresh_rates": {
        "ina3221@1-0040": {"rate_hz": 150.5, "low_hz": 150.0, "high_hz": 151.0, "kind": "estimated"},
        "ina3221@1-0041": {"rate_hz": None, "low_hz": None, "high_hz": None, "kind": "unknown"},
    },
    "connections": {"open": {"live": 2, "history": 1}, "cut": 5, "refused_keys": 6},
    "broken_messages": 7,
    "inferences": {"taken": 8, "refused": 9, "lost": 10},
    "estimates": {"state": "acquiring"},
}


def epoch(*rails: str, totals: tuple[str, ...] = (), board: str = "a board", simulated: bool = False) -> Epoch:
    """An epoch of power channels at 1 kHz."""
    channels = tuple(Channel(rail, "power_uw", "chip", 1) for rail in rails)
    return Epoch(1, 0, 1_000_000, 0, "hwmon", simulated, board, channels, totals=totals)


def ticks(t_s: list[float], *powers_w: list[float]) -> Ticks:
    """Ticks at these times, with the power of each rail; nan is a reading that is missing (ENODATA)."""
    made = np.zeros(len(t_s), tick_dtype(len(powers_w)))
    made["t_ns"] = np.round(np.array(t_s) * 1e9)
    made["slot"] = made["index"] = made["t_ns"] // 1_000_000
    made["epoch"], made["n"] = 1, len(powers_w)
    power = np.array(powers_w).T
    made["readings"]["value"] = np.round(np.nan_to_num(power) * 1e6)
    made["readings"]["state"] = np.where(np.isnan(power), 3, 0)
    made["readings"]["error"] = np.where(np.isnan(power), errno.ENODATA, 0)
    return made


def watch(path: Path, *parts: Ticks, of: Epoch, boot: bytes = BOOT, now_s: float = 100.0) -> EnergyCounters:
    """What is told after an epoch of these runs of ticks."""
    made = EnergyWatch(path / "energy.json", boot, lambda: now_s)
    made.begin_epoch(of)
    for part in parts:
        made.see(part)
    made.tell()
    return made.told


def test_energy_is_the_integral_over_readings(tmp_path: Path) -> None:
    """Straight lines between readings, across runs of ticks; over a missing reading, and not over a second without any."""
    nan = math.nan
    parts = [
        ticks([0, 0.5], [2.0, 4.0], [1.0, 1.0]),
        ticks([1.0, 1.25, 1.5], [4.0, nan, 6.0], [1.0, 1.0, 1.0]),
        ticks([10.0, 10.1], [8.0, 8.0], [1.0, 1.0]),
    ]
    told = watch(tmp_path, *parts, of=epoch("IN", "GPU", totals=("IN", "GPU")))
    assert told.rails["IN"].joules == pytest.approx(1.5 + 2.0 + 2.5 + 0.8)
    assert told.rails["IN"].seconds == told.rails["GPU"].seconds == pytest.approx(1.6)
    assert told.rails["IN"].mean_w == pytest.approx(8.0)
    assert told.total is not None and told.total.joules == pytest.approx(6.8 + 1.6)


def test_gpus_are_no_host(tmp_path: Path) -> None:
    """What all GPUs draw is not what the machine draws: each is told by itself, and no total."""
    of = replace(epoch("gpu0", "gpu1", totals=("gpu0", "gpu1")), source="nvml")
    found = told(watch(tmp_path, ticks([0, 1], [300.0, 300.0], [100.0, 100.0]), of=of))
    assert [(labels["hw_id"], labels["hw_type"], value) for labels, value in found["hw_energy_joules_total"]] == [
        ("gpu0", "gpu", 300.0),
        ("gpu1", "gpu", 100.0),
    ]
    assert not [name for name in found if name.startswith("hw_host")]
    of = replace(of, source="hwmon", covers="module")
    (host, joules), *_ = told(watch(tmp_path, ticks([2, 3], [1.0, 1.0], [1.0, 1.0]), of=of))[
        "hw_host_energy_joules_total"
    ]
    assert host["covers"] == "module" and joules == 2.0


def test_no_counter_falls(tmp_path: Path) -> None:
    """A rail that gives back, as a battery does, is shown so by its power; its counter stands."""
    told = watch(tmp_path, ticks([0, 1], [2.0, 2.0]), ticks([1.5, 2], [-4.0, -4.0]), of=epoch("BATTERY"))
    assert told.rails["BATTERY"].joules == 2.0 and told.rails["BATTERY"].mean_w < 0


def test_counters_go_on_after_a_restart(tmp_path: Path) -> None:
    """Of the same boot, board and kind of source; each keeps the time of its creation."""
    of = epoch("IN", totals=("IN",))
    watch(tmp_path, ticks([0, 1], [5.0, 5.0]), of=of)
    told = watch(tmp_path, ticks([3, 4], [1.0, 1.0]), of=of, now_s=200.0)
    assert told.rails["IN"].joules == told.total.joules == 6.0  # type: ignore[union-attr]  # there is a total
    assert told.rails["IN"].created_s == 100.0
    more = watch(tmp_path, of=epoch("IN", "GPU", totals=("IN", "GPU")), now_s=300.0)
    assert (more.rails["IN"].joules, more.rails["GPU"].joules) == (6.0, 0.0)
    assert more.total == EnergyCounter(300.0), "the sum of other rails is another counter"


@pytest.mark.parametrize(
    ("of", "boot"),
    [
        (epoch("IN"), bytes([1]) * 16),
        (epoch("IN", board="another board"), BOOT),
        (epoch("IN", simulated=True), BOOT),
    ],
)
def test_other_counters_begin_at_0(tmp_path: Path, of: Epoch, boot: bytes) -> None:
    """After a reboot, on another board, and simulated: told by the time of creation."""
    watch(tmp_path, ticks([0, 1], [5.0, 5.0]), of=epoch("IN"))
    assert watch(tmp_path, of=of, boot=boot, now_s=300.0).rails == {"IN": EnergyCounter(300.0)}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2}', '{"format": 1, "boot": 1}', "[" * 100_000])
def test_a_damaged_file_is_told_and_left(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Counting begins at 0 with one line."""
    (tmp_path / "energy.json").write_text(text)
    assert watch(tmp_path, of=epoch("IN")).rails["IN"].joules == 0
    assert ("no counters that can be read" in caplog.text) == (
        text != '{"format": 1, "boot": 1}' and text != '{"format": 2}'
    )


@pytest.mark.parametrize("value", [-1.0, "x", None, 1e999])
def test_a_counter_that_cannot_be_is_no_counter(tmp_path: Path, value: object) -> None:
    """A number below 0, infinite, or none."""
    watch(tmp_path, ticks([0, 1], [5.0, 5.0]), of=epoch("IN"))
    body = json.loads((tmp_path / "energy.json").read_text())
    body["rails"]["IN"]["joules"] = value
    (tmp_path / "energy.json").write_text(json.dumps(body))
    assert watch(tmp_path, of=epoch("IN")).rails["IN"].joules == 0


def test_nothing_is_told_that_was_not_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Or a restart would go on below what was read, which Prometheus adds as if all of it were new."""
    folder = tmp_path / "gone"
    made = EnergyWatch(folder / "energy.json", BOOT)
    made.begin_epoch(epoch("IN"))
    made.see(ticks([0, 1], [5.0, 5.0]))
    made.tell()
    made.tell()
    assert made.told.rails == {} and caplog.text.count("stand still") == 1
    folder.mkdir()
    made.tell()
    assert made.told.rails["IN"].joules == 5.0 and [each.name for each in folder.iterdir()] == ["energy.json"]


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Neither when the counters are read nor when they are written."""
    (tmp_path / "other").write_text("precious")
    (tmp_path / "energy.json").symlink_to(tmp_path / "other")
    watch(tmp_path, ticks([0, 1], [5.0, 5.0]), of=epoch("IN"))
    assert (tmp_path / "other").read_text() == "precious" and not (tmp_path / "energy.json").is_symlink()


def test_ticks_are_counted(tmp_path: Path) -> None:
    """Deadlines passed over within an epoch, how late each tick was, and readings that failed when they were read."""
    counts = TickCounts()
    counts.begin_epoch(epoch("IN", "GPU"))
    first = ticks([0.0, 0.001, 0.005], [1.0, math.nan, math.nan], [1.0, 1.0, 1.0])
    first["readings"]["flags"][2, 0] = Flag.HELD
    first["t_ns"][1] += 15_000
    counts.see(first)
    late = ticks([0.008], [1.0], [1.0])
    late["t_ns"] += 3 * SECOND_NS
    counts.see(late)
    assert (counts.ticks, counts.missed) == (4, 3 + 2)
    assert counts.late == [2, 1, *[0] * (len(LATE_NS) - 2), 1] and counts.late_s == pytest.approx(3.000015)
    assert dict(counts.errors) == {("IN", "power_uw", "ENODATA"): 1}
    counts.begin_epoch(epoch("IN", "GPU"))
    counts.see(ticks([9.0], [1.0], [1.0]))
    assert counts.missed == 5, "between epochs nobody had a deadline"


def told(energies: EnergyCounters, parents: dict[str, str] | None = None, openmetrics: bool = False) -> dict[str, Any]:
    """The samples of a page by name: a list of (labels, value), read by prometheus_client's own parsers."""
    pytest.importorskip("prometheus_client")
    from prometheus_client.openmetrics import parser as openmetrics_parser
    from prometheus_client.parser import text_string_to_metric_families

    counts = TickCounts()
    counts.begin_epoch(epoch("IN"))
    counts.see(ticks([0.0, 0.001, 0.005], [1.0, math.nan, 2.0]))
    snapshot = Snapshot(
        energies,
        parents or {},
        counts.ticks,
        counts.missed,
        tuple(counts.late),
        counts.late_s,
        counts.errors,
        STATUS,
        50.0,
    )
    text, kind = page(lambda: snapshot)(openmetrics)
    assert kind.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    read = openmetrics_parser.text_string_to_metric_families if openmetrics else text_string_to_metric_families
    found: dict[str, Any] = {}
    for family in read(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_page_is_what_the_parsers_read(openmetrics: bool) -> None:
    """Every number under its name, in both formats; what is not known is left out."""
    counter = EnergyCounter(20.0, 12.5, 5.0, 2.5)
    found = told(
        EnergyCounters({"IN": counter, "GPU": EnergyCounter(20.0)}, None, (), "b", True), openmetrics=openmetrics
    )
    rail = {"hw_id": "IN", "hw_name": "IN", "hw_type": "rail", "hw_parent": "", "simulated": "true"}
    assert found["hw_power_watts"] == [(rail, 2.5)], "a rail without a reading has no power"
    assert (rail, 12.5) in found["hw_energy_joules_total"] and (rail, 20.0) in found["hw_energy_joules_created"]
    assert (rail, 5.0) in found["neuralpower_rail_measured_seconds_total"]
    assert "hw_host_power_watts" not in found
    (info, one), *_ = found["neuralpower_info"]
    assert one == 1 and info["board"] == STATUS["board"] and info["covers"] == "module" and info["simulated"] == "true"
    assert found["neuralpower_ticks_total"] == [({}, 3.0)] and found["neuralpower_missed_deadlines_total"] == [
        ({}, 3.0)
    ]
    buckets = found["neuralpower_tick_lateness_seconds_bucket"]
    assert buckets[0] == ({"le": "1e-05"}, 3.0) and buckets[-1] == ({"le": "+Inf"}, 3.0) and len(buckets) == 13
    assert found["neuralpower_tick_lateness_seconds_count"] == [({}, 3.0)]
    assert found["neuralpower_reading_errors_total"] == [
        ({"rail": "IN", "quantity": "power_uw", "error": "ENODATA"}, 1.0)
    ]
    assert found["neuralpower_lapped_total"] == [({"log": "ticks"}, 3.0), ({"log": "journal"}, 4.0)]
    fresh = {"chip": "ina3221@1-0040", "kind": "estimated"}
    assert found["neuralpower_fresh_rate_hertz"] == [(fresh, 150.5)]
    assert found["neuralpower_fresh_rate_low_hertz"] == [(fresh, 150.0)]
    assert found["neuralpower_fresh_rate_high_hertz"] == [(fresh, 151.0)]
    assert found["neuralpower_connections"] == [({"socket": "live"}, 2.0), ({"socket": "history"}, 1.0)]
    assert [found[f"neuralpower_{name}_total"] for name in ("connections_cut", "refused_keys", "broken_messages")] == [
        [({}, 5.0)],
        [({}, 6.0)],
        [({}, 7.0)],
    ]
    assert ({"outcome": "lost"}, 10.0) in found["neuralpower_inferences_total"]
    assert [state["state"] for state, value in found["neuralpower_estimator_state"] if value] == ["acquiring"]
    assert found["process_resident_memory_bytes"][0][1] > 0


@pytest.mark.parametrize("board", [board for board in boards() if board.totals], ids=lambda board: board.name)
def test_the_total_is_kept_apart_from_its_parts(board: Any) -> None:
    """On each board of the table: rails without a parent among them add up to the total, or it is one rail and none of them."""
    total_of = board.totals[0].rails
    of = epoch(
        *(rail.label for rail in board.rails if not rail.optional or rail.label in total_of),
        totals=total_of,
        board=board.name,
    )
    rails = {rail: EnergyCounter(0.0, 1.0, 1.0, 1.0) for rail in {*of.rails(), *total_of}}
    found = told(EnergyCounters(rails, EnergyCounter(0.0, 9.0, 1.0, 9.0), total_of, board.name), fed_by(of))
    ((host, joules),) = found["hw_host_energy_joules_total"]
    assert joules == 9.0 and host["rails"] == "+".join(total_of) and host["hw_name"] == board.name
    told_rails = {labels["hw_id"]: labels["hw_parent"] for labels, _ in found.get("hw_energy_joules_total", [])}
    assert set(told_rails) == set(rails) - (set(total_of) if len(total_of) == 1 else set())
    expected = {rail.label: rail.parent for rail in board.rails if rail.label in told_rails}
    assert told_rails == expected


# ---- The page over HTTP ------------------------------------------------------------------------


class Served:
    """A page of our own, served; `made` counts how often it was made."""

    def __init__(self) -> None:
        self.made = 0
        self.state = object()
        self.scrape = Scrape("127.0.0.1", 0, self.page, lambda: self.state)

    def page(self, openmetrics: bool) -> tuple[bytes, str]:
        self.made += 1
        if self.state is None:
            raise ValueError("no page")
        return (b"open" if openmetrics else b"plain") * 100_000, "text/plain"

    def connect(self) -> socket.socket:
        end = socket.create_connection(("127.0.0.1", self.scrape.port))
        end.settimeout(PATIENCE_S)
        return end

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """The status line of the answer, and its body; empty where the connection was ended without one."""
        with self.connect() as end:
            end.sendall(request)
            got = b""
            try:
                while more := end.recv(1 << 16):
                    got += more
            except ConnectionResetError:
                return b"", b""
        head, _, body = got.partition(b"\r\n\r\n")
        return head.partition(b"\r\n")[0], body


@pytest.fixture
def served() -> Any:
    """Ended with the test."""
    made = Served()
    yield made
    made.scrape.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 405 Method Not Allowed"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * MOST_REQUEST, b""),
    ],
)
def test_answers(served: Served, request_: bytes, status: bytes) -> None:
    """The page, a refusal in one line, or no answer at all to a request without end."""
    assert served.ask(request_)[0] == status


def test_a_page_is_made_once_for_each_state_and_format(served: Served) -> None:
    """Who asks without end gets the same bytes; the daemon works once a second for it."""
    text, openmetrics = (
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
    )
    assert served.ask(text)[1] == served.ask(text)[1] == b"plain" * 100_000
    assert served.ask(openmetrics)[1] == served.ask(openmetrics)[1] == b"open" * 100_000
    assert served.made == 2
    served.state = object()
    served.ask(text)
    assert served.made == 3


def test_a_page_that_cannot_be_made_ends_nothing(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """The log has it; the next one is served."""
    served.state = None
    assert served.ask(b"GET /metrics HTTP/1.1\r\n\r\n")[0] == b"HTTP/1.1 500 Internal Server Error"
    assert "cannot be made" in caplog.text
    served.state = object()
    assert served.ask(b"GET /metrics HTTP/1.1\r\n\r\n")[0] == b"HTTP/1.1 200 OK"


def test_idle_connections_give_way(served: Served) -> None:
    """However many say nothing, one that asks is answered, and the oldest of them is ended."""
    idle = [served.connect() for _ in range(MOST_PEERS + 3)]
    assert served.ask(b"GET /metrics HTTP/1.1\r\n\r\n")[0] == b"HTTP/1.1 200 OK"
    assert idle[0].recv(1) == b""
    until(lambda: len(served.scrape._peers) <= MOST_PEERS)
    for end in idle:
        end.close()


def test_a_taken_port_is_told(served: Served) -> None:
    """One line that says what to do."""
    with pytest.raises(
        DaemonError, match=r"^prometheus\.port: 127\.0\.0\.1:\d+: Address already in use; choose another port$"
    ):
        Scrape("127.0.0.1", served.scrape.port, served.page, object)


# ---- The part ----------------------------------------------------------------------------------


def test_without_a_port_nothing_is_imported_and_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by default."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    part = PrometheusPart(parse("", "f"), dict)
    part.begin_epoch(epoch("IN"))
    part.learn(ticks([0.0], [1.0]))
    part.second()
    part.close()


def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, before any port is taken."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    config = parse(f'runtime_dir = "{tmp_path}"\n[prometheus]\nport = 9', "f")
    with pytest.raises(
        ConfigError, match=r"^prometheus\.port: the package prometheus_client is not installed; pip install"
    ):
        PrometheusPart(config, dict)


@pytest.mark.parametrize("host", ["localhost", "*", "1.2.3", "::1%lo junk"])
def test_a_host_is_a_number(host: str) -> None:
    """A name would be looked up, and might be somebody else's tomorrow."""
    with pytest.raises(ConfigError, match="is no address; write numbers"):
        parse(f'[prometheus]\nhost = "{host}"', "f")


def test_families_without_a_status_are_those_of_the_ticks() -> None:
    """Before the first status."""
    pytest.importorskip("prometheus_client")
    assert {family.name for family in families(Snapshot())} == {
        "neuralpower_ticks",
        "neuralpower_missed_deadlines",
        "neuralpower_reading_errors",
    }
