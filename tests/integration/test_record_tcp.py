"""Encrypted connections: only with the daemon's key, only where the client's key is allowed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from neuralpower import Client, InputError

pytest.importorskip("neuralpowerd")


def free_port() -> int:
    """A port that is free together with the next one."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)


def test_a_client_gets_in_with_keys_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the daemon's key one line says what to do; with it, and allowed, ticks arrive over TCP."""
    from neuralpower_sampler import AVAILABLE

    if not AVAILABLE:
        pytest.skip("the sampler is not built")
    port, mine, theirs = free_port(), tmp_path / "mine", tmp_path / "theirs"
    config = tmp_path / "d.toml"
    config.write_text(
        f'runtime_dir = "{tmp_path}/run"\nsource = "sim"\n[tcp]\nbind = "127.0.0.1:{port}"\nkeys_dir = "{theirs}"\n'
    )
    monkeypatch.setenv("NEURALPOWER_KEYS", str(mine))
    neuralpowerd = [sys.executable, "-m", "neuralpowerd"]
    subprocess.run([*neuralpowerd, "keys", "--config", str(config)], check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(InputError, match=r"server\.public.*neuralpowerd allow '.{40}'"):
        Client(f"tcp://127.0.0.1:{port}")
    assert (mine / "client.secret").stat().st_mode & 0o077 == 0
    (mine / "127.0.0.1.public").write_text((theirs / "server.public").read_text())
    daemon = subprocess.Popen([*neuralpowerd, "run", "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        with Client(f"tcp://127.0.0.1:{port}", past=True) as client:
            deadline = time.monotonic() + PATIENCE_S
            while not client.refused:
                assert not client.poll(0.5) and time.monotonic() < deadline
            assert not client.connected and "refused" in client.nobody
            assert f"allow '{(mine / 'client.public').read_text().strip()}'" in client.nobody
        allow = [*neuralpowerd, "allow", (mine / "client.public").read_text().strip(), "--config", str(config)]
        subprocess.run(allow, check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        with Client(f"tcp://127.0.0.1:{port}", past=True) as client:
            while not (messages := client.poll(1.0)):
                assert time.monotonic() < deadline
            assert messages and client.connected and not client.refused
    finally:
        daemon.kill()
        daemon.wait()
