"""Power monitors of any hwmon driver as rails, boards told by part number, words or rails, and what cannot be, doubted."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_daemon_boards import FIXTURES, unpack
from test_daemon_plan import seen, tree

from neuralpower_wire import Channel, Epoch, State, tick_dtype
from neuralpower_wire.epoch import COVERS
from neuralpowerd.check import rails as check_rails
from neuralpowerd.check.findings import GOOD
from neuralpowerd.config import Config, I2c, Planning, parse
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.sources import boards as table
from neuralpowerd.sources.boards import FORMAT, boards, find, identify, tomllib
from neuralpowerd.sources.plausible import SHUNTS_UOHM, Doubt, Limits, rail_limits, total_limits
from neuralpowerd.sources.registry import make_plan
from neuralpowerd.system.monitors import find_monitors
from neuralpowerd.system.sysfs import clean, read_int, read_text
from neuralpowerd.watch.doubts import DoubtWatch

ORIN_NX = r"nvidia,p3767-0000\0nvidia,tegra234\0"


def chip(root: Path, place: str, number: int, files: Mapping[str, object], below: str = "") -> Path:
    """A hwmon device of the I2C device `place`, or of something `below` it; returns its folder."""
    device = root / f"sys/devices/platform/i2c-{place.partition('-')[0]}" / place / below
    directory = device / f"hwmon/hwmon{number}"
    directory.mkdir(parents=True)
    (directory / "device").symlink_to("../..")
    for name, content in files.items():
        (directory / name).write_text(f"{content}\n")
    (root / "sys/class/hwmon").mkdir(parents=True, exist_ok=True)
    (root / f"sys/class/hwmon/hwmon{number}").symlink_to(os.path.relpath(directory, root / "sys/class/hwmon"))
    return directory


def says(root: Path, model: str = "", compatible: str = ORIN_NX) -> Path:
    """What the device tree calls itself."""
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(model.encode() + b"\0")
    (root / "proc/device-tree/compatible").write_bytes(compatible.replace(r"\0", "\0").encode())
    return root


INA226 = {"name": "ina226", "in0_input": 8, "in1_input": 12000, "curr1_input": 800, "power1_input": 9_600_000}
INA3221 = {
    "name": "ina3221",
    "in1_label": "VDD_IN",
    "in1_enable": 1,
    "in1_input": 5000,
    "curr1_input": 900,
    "in4_input": 4500,
    "shunt1_resistor": 5000,
}


def watts(root: Path) -> dict[str, float]:
    """What one tick of the plan for a tree gives: rail → W."""
    from neuralpower_wire import rail_power_w

    plan = make_plan(Config(sysfs_root=str(root)), seen())
    epoch = plan.epoch(1, 0, 1_000_000, 0)
    ticks = np.zeros(1, tick_dtype(len(plan.channels)))
    for position, channel in enumerate(plan.channels):
        (item,) = (
            each
            for monitor in find(root).monitors
            for rail in monitor.rails
            for each in rail.inputs
            if rail.name == channel.rail and each.quantity == channel.quantity
        )
        ticks["readings"]["value"][0, position] = (read_int(item.path) or 0) * item.scale
    return {rail: float(power[0]) for rail, power in rail_power_w(epoch, ticks).items()}


@pytest.mark.parametrize(
    ("files", "power_w"),
    [
        (INA226, 9.6),
        ({"name": "ina238", "in1_input": 20000, "curr1_input": 2400, "power1_input": 48_000_000}, 48.0),
        ({"name": "ina260", "in1_input": 12000, "curr1_input": 500, "power1_input": 6_000_000}, 6.0),
        ({"name": "ltc2945", "in1_input": 12000, "in2_input": 3, "curr1_input": 250, "power1_input": 3_000_000}, 3.0),
        ({"name": "ltc4151", "in1_input": 48000, "in2_input": 5, "curr1_input": 100}, 4.8),
        ({"name": "ina219", "in0_input": 1, "in1_input": 5000, "curr1_input": 1000}, 5.0),
        ({"name": "adm1177", "in0_input": 12000, "curr1_input": 100}, 1.2),
    ],
    ids=lambda value: str(value["name"]) if isinstance(value, dict) else "",
)
def test_any_power_monitor_is_a_rail(files: Mapping[str, object], power_w: float, tmp_path: Path) -> None:
    """On an unknown board each chip is one rail with its power, named after the chip; no total is made up from it."""
    chip(tmp_path, "7-0045", 2, files)
    found = find(tmp_path)
    assert [rail.name for rail in found.rails] == [f"{files['name']}@7-0045"]
    assert found.total == () and "total is unknown" in found.note
    assert watts(tmp_path) == {found.rails[0].name: pytest.approx(power_w)}


def test_several_powers_of_a_chip_are_rails_with_their_labels(tmp_path: Path) -> None:
    """A regulator's input and output have labels of their own; without labels they are numbered."""
    files = {"power1_input": 5_000_000, "power2_input": 4_000_000, "power1_label": "pin", "power2_label": "pout1"}
    chip(tmp_path, "3-0010", 1, {"name": "tps53679", **files})
    chip(tmp_path, "3-0011", 2, {"name": "ltc2992", "power1_input": 1_000_000, "power2_input": 2_000_000})
    assert watts(tmp_path) == {
        "pin": 5.0,
        "pout1": 4.0,
        "ltc2992@3-0011.1": 1.0,
        "ltc2992@3-0011.2": 2.0,
    }


