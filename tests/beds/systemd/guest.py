"""Inside the container: install neuralpower as docs/operations.md says, and try everything its unit promises."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import drop_ins
import service
from service import (
    CONFIG,
    RUN,
    NotShown,
    Row,
    ask,
    command,
    configure,
    cursor,
    drop_in,
    journal,
    limit_of,
    pid,
    restarts,
    show,
    start,
    until,
)

HOST = Path("/host")
UNIT = Path("/etc/systemd/system/neuralpowerd.service")
EXPOSURE = 2.5
"""systemd-analyze security: 0 is a locked box, 10 an open one."""
PSEUDO_DEVICES = {
    *("char", "console", "core", "fd", "full", "hugepages", "log", "mqueue", "null", "ptmx", "pts", "random", "shm"),
    *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
}
FIFO_80 = (os.SCHED_FIFO, 80)
CAPABLE = "[Service]\nAmbientCapabilities=CAP_SYS_NICE CAP_IPC_LOCK\nCapabilityBoundingSet=CAP_SYS_NICE CAP_IPC_LOCK\n"


def install() -> str:
    """docs/operations.md, word for word, with a wheel and Debian's own numpy, pyzmq, msgpack and cffi."""
    (wheel,) = HOST.glob("*.whl")
    if not Path("/opt/neuralpower").exists():
        make_environment(wheel)
    shutil.copy(HOST / "neuralpowerd.service", UNIT)
    shutil.copy(HOST / "neuralpower.sysusers", "/usr/lib/sysusers.d/neuralpower.conf")
    command("systemd-sysusers")
    shutil.copy(HOST / "neuralpower.tmpfiles", "/usr/lib/tmpfiles.d/neuralpower.conf")
    command("systemd-tmpfiles", "--create", "neuralpower.conf")
    command("useradd", "-m", "member")
    command("useradd", "-m", "stranger")
    command("usermod", "-aG", "neuralpower", "member")
    configure()
    command("systemctl", "daemon-reload")
    return wheel.name


def make_environment(wheel: Path) -> None:
    """Where the unit looks for the daemon."""
    command("python3", "-m", "venv", "--system-site-packages", "/opt/neuralpower")
    command(
        "/opt/neuralpower/bin/python",
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        f"neuralpower[daemon] @ file://{wheel}",
    )


def verified() -> str:
    """It exits 0 even on an unknown key: what it says is the verdict."""
    said = command("systemd-analyze", "verify", str(UNIT)).stderr.strip()
    assert not said, said
    return "systemd-analyze verify says nothing"


def exposure() -> str:
    """The overall exposure level, against a budget."""
    printed = command("systemd-analyze", "security", "--no-pager", "neuralpowerd.service").stdout
    (line,) = (line for line in printed.splitlines() if "Overall exposure level" in line)
    level = float(line.split(":")[1].split()[0])
    assert level <= EXPOSURE, f"{level}, above {EXPOSURE}"
    return f"{level}, at most {EXPOSURE}"


