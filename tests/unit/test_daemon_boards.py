"""The rails and totals of the known boards, from text fixtures of their sysfs trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuralpowerd.check.check import examine
from neuralpowerd.check.findings import Finding, page
from neuralpowerd.config import Config
from neuralpowerd.errors import DaemonError
from neuralpowerd.sources.boards import boards, find
from neuralpowerd.sources.registry import make_plan

FIXTURES = Path(__file__).parents[1] / "fixtures" / "boards"


def unpack(name: str, root: Path, drop: str = "", change: dict[str, str] | None = None) -> Path:
    """Make the tree of a fixture (lines `path = content` and `path -> target`), without lines that hold `drop`."""
    for line in (FIXTURES / f"{name}.txt").read_text().splitlines():
        if line.startswith("#") or (drop and drop in line):
            continue
        for old, new in (change or {}).items():
            line = line.replace(old, new)
        path, sign, content = (
            (line.partition(" -> ") if " -> " in line else line.partition(" = ")) if line else ("",) * 3
        )
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if sign == " -> ":
            (root / path).symlink_to(content)
        else:
            (root / path).write_bytes(content.replace("\\0", "\0").encode() + (b"" if "\\0" in content else b"\n"))
    return root


MODULE = (("VDD_IN", 0x40), ("VDD_CPU_GPU_CV", 0x40), ("VDD_SOC", 0x40))
EXPECTED = {
    "nano": ("Jetson Nano", (("POM_5V_IN", 0x40), ("POM_5V_GPU", 0x40), ("POM_5V_CPU", 0x40)), ("POM_5V_IN",)),
    "tx1": ("Jetson TX1", (("VDD_IN", 0x40), ("VDD_GPU", 0x40), ("VDD_CPU", 0x40)), ("VDD_IN",)),
    "tx2": (
        "Jetson TX2",
        (
            *(("VDD_SYS_GPU", 0x40), ("VDD_SYS_SOC", 0x40), ("VDD_4V0_WIFI", 0x40)),
            *(("VDD_IN", 0x41), ("VDD_SYS_CPU", 0x41), ("VDD_SYS_DDR", 0x41)),
        ),
        ("VDD_IN",),
    ),
    "tx2_kit": (
        "Jetson TX2",
        (
            *(("VDD_SYS_GPU", 0x40), ("VDD_SYS_SOC", 0x40), ("VDD_4V0_WIFI", 0x40)),
            *(("VDD_IN", 0x41), ("VDD_SYS_CPU", 0x41), ("VDD_SYS_DDR", 0x41)),
            *(("VDD_MUX", 0x42), ("VDD_5V0_IO_SYS", 0x42), ("VDD_3V3_SYS", 0x42)),
            *(("VDD_3V3_IO_SLP", 0x43), ("VDD_1V8_IO", 0x43), ("VDD_3V3_SYS_M2", 0x43)),
        ),
        ("VDD_IN", "VDD_MUX"),
    ),
    "tx2_nx": ("Jetson TX2 NX", (("VDD_IN", 0x40), ("VDD_CPU_GPU", 0x40), ("VDD_SOC", 0x40)), ("VDD_IN",)),
    "nano_2gb": ("Jetson Nano 2GB", (), ()),
    "xavier_nx": ("Jetson Xavier NX", MODULE, ("VDD_IN",)),
    "agx_xavier": (
        "Jetson AGX Xavier",
        (("GPU", 0x40), ("CPU", 0x40), ("SOC", 0x40), ("CV", 0x41), ("VDDRQ", 0x41), ("SYS5V", 0x41)),
        ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ),
    "orin_nano": ("Jetson Orin NX or Orin Nano", MODULE, ("VDD_IN",)),
    "orin_nx": ("Jetson Orin NX or Orin Nano", MODULE, ("VDD_IN",)),
    "agx_orin": (
        "Jetson AGX Orin",
        (("VDD_GPU_SOC", 0x40), ("VDD_CPU_CV", 0x40), ("VIN_SYS_5V0", 0x40), ("VDDQ_VDD2_1V8AO", 0x41)),
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ),
    "agx_orin_industrial": (
        "Jetson AGX Orin Industrial",
        (
            *(("VDD_GPU_SOC", 0x40), ("VDD_CPU_CV", 0x40), ("VIN_SYS_5V0", 0x40), ("VDDQ_VDD2_1V8AO", 0x41)),
            *(("CVB_ATX_12V", 0x41), ("CVB_ATX_3V3", 0x41), ("CVB_ATX_5V", 0x41), ("ina219@7-0044", 0x44)),
        ),
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ),
    "thor": (
        "Jetson AGX Thor",
        (("VDD_GPU", 0x40), ("VDD_CPU_SOC_MSS", 0x40), ("VIN_SYS_5V0", 0x40), ("VIN", 0x44)),
        ("VIN",),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_known_board(name: str, tmp_path: Path) -> None:
    """Each board's rails are found by label and address, none missing, with the total that counts no rail twice."""
    found = find(unpack(name, tmp_path))
    board, rails, total = EXPECTED[name]
    assert (found.board, tuple((rail.name, rail.address) for rail in found.rails)) == (board, rails)
    assert found.total == total and not found.missing


