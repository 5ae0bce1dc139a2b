"""Inside the container: each drop-in allows what it says and nothing else, and without it the unit does not."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import service
from service import RUN, NotShown, command, configure, cursor, drop_in, journal, pid, start

HOST = Path("/host")
OPEN = """
import errno, os, sys
with open(sys.argv[1], "w") as answer:
    for path in sys.argv[2:]:
        try:
            os.close(os.open(path, os.O_RDWR))
            print(path, "opened", file=answer)
        except OSError as error:
            print(path, errno.errorcode[error.errno], file=answer)
"""
LATENCY = Path("/dev/cpu_dma_latency")
OTHER = Path("/dev/bed-other")
HWMON = {
    **{"name": "ina3221", "update_interval": "7", "samples": "1", "in1_label": "VDD_IN", "in1_enable": "1"},
    **{"in1_input": "5000", "in4_input": "1000", "shunt1_resistor": "5000", "curr1_input": "200"},
}
"""A chip's files as the driver shows them."""


@contextmanager
def installed(name: str, more: str = "") -> Iterator[None]:
    """The unit with the drop-in `neuralpowerd-NAME.conf`, and with `more` in its [Service]."""
    service.DROP_IN.parent.mkdir(exist_ok=True)
    copy = service.DROP_IN.parent / f"{name}.conf"
    shutil.copy(HOST / f"neuralpowerd-{name}.conf", copy)
    drop_in(f"[Service]\n{more}\n" if more else "")
    try:
        yield
    finally:
        copy.unlink()
        drop_in("")


def node(path: Path, major: int, minor: int, mode: int) -> None:
    """A device node; NotShown where none can be made."""
    path.unlink(missing_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
    except PermissionError:
        raise NotShown("a container may make no device node") from None
    path.chmod(mode)


def opened_by_service(*paths: Path) -> str:
    """A line for the unit that lets the service open these; `answers` has what became of it."""
    script = Path("/opt/neuralpower/open.py")
    script.write_text(OPEN)
    return f"ExecStartPost={service.PYTHON} {script} {RUN}/opened {' '.join(map(str, paths))}"


def answers() -> dict[str, str]:
    """What became of each open."""
    return dict(line.split() for line in (RUN / "opened").read_text().splitlines())


def must_be_denied(got: dict[str, str]) -> None:
    """The other device, whose mode lets everybody, is kept from the service by its device policy."""
    if got[str(OTHER)] != "EPERM" and command("systemd-detect-virt", "--container", ok=False).returncode == 0:
        raise NotShown(f"device policies are not enforced in this container: {got}")
    assert got[str(OTHER)] == "EPERM", got


def i2c() -> str:
    """The service may open an I2C bus and no other device, whatever its mode; the group is there by sysusers."""
    bus = Path("/dev/i2c-9")  # no hardware behind either: ENXIO or ENODEV is "may open"
    node(bus, 89, 9, 0o660)
    node(OTHER, 10, 229, 0o666)
    shutil.chown(bus, group="i2c")
    line = opened_by_service(bus, OTHER)
    drop_in(f"[Service]\n{line}\n")
    start()
    without = answers()
    assert without[str(bus)] in ("ENOENT", "EACCES", "EPERM"), without
    with installed("i2c", line):
        start()
        got = answers()
        assert got[str(bus)] in ("ENXIO", "ENODEV", "opened"), got
        must_be_denied(got)
    start()
    return f"with it an I2C bus may be opened, another device of mode 666 not: {got}; without it: {without[str(bus)]}"


def latency() -> str:
    """The service holds /dev/cpu_dma_latency at 0 and may open no other device; without the drop-in it says that it may not."""
    if not LATENCY.exists():
        raise NotShown("there is no /dev/cpu_dma_latency here")
    node(OTHER, 10, 229, 0o666)
    configure("[realtime]\nhold_latency = true")
    line = opened_by_service(OTHER)
    try:
        seen = cursor()
        start()
        refused = [
            str(entry["MESSAGE"]) for entry in journal(seen) if "cpu_dma_latency refused" in str(entry["MESSAGE"])
        ]
        assert refused, "without the drop-in nothing is said"
        with installed("latency", line):
            start()
            held = [os.readlink(link) for link in Path(f"/proc/{pid()}/fd").iterdir()]
            assert str(LATENCY) in held, held
            with LATENCY.open("rb") as file:
                value = int.from_bytes(file.read(4), "little", signed=True)
            assert value == 0, value
            must_be_denied(answers())
        return f"held at {value} µs, another device of mode 666 not to be opened; without it: {refused[0]}"
    finally:
        configure()
        start()


def write() -> str:
    """The service sets update_interval and puts it back, and can write nothing else there; without the drop-in, nothing."""
    place = Path("/sys/class/hwmon") if Path("/sys/class/hwmon").is_dir() else Path("/sys/class")
    if command("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(place), ok=False).returncode:
        raise NotShown("nothing can be mounted over /sys/class here")
    chip = Path("/sys/class/hwmon/hwmon7")
    try:
        chip.mkdir(parents=True)
        for name, text in HWMON.items():
            (chip / name).write_text(f"{text}\n")
        interval = chip / "update_interval"
        configure("period_us = 1000\n[plan]\nallow_write = true", source="hwmon")
        start()
        assert interval.read_text() == "7\n", "written without the drop-in"
        command("systemctl", "stop", "neuralpowerd")
        with installed("write"):
            start()
            assert interval.read_text() == "0\n", interval.read_text()
            other = service.in_service("sh", "-c", f"echo 4 > {chip}/samples")
            assert other.returncode, "samples can be written as well"
            command("systemctl", "stop", "neuralpowerd")
            assert interval.read_text() == "7\n", interval.read_text()
        return "update_interval 7 → 0 while it runs, 7 after its stop; not without it; samples cannot be written"
    finally:
        command("systemctl", "stop", "neuralpowerd", ok=False)
        command("umount", str(place))
        configure()
        start()