def test_a_label_is_a_rails_name(tmp_path: Path) -> None:
    """The device's label or the power's; VIN of an unknown INA238 is one only where the label says so."""
    chip(tmp_path, "2-0044", 1, {**INA226, "name": "ina238", "label": "VIN"})
    assert find(tmp_path).total == ("VIN",)
    chip(tmp_path / "b", "2-0044", 1, {**INA226, "name": "ina238"})
    assert find(tmp_path / "b").total == ()


def test_what_is_no_power_monitor_is_no_rail(tmp_path: Path) -> None:
    """A USB supply below an I2C chip, a battery, a graphics card and a thermal zone say currents or powers that nothing measures."""
    usb = {"name": "ucsi_source_psy_2_0008", "in0_input": 5000, "curr1_input": 3000}
    chip(tmp_path, "2-0008", 1, usb, below="power_supply/ucsi-source-psy-2-0008")
    graphics = tmp_path / "sys/class/hwmon/hwmon4"
    graphics.mkdir()
    (graphics / "name").write_text("amdgpu\n")
    (graphics / "power1_input").write_text("30000000\n")
    chip(tmp_path, "3-004c", 3, {"name": "tmp451", "temp1_input": 40000, "in1_input": 3300})
    assert not find_monitors(tmp_path)


def test_which_voltage_belongs_to_a_current_is_not_guessed(tmp_path: Path) -> None:
    """A chip with several voltages and currents and no power is found, and gives no rail."""
    chip(tmp_path, "5-0010", 1, {"name": "ltc4261", "in1_input": 1, "in2_input": 2, "curr1_input": 3})
    found = find(tmp_path)
    assert [monitor.name for monitor in found.monitors] == ["ltc4261@5-0010"] and not found.rails
    with pytest.raises(DaemonError, match="ltc4261@5-0010 gives no rail"):
        make_plan(Config(sysfs_root=str(tmp_path), source="hwmon"))


def test_a_known_board_with_another_monitor_only(tmp_path: Path) -> None:
    """An INA226 on a carrier board is read and named; the board's own rails are missing, so its total is unknown."""
    chip(says(tmp_path, "NVIDIA Jetson Orin NX"), "7-0044", 2, {**INA226, "shunt_resistor": 10000})
    found = find(tmp_path)
    assert found.board == "Jetson Orin NX or Orin Nano" and found.note == "total unknown: VDD_IN not found"
    plan = make_plan(Config(sysfs_root=str(tmp_path)), seen())
    assert not plan.simulated and plan.totals == () and [each.rail for each in plan.channels] == ["ina226@7-0044"]


def test_two_kinds_of_driver(tmp_path: Path) -> None:
    """One source reads one kind: the one that has the total, whatever else is there."""
    root = unpack("tx2", tmp_path)
    chip(root, "7-0045", 9, INA226)
    assert make_plan(Config(sysfs_root=str(root)), seen()).source == "iio"
    assert make_plan(Config(sysfs_root=str(root), source="hwmon"), seen()).totals == ()
    with pytest.raises(DaemonError, match='those that are there are not of source iio; source = "hwmon" reads them'):
        make_plan(Config(sysfs_root=str(unpack("orin_nx", tmp_path / "b")), source="iio"))


