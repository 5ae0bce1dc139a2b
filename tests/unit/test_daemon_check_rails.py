"""The check's verdicts hold: each is held against a case in which it was wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_daemon_boards import unpack
from test_daemon_check import findings, write
from test_daemon_monitors import INA226, INA3221, chip, says
from test_daemon_plan import board, tree

from neuralpowerd import cli
from neuralpowerd.check import check
from neuralpowerd.check import i2c as check_i2c
from neuralpowerd.check import machine as check_machine
from neuralpowerd.check.findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding, page
from neuralpowerd.config import Config, I2cTable, PlanTable, RealtimeTable
from neuralpowerd.system.conditions import Machine


def config(root: Path, **words: object) -> Config:
    """Of a tree, with a runtime directory of its own."""
    return replace(Config(sysfs_root=str(root), runtime_dir=str(root)), **words)  # type: ignore[arg-type]


def each_advises(root: Path, **words: object) -> list[Finding]:
    """The findings, each of which has advice unless it is good."""
    made = [Finding(**each) for each in check.examine(config(root, **words))["findings"]]
    assert not [each for each in made if each.verdict != GOOD and not each.advice]
    return made


# ---- Rails -------------------------------------------------------------------------------------


def test_the_total_says_what_it_covers(tmp_path: Path) -> None:
    """Module or board beside the total; on an unknown board that is not known, and the verdict says so."""
    seen = findings(config(unpack("orin_nano", tmp_path / "a")))
    assert seen["total"] == Finding("Rails", "total", "VDD_IN   covers the module", GOOD)
    seen = findings(config(unpack("tx2_kit", tmp_path / "b")))
    assert seen["total"].value == "VDD_IN + VDD_MUX   covers module and carrier board"
    seen = findings(config(unpack("orin_nano", tmp_path / "c", drop="device-tree")))
    assert seen["total"].verdict == UNKNOWN and "what that covers is not known" in seen["total"].advice
    assert check.examine(config(tmp_path / "a"))["covers"] == "module"


def test_a_total_with_a_rail_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    """The rail alone was a problem, and the total of it good. Where another rail cannot be read, the total is."""
    seen = findings(config(unpack("orin_nano", tmp_path / "a", change={"in1_input = ": "in1_input = x"})))
    assert seen["VDD_IN"].verdict == seen["total"].verdict == PROBLEM
    assert seen["total"].value == "VDD_IN   not known: VDD_IN cannot be read"
    seen = findings(config(unpack("orin_nano", tmp_path / "b", change={"in3_input = ": "in3_input = x"})))
    assert (seen["VDD_SOC"].verdict, seen["total"].verdict) == (PROBLEM, GOOD)


@pytest.mark.parametrize("shunt", [5, 5_000_000])
def test_a_shunt_in_the_wrong_unit_has_no_tick(shunt: int, tmp_path: Path) -> None:
    """Kilowatts or milliwatts: rail and total are problems, and the shunt is named with its file."""
    root = unpack(
        "orin_nano", tmp_path, change={f"shunt{n}_resistor = 5000": f"shunt{n}_resistor = {shunt}" for n in (1, 2, 3)}
    )
    seen = findings(config(root))
    assert seen["VDD_IN"].verdict == seen["VDD_SOC"].verdict == seen["total"].verdict == PROBLEM
    assert f"doubted: its shunt of {shunt} µΩ is not plausible" in seen["VDD_IN"].value
    assert "hwmon1/shunt1_resistor is in µΩ" in seen["VDD_IN"].advice and seen["total"].value == "unknown"
    examined = check.examine(config(root))
    assert examined["doubted"] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    assert (examined["total"], examined["covers"]) == ([], "")


@pytest.mark.parametrize(
    ("change", "rail", "total"),
    [
        ({"ui_input_0 = 5000 200": "ui_input_0 = 5000 200000"}, "1000 W is not plausible: more than 30 W", True),
        ({"ui_input_0 = 5000 200": "ui_input_0 = 5000 -2000"}, "-10 W is not plausible: less than -2 W", True),
        ({"ui_input_0 = 5000 200": "ui_input_0 = 5000 0"}, "", True),
        ({"ui_input_0 = 5000 200": "ui_input_0 = 5000 4000"}, "", False),
    ],
)
def test_a_power_that_no_board_draws_has_no_tick(
    change: dict[str, str], rail: str, total: bool, tmp_path: Path
) -> None:
    """Where no driver says a shunt, the power itself is held against the board's; a running board draws more than nothing."""
    seen = findings(config(unpack("nano", tmp_path, change=change)))
    assert seen["POM_5V_IN"].verdict == (PROBLEM if rail else GOOD) and rail in seen["POM_5V_IN"].value
    assert seen["total"].verdict == (PROBLEM if total else GOOD) and ("doubted" in seen["total"].value) == total
    told = "the rails above say which" if rail else "no rail above is doubted by itself" if total else ""
    assert told in seen["total"].advice


