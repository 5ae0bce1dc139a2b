"""The same checks in a virtual machine, for what a container may not do: a kernel of its own gives every right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNEL = HERE.parent / "vm" / "build.sh"
"""Prints the folder that has vmlinux and initramfs.cpio (with the modules in order) first of all."""
LIMIT_S = 400
INSTALL = """python3 -m venv --system-site-packages /opt/neuralpower &&
/opt/neuralpower/bin/python -m pip install -q --no-index "neuralpower[daemon] @ file:///{wheel}" """


class NoMachine(Exception):
    """What keeps a virtual machine from being made here."""


def _run(*words: str, **more: object) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]  # keywords of subprocess.run pass through
    if done.returncode:
        raise NoMachine(f"{words[0]}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return str(done.stdout)


def boot(tree: Path, share: Path, work: Path) -> None:
    """Boot the container's file system, with `share` at /host, until it switches itself off. NoMachine where it cannot be.

    The package is installed into the image beforehand: without a real processor pip takes minutes. `work` is emptied.
    """
    shutil.rmtree(work, ignore_errors=True)
    (work / "ram").mkdir(parents=True)
    if not shutil.which("qemu-system-x86_64"):
        raise NoMachine("missing: apt install qemu-system-x86")
    kernel = Path(_run(str(KERNEL)).split()[0])
    root = work / "root"
    _run("cp", "-a", str(tree), str(root))
    (wheel,) = share.glob("*.whl")
    shutil.copy(wheel, root)
    _run("chroot", str(root), "sh", "-c", INSTALL.format(wheel=wheel.name))
    _run("truncate", "-s", "900M", str(work / "disk"))
    _run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(root), str(work / "disk"))
    shutil.rmtree(root)
    shutil.copy(HERE / "initramfs", work / "ram/init")
    (work / "initrd").write_bytes(
        (kernel / "initramfs.cpio").read_bytes()  # of two files of one name the kernel takes the later
        + subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"], cwd=work / "ram", input=b"init\n", capture_output=True, check=True
        ).stdout
    )
    command = [
        *("timeout", str(LIMIT_S), "qemu-system-x86_64", "-accel", "tcg", "-smp", "2", "-m", "1024", "-machine", "q35"),
        *("-cpu", "max", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{work}/console", "-kernel", str(kernel / "vmlinux"), "-initrd", str(work / "initrd")),
        *("-append", "console=ttyS0 quiet panic=-1", "-drive", f"file={work}/disk,format=raw,if=virtio"),
        *("-virtfs", f"local,path={share},mount_tag=share,security_model=none"),
    ]
    _run(*command, stdin=subprocess.DEVNULL)
    (work / "disk").unlink()