def test_another_chips_interval_is_neither_read_nor_written_as_an_ina3221s(tmp_path: Path) -> None:
    """An INA226's update_interval is its scan as it stands; the daemon writes none but an INA3221's."""
    directory = chip(tmp_path, "7-0044", 2, {**INA226, "update_interval": 70})
    wish = Config(sysfs_root=str(tmp_path), runtime_dir=str(tmp_path), plan=Planning(allow_write=True))
    plan = make_plan(wish, seen())
    assert plan.chips[0].scan_ns == 70_000_000 and plan.chips[0].shunt_conversion_us == 0
    plan.open().close()
    assert (directory / "update_interval").read_text() == "70\n"


# ---- Boards ------------------------------------------------------------------------------------


def test_the_table_is_whole() -> None:
    """Every rail of a total and every parent is a rail of its board; every board says where it is from and what its totals cover."""
    document = tomllib.loads(table.TABLE.read_text("utf-8"))
    assert document["format"] == FORMAT and len(document["board"]) == len(boards())
    for board in boards():
        labels = [rail.label for rail in board.rails]
        assert len(set(labels)) == len(labels) and board.sources and board.mode_w > 0, board.name
        assert {rail.parent for rail in board.rails} <= {"", *labels}
        for total in board.totals:
            assert set(total.rails) <= set(labels) and total.covers in COVERS
            parents = {rail.label: rail.parent for rail in board.rails}
            assert not [label for label in total.rails if parents[label] in total.rails], "counted twice"
        assert board.totals or board.note
        places = [(rail.address, rail.channel) for rail in board.rails if not rail.optional]
        assert len(set(places)) == len(places) and all(1 <= rail.channel <= 3 for rail in board.rails)


@pytest.mark.parametrize("name", [path.stem for path in FIXTURES.glob("*.txt")])
def test_a_fixture_is_told_by_number_and_by_words_alone(name: str, tmp_path: Path) -> None:
    """Part numbers and words never disagree, whichever of them a tree lacks; channels lie where the table has them."""
    found = find(unpack(name, tmp_path))
    model = (tmp_path / "proc/device-tree/model").read_text()
    compatible = (tmp_path / "proc/device-tree/compatible").read_text()
    by_number, by_words = identify("", compatible), identify(model, "")
    assert by_number is not None and by_number.name == found.board
    assert by_words is by_number
    places = {(rail.label, rail.address): rail.channel for rail in by_number.rails}
    for rail in found.rails:
        assert places.get((rail.name, rail.address), rail.channel) == rail.channel


@pytest.mark.parametrize(
    ("name", "covers"),
    [
        *(
            (name, "module")
            for name in ("tx1", "tx2", "tx2_nx", "xavier_nx", "orin_nano", "agx_orin", "agx_orin_industrial")
        ),
        *((name, "board") for name in ("tx2_kit", "nano", "thor")),
    ],
)
def test_a_total_says_what_it_covers(name: str, covers: str, tmp_path: Path) -> None:
    """Module or board, in the table, in the epoch's field and in its note."""
    root = unpack(name, tmp_path)
    plan = make_plan(Config(sysfs_root=str(root)), seen())
    epoch = plan.epoch(1, 0, 1_000_000, 0)
    assert find(root).best.covers == plan.covers == epoch.covers == covers
    assert f"covers {COVERS[covers]}" in epoch.note
    assert Epoch.from_dict(epoch.to_dict()) == epoch


def test_a_narrower_total_where_rails_are_left_out(tmp_path: Path) -> None:
    """Without VDD_MUX the total of a TX2 is the module's; without VDD_IN there is none."""
    root = str(unpack("tx2_kit", tmp_path))
    plan = make_plan(Config(sysfs_root=root, plan=Planning(rails=("VDD_IN", "VDD_SYS_GPU"))), seen())
    assert (plan.totals, plan.covers) == (("VDD_IN",), "module")
    plan = make_plan(Config(sysfs_root=root, plan=Planning(rails=("VDD_MUX",))), seen())
    assert (plan.totals, plan.covers) == ((), "") and "not all of its rails are measured" in plan.note


