"""What is possible on a bus, what a driver turns out to be, and what is put back afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_daemon_boards import unpack

from neuralpower_sampler import AVAILABLE, I2cSource, SimChip, simulate
from neuralpower_wire import Channel, Epoch, ReadingState, total_power_w
from neuralpower_wire.tick import Flag
from neuralpowerd import cli
from neuralpowerd.config import AUTO, SOURCES, Config, I2cTable, PlanTable, parse
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.sources.budget import Budget, RailCost, alternatives, chosen_period_ns
from neuralpowerd.sources.chiptimes import CONVERSION_US, scan_of_config, scan_of_interval
from neuralpowerd.sources.i2c import configured, from_tree
from neuralpowerd.sources.probe import Behaviour, judge
from neuralpowerd.sources.registry import Turn, make_plan, planners
from neuralpowerd.system.devicetree import bus_clock_hz, tree_chips
from neuralpowerd.system.monitors import Monitor
from neuralpowerd.system.restore import change_files, restore_files

WIRE_NS = {100_000: 480_000, 400_000: 120_000}


def board(tmp_path: Path, clock_hz: int, name: str = "orin_nx") -> Path:
    """A board's tree with the bus clock in its device tree."""
    root = unpack(name, tmp_path)
    for controller in root.glob("sys/devices/**/*.i2c"):
        (controller / "of_node").mkdir()
        (controller / "of_node/clock-frequency").write_bytes(clock_hz.to_bytes(4, "big"))
    return root


def seen(kind: str = "continuous", read_ns: int = 0, behind_ns: int = 0) -> Callable[[Monitor, int | None], Behaviour]:
    """A probe that finds this."""
    return lambda monitor, clock: Behaviour(kind, read_ns, behind_ns, 8, "so")


@pytest.mark.parametrize("name", ["orin_nx", "agx_orin", "xavier_nx", "thor"])
def test_an_impossible_wish_is_refused_with_what_is_possible(name: str, tmp_path: Path) -> None:
    """1 kHz with V and I of all rails at 100 kHz is refused; each alternative named is then accepted."""
    root = board(tmp_path, 100_000, name)
    wish = Config(sysfs_root=str(root), period_us=1000)
    with pytest.raises(ConfigError) as caught:
        make_plan(wish, seen())
    line = str(caught.value)
    assert line.startswith("period_us: 1000 µs with") and "48 bits at 100 kHz" in line and "\n" not in line
    possible = line.partition("; possible: ")[2].split("; or ")
    full, seldom = (int(each.split()[2]) for each in possible[:2])
    plan = make_plan(replace(wish, period_us=full), seen())
    assert plan.period_ns == full * 1000 and plan.voltage_every == 1
    plan = make_plan(replace(wish, period_us=seldom), seen())
    every = int(possible[1].partition("plan.voltage_every = ")[2])
    assert plan.period_ns == seldom * 1000 and plan.voltage_every == every > 1 and seldom < full
    assert make_plan(replace(wish, period_us=full - 20), seen()).voltage_every == 2
    with pytest.raises(ConfigError, match=f"period_us: {full - 20} µs"):
        make_plan(replace(wish, period_us=full - 20, plan=PlanTable(voltage_every=1)), seen())
    with pytest.raises(ConfigError, match=f"period_us: {seldom - 20} µs"):
        make_plan(replace(wish, period_us=seldom - 20), seen())
    rails = tuple(json.loads(possible[2].partition("plan.rails = ")[2].partition(" and ")[0]))
    assert make_plan(replace(wish, plan=PlanTable(rails=rails)), seen()).epoch(1, 0, 10**6, 0).rails() == list(rails)


