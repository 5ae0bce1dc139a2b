"""Shunts and powers that cannot be are named and counted, and make no total."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_daemon_boards import unpack
from test_daemon_monitors import chip, says
from test_daemon_plan import seen, tree

from neuralpower_wire import Channel, Epoch, ReadingState, tick_dtype
from neuralpowerd.config import Config, I2cTable, parse
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.sources.boards import boards
from neuralpowerd.sources.plausible import SHUNTS_UOHM, Doubt, PowerLimits, rail_limits, total_limits
from neuralpowerd.sources.registry import make_plan
from neuralpowerd.watch.doubts import DoubtWatch


@pytest.mark.parametrize("shunt", [1, 5, 20, 49, 500_001, 5_000_000, 5_000_000_000])
def test_a_shunt_that_cannot_be_is_doubted(shunt: int, tmp_path: Path) -> None:
    """Wrong by a thousand, either way: the rail is named with its shunt, and no total is told."""
    root = unpack("orin_nano", tmp_path, change={"shunt1_resistor = 5000": f"shunt1_resistor = {shunt}"})
    plan = make_plan(Config(sysfs_root=str(root)), seen())
    assert plan.doubts == (Doubt("VDD_IN", f"its shunt of {shunt} µΩ is not plausible"),)
    assert plan.totals == () and plan.note == f"total unknown: VDD_IN: its shunt of {shunt} µΩ is not plausible"
    assert plan.covers == "" and plan.epoch(1, 0, 10**6, 0).totals == ()


@pytest.mark.parametrize("shunt", [SHUNTS_UOHM[0], 1000, 20_000, SHUNTS_UOHM[1]])
def test_a_shunt_that_can_be_is_not(shunt: int, tmp_path: Path) -> None:
    """Neither are those of the known boards, nor the bounds."""
    root = unpack("orin_nano", tmp_path, change={"shunt1_resistor = 5000": f"shunt1_resistor = {shunt}"})
    plan = make_plan(Config(sysfs_root=str(root)), seen())
    assert not plan.doubts and plan.totals == ("VDD_IN",)


def test_a_doubt_beside_the_total_leaves_the_total(tmp_path: Path) -> None:
    """A rail that is no part of it is named alone."""
    root = unpack("orin_nano", tmp_path, change={"shunt3_resistor = 5000": "shunt3_resistor = 5"})
    plan = make_plan(Config(sysfs_root=str(root)), seen())
    assert plan.totals == ("VDD_IN",) and plan.note == "covers the module; VDD_SOC: its shunt of 5 µΩ is not plausible"


def test_a_narrower_total_where_a_rail_is_doubted(tmp_path: Path) -> None:
    """VDD_MUX with a shunt that cannot be: the module's total is left, and the note says why it is that."""
    root = says(tmp_path, "quill", "nvidia,p3310-1000")
    for place, number, labels in (("0-0041", 1, ("VDD_IN", "VDD_SYS_CPU")), ("0-0042", 2, ("VDD_MUX",))):
        files: dict[str, object] = {"name": "ina3221"}
        for channel, label in enumerate(labels, 1):
            shunt = 20 if label == "VDD_MUX" else 20_000
            texts = {f"in{channel}_label": label, f"in{channel}_input": 19_000, f"in{channel + 3}_input": 4000}
            files |= {**texts, f"shunt{channel}_resistor": shunt}
        chip(root, place, number, files)
    plan = make_plan(Config(sysfs_root=str(root)), seen())
    assert (plan.totals, plan.covers) == (("VDD_IN",), "module")
    assert "VDD_MUX: its shunt of 20 µΩ is not plausible" in plan.note