def test_a_current_that_flows_backwards_is_no_matter_of_the_shunts_unit(tmp_path: Path) -> None:
    """The shunt is as on any board: what is wrong is on which side of it the board lies."""
    seen = findings(config(unpack("orin_nano", tmp_path, change={"in4_input = 1000": "in4_input = -3000"})))
    assert seen["VDD_IN"].verdict == PROBLEM and "less than -2 W" in seen["VDD_IN"].value
    assert "flows backwards" in seen["VDD_IN"].advice and "µΩ" not in seen["VDD_IN"].advice


def test_a_driver_that_reads_other_chips_is_not_asked_for(tmp_path: Path) -> None:
    """One chip of two is not there: to load the driver would change nothing."""
    seen = findings(config(unpack("agx_orin", tmp_path, drop="1-0041")))
    assert (
        seen["missing"].value == "VDDQ_VDD2_1V8AO"
        and "the driver is there and reads other chips" in seen["missing"].advice
    )


def test_channels_that_are_off_are_said_to_be_off(tmp_path: Path) -> None:
    """Not "load the driver": the channel and its file are named, on a known board and on another."""
    off = {f"in{channel}_enable = 1": f"in{channel}_enable = 0" for channel in (1, 2, 3)}
    made = each_advises(unpack("orin_nx", tmp_path / "a", change=off))
    seen = {each.topic: each for each in made}
    assert "its channels are switched off" in seen["board"].value and "readings are simulated" in seen["board"].advice
    missing = [each for each in made if each.topic == "missing"]
    assert missing[0].value == "VDD_IN is switched off (ina3221@1-0040 channel 1)"
    assert missing[0].advice.endswith("in1_enable") and "load" not in "".join(each.advice for each in missing)
    chip(tmp_path / "b", "1-0040", 1, {**INA3221, "in1_enable": 0})
    seen = {each.topic: each for each in each_advises(tmp_path / "b")}
    assert seen["VDD_IN"].value == "switched off   ina3221@1-0040 channel 1" and seen["VDD_IN"].verdict == BETTER
    assert "missing" not in seen


def test_a_channel_that_is_off_beside_the_total(tmp_path: Path) -> None:
    """One rail off: the total stays, the rail is missing because it is off."""
    seen = findings(config(unpack("orin_nx", tmp_path, change={"in3_enable = 1": "in3_enable = 0"})))
    assert seen["total"].verdict == GOOD and "VDD_SOC is switched off" in seen["missing"].value


def test_another_monitor_is_named(tmp_path: Path) -> None:
    """An INA226 in the place of the board's INA3221 is read and named; a chip that tells no power is named too."""
    root = says(tmp_path, "NVIDIA Jetson Orin NX")
    chip(root, "7-0044", 2, {**INA226, "shunt_resistor": 10000})
    chip(root, "5-0010", 3, {"name": "ltc4261", "in1_input": 1, "in2_input": 2, "curr1_input": 3})
    seen = {each.topic: each for each in each_advises(root) if each.group == "Rails"}
    assert seen["ina226@7-0044"].value.startswith("   9.600 W") and seen["ina226@7-0044"].verdict == GOOD
    assert "is there and not read" in seen["ltc4261@5-0010"].value
    assert seen["missing"].value == "VDD_IN, VDD_CPU_GPU_CV, VDD_SOC"
    assert "this carrier has ina226@7-0044 in their place, which is read" in seen["missing"].advice


