"""Boards told by part number, words or rails; what their totals cover, and why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_daemon_boards import FIXTURES, unpack
from test_daemon_monitors import INA226, INA3221, chip, says
from test_daemon_plan import seen, tree

from neuralpower_wire import Epoch
from neuralpower_wire.epoch import COVERS
from neuralpowerd.config import Config, PlanTable
from neuralpowerd.errors import DaemonError
from neuralpowerd.sources import boards as table
from neuralpowerd.sources.boards import FORMAT, boards, find, identify, tomllib
from neuralpowerd.sources.registry import make_plan
from neuralpowerd.system.monitors import find_monitors


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
    plan = make_plan(Config(sysfs_root=root, plan=PlanTable(rails=("VDD_IN", "VDD_SYS_GPU"))), seen())
    assert (plan.totals, plan.covers) == (("VDD_IN",), "module")
    plan = make_plan(Config(sysfs_root=root, plan=PlanTable(rails=("VDD_MUX",))), seen())
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
    found = find(unpack("orin_nx", tmp_path / "c", change={"in2_label = VDD_CPU_GPU_CV": "in2_label = VDD_IN"}))
    assert "VDD_IN is there twice (ina3221@1-0040 channel 1 and ina3221@1-0040 channel 2)" in found.note
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
        ("off", {"in1_enable = 1": "in1_enable = 0"}, "in1_input", "VDD_IN is switched off (ina3221@1-0040 channel 1)"),
        ("elsewhere", {"1-0040": "1-0043"}, "", "VDD_IN is on ina3221@1-0043, not at 0x40 as on this board"),
        ("other", {"= VDD_IN": "= VDD_12V"}, "", "VDD_IN is not at 0x40: channel 1 of ina3221@1-0040 is VDD_12V"),
        ("other", {}, "in1_label", "VDD_IN is not at 0x40: channel 1 of ina3221@1-0040 has no label"),
        ("other", {}, "in1_input", "VDD_IN is not at 0x40: channel 1 of ina3221@1-0040 is not connected"),
        ("absent", {}, "1-0040", "VDD_IN not found"),
    ],
)
def test_why_a_rail_is_missing(why: str, change: dict[str, str], drop: str, note: str, tmp_path: Path) -> None:
    """Off (also where the channel's values have no files), elsewhere, another label, not connected, not there: each is said as it is."""
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