def test_registers_are_doubted_alike(tmp_path: Path) -> None:
    """Shunts of the device tree and of the configuration, for source i2c."""
    wrong = "sys/bus/i2c/devices/1-0040/of_node/input@0/shunt-resistor-micro-ohms"
    (tree(tmp_path) / wrong).write_bytes((5).to_bytes(4, "big"))
    plan = make_plan(Config(sysfs_root=str(tmp_path), source="i2c", runtime_dir=str(tmp_path)))
    assert [doubt.rail for doubt in plan.doubts] == ["VDD_IN"] and plan.totals == ()
    spelt = I2cTable(device="/dev/i2c-1", addresses=(0x40,), rails=("VDD_IN", "", ""), shunts_uohm=(5,))
    plan = make_plan(Config(sysfs_root=str(tmp_path), source="i2c", runtime_dir=str(tmp_path), i2c=spelt))
    assert [doubt.rail for doubt in plan.doubts] == ["VDD_IN"] and plan.totals == ()
    with pytest.raises(ConfigError, match=r"i2c\.rails: names must differ"):
        parse('[i2c]\ndevice="/dev/i2c-1"\naddresses=[0x40]\nrails=["A","A",""]\nshunts_uohm=[5000]\n', "f")
    with pytest.raises(ConfigError, match=r"i2c\.shunts_uohm: \[-5\] is impossible"):
        parse('[i2c]\ndevice="/dev/i2c-1"\naddresses=[0x40]\nrails=["A","B",""]\nshunts_uohm=[-5]\n', "f")
    (tmp_path / wrong).write_bytes((2**32 - 1).to_bytes(4, "big"))
    with pytest.raises(DaemonError, match="gives VDD_IN a shunt of 4294967295 µΩ; correct it"):
        make_plan(Config(sysfs_root=str(tmp_path), source="i2c", runtime_dir=str(tmp_path)))


def test_equal_labels_in_a_device_tree_stay_apart(tmp_path: Path) -> None:
    """Source i2c gives each register its own rail; the total takes the label that is left plain."""
    (tree(tmp_path) / "sys/bus/i2c/devices/1-0040/of_node/input@1/label").write_bytes(b"VDD_IN\0")
    plan = make_plan(Config(sysfs_root=str(tmp_path), source="i2c", runtime_dir=str(tmp_path)))
    assert plan.epoch(1, 0, 10**6, 0).rails() == ["VDD_IN", "VDD_IN@1-0040.2"]


def test_powers_that_cannot_be_are_counted() -> None:
    """Above what the board draws, below zero, a board that draws nothing: each tick counts, each name is told once."""
    board = next(board for board in boards() if board.name == "Jetson Orin NX or Orin Nano")
    limits = (rail_limits(board), total_limits(board))
    channels = (Channel("VDD_IN", "power_uw", "c", 1), Channel("VDD_SOC", "power_uw", "c", 2))
    epoch = Epoch(1, 0, 10**6, 0, "hwmon", False, "b", channels, totals=("VDD_IN",))
    ticks = np.zeros(6, tick_dtype(2))
    ticks["readings"]["value"][:, 0] = [5e6, 4500e6, 4500e6, 0, 5e6, 9000e6]
    ticks["readings"]["value"][:, 1] = [1e6, 1e6, -1e6, -50e6, 1e6, 1e6]
    ticks["readings"]["state"][5] = ReadingState.MISSING
    watch = DoubtWatch(epoch, (), limits)
    assert [doubt.rail for doubt in watch.see(ticks)] == ["VDD_IN", "VDD_SOC", "total"]
    assert {name: each["ticks"] for name, each in watch.status.items()} == {"VDD_IN": 2, "VDD_SOC": 1, "total": 3}
    assert watch.status["VDD_IN"]["why"] == "4500 W is not plausible: more than 120 W"
    assert watch.see(ticks) == [] and watch.status["VDD_IN"]["ticks"] == 4
    sure = DoubtWatch(epoch, (Doubt("VDD_SOC", "its shunt of 5 µΩ is not plausible"),), limits)
    assert [doubt.rail for doubt in sure.see(ticks[:1])] == ["VDD_SOC"] and sure.status["VDD_SOC"]["ticks"] == 1
    assert not DoubtWatch(epoch, (), None).see(ticks), "simulated rails may be anything"


def test_limits_allow_what_boards_draw() -> None:
    """Idle at a watt, a peak of twice the highest mode, an offset below zero; an unknown board may charge a battery."""
    for board in boards():
        assert not total_limits(board).doubt(1.0) and not rail_limits(board).doubt(2 * board.mode_w)
        assert not rail_limits(board).doubt(-1.6) and rail_limits(board).doubt(1000 * board.mode_w)
    assert not rail_limits(None).doubt(-20.0) and rail_limits(None).doubt(4500.0)
    assert PowerLimits(0.1, 5.0).doubt(0.0) and not PowerLimits(0.1, 5.0).doubt(5.0)