def enabled() -> str:
    """systemctl enable --now returns when READY=1 came, and READY=1 comes with the first tick."""
    begin = time.monotonic()
    command("systemctl", "enable", "--now", "neuralpowerd")
    seconds = time.monotonic() - begin
    assert show("ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    until(lambda: "ticks/s" in show("StatusText")["StatusText"], 15, "a status text")
    return f"after {seconds:.1f} s: {show('StatusText')['StatusText']}"


def default_configuration() -> str:
    """Without a configuration file, as a fresh installation has it."""
    CONFIG.unlink()
    seconds = start()
    ring = (RUN / "ticks.ring").stat().st_size
    configure()
    return f"ready after {seconds:.1f} s, a ring of {ring / 1e6:.0f} MB"


def limits() -> str:
    """LimitRTPRIO and LimitMEMLOCK reach the process, without a capability."""
    wanted = {"Max realtime priority": 80.0, "Max locked memory": float(256 << 20)}
    got = {name: limit_of(pid(), name) for name in wanted}
    if got != wanted and not may_raise_limits():
        raise NotShown(f"the machine's root has no CAP_SYS_RESOURCE, so no limit can be raised: {got}")
    assert got == wanted, got
    return "realtime priority 80, locked memory 256 MiB"


def may_raise_limits() -> bool:
    """Whether this container has CAP_SYS_RESOURCE."""
    return bool(int(service.status_of(1)["CapEff"], 16) >> 24 & 1)


def loop_is_fifo() -> str:
    """One thread runs with SCHED_FIFO 80, as the kernel says; all others are ordinary."""
    policies = service.threads(pid())
    told = ask("status")["realtime"]
    if limit_of(pid(), "Max realtime priority") < 80 and not may_raise_limits():
        assert FIFO_80 not in policies and "other" in told, (policies, told)
        raise NotShown(f"the limit cannot be raised here; the daemon says {told!r}")
    return fifo(policies, told)


def fifo(policies: list[tuple[int, int]], told: str) -> str:
    assert policies.count(FIFO_80) == 1, (policies, told)
    assert all(policy == (os.SCHED_OTHER, 0) for policy in policies if policy != FIFO_80), policies
    assert told == "fifo 80", told
    return f"1 of {len(policies)} threads, the others SCHED_OTHER; status says {told!r}"


def locked() -> str:
    """The kernel's count of locked bytes holds the whole ring, and is what the status says, to the page."""
    vm_lck = int(service.status_of(pid())["VmLck"].split()[0]) * 1024
    ring = (RUN / "ticks.ring").stat().st_size
    told = ask("status")
    assert ring <= vm_lck <= ring + (4 << 20), (ring, vm_lck, told["lock_note"])
    assert abs(told["locked_bytes"] - vm_lck) <= 65536, (told["locked_bytes"], vm_lck)
    return f"VmLck {vm_lck / 1e6:.2f} MB for a ring of {ring / 1e6:.2f} MB; status says {told['locked_bytes'] / 1e6:.2f} MB"


def capable() -> str:
    """With capabilities in place of limits, where those cannot be raised: the same loop, and the default ring of 300 s."""
    drop_in(CAPABLE)
    try:
        CONFIG.write_text('source = "sim"\n')
        start()
        until(lambda: bool(ask("status").get("realtime")), 15, "a status")
        return fifo(service.threads(pid()), ask("status")["realtime"]) + "; " + locked()
    finally:
        drop_in("")
        configure()
        start()


def unprivileged() -> str:
    """What the kernel says of the process."""
    told = service.status_of(pid())
    user = str(service.pwd.getpwnam("neuralpower").pw_uid)
    assert told["Uid"].split() == [user] * 4, told["Uid"]
    assert all(int(told[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapAmb", "CapBnd")), told
    assert told["NoNewPrivs"] == "1" and told["Seccomp"] == "2", told
    return "its own user, no capability in any set, no new privileges, a seccomp filter"


def devices() -> str:
    """Where the unit asks for private devices, nothing else is there; else only what DeviceAllow names may be opened."""
    asked = show("PrivateDevices", "DevicePolicy", "DeviceAllow")
    seen = set(service.in_service("ls", "/dev").stdout.split())
    if asked["PrivateDevices"] == "yes":
        assert seen <= PSEUDO_DEVICES, seen - PSEUDO_DEVICES
        return f"/dev holds {len(seen)} pseudo devices and no hardware"
    assert asked["DevicePolicy"] == "closed" and asked["DeviceAllow"], asked
    raise NotShown(f"only {asked['DeviceAllow']}; no such device here to open")


def read_only() -> str:
    """With its mounts and its user, only the runtime directory (and /tmp of its own) can be written."""
    written = [
        folder
        for folder in (
            "/etc",
            "/etc/neuralpower",
            "/usr",
            "/opt/neuralpower",
            "/var",
            "/sys",
            "/home",
            "/srv",
            "/dev/shm",
        )
        if service.in_service("touch", f"{folder}/probe").returncode == 0
    ]
    assert written in ([], ["/dev/shm"]), written
    assert service.in_service("touch", f"{RUN}/probe").returncode == 0, "its runtime directory cannot be written"
    (RUN / "probe").unlink()
    assert service.in_service("ls", "/home/member").returncode != 0, "homes can be read"
    assert not (RUN / "ticks.ring").stat().st_mode & 0o007
    return "only /run/neuralpower" + (" and /dev/shm" if written else "") + "; homes are out of sight"


def asked_by_member() -> str:
    """A member of the group gets the status, and maps the ring, read-only."""
    until(lambda: bool(ask("status").get("rails")), 15, "rails in the status")
    told = ask("status")
    assert told["simulated"] is True and told["pid"] == pid(), told
    look = (
        "from neuralpower_sampler import RingReader; r = RingReader('/run/neuralpower/ticks.ring'); print(r.next_index)"
    )
    count = int(command(*service.as_user("member"), service.PYTHON, "-c", look).stdout)
    assert count > 0
    assert command(*service.as_user("member"), "sh", "-c", f": >> {RUN}/ticks.ring", ok=False).returncode, "writable"
    return f"{told['rails']}, {count} ticks in the mapped ring"


def asked_by_stranger() -> str:
    """Anyone else finds the door closed, at the folder and at the file."""
    assert command(*service.as_user("stranger"), "ls", str(RUN), ok=False).returncode, "the folder is open"
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{RUN}/history.ipc')"
    said = command(*service.as_user("stranger"), "python3", "-c", connect, ok=False).stderr
    assert "PermissionError" in said, said
    return "PermissionError"


def ticks_around(first: int, count: int) -> dict[str, list[int]]:
    """Ticks of the present stream."""
    found: dict[str, list[int]] = {"index": [], "slot": [], "epoch": [], "t_ns": []}
    while len(found["index"]) < count:
        part = ask("ticks", first=first + len(found["index"]), count=min(4000, count - len(found["index"])))
        if not part.get("index"):
            break
        assert part["lost"] == 0, part["lost"]
        for name in found:
            found[name] += part[name]
    return found


def stopped_3_s() -> str:
    """SIGSTOP for 3 s: not restarted; one gap in the slots, none in the index, no burst afterwards."""
    process, before = pid(), restarts()
    first = ask("ticks")["next"]
    time.sleep(0.5)
    os.kill(process, signal.SIGSTOP)
    time.sleep(3)
    os.kill(process, signal.SIGCONT)
    time.sleep(2)
    assert (pid(), restarts()) == (process, before), "restarted"
    got = ticks_around(first, 2500)
    steps = [b - a for a, b in zip(got["slot"], got["slot"][1:], strict=False)]
    large = [step for step in steps if step > 2000]
    assert len(large) == 1 and 2900 < large[0] < 6000, sorted(steps)[-5:]
    assert all(b - a == 1 for a, b in zip(got["index"], got["index"][1:], strict=False))
    assert min(steps) >= 1, "a burst: two ticks for one slot"
    return f"one gap of {large[0]} slots, {len(steps) + 1} ticks without a hole in the index"


def stopped_for_good() -> str:
    """SIGSTOP and no end: the watchdog ends it and a new one goes on in the same stream."""
    seen = cursor()
    process, before = pid(), restarts()
    stream, first = ask("ticks")["stream"], ask("ticks")["next"]
    os.kill(process, signal.SIGSTOP)
    seconds = until(lambda: restarts() == before + 1 and pid() not in (0, process), 40, "a restart by the watchdog")
    until(lambda: show("ActiveState")["ActiveState"] == "active", 10, "active again")
    assert any("Watchdog timeout" in str(entry["MESSAGE"]) for entry in journal(seen)), "no watchdog in the journal"
    assert 8 < seconds < 25, seconds
    return f"restarted after {seconds:.1f} s (WatchdogSec=10s); " + goes_on(stream, first)


def killed() -> str:
    """SIGKILL: systemd starts it again, and it goes on in the same stream, without a hole in the index."""
    process, before = pid(), restarts()
    stream, first = ask("ticks")["stream"], ask("ticks")["next"]
    os.kill(process, signal.SIGKILL)
    seconds = until(lambda: restarts() == before + 1 and pid() not in (0, process), 15, "a restart")
    until(lambda: show("ActiveState")["ActiveState"] == "active", 10, "active again")
    return f"restarted after {seconds:.1f} s; " + goes_on(stream, first)


def goes_on(stream: str, first: int) -> str:
    """Whether the present daemon holds the same stream, and all of its ticks from one before the end of its predecessor."""
    time.sleep(0.5)
    reply = ask("ticks")
    assert reply["stream"] == stream, "another stream"
    got = ticks_around(first - 100, reply["next"] - first + 100)
    assert all(b - a == 1 for a, b in zip(got["index"], got["index"][1:], strict=False))
    (border,) = (i for i, (a, b) in enumerate(zip(got["epoch"], got["epoch"][1:], strict=False)) if a != b)
    missed = got["slot"][border + 1] - got["slot"][border] - 1
    apart = (got["t_ns"][border + 1] - got["t_ns"][border]) / 1e9
    assert abs(missed / 1000 - apart) < 0.1, (missed, apart)
    return f"same stream, contiguous index, {missed} slots missed in {apart:.2f} s"


def restarted() -> str:
    """systemctl restart keeps the runtime directory: the same stream goes on."""
    stream, first = ask("ticks")["stream"], ask("ticks")["next"]
    command("systemctl", "restart", "neuralpowerd")
    return goes_on(stream, first)


def reloaded() -> str:
    """systemctl reload: another period in a new epoch of the same stream, the same process; a wrong file changes nothing."""
    process, stream = pid(), ask("ticks")["stream"]
    epochs = len(ask("epochs")["epochs"])
    configure("period_us = 2000")
    command("systemctl", "reload", "neuralpowerd")
    until(lambda: len(ask("epochs")["epochs"]) == epochs + 1, 15, "a new epoch")
    until(lambda: ask("status").get("period_ns") == 2_000_000, 15, "the new period in the status")
    assert pid() == process and ask("ticks")["stream"] == stream
    seen = cursor()
    configure("perod_us = 1000")
    command("systemctl", "reload", "neuralpowerd")
    until(lambda: any("not reloaded" in str(entry["MESSAGE"]) for entry in journal(seen)), 15, "the refusal")
    assert pid() == process and len(ask("epochs")["epochs"]) == epochs + 1
    assert show("ActiveState")["ActiveState"] == "active"
    (entry,) = (entry for entry in journal(seen) if "not reloaded" in str(entry["MESSAGE"]))
    assert entry["PRIORITY"] == "3", entry["PRIORITY"]
    configure()
    command("systemctl", "reload", "neuralpowerd")
    return "same process, new epoch; a wrong file is refused with priority err"


def priorities() -> str:
    """The journal has each line with its own level, without the prefix."""
    entries = [entry for entry in journal("") if entry.get("_COMM") != "systemd"]
    levels = {str(entry["MESSAGE"]).split(":")[0][:24]: entry["PRIORITY"] for entry in entries}
    assert {"6", "3"} <= {entry["PRIORITY"] for entry in entries}, levels
    assert not any(str(entry["MESSAGE"]).startswith("<") for entry in entries)
    count = {level: sum(entry["PRIORITY"] == level for entry in entries) for level in sorted(set(levels.values()))}
    return ", ".join(f"{n} lines of priority {level}" for level, n in count.items())


def stopped() -> str:
    """systemctl stop: quick, clean, and the runtime directory is gone."""
    begin = time.monotonic()
    command("systemctl", "stop", "neuralpowerd")
    seconds = time.monotonic() - begin
    told = show("Result", "ExecMainStatus", "ActiveState")
    assert told == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}, told
    assert not RUN.exists(), "the runtime directory is still there"
    assert seconds < 9, seconds
    return f"exit 0 after {seconds:.1f} s, {RUN} removed"


def bad_configuration() -> str:
    """Exit 2, a line that names file and key, and no other attempt."""
    seen = cursor()
    configure("perod_us = 1000")
    command("systemctl", "start", "neuralpowerd", ok=False)
    time.sleep(2)
    told = show("Result", "ExecMainStatus", "ActiveState", "NRestarts")
    assert told == {"Result": "exit-code", "ExecMainStatus": "2", "ActiveState": "failed", "NRestarts": "0"}, told
    lines = [str(entry["MESSAGE"]) for entry in journal(seen) if entry.get("_COMM") != "systemd"]
    configure()
    assert f"{CONFIG}: perod_us" in lines[0], lines
    return lines[0]


def hwmon() -> str:
    """The board's files under another root, bound into the container: not simulated."""
    shutil.copytree(HOST / "board", "/srv/board", symlinks=True)
    configure('sysfs_root = "/srv/board"', source="hwmon")
    try:
        start()
        until(lambda: bool(ask("status").get("rails")), 15, "rails in the status")
        told = ask("status")
        assert told["simulated"] is False and told["source"] == "hwmon" and told["total_w"] == 1.0, told
        return f"{told['board']}: {told['rails']}"
    finally:
        configure()


def remote_keys() -> str:
    """Keys made by root as documented serve the service, which listens with them."""
    daemon = "/opt/neuralpower/bin/neuralpowerd"
    command(daemon, "keys")
    configure('[tcp]\nbind = "127.0.0.1:7380"')
    try:
        start()
        with socket.create_connection(("127.0.0.1", 7380), timeout=3), socket.create_connection(("127.0.0.1", 7381)):
            return "listens at 7380 and 7381"
    finally:
        configure()


CHECKS = {
    "the unit has no mistakes": verified,
    "systemd-analyze security": exposure,
    "limits without capabilities": limits,
    "the loop's thread is SCHED_FIFO 80": loop_is_fifo,
    "the ring is locked": locked,
    "the loop and the default ring, by capabilities": capable,
    "user, capabilities, seccomp": unprivileged,
    "device access": devices,
    "the drop-in for source i2c": drop_ins.i2c,
    "the drop-in for realtime.hold_latency": drop_ins.latency,
    "the drop-in for plan.allow_write": drop_ins.write,
    "what can be written": read_only,
    "a member of the group asks": asked_by_member,
    "a stranger is refused": asked_by_stranger,
    "SIGSTOP for 3 s": stopped_3_s,
    "SIGKILL": killed,
    "SIGSTOP for good: the watchdog": stopped_for_good,
    "systemctl restart": restarted,
    "systemctl reload": reloaded,
    "levels in the journal": priorities,
    "systemctl stop": stopped,
    "a wrong configuration: exit 2, no restart": bad_configuration,
    "no configuration file": default_configuration,
    "source hwmon": hwmon,
    "keys for remote clients": remote_keys,
}
"""In the order in which an administrator would meet them."""


def main() -> None:
    """Install, start, and make the checks that /host/only names, or all; then say that this was the end."""
    row = Row(HOST / "rows")
    only = (HOST / "only").read_text().splitlines() if (HOST / "only").exists() else list(CHECKS)
    installed = row.check("installed as docs/operations.md says", install)
    if installed and row.check("enable --now: READY with the first tick", enabled):
        for name, what in CHECKS.items():
            if name in only:
                row.check(name, what)
    command("systemctl", "stop", "neuralpowerd", ok=False)
    with (HOST / "journal.log").open("w") as file:
        file.write(command("journalctl", "--no-pager", "-b", ok=False).stdout)
    row.write("end", "ok", "")


if __name__ == "__main__":
    main()
