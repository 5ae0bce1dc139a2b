"""Inside the container: the service as systemd, the kernel and its clients see it."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PYTHON = "/opt/neuralpower/bin/python"
CONFIG = Path("/etc/neuralpower/neuralpowerd.toml")
DROP_IN = Path("/etc/systemd/system/neuralpowerd.service.d/bed.conf")
RUN = Path("/run/neuralpower")

ASK = """
import json, sys, zmq
from neuralpower_wire import batch_to_ticks
from neuralpower_wire.history import Reply, Request
with zmq.Context() as context, context.socket(zmq.DEALER) as end:
    end.linger = 0
    end.connect("ipc:///run/neuralpower/history.ipc")
    end.send(Request(1, sys.argv[1], **json.loads(sys.argv[2])).encode())
    if not end.poll(3000):
        sys.exit("no answer")
    reply = Reply.decode(end.recv_multipart())
    body = dict(reply.body, stream=reply.stream.hex(), next=reply.next, lost=reply.lost, error=reply.error)
    if sys.argv[1] == "ticks" and reply.batch is not None:
        ticks = batch_to_ticks(reply.batch)[1]
        body.update({name: ticks[name].tolist() for name in ("index", "slot", "epoch", "t_ns")})
    print(json.dumps(body, default=lambda value: value.hex() if isinstance(value, bytes) else str(value)))
"""


def command(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run it; what it printed is an error where it must succeed and does not."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)
    if ok and done.returncode:
        raise AssertionError(f"{' '.join(words)}: exit {done.returncode}: {(done.stdout + done.stderr).strip()[-600:]}")
    return done


def configure(text: str = "", source: str = "sim") -> None:
    """Write the configuration; a ring small enough to be locked where the limit cannot be raised."""
    CONFIG.write_text(f'source = "{source}"\nhistory_seconds = 20\n{text}\n')


def drop_in(text: str) -> None:
    """Add to the unit, or with an empty text leave it as it is installed."""
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(text)
    command("systemctl", "daemon-reload")


def show(*names: str) -> dict[str, str]:
    """Properties of the unit, as systemd has them."""
    printed = command("systemctl", "show", "neuralpowerd", *(f"-p{name}" for name in names)).stdout
    return dict(line.split("=", 1) for line in printed.splitlines())


def pid() -> int:
    """The service's main process."""
    return int(show("MainPID")["MainPID"])


def restarts() -> int:
    """How often systemd restarted the service by itself."""
    return int(show("NRestarts")["NRestarts"])


def start() -> float:
    """Start the service from nothing; returns the seconds until it was ready."""
    command("systemctl", "stop", "neuralpowerd")
    command("systemctl", "reset-failed", "neuralpowerd", ok=False)
    begin = time.monotonic()
    command("systemctl", "start", "neuralpowerd")
    return time.monotonic() - begin


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something that must come; returns how long it took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - begin


def ask(do: str, user: str = "member", **more: Any) -> dict[str, Any]:
    """Ask the history as a user."""
    return json.loads(command(*as_user(user), PYTHON, "-c", ASK, do, json.dumps(more)).stdout)  # type: ignore[no-any-return]  # JSON of a known form


def as_user(name: str) -> list[str]:
    """The beginning of a command that runs as a user with his groups."""
    return ["setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--init-groups"]


def in_service(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the service lives: its mounts, its user."""
    user = pwd.getpwnam("neuralpower")
    enter = ["nsenter", f"--target={pid()}", "--mount", f"--setuid={user.pw_uid}", f"--setgid={user.pw_gid}"]
    return command(*enter, *words, ok=False)


def status_of(process: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def limit_of(process: int, name: str) -> float:
    """A hard limit of a process."""
    found = re.search(rf"^{name} +\S+ +(\S+)", Path(f"/proc/{process}/limits").read_text(), re.MULTILINE)
    assert found, name
    return float("inf") if found[1] == "unlimited" else float(found[1])


def threads(process: int) -> list[tuple[int, int]]:
    """(policy, priority) of each thread of a process; that its children would not inherit the policy is left out."""
    tids = [int(path.name) for path in Path(f"/proc/{process}/task").iterdir()]
    policies = [os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK for tid in tids]
    return [(policy, os.sched_getparam(tid).sched_priority) for policy, tid in zip(policies, tids, strict=True)]


def journal(since: str, *more: str) -> list[dict[str, Any]]:
    """What the service logged since a cursor."""
    command("journalctl", "--sync")
    words = ["journalctl", "-u", "neuralpowerd", "-o", "json", "--no-pager", *more]
    printed = command(*words, *([f"--after-cursor={since}"] if since else [])).stdout
    return [json.loads(line) for line in printed.splitlines()]


def cursor() -> str:
    """The journal's newest entry now."""
    entries = journal("", "-n", "1")
    return str(entries[-1]["__CURSOR"]) if entries else ""


class Row:
    """Writes one row for each check, at once, so that a hang shows what came before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_text("")

    def write(self, name: str, result: str, detail: str) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"name": name, "result": result, "detail": detail}) + "\n")

    def check(self, name: str, what: Callable[[], str]) -> bool:
        """Make the check; what it raises is its failure, NotShown says that this machine cannot show it."""
        try:
            self.write(name, "ok", what())
        except NotShown as reason:
            self.write(name, "not shown", str(reason))
        except Exception as error:
            self.write(name, "FAILED", " | ".join(str(error).split("\n"))[:400] or type(error).__name__)
            print(f"{name}: {error!r}", file=sys.stderr)
            return False
        return True


class NotShown(Exception):
    """What is to be shown needs something that this machine does not give."""