def test_a_carrier_board_that_names_no_module(tmp_path: Path) -> None:
    """The SoC and all rails at their addresses tell the module where nothing else does; one rail fewer does not."""
    change = {"NVIDIA Jetson Xavier NX Developer Kit": "Some Carrier", "p3509-0000+p3668-0000": "carrier-7"}
    assert find(unpack("xavier_nx", tmp_path / "a", change=change)).board == "Jetson Xavier NX"
    found = find(unpack("xavier_nx", tmp_path / "b", change=change, drop="in3_"))
    assert found.board == "Some Carrier" and not found.known and found.total == ("VDD_IN",) and not found.best.covers


def test_code_names_of_old_kernels(tmp_path: Path) -> None:
    """JetPack 4's trees call a TX2 NX lanai, and JetPack 3's kernel its folder iio_device."""
    assert (board := identify("lanai-3636", "nvidia,tegra186")) and board.name == "Jetson TX2 NX"
    change = {"iio:device0/": "iio_device/", "iio:device1/": "iio_device/"}
    root = unpack("tx2", tmp_path, change=change, drop="sys/bus/iio")
    assert find(root).total == ("VDD_IN",)


@pytest.mark.parametrize("carrier", ["p3449-0000", "p3509-0000", "carrier-7"])
def test_a_module_on_other_carrier_boards(carrier: str, tmp_path: Path) -> None:
    """A Xavier NX is one on a Nano's carrier board too; a monitor of the carrier's does not take its place."""
    root = unpack("xavier_nx", tmp_path, change={"p3509-0000+": f"{carrier}+"})
    chip(root, "1-0040", 8, {**INA3221, "in1_label": "VDD_12V"})
    chip(root, "1-0041", 9, INA3221)
    found = find(root)
    assert found.board == "Jetson Xavier NX" and found.total == ("VDD_IN",) and not found.missing
    assert {rail.name: rail.chip for rail in found.rails}["VDD_IN"] == "ina3221@7-0040"
    assert "VDD_IN@1-0041.1" in {rail.name for rail in found.rails}


def test_equal_labels_make_no_total(tmp_path: Path) -> None:
    """Two rails of one label and address on a known board, or of one input's label on another: which is it? Both are read."""
    root = unpack("orin_nx", tmp_path / "a")
    chip(root, "9-0040", 8, INA3221)
    found = find(root)
    assert (
        found.total == () and found.note == "total unknown: VDD_IN is there twice (ina3221@1-0040 and ina3221@9-0040)"
    )
    assert len({rail.name for rail in found.rails}) == 4
    unknown = tmp_path / "b"
    chip(unknown, "1-0040", 1, INA3221)
    chip(unknown, "1-0041", 2, INA3221)
    found = find(unknown)
    assert found.total == () and "2 rails are named VDD_IN" in found.note


def test_names_stay_apart_where_places_are_not_known(tmp_path: Path) -> None:
    """Two chips whose place on I2C sysfs does not show are two chips, each with its own rail."""
    for number in (1, 2):
        directory = tmp_path / f"sys/class/hwmon/hwmon{number}"
        directory.mkdir(parents=True)
        for name, content in INA226.items():
            (directory / name).write_text(f"{content}\n")
    names = [(monitor.name, monitor.rails[0].name) for monitor in find(tmp_path).monitors]
    assert len(set(names)) == 2 and all(chip == rail.rpartition(".")[0] for chip, rail in names)


@pytest.mark.parametrize(
    ("why", "change", "drop", "note"),
    [
        ("off", {"in1_enable = 1": "in1_enable = 0"}, "", "VDD_IN is switched off (ina3221@1-0040 channel 1)"),
        ("elsewhere", {"1-0040": "1-0043"}, "", "VDD_IN is on ina3221@1-0043, not at 0x40 as on this board"),
        ("other", {"= VDD_IN": "= VDD_12V"}, "", "VDD_IN is not at 0x40: channel 1 of ina3221@1-0040 is VDD_12V"),
        ("other", {}, "in1_label", "VDD_IN is not at 0x40: channel 1 of ina3221@1-0040 has no label"),
        ("other", {}, "in1_input", "VDD_IN is not at 0x40: channel 1 of ina3221@1-0040 is not connected"),
        ("absent", {}, "1-0040", "VDD_IN not found"),
    ],
)
def test_why_a_rail_is_missing(why: str, change: dict[str, str], drop: str, note: str, tmp_path: Path) -> None:
    """Off, elsewhere, another label, not connected, not there: each is said as it is."""
    found = find(unpack("orin_nx", tmp_path, drop, change))
    assert found.missing[0].why == why and found.note == f"total unknown: {note}"