def test_every_board_has_a_fixture() -> None:
    """No board is known that no fixture shows."""
    assert {board for board, _, _ in EXPECTED.values()} == {board.name for board in boards()}
    assert {path.stem for path in FIXTURES.glob("*.txt")} == set(EXPECTED)


WITH_RAILS = [name for name, (_, rails, _) in EXPECTED.items() if rails]


@pytest.mark.parametrize("name", WITH_RAILS)
def test_every_rail_can_be_sampled(name: str, tmp_path: Path) -> None:
    """The plan for a board has a channel for power, or for voltage and current, of every rail; nothing is simulated."""
    plan = make_plan(Config(sysfs_root=str(unpack(name, tmp_path))))
    assert not plan.simulated and plan.source == (
        "iio" if name in ("nano", "tx1", "tx2", "tx2_kit", "tx2_nx") else "hwmon"
    )
    epoch = plan.epoch(1, 0, 1_000_000, 0)
    for rail in epoch.rails():
        quantities = {channel.quantity for channel in epoch.channels if channel.rail == rail}
        assert quantities in ({"power_uw"}, {"bus_uv", "shunt_uv"}, {"bus_uv", "current_ua"})
    shunts = {channel.shunt_uohm for channel in epoch.channels if channel.quantity == "shunt_uv"}
    known = {"agx_orin": {2000}, "agx_orin_industrial": {2000}, "thor": {1000}}
    assert shunts == known.get(name, {5000} if plan.source == "hwmon" else set())
    with_power = name in ("thor", "agx_orin_industrial")  # of a driver that says nothing of its scan
    assert plan.freshness == ("nominal" if plan.source == "hwmon" and not with_power else "unknown")


def test_numbers_of_hwmon_and_bus_do_not_matter(tmp_path: Path) -> None:
    """Another boot, another hwmon and bus number, the same rails."""
    found = find(unpack("agx_orin", tmp_path, change={"hwmon3": "hwmon9", "i2c-1": "i2c-8", "1-004": "8-004"}))
    assert tuple((rail.name, rail.address) for rail in found.rails) == EXPECTED["agx_orin"][1]
    assert found.rails[0].chip == "ina3221@8-0040" and found.total == EXPECTED["agx_orin"][2]


def test_a_missing_rail_of_the_total_makes_the_total_unknown(tmp_path: Path) -> None:
    """A sum that lacks a rail would be wrong, so there is none; a missing rail beside the total is only named."""
    found = find(unpack("agx_xavier", tmp_path / "a", drop="1-0041"))
    assert found.total == () and found.note == "total unknown: CV, VDDRQ, SYS5V not found"
    found = find(unpack("agx_orin", tmp_path / "b", drop="1-0041"))
    assert found.total == EXPECTED["agx_orin"][2] and [each.label for each in found.missing] == ["VDDQ_VDD2_1V8AO"]


def test_unknown_board(tmp_path: Path) -> None:
    """An unknown board's input rail is its total; without one the total is unknown and says so, VIN_SYS_5V0 or not."""
    found = find(unpack("orin_nx", tmp_path / "a", drop="device-tree"))
    assert found.board == "unknown board" and found.total == ("VDD_IN",)
    found = find(unpack("agx_orin", tmp_path / "b", drop="device-tree"))
    assert len(found.rails) == 4 and found.total == () and "total is unknown" in found.note


def test_the_model_names_the_board_where_no_part_number_does(tmp_path: Path) -> None:
    """A third party's device tree may lack the module's part number."""
    found = find(unpack("agx_xavier", tmp_path, drop="compatible"))
    assert found.board == "Jetson AGX Xavier"


def test_without_shunt_voltage_the_current_is_read(tmp_path: Path) -> None:
    """A kernel that hides the shunt voltages still gives currents in mA."""
    found = find(unpack("orin_nx", tmp_path, drop="in4_input"))
    first = found.rails[0]
    assert [(item.quantity, item.scale) for item in first.inputs] == [("bus_uv", 1000), ("current_ua", 1000)]


def test_nothing_found(tmp_path: Path) -> None:
    """A machine without rails simulates when it may, and refuses in one line when it may not."""
    assert make_plan(Config(sysfs_root=str(tmp_path))).simulated
    with pytest.raises(DaemonError, match="no power rail found"):
        make_plan(Config(sysfs_root=str(tmp_path), source="hwmon"))


def test_check_shows_values_and_what_it_does_not_know(tmp_path: Path) -> None:
    """`check` shows what each rail draws now."""
    found = examine(Config(sysfs_root=str(unpack("thor", tmp_path))))
    assert {rail["rail"]: rail["power_w"] for rail in found["rails"]}["VIN"] == pytest.approx(48.0768)
    assert found["rails"][0]["power_w"] == pytest.approx(12.0 * 0.2)
    shown = page([Finding(**each) for each in found["findings"]], "x", colour=False)
    assert any("VIN" in line and "48.077 W" in line for line in shown.splitlines())