def test_voltages_are_left_out_for_a_wished_period(tmp_path: Path) -> None:
    """Three rails in 1 ms at 200 kHz: currents in each tick, voltages in every third; the epoch says so."""
    root = board(tmp_path, 200_000)
    plan = make_plan(Config(sysfs_root=str(root), period_us=1000), seen())
    assert plan.budget is not None and plan.budget.tick_ns == 4 * 240_000 and plan.voltage_every == 3
    assert {channel.every for channel in plan.channels if channel.quantity == "bus_uv"} == {plan.voltage_every}
    assert {channel.every for channel in plan.channels if channel.quantity != "bus_uv"} == {1}
    assert Epoch.from_dict(plan.epoch(1, 0, 10**6, 0).to_dict()).channels == plan.channels
    chosen = make_plan(Config(sysfs_root=str(root)), seen())
    assert chosen.voltage_every == 1 and chosen.period_ns > 1_000_000
    wish = Config(sysfs_root=str(root), plan=PlanTable(voltage_every=10))
    assert make_plan(wish, seen()).voltage_every == 10 and make_plan(wish, seen()).period_ns == 1_000_000
    source = plan.open()
    source.close()


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
@pytest.mark.parametrize("driver", ["continuous", "i2c", "waiting"])
def test_power_at_each_tick_with_voltages_left_out(driver: str) -> None:
    """A tick without a voltage computes with the last one: the power is that of the rails within the voltage's droop."""
    chip = SimChip("c", ["A", "B"], [5_000_000] * 2, [5000] * 2)
    places = [(0, channel, quantity) for channel in (1, 2) for quantity in ("bus_uv", "shunt_uv")]
    channels = tuple(
        Channel("AB"[place - 1], quantity, "c", place, 5000 if quantity == "shunt_uv" else 0, every=1 + 9 * (quantity == "bus_uv"))
        for _, place, quantity in places
    )  # fmt: skip
    records = np.zeros(100, [("start_ns", "<i8"), ("end_ns", "<i8"), ("power_uw", "<i8", (2,))])
    records["start_ns"] = 10**9 + np.arange(100) * 10_000_000
    records["end_ns"] = records["start_ns"] + 5_000_000
    records["power_uw"] = 8_000_000
    t_ns = 10**9 + np.arange(1000) * 1_000_000
    idle = {"A": 2_000_000, "B": 2_000_000}
    settings: Any = {"driver": driver, "droop": 20_000, "noise_uv": 0.0}
    ticks = simulate(records, idle, [chip], places, t_ns, every=[each.every for each in channels], **settings)
    held = (ticks["readings"]["flags"] & Flag.HELD) != 0
    assert held[:, [0, 2]].mean() == pytest.approx(0.9, abs=0.02) and not held[:, [1, 3]].any() and not held[0].any()
    assert not (held[1:, 0] == 0)[held[1:, 2] == 0].any(), "voltages take turns"
    assert set(ticks["readings"]["state"][held]) == {ReadingState.REPEATED}
    assert not ticks["readings"]["end_ns"][held].any()
    epoch = Epoch(1, 0, 10**6, 10**9, "sim", True, "b", channels, totals=("A", "B"))
    total = total_power_w(epoch, ticks)
    assert np.isfinite(total).all() and total.min() > 3.8 and total.max() < 16.3


def test_registers_tell_their_config(tmp_path: Path) -> None:
    """A chip that is left as it is found is described by what its register holds, once the source is open."""
    plan = make_plan(Config(sysfs_root=str(tree(tmp_path)), source="i2c", runtime_dir=str(tmp_path)))
    assert plan.chips[0].scan_ns == 0 and plan.freshness == "unknown"

    class Opened(I2cSource):
        def __init__(self) -> None:
            self.configs = [0x6527 & ~0x0E00 | 2 << 9]

    told = plan.opened(Opened())
    (chip,) = told.epoch(1, 0, 10**6, 0).chips
    assert (chip.shunt_conversion_us, chip.bus_conversion_us, chip.averaging) == (1100, 1100, 16)
    assert chip.scan_ns == 4_400_000 and told.freshness == "nominal"
    assert told.fresh_rate_hz == pytest.approx(1e9 / 4_400_000)


def test_no_wish_takes_what_the_bus_carries(tmp_path: Path) -> None:
    """Without a wish the period is 1 ms, or the least that fits; at 400 kHz three rails fit in 1 ms."""
    root = board(tmp_path, 100_000)
    assert make_plan(Config(sysfs_root=str(root)), seen()).period_ns == 2_970_000
    assert make_plan(Config(sysfs_root=str(root), plan=PlanTable(rails=("VDD_IN",))), seen()).period_ns == 1_000_000
    quick = board(tmp_path / "b", 400_000)
    assert make_plan(Config(sysfs_root=str(quick), period_us=1000), seen()).period_ns == 1_000_000


