"""The check: a verdict and a remedy on every line, from trees of files; conditions from the same."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_daemon_boards import EXPECTED, unpack
from test_daemon_plan import board, tree

from neuralpowerd.check import check, effect
from neuralpowerd.check import i2c as check_i2c
from neuralpowerd.check import machine as check_machine
from neuralpowerd.check.findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding, page
from neuralpowerd.config import Config, I2cTable, JournalTable, RealtimeTable
from neuralpowerd.system import latency
from neuralpowerd.system.conditions import Machine


def write(root: Path, texts: dict[str, str]) -> Path:
    """Files below a root."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


MACHINE = {
    "sys/class/devfreq/17000000.gpu/cur_freq": "918000000",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "918000000",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1510400",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "1510400",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1510400",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48500",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "2",
    "sys/class/thermal/cooling_device1/type": "cpu-throttle-alert",
    "sys/class/thermal/cooling_device1/cur_state": "0",
    "sys/class/hwmon/hwmon9/oc1_event_cnt": "3",
    "var/lib/nvpmodel/status": "pmode:0002",
    "proc/loadavg": "0.52 0.40 0.30 1/300 999",
}


def test_conditions_are_read(tmp_path: Path) -> None:
    """Clocks in Hz, temperatures in °C, throttling without fans, power mode, load; what is absent is left out."""
    assert Machine(write(tmp_path / "a", MACHINE), "/var/lib/nvpmodel/status").read() == {
        "clock_hz.17000000.gpu": 918_000_000,
        "clock_hz.cpu.policy0": 1_510_400_000,
        "clocks_locked": False,
        "temperature_c.cpu-thermal": 48.5,
        "throttling.cpu-throttle-alert": 0,
        "overcurrent.oc1": 3,
        "power_mode": "pmode:0002",
        "load_1min": 0.52,
    }
    assert Machine(tmp_path / "b").read() == {}


def findings(config: Config) -> dict[str, Finding]:
    """By topic."""
    return {each["topic"]: Finding(**each) for each in check.examine(config)["findings"]}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_board_has_a_page(name: str, tmp_path: Path) -> None:
    """Each line has a verdict; what is not good says what to do or why; the page keeps to its width."""
    config = Config(sysfs_root=str(unpack(name, tmp_path)), runtime_dir=str(tmp_path))
    found = check.examine(config)
    made = [Finding(**each) for each in found["findings"]]
    assert {each.verdict for each in made} <= {GOOD, BETTER, PROBLEM, UNKNOWN}
    assert all(each.advice for each in made if each.verdict in (BETTER, PROBLEM, UNKNOWN)), made
    assert {rail for rail, _ in EXPECTED[name][1]} <= {each.topic for each in made}
    assert all(rail["power_w"] is not None for rail in found["rails"])
    lines = page(made, check.title(found), 90, False).splitlines()
    assert max(map(len, lines)) <= 90 and lines[0].startswith(f"neuralpowerd check · {EXPECTED[name][0]}")


def test_the_bus_limits_the_reach(tmp_path: Path) -> None:
    """At 100 kHz three rails come to 337 values a second, the input alone to 1010; an impossible period is a problem."""
    root = board(tmp_path, 100_000)
    seen = findings(Config(sysfs_root=str(root), runtime_dir=str(tmp_path), period_us=1000))
    assert "as set 152 Hz, at 140 µs 337 Hz" in seen["fresh rate, all rails"].value
    assert "at 140 µs 1010 Hz" in seen["fresh rate, VDD_IN"].value
    assert seen["bus clock"].verdict == BETTER and "480 µs" in seen["bus clock"].value
    assert seen["period"].verdict == PROBLEM and seen["period"].advice.startswith(
        "possible: period_us = 2970 with 3 rails; or"
    )


def test_seldom_voltages_are_said(tmp_path: Path) -> None:
    """A period that has no time for all voltages is possible with some of them in each tick, and the page says so."""
    root = board(tmp_path, 100_000)
    seen = findings(Config(sysfs_root=str(root), runtime_dir=str(tmp_path), period_us=2000))
    assert seen["period"].value == "2000 µs is possible, each voltage in one tick of 3"
    assert seen["period"].verdict == GOOD and "2970" in seen["period"].advice
    assert "505 with each voltage in one tick of 3" in seen["fresh rate, all rails"].value


def test_what_source_i2c_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus that cannot be opened, a bound driver, a missing group: each with its remedy; nothing with another source."""
    config = Config(sysfs_root=str(tree(tmp_path)), runtime_dir=str(tmp_path), source="i2c")
    node = tmp_path / "sys/bus/i2c/devices/1-0040"
    seen = {each.topic: each for each in check_i2c.registers(config)}
    assert seen["registers"].verdict == PROBLEM and "/dev/i2c-1, chips at 0x40" in seen["registers"].value
    assert "bound driver" not in seen and not [*check_i2c.registers(replace(config, source="hwmon"))]
    (node / "driver").symlink_to(tmp_path)
    monkeypatch.setattr(check_i2c, "GROUP", "no-such-group")
    really = os.open
    monkeypatch.setattr(os, "open", lambda path, *words: os.dup(0) if path == "/dev/i2c-1" else really(path, *words))
    seen = {each.topic: each for each in check_i2c.registers(config)}
    assert seen["registers"].verdict == GOOD and seen["group i2c"].verdict == BETTER
    assert seen["bound driver"].verdict == PROBLEM and "unbind" in seen["bound driver"].advice
    wrong = replace(config, i2c=I2cTable(rails=("A",), device="/dev/i2c-1"))
    (only,) = check_i2c.registers(wrong)
    assert only.verdict == PROBLEM and "shunts_uohm" in only.value


def test_waking_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spin and wake-up latency as configured; one that would be refused is a problem with its remedy."""
    topic = "spin, wake-up latency"
    seen = {each.topic: each for each in check_machine.realtime(Config(realtime=RealtimeTable(spin_us=200)))}
    assert seen[topic].value == "200 µs of spin, processors may sleep deeply"
    monkeypatch.setattr(latency.LatencyHold.__init__, "__defaults__", ("/nowhere/cpu_dma_latency",))
    seen = {each.topic: each for each in check_machine.realtime(Config(realtime=RealtimeTable(hold_latency=True)))}
    assert seen[topic].verdict == PROBLEM and "neuralpowerd-latency.conf" in seen[topic].advice