def test_a_board_without_a_monitor_is_not_told_to_load_a_driver(tmp_path: Path) -> None:
    """The Nano 2GB has none."""
    seen = {each.topic: each for each in each_advises(unpack("nano_2gb", tmp_path))}
    assert "has no power monitor" in seen["board"].value and "missing" not in seen
    assert "driver" not in seen["board"].advice


def test_why_a_rail_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without rights, one without a number: the reason is the file's, not always the kernel's log."""
    root = unpack("orin_nx", tmp_path, change={"in2_input = 5000": "in2_input = none"})
    really = os.open

    def refusing(path: object, *words: int) -> int:
        if str(path).endswith("in1_input"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    seen = findings(config(root))
    assert "Permission denied" in seen["VDD_IN"].value and "as root" in seen["VDD_IN"].advice
    assert "holds no number" in seen["VDD_CPU_GPU_CV"].advice and seen["VDD_SOC"].verdict == GOOD


def test_what_another_source_does_is_not_said_of_this_one(tmp_path: Path) -> None:
    """Source i2c needs no driver and simulates nothing; source sim simulates although rails are there; hwmon does not start without."""
    seen = findings(config(tree(says(tmp_path / "a")), source="i2c"))
    assert "simulated" not in seen["board"].advice and "missing" not in seen and "total" not in seen
    assert seen["total of registers"].value == "VDD_IN" and seen["total of registers"].advice == "covers the module"
    root = unpack("orin_nx", tmp_path / "b")
    assert "source sim, which simulates its own" in check.title(check.examine(config(root, source="sim")))
    empty = findings(config(tmp_path / "c", source="hwmon"))
    assert "does not start" in empty["board"].advice and "simulated" not in empty["board"].advice


def test_rails_of_the_other_kind_are_said_to_be_left_out(tmp_path: Path) -> None:
    """JetPack 4's rails and an INA226: one kind is read, the other named."""
    root = unpack("tx2", tmp_path)
    chip(root, "7-0045", 9, INA226)
    seen = findings(config(root))
    assert seen["not read"].value == "ina226@7-0045" and 'source = "hwmon"' in seen["not read"].advice


# ---- Sensor ------------------------------------------------------------------------------------


def test_settings_of_an_ina3221_are_not_advised_for_other_chips(tmp_path: Path) -> None:
    """Conversion times, plan.allow_write and source i2c are an INA3221's."""
    chip(tmp_path, "7-0044", 2, {**INA226, "update_interval": 70})
    made = each_advises(tmp_path)
    seen = {each.topic: each for each in made}
    assert (
        "at 140 µs" not in seen["fresh rate, all rails"].value and "as set 14 Hz" in seen["fresh rate, all rails"].value
    )
    text = " ".join(each.advice for each in made if each.group == "Sensor")
    assert "allow_write" not in text and "i2c" not in text and "voltage_every" not in text


def test_a_permission_that_is_given_is_not_advised(tmp_path: Path) -> None:
    """With plan.allow_write set the page does not say to set it."""
    seen = findings(config(board(tmp_path, 400_000), plan=PlanTable(allow_write=True)))
    assert "is set" in seen["scan"].advice and "= true" not in seen["scan"].advice


@pytest.mark.parametrize(("clock_hz", "wire"), [(100_000, "480 µs"), (200_000, "240 µs")])
def test_a_faster_bus_is_promised_what_it_gives(clock_hz: int, wire: str, tmp_path: Path) -> None:
    """400 kHz makes a register 120 µs, whatever it takes now."""
    seen = findings(config(board(tmp_path, clock_hz)))["bus clock"]
    assert wire in seen.value and "would make it 120 µs" in seen.advice