def test_a_chip_without_a_driver_is_said(tmp_path: Path) -> None:
    """The device tree has the chip and no driver has it: that is the reason, not a missing chip."""
    found = find(says(tree(tmp_path)))
    assert {each.why for each in found.missing} == {"unbound"}
    with pytest.raises(DaemonError, match="no driver has taken ina3221@1-0040; modprobe ina3221"):
        make_plan(Config(sysfs_root=str(tmp_path), source="hwmon"))


def test_channels_that_are_off_are_no_missing_driver(tmp_path: Path) -> None:
    """All channels off: the files that switch them on are named, and nothing is said of drivers."""
    root = unpack(
        "orin_nx", tmp_path, change={f"in{channel}_enable = 1": f"in{channel}_enable = 0" for channel in (1, 2, 3)}
    )
    with pytest.raises(DaemonError) as caught:
        make_plan(Config(sysfs_root=str(root), source="hwmon"))
    line = str(caught.value)
    assert "its channels are switched off; as root, write 1 to" in line and line.count("_enable") == 3
    assert "driver" not in line


def test_off_is_seen_where_a_driver_has_one_rail(tmp_path: Path) -> None:
    """`in1_enable` of an INA226 switches its rail; of a chip with other voltages it may be any."""
    chip(tmp_path, "7-0044", 2, {**INA226, "in1_enable": 0})
    (monitor,) = find_monitors(tmp_path)
    assert not monitor.rails and [off.switch.name for off in monitor.off] == ["in1_enable"]
    chip(tmp_path / "b", "7-0040", 2, {"name": "ltc4282", "in1_enable": 0, "in1_input": 1, "power1_input": 5})
    assert find_monitors(tmp_path / "b")[0].rails


# ---- Doubts ------------------------------------------------------------------------------------


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
    spelt = I2c(device="/dev/i2c-1", addresses=(0x40,), rails=("VDD_IN", "", ""), shunts_uohm=(5,))
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
    ticks["readings"]["state"][5] = State.MISSING
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
    assert Limits(0.1, 5.0).doubt(0.0) and not Limits(0.1, 5.0).doubt(5.0)


# ---- Files that are none -----------------------------------------------------------------------


def test_odd_labels_are_one_line(tmp_path: Path) -> None:
    """Control characters, line ends, bytes that are no UTF-8, endless length: a name is printable, short and its own."""
    odd = "VDD\x1b[2J\n\x07IN\u202e " + "x" * 5000
    root = tmp_path
    directory = chip(root, "1-0040", 1, {**INA3221, "in1_label": odd})
    (directory / "in2_label").write_bytes(b"\xff\xfeA\n")
    (directory / "in2_input").write_text("5000\n")
    names = [rail.name for rail in find(root).rails]
    assert len(set(names)) == 2 and all(name.isprintable() and len(name) <= 48 for name in names)
    assert names[0].startswith("VDD?[2J ?IN? xxx")
    plan = make_plan(Config(sysfs_root=str(root)), seen())
    assert Epoch.from_dict(plan.epoch(1, 0, 10**6, 0).to_dict()).rails() == names
    assert clean("a\tb\r\nc ") == "a b c"