def test_the_measured_cost_and_a_waiting_driver_count(tmp_path: Path) -> None:
    """Where the device tree is silent the measured read counts; a driver that waits costs a scan a read."""
    root = unpack("orin_nx", tmp_path)
    assert make_plan(Config(sysfs_root=str(root), period_us=1000), seen(read_ns=100_000)).period_ns == 1_000_000
    with pytest.raises(ConfigError, match=r"a read takes 300 µs \(measured\), a tick 1.8 ms"):
        make_plan(Config(sysfs_root=str(root), period_us=1000), seen(read_ns=300_000))
    with pytest.raises(ConfigError, match=r'the driver waits for the chip.*period_us = 40830.*source = "i2c"'):
        make_plan(Config(sysfs_root=str(root), period_us=1000), seen("waiting", 130_000, 6_000_000))
    plan = make_plan(Config(sysfs_root=str(root)), seen("waiting", 130_000, 6_000_000))
    assert plan.driver == "ina3221 waiting" and plan.epoch(1, 0, 10**6, 0).driver == plan.driver


def test_sim_has_a_bus_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The command refuses an impossible wish in one line, with status 2."""
    file = tmp_path / "d.toml"
    file.write_text(f'runtime_dir = "{tmp_path}"\nsource = "sim"\nperiod_us = 1000\n[sim]\nbus_hz = 100000\n')
    assert cli.main(["run", "--config", str(file)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "impossible" in line and "possible: period_us = 2970" in line
    assert "plan.rails" in line and "at least 400 kHz instead of 100 kHz" in line


def test_alternatives_are_computed() -> None:
    """Fewer rails, another clock and another driver are offered only where they would do."""
    rails = tuple(RailCost(name, "c", 2, 400_000) for name in "ABC")
    assert Budget(rails).fits(1_000_000) and chosen_period_ns(Budget(rails)) == 1_000_000
    offered = alternatives(Budget(rails), 500_000)
    assert 'period_us = 500 with plan.rails = ["A", "B"]' in offered and "1000 kHz" in offered[-1]
    slow = tuple(RailCost(name, "c", 2, None, 2_000_000) for name in "ABC")
    assert alternatives(Budget(slow), 500_000) == ["period_us = 12380 with 3 rails"]


def test_unknown_rail_is_named(tmp_path: Path) -> None:
    """A wish for a rail that is not there lists those that are; a total that lacks a rail is unknown."""
    root = unpack("agx_orin", tmp_path)
    with pytest.raises(ConfigError, match=r"plan.rails: 'X' is no rail here; there are VDD_GPU_SOC, VDD_CPU_CV"):
        make_plan(Config(sysfs_root=str(root), plan=PlanTable(rails=("X",))), seen())
    plan = make_plan(Config(sysfs_root=str(root), plan=PlanTable(rails=("VDD_CPU_CV",))), seen())
    assert plan.totals == () and "total unknown" in plan.note and len(plan.channels) == 2


@pytest.mark.parametrize("bus_hz", [100_000, 400_000, None])
@pytest.mark.parametrize("conversion_us", [140, 332, 1100])
def test_a_probe_tells_drivers_apart(bus_hz: int | None, conversion_us: int) -> None:
    """A read behind another waits, costs the same, or both cost a scan; anything else is unknown."""
    scan, cost = 6000 * conversion_us, WIRE_NS.get(bus_hz or 400_000, 0)
    quick = [cost + 1000 * step for step in range(8)]
    assert judge(quick, quick[::-1], scan, bus_hz).kind == "continuous"
    assert judge(quick, [scan * 3 // 4 + 2 * cost] * 8, scan, bus_hz).kind == "waiting"
    assert judge(quick[:2], quick[:2], scan, bus_hz).kind == "unknown"
    mixed = [cost + (scan if step % 3 else 0) for step in range(8)]
    assert judge(quick, [*mixed[:4], *quick[:4]], scan, bus_hz).kind == "unknown"
    if conversion_us == 1100:
        assert judge([scan] * 8, [scan] * 8, scan, bus_hz).kind == "single-shot"


def test_scan_behind_an_interval() -> None:
    """The conversion time is found from the rounded milliseconds, or the times it may be."""
    assert scan_of_interval(7, 3).ns == 6_600_000 == scan_of_config(0x7127).ns
    both = scan_of_interval(1, 3)
    assert (both.low_ns, both.high_ns, both.conversion_us) == (840_000, 1_224_000, 0)
    assert scan_of_interval(None, 3).ns == 0 and scan_of_interval(26, 3, 4).ns == 6_600_000
    for us in CONVERSION_US:
        found = scan_of_interval(round(6 * us / 1000), 3)
        assert found.low_ns <= 6000 * us <= found.high_ns


def test_update_interval_is_written_and_put_back(tmp_path: Path) -> None:
    """Only if allowed: stored before the write, put back by the plan, and by the next start after a kill."""
    root = board(tmp_path / "r", 400_000)
    (path,) = (root / "sys/class/hwmon").glob("hwmon4/update_interval")
    config = Config(sysfs_root=str(root), runtime_dir=str(tmp_path))
    make_plan(config, seen()).open().close()
    assert path.read_text() == "7\n"
    plan = make_plan(replace(config, plan=PlanTable(allow_write=True)), seen())
    assert plan.chips[0].scan_ns == 840_000 and "update_interval 7 → 0 ms" in plan.note
    plan.open().close()
    assert path.read_text() == "0\n" and str(path.resolve().name) in (tmp_path / "saved.json").read_text()
    assert "7 again" in plan.undo()[0] and path.read_text() == "7\n" and not (tmp_path / "saved.json").exists()
    change_files(tmp_path / "saved.json", {path: "0"})
    change_files(tmp_path / "saved.json", {path: "1"})
    assert restore_files(tmp_path / "saved.json", root) and path.read_text() == "7\n"
    (tmp_path / "saved.json").write_text(json.dumps({str(tmp_path / "else"): "1", str(path): "x"}))
    assert restore_files(tmp_path / "saved.json", root) == [] and not (tmp_path / "else").exists()


def tree(root: Path) -> Path:
    """A chip in the device tree that no driver is bound to: two rails, one channel disabled."""
    node = root / "sys/bus/i2c/devices/1-0040/of_node"
    node.mkdir(parents=True)
    (node / "compatible").write_bytes(b"ti,ina3221\0")
    for number, label, shunt in ((0, "VDD_IN", 5000), (1, "VDD_SOC", 2000), (2, "GONE", 1)):
        (node / f"input@{number}").mkdir()
        (node / f"input@{number}/label").write_bytes(label.encode() + b"\0")
        (node / f"input@{number}/shunt-resistor-micro-ohms").write_bytes(shunt.to_bytes(4, "big"))
    (node / "input@1/shunt-volt-offset-uv").write_bytes((-40).to_bytes(4, "big", signed=True))
    (node / "input@2/status").write_bytes(b"disabled\0")
    bus = root / "sys/bus/i2c/devices/i2c-1/of_node"
    bus.mkdir(parents=True)
    (bus / "clock-frequency").write_bytes((400_000).to_bytes(4, "big"))
    return root


def test_registers_by_the_device_tree(tmp_path: Path) -> None:
    """Labels, shunts, offsets and the bus clock come from the tree; nothing is opened before it must be."""
    (chip,) = tree_chips(tree(tmp_path))
    assert (chip.bus, chip.address, chip.bound) == (1, 0x40, False)
    assert [(c.label, c.channel, c.shunt_uohm, c.offset_uv) for c in chip.channels] == [
        ("VDD_IN", 1, 5000, 0),
        ("VDD_SOC", 2, 2000, -40),
    ]
    assert bus_clock_hz(tmp_path / "sys/bus/i2c/devices/i2c-1", tmp_path) == 400_000
    plan = make_plan(Config(sysfs_root=str(tmp_path), source="i2c", runtime_dir=str(tmp_path)))
    assert plan.source == "i2c" and plan.totals == ("VDD_IN",) and plan.driver == "none, registers"
    assert plan.budget is not None and plan.budget.tick_ns == 5 * 120_000
    assert [channel.chip for channel in plan.channels] == ["ina3221@1-0040"] * 4
    with pytest.raises(DaemonError, match="no INA3221 with labels"):
        from_tree(I2cTable(addresses=(0x41,)), tmp_path)


def test_registers_by_the_configuration() -> None:
    """Without a device tree the configuration spells the chip out."""
    config = parse(
        '[i2c]\ndevice = "/dev/i2c-3"\naddresses = [0x40]\nrails = ["A", "", "B"]\nshunts_uohm = [5000]\n', "f"
    )
    device, (chip,) = configured(config.i2c)
    assert device == "/dev/i2c-3" and [(r.name, r.channel, r.shunt_uohm) for r in chip.rails] == [
        ("A", 1, 5000),
        ("B", 3, 5000),
    ]
    with pytest.raises(ConfigError, match=r"i2c.rails: needs i2c.device"):
        configured(replace(config.i2c, device=""))


def test_every_source_of_the_configuration_has_one_planner() -> None:
    """And the chip in software is the last that is tried by itself."""
    named = [name for planner in planners() for name in planner.sources]
    assert sorted(named) == sorted(set(SOURCES) - {AUTO})
    by_itself = [planner for planner in planners() if planner.turn is not Turn.NEVER]
    assert by_itself[-1].sources == ("sim",) and by_itself[0].turn is Turn.FIRST