def test_no_bus_is_faster_than_i2c_can_be(tmp_path: Path) -> None:
    """A driver that answers from memory tells nothing of its bus."""
    seen = findings(config(unpack("orin_nx", tmp_path)))["bus clock"]
    assert "the driver remembers values" in seen.value and "at least" not in seen.value


def test_what_is_not_known_is_not_called_slow(tmp_path: Path) -> None:
    """JetPack 4's driver says nothing of its scan: the rate as set is unknown, not below 350 Hz."""
    assert findings(config(unpack("nano", tmp_path)))["fresh rate, all rails"].verdict == UNKNOWN


def test_a_rail_that_is_not_there_makes_no_possible_period(tmp_path: Path) -> None:
    """What neuralpowerd run would refuse is a problem here too."""
    seen = findings(config(unpack("orin_nx", tmp_path), plan=PlanTable(rails=("X",))))["period"]
    assert seen.verdict == PROBLEM and "'X' is no rail here" in seen.value and seen.advice


def test_the_daemon_itself_is_no_other_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its process is called: it is the one that answers."""
    root = board(tmp_path, 400_000)
    (monitor,) = (root / "sys/devices/platform/bus@0").glob("*.i2c/*/*/hwmon/*")
    write(root, {"proc/4242/comm": "python3"})
    (root / "proc/4242/fd").mkdir()
    (root / "proc/4242/fd/3").symlink_to(monitor / "in1_input")
    assert findings(config(root))["other readers"].verdict == PROBLEM
    monkeypatch.setattr(check, "ask_status", lambda config: {"pid": 4242})
    assert findings(config(root))["other readers"].verdict == GOOD


def test_a_driver_on_another_bus_is_not_in_the_way(tmp_path: Path) -> None:
    """The same address on another bus is another chip; the driver is unbound by its own name."""
    wish = config(tree(tmp_path), source="i2c")
    other = tmp_path / "sys/bus/i2c/devices/9-0040"
    (other / "of_node").mkdir(parents=True)
    (other / "of_node/compatible").write_bytes(b"ti,ina3221\0")
    driver = tmp_path / "sys/bus/i2c/drivers/ina3221x"
    driver.mkdir(parents=True)
    (other / "driver").symlink_to(driver)
    wish = replace(wish, i2c=I2cTable(device="/dev/i2c-1"))
    assert "bound driver" not in {each.topic for each in check_i2c.registers(wish)}
    (tmp_path / "sys/bus/i2c/devices/1-0040/driver").symlink_to(driver)
    seen = {each.topic: each for each in check_i2c.registers(wish)}
    assert "drivers/ina3221x/unbind" in seen["bound driver"].advice and "9-0040" not in seen["bound driver"].value


def test_shunts_of_registers_are_doubted(tmp_path: Path) -> None:
    """Those of the device tree, before anything is opened."""
    wrong = "sys/bus/i2c/devices/1-0040/of_node/input@0/shunt-resistor-micro-ohms"
    (tree(tmp_path) / wrong).write_bytes((5).to_bytes(4, "big"))
    seen = findings(config(tmp_path, source="i2c"))
    assert seen["VDD_IN"].verdict == PROBLEM and "5 µΩ" in seen["VDD_IN"].value
    assert seen["total of registers"].value == "unknown"


# ---- Machine -----------------------------------------------------------------------------------


def test_root_without_the_capability_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container root may lack it, and no control group is to blame."""
    monkeypatch.setattr(check_machine, "_try_fifo", lambda priority: "Operation not permitted")
    monkeypatch.setattr(check_machine.resource, "getrlimit", lambda which: (0, 0))
    monkeypatch.setattr(check_machine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(check_machine, "_may", lambda capability: False)
    assert "CAP_SYS_NICE" in check_machine._priority(80).advice
    assert check_machine._memory(Config(), 6, 10**6).verdict == BETTER
    monkeypatch.setattr(check_machine, "_may", lambda capability: True)
    assert (
        "control group" in check_machine._priority(80).advice
        and check_machine._memory(Config(), 6, 10**6).verdict == GOOD
    )


def test_a_loop_that_spins_needs_more_of_the_processor(tmp_path: Path) -> None:
    """A fifth is enough for a loop that sleeps, and not for one that polls the clock half of the time."""
    texts = {"proc/sys/kernel/sched_rt_runtime_us": "200000", "proc/sys/kernel/sched_rt_period_us": "1000000"}
    root = write(tmp_path, texts)
    assert findings(config(root))["real-time throttling"].verdict == GOOD
    seen = findings(config(root, realtime=RealtimeTable(spin_us=500)))["real-time throttling"]
    assert seen.verdict == PROBLEM and "up to 60 %" in seen.advice


def test_more_readings_need_more_memory() -> None:
    """A tick of 64 readings is several times one of six."""
    few, many = (check_machine._memory(Config(), readings, 10**6).value for readings in (6, 64))
    assert "about 52 MiB" in few and "about 450 MiB" in many


def test_not_every_cooling_device_throttles(tmp_path: Path) -> None:
    """A fan by any spelling, a display's brightness and a clamp that is off (-1) slow nothing down."""
    devices = {"0": ("Fan", 1), "1": ("LCD", 3), "2": ("intel_powerclamp", -1)}
    for number, (kind, state) in devices.items():
        folder = f"sys/class/thermal/cooling_device{number}"
        write(tmp_path, {f"{folder}/type": kind, f"{folder}/cur_state": str(state)})
    assert findings(config(tmp_path))["throttling"].verdict == GOOD
    assert [name for name in Machine(tmp_path).read() if name.startswith("throttling")] == [
        "throttling.intel_powerclamp"
    ]


def test_jetson_clocks_is_advised_where_it_is(tmp_path: Path) -> None:
    """A machine without the program is told what it does."""
    folder = "sys/devices/system/cpu/cpufreq/policy0/scaling"
    texts = {f"{folder}_cur_freq": "1", f"{folder}_min_freq": "1", f"{folder}_max_freq": "2"}
    assert "jetson_clocks" not in findings(config(write(tmp_path, texts)))["clocks"].advice
    assert "jetson_clocks" in findings(config(write(tmp_path, {"usr/bin/jetson_clocks": ""})))["clocks"].advice


def test_long_names_keep_the_page_in_its_width() -> None:
    """A topic longer than its column has a line of its own."""
    lines = page([Finding("Rails", "x" * 48, "5 W", GOOD)], "t", 80, False).splitlines()
    assert max(map(len, lines)) <= 80 and any(line.strip() == "5 W" for line in lines)


def test_a_reader_that_has_gone_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`neuralpowerd check | head -1` says nothing of folders and their rights."""
    reads, writes = os.pipe()
    os.close(reads)
    file = tmp_path / "d.toml"
    file.write_text(f'sysfs_root = "{tmp_path}"\nruntime_dir = "{tmp_path}"\n')
    with os.fdopen(writes, "w") as output:
        monkeypatch.setattr("sys.stdout", output)
        assert cli.main(["check", "--config", str(file)]) == 0


@pytest.mark.parametrize(
    "status",
    [{"pid": "x", "behaviour": 5}, {"behaviour": {"ina3221@1-0040": {"kind": "\x1b[2J"}}, "missed_slots": "9"}],
)
def test_a_status_of_another_version_is_read_as_far_as_it_goes(
    status: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that are none are nothing, a behaviour nobody knows is unknown, nothing moves the cursor."""
    monkeypatch.setattr(check, "ask_status", lambda config: status)
    made = each_advises(unpack("orin_nx", tmp_path))
    assert {each.topic: each for each in made}["running"].verdict == UNKNOWN
    assert all(each.value.isprintable() for each in made)
