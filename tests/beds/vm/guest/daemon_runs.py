"""Inside the virtual machine: `neuralpowerd check` and `neuralpowerd run` on the real driver's rails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed
import numpy as np
import zmq

from neuralpower_wire import batch_to_ticks, decode
from neuralpower_wire.history import Reply, Request

FILE = Path("/tmp/neuralpowerd.toml")
RUN = Path("/run/neuralpower")
CONFIG = f'runtime_dir = "{RUN}"\nhistory_seconds = 60\n[journal]\nmebibytes = 2\n'
I2C = """
[i2c]
device = "/dev/i2c-{number}"
addresses = [0x40]
rails = ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
shunts_uohm = [5000]
config = 0x7097
"""
SHUNT_UV = (20_000, 8_000, 4_000)
"""Multiples of 40 µV: 76 W, 8 W and 4 W over 5 mΩ."""
SECONDS = 5


def measure(attach: Callable[[dict[str, int]], Path]) -> dict[str, Any]:
    """One chip with a device tree's labels, the other bound without one."""
    folder = attach({"update_interval": 0})
    hold_level()
    Path(f"/sys/bus/i2c/devices/i2c-{bus(folder)}/new_device").write_text("ina3221 0x41\n")
    FILE.write_text(CONFIG)
    check = subprocess.run(neuralpowerd("check", "--json"), capture_output=True, text=True)
    page = subprocess.run(neuralpowerd("check"), capture_output=True, text=True)
    facts = {
        "check": parsed(check.stdout),
        "check_status": check.returncode,
        "check_error": check.stderr,
        "page": page.stdout,
    }
    facts |= {"hwmon": run_daemon(signal.SIGTERM)}
    Path(f"/sys/bus/i2c/devices/i2c-{bus(folder)}/delete_device").write_text("0x41\n")
    bed.command("detach", 0x40)
    return facts | {"registers": registers(bus(folder))}


def registers(number: str) -> dict[str, Any]:
    """Source i2c with another config: stop restores it, `neuralpowerd restore` does after a kill, and so does the next start."""
    FILE.write_text(f'source = "i2c"\n{CONFIG}{I2C.format(number=number)}')
    original = bed.state(0x40)["config"]
    runs, configs = [], []
    for number_of_signal in (signal.SIGTERM, signal.SIGKILL):
        runs.append(run_daemon(number_of_signal))
        configs.append(bed.state(0x40)["config"])
    restore = subprocess.run(neuralpowerd("restore"), capture_output=True, text=True)
    configs.append(bed.state(0x40)["config"])
    return {"original": original, "runs": runs, "configs": configs, "restore": restore.stdout + restore.stderr}


def neuralpowerd(*words: str) -> list[str]:
    return [sys.executable, "-m", "neuralpowerd", *words, "--config", str(FILE)]


def parsed(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else None


def bus(folder: Path) -> str:
    return folder.resolve().parent.parent.name.partition("-")[0]


def hold_level() -> None:
    """One piece that never ends: what the rails show is then known exactly."""
    piece = np.zeros(1, [("start_ns", "<u8"), ("shunt_uv", "<i4", 3), ("bus_uv", "<i4", 3)])
    piece["shunt_uv"], piece["bus_uv"] = SHUNT_UV, bed.BUS_UV
    with open(bed.FILES / "waveform", "wb", buffering=0) as file:
        file.write(np.array([time.monotonic_ns(), 10**9], "<u8").tobytes() + piece.tobytes())


def run_daemon(end_with: signal.Signals) -> dict[str, Any]:
    """A subscriber for some seconds, then the history's answers, then the signal."""
    with open("/tmp/daemon.log", "w") as log:
        process = subprocess.Popen(neuralpowerd("run"), stderr=log, stdout=log)
    context = zmq.Context()
    heard = listen(context, process)
    epochs, status = ask(context, "epochs"), ask(context, "status")
    resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    process.send_signal(end_with)
    process.wait(20)
    context.destroy(linger=0)
    return {
        **heard, "status": status.body.get("status", status.body), "epochs": epochs.body, "resident": resident,
        "exit": process.returncode, "log": Path("/tmp/daemon.log").read_text()[-3000:],
    }  # fmt: skip


def listen(context: zmq.Context[Any], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Ticks that arrive live: their number, gaps, states, and the last values."""
    end = context.socket(zmq.SUB)
    end.subscribe(b"rails")
    end.connect(f"ipc://{RUN}/live.ipc")
    until = time.monotonic() + 30
    parts: list[Any] = []
    while time.monotonic() < until and process.poll() is None:
        if end.poll(500):
            if not parts:
                until = time.monotonic() + SECONDS
            parts.append(batch_to_ticks(decode(end.recv_multipart()))[1])
    if not parts:
        raise SystemExit(f"no tick came: {Path('/tmp/daemon.log').read_text()}")
    ticks = np.concatenate(parts)
    return {
        "ticks": len(ticks), "lost": int(np.count_nonzero(np.diff(ticks["index"].astype(np.int64)) != 1)),
        "states": np.bincount(ticks["readings"]["state"].ravel(), minlength=4).tolist(), "missing": int(np.count_nonzero(ticks["readings"]["state"] == 3)), "values": ticks["readings"]["value"][-1].tolist(),
        "missed_slots": int(ticks["slot"][-1] - ticks["slot"][0] + 1 - len(ticks)),
    }  # fmt: skip


def ask(context: zmq.Context[Any], do: str) -> Any:
    with context.socket(zmq.DEALER) as end:
        end.linger = 0
        end.connect(f"ipc://{RUN}/history.ipc")
        end.send(Request(1, do).encode())
        return Reply.decode(end.recv_multipart()) if end.poll(5000) else None
