"""Power monitors of any hwmon driver as rails, whatever their files hold."""

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
from test_daemon_boards import unpack
from test_daemon_plan import seen

from neuralpower_wire import Epoch, tick_dtype
from neuralpowerd.check import rails as check_rails
from neuralpowerd.check.findings import GOOD
from neuralpowerd.config import Config, PlanTable
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.sources.boards import find
from neuralpowerd.sources.registry import make_plan
from neuralpowerd.system.monitors import find_monitors
from neuralpowerd.system.sysfs import clean, read_int, read_text

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
    wish = Config(sysfs_root=str(tmp_path), runtime_dir=str(tmp_path), plan=PlanTable(allow_write=True))
    plan = make_plan(wish, seen())
    assert plan.chips[0].scan_ns == 70_000_000 and plan.chips[0].shunt_conversion_us == 0
    plan.open().close()
    assert (directory / "update_interval").read_text() == "70\n"


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
    few = replace(Config(sysfs_root=str(tmp_path)), plan=PlanTable(rails=("R3", "R16")))
    assert make_plan(few, seen()).epoch(1, 0, 10**6, 0).rails() == ["R3", "R16"]


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
