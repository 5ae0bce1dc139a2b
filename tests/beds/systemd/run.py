"""Start the service as its unit says, under a real systemd in a container of its own (systemd-nspawn), and see what holds.

The container is a small Debian made once (about a minute) and kept in the cache folder; what a run writes into it is gone
afterwards. guest.py is what happens inside. What containers may not do here is tried once more in a virtual machine. Exit status 1 where a check fails, or where the bed cannot run: then the last
line begins with "not run:".
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from machine import NoMachine, boot

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "systemd"
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "util-linux"),
    *("python3-venv", "python3-numpy", "python3-zmq", "python3-msgpack", "python3-cffi"),
)
SUITE = "bookworm"
TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "unshare": "util-linux"}
LIMIT_S = 300
BED_UNIT = """[Unit]
Description=the checks of this bed
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -u /host/guest.py
StandardOutput=file:/host/guest.log
StandardError=inherit
"""
NSPAWN = """mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/nspawn &&
exec timeout -k 3 {limit} systemd-nspawn -D {tree} --volatile=overlay -b --register=no --keep-unit --console=pipe \
    --private-network --capability=CAP_IPC_LOCK --bind={share}:/host </dev/null"""


class NotRun(Exception):
    """The bed cannot run on this machine."""


def look_for_tools() -> None:
    """NotRun naming the Debian packages that are missing, or the right that is."""
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise NotRun(f"missing: apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise NotRun("starting a container with an own systemd needs root")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise NotRun("this machine lets nobody make a mount namespace")


def tree() -> Path:
    """The container's file system, made once for each list of packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuralpower"
    key = hashlib.sha256(repr((PACKAGES, SUITE, BED_UNIT)).encode()).hexdigest()[:12]
    made = cache / f"systemd-{key}"
    if made.exists():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    print(f"making {made} (log: {BUILD}/mmdebstrap.log)", flush=True)
    fresh = Path(tempfile.mkdtemp(prefix="systemd-", dir=cache))
    command = [
        *("mmdebstrap", "--variant=apt", f"--include={','.join(PACKAGES)}", "--aptopt=APT::Install-Recommends false"),
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
        *("--format=directory", SUITE, str(fresh / "tree")),
    ]
    with (BUILD / "mmdebstrap.log").open("wb") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
            shutil.rmtree(fresh)
            raise NotRun(f"mmdebstrap failed: see {BUILD}/mmdebstrap.log")
    units = fresh / "tree/etc/systemd/system"
    (units / "bed.service").write_text(BED_UNIT)
    (units / "multi-user.target.wants").mkdir(parents=True, exist_ok=True)
    (units / "multi-user.target.wants/bed.service").symlink_to("../bed.service")
    (fresh / "tree").rename(made)
    shutil.rmtree(fresh)
    return made


def wheel() -> Path:
    """A wheel of this checkout, made from a source distribution, so that nothing built before gets in."""
    out = BUILD / "dist"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    environment = {**os.environ, "NEURALPOWER_SAMPLER": "required"}
    with (BUILD / "wheel.log").open("wb") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode:
            sys.exit(f"systemd bed: the wheel cannot be built: see {BUILD}/wheel.log")
    return next(out.glob("*.whl"))


def unpack_board(text: str, root: Path) -> None:
    """Make the tree of a fixture: lines `path = content` and `path -> target`."""
    for line in text.splitlines():
        path, sign, content = line.partition(" -> ") if " -> " in line else line.partition(" = ")
        if line.startswith("#") or not sign:
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if sign == " -> ":
            (root / path).symlink_to(content)
        else:
            (root / path).write_bytes(content.replace("\\0", "\0").encode() + (b"" if "\\0" in content else b"\n"))


def fill(share: Path) -> None:
    """Put what the container needs where it sees it as /host."""
    built = Path(os.environ["WHEEL"]) if os.environ.get("WHEEL") else wheel()
    for source in (
        *(HERE / name for name in ("guest.py", "drop_ins.py", "service.py")),
        built,
        *(ROOT / "systemd").iterdir(),
    ):
        shutil.copy(source, share)
    unpack_board((ROOT / "tests/fixtures/boards/orin_nano.txt").read_text(), share / "board")
    share.chmod(0o755)


def contain(root: Path, share: Path) -> None:
    """Boot the container and wait until it switches itself off."""
    command = NSPAWN.format(limit=LIMIT_S, tree=root, share=share)
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with (BUILD / "console.log").open("wb") as log:
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    if not (share / "guest.log").exists():
        last = (BUILD / "console.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise NotRun(f"the container did not boot (status {done.returncode}): {''.join(last)}; see {BUILD}/console.log")


def remove_groups() -> None:
    """systemd-nspawn leaves the control groups of its container behind, which are empty now."""
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        for left in (Path(f"{mount}{own[0]}/{name}") for name in ("payload", "supervisor") if own):
            for group in (*sorted(left.rglob("*/"), reverse=True), left):
                with suppress(OSError):
                    group.rmdir()


def rows_of(share: Path, name: str) -> list[dict[str, str]]:
    """What the checks said, and a failure where they did not come to their end; their logs are kept."""
    for log in ("guest.log", "journal.log"):
        if (share / log).exists():
            shutil.copy(share / log, BUILD / f"{name}-{log}")
    lines = (share / "rows").read_text().splitlines() if (share / "rows").exists() else []
    rows: list[dict[str, str]] = [json.loads(line) for line in lines]
    if not rows or rows[-1]["name"] != "end":
        return [*rows, {"name": "all checks were made", "result": "FAILED", "detail": f"see {BUILD}/{name}-guest.log"}]
    return rows[:-1]


def with_machine(rows: list[dict[str, str]], root: Path, share: Path) -> list[dict[str, str]]:
    """What the container could not show, from a virtual machine; where there can be none either, that is said."""
    only = [row["name"] for row in rows if row["result"] == "not shown"]
    if not only:
        return rows
    for name in ("rows", "guest.log", "journal.log"):
        (share / name).unlink(missing_ok=True)
    (share / "only").write_text("\n".join(only))
    print(f"{len(only)} checks need more than this machine's containers may: a virtual machine is tried", flush=True)
    try:
        boot(root, share, BUILD / "machine")
    except (NoMachine, OSError, subprocess.SubprocessError) as reason:
        if not (share / "guest.log").exists():
            told = f"; no virtual machine: {reason}"
            return [row | {"detail": row["detail"] + told} if row["name"] in only else row for row in rows]
    found = {row["name"]: row | {"detail": f"{row['detail']} (virtual machine)"} for row in rows_of(share, "machine")}
    shown = [found.pop(row["name"], row) if row["name"] in only else row for row in rows]
    return shown + [row for row in found.values() if row["result"] == "FAILED"]


def main() -> int:
    """Print one line for each check; returns the exit status."""
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        look_for_tools()
        root = tree()
        with tempfile.TemporaryDirectory(prefix="np-systemd-") as share:
            fill(Path(share))
            begin = time.monotonic()
            contain(root, Path(share))
            remove_groups()
            rows = with_machine(rows_of(Path(share), "container"), root, Path(share))
    except NotRun as reason:
        print(f"not run: {reason}", file=sys.stderr)
        return 1
    for row in rows:
        print(f"{row['result']:9}  {row['name']:52}  {row['detail']}")
    count = {result: sum(row["result"] == result for row in rows) for result in ("ok", "not shown", "FAILED")}
    print(", ".join(f"{n} {result}" for result, n in count.items()) + f"; {time.monotonic() - begin:.0f} s")
    return 1 if count["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