def test_a_hostile_model_is_one_line(tmp_path: Path) -> None:
    """The unknown board's name goes into epochs and logs."""
    found = find(says(tmp_path, "Evil\x1b]0;x\x07\nneuralpowerd: forged", "x"))
    assert found.board.isprintable() and "\n" not in found.board


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Links in a circle, links to nowhere, folders, pipes and text without end are as if absent; the rest is read."""
    directory = chip(tmp_path, "1-0040", 1, INA3221)
    (directory / "device").unlink()
    (directory / "device").symlink_to("device")
    (directory / "in2_label").symlink_to("in2_label")
    (directory / "in2_input").symlink_to("/nowhere")
    (directory / "in3_label").mkdir()
    os.mkfifo(directory / "samples")
    (directory / "update_interval").symlink_to("/dev/zero")
    (tmp_path / "sys/class/hwmon/hwmon7").symlink_to("hwmon7")
    (monitor,) = find_monitors(tmp_path)
    assert [rail.name for rail in monitor.rails] == ["VDD_IN"]
    assert (monitor.samples, monitor.update_interval_ms) == (None, None)
    assert read_text(tmp_path / "sys") is None and read_text(Path("a\0b")) is None


@pytest.mark.parametrize("text", ["", "x", "5.5", "9" * 30, "9" * 5000, "0x10", "1 2"])
def test_what_is_no_integer_of_64_bits(text: str, tmp_path: Path) -> None:
    """Such a file has no number."""
    (tmp_path / "f").write_text(text)
    assert read_int(tmp_path / "f") is None


def test_more_rails_than_a_tick_holds(tmp_path: Path) -> None:
    """The line says how many, and plan.rails takes fewer."""
    for number in range(17):
        chip(tmp_path, f"3-{0x10 + number:04x}", number, {**INA226, "label": f"R{number}"})
    with pytest.raises(
        ConfigError, match=r"plan\.rails: all rails are 17 readings of 17 chips, and a tick holds 64 of 16"
    ):
        make_plan(Config(sysfs_root=str(tmp_path)), seen())
    few = replace(Config(sysfs_root=str(tmp_path)), plan=Planning(rails=("R3", "R16")))
    assert make_plan(few, seen()).epoch(1, 0, 10**6, 0).rails() == ["R3", "R16"]


def test_the_page_has_the_tables_boards() -> None:
    """docs/boards.md names each board with its totals, widest first, and what they cover."""
    page = (Path(__file__).parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| Jetson")
    ]
    assert [row[0] for row in rows] == [board.name for board in boards()]
    for (_, totals, covers), board in zip(rows, boards(), strict=True):
        said = [text.partition(" where")[0].partition(", likewise")[0] for text in totals.split(", or ")]
        assert said == (
            [" + ".join(total.rails) for total in board.totals] or [f"none: {board.note.replace('this kit', 'it')}"]
        )
        assert covers == ", or ".join(total.covers for total in board.totals)


def test_why_readings_are_simulated(tmp_path: Path) -> None:
    """The epoch's note says it where nobody asked for simulation, and not where somebody did."""
    off = {f"in{channel}_enable = 1": f"in{channel}_enable = 0" for channel in (1, 2, 3)}
    root = str(unpack("orin_nx", tmp_path, change=off))
    assert make_plan(Config(sysfs_root=root)).note.endswith("since its channels are switched off")
    assert "since" not in make_plan(Config(sysfs_root=root, source="sim")).note


JUNK = ["", "x", "-1", "0", "9" * 30, "VDD_IN", "NC", "\x1b[2J", "ina226", "ina3221", "5000 200", "²", "\udcff", "a\tb"]


@given(
    name=st.sampled_from(["orin_nx", "agx_orin_industrial", "tx2_kit", "thor"]),
    seed=st.integers(0, 2**32 - 1),
    changes=st.integers(1, 12),
)
@settings(max_examples=40)
def test_no_tree_is_a_traceback(name: str, seed: int, changes: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files changed at random, dropped, made links or folders: a plan or one line, and a page whose verdicts have advice."""
    root = unpack(name, tmp_path_factory.mktemp("tree"))
    drawn = random.Random(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in drawn.sample(files, min(changes, len(files))):
        path.unlink()
        kind = drawn.randrange(8)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            path.symlink_to(drawn.choice([path.name, "/nowhere", "/proc/self/mem", ".."]))
        elif kind > 2:
            path.write_bytes(drawn.choice(JUNK).encode("utf-8", "surrogateescape") + b"\n")
    found = find(root)
    made = [*check_rails.rails(found, check_rails.examine(found), "auto")]
    assert all(each.advice for each in made if each.verdict != GOOD)
    assert all(text.isprintable() for each in made for text in (each.topic, each.value))
    assert len({rail.name for rail in found.rails}) == len(found.rails)
    try:
        plan = make_plan(Config(sysfs_root=str(root)), seen())
    except (ConfigError, DaemonError) as error:
        assert "\n" not in str(error)
    else:
        epoch = plan.epoch(1, 0, 1_000_000, 0)
        assert Epoch.from_dict(epoch.to_dict()) == epoch