def test_other_readers_are_seen_and_not_disturbed(tmp_path: Path) -> None:
    """A process with a chip's file open, or a known reader, is named; the chip is then not probed."""
    root = board(tmp_path, 400_000)
    process = root / "proc/4242"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("logger\n")
    (monitor,) = (root / "sys/devices/platform/bus@0").glob("*.i2c/*/*/hwmon/*")
    (process / "fd/3").symlink_to(monitor / "in1_input")
    write(root, {"proc/77/comm": "jtop"})
    (root / "proc/77/fd").mkdir()
    seen = findings(Config(sysfs_root=str(root), runtime_dir=str(tmp_path)))
    assert seen["other readers"].verdict == PROBLEM and seen["other readers"].value == "logger (4242), jtop (77)"
    assert "not probed, since logger (4242), jtop (77) reads it" in seen["ina3221@1-0040"].value


def test_real_time_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals, groups without a share, throttling and the kernel's model each have their verdict."""
    config = Config(sysfs_root=str(tmp_path))
    monkeypatch.setattr(check_machine, "_try_fifo", lambda priority: "Operation not permitted")
    texts = {
        "proc/sys/kernel/sched_rt_runtime_us": "950000",
        "proc/sys/kernel/sched_rt_period_us": "1000000",
        "proc/version": "Linux version 5.15.148-tegra #1 SMP PREEMPT Mon",
        "sys/devices/system/cpu/isolated": "",
        "sys/fs/cgroup/cpu,cpuacct/system.slice/cpu.rt_runtime_us": "0",
    }
    seen = {each.topic: each for each in check_machine.realtime(Config(sysfs_root=str(write(tmp_path, texts))))}
    assert seen["priority"].verdict == PROBLEM and seen["priority"].advice
    assert (
        seen["real-time groups"].verdict == PROBLEM
        and "system.slice/cpu.rt_runtime_us" in seen["real-time groups"].advice
    )
    assert seen["real-time throttling"].verdict == GOOD and seen["kernel preemption"].verdict == BETTER
    write(tmp_path, {"sys/kernel/realtime": "1", "proc/sys/kernel/sched_rt_runtime_us": "50000"})
    seen = {each.topic: each for each in check_machine.realtime(config)}
    assert seen["kernel preemption"].verdict == GOOD and seen["real-time throttling"].verdict == PROBLEM


def test_the_own_effect_is_measured_in_pairs(tmp_path: Path) -> None:
    """Power that rises by 40 mW while the loop reads is found, with its interval; unasked it is not measured."""
    root = board(tmp_path, 400_000)
    config = Config(sysfs_root=str(root), runtime_dir=str(tmp_path))
    assert findings(config)["own effect on the rails"].value == "not measured"
    readings = iter([5.0 + 0.001 * (step % 7) for step in range(10**6)])

    def power() -> float:
        on = any(_name(task) == "np-sampler" for task in os.listdir("/proc/self/task"))
        return next(readings) + 0.04 * on

    differences = effect.measure(config, power, lambda seconds: None)
    mean, half = effect.interval(differences)
    assert len(differences) == effect.PAIRS and abs(mean - 0.04) < 0.003 and half < 0.005


def _name(task: str) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text().strip()
    except OSError:
        return ""


def test_how_far_back_and_who_reads_too_slowly() -> None:
    """The history's seconds with what they take, and what a running daemon holds; a client that reads nothing is named, and what it says of itself is data."""
    config = Config(history_seconds=100, journal=JournalTable(mebibytes=10))
    assert check._history(config, 6, 1_000_000, {}).value.startswith("100 s of ticks in 18 MB, a journal of 10 MB")
    status = {"ticks": {"held_s": 61.7}, "journal": {"held_s": 1e3}}
    told = check._history(config, 6, 1_000_000, status).value
    assert told.endswith("holds the last 62 s of ticks and 1000 s of the journal")
    assert list(check._clients({})) == []
    quick = {"socket": "live", "peer": "user 1", "process": 7, "bytes_out": 2_000_000, "waiting_s": 0.0}
    (finding,) = check._clients({"clients": [quick, quick]})
    assert (finding.value, finding.verdict) == ("2 connections, 4.0 MB went to them", GOOD)
    (finding,) = check._clients({"clients": [quick, {**quick, "peer": "\x1b[2J", "waiting_s": 9.0}]})
    assert finding.verdict == BETTER and "process 7 has read nothing from live for 9 s" in finding.value
    assert "\x1b" not in finding.value
