"""Encrypted connections: only with the daemon's key, only where the client's key is allowed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zmq
from tests.patience import PATIENCE_S, until

from neuralpower import Client, InputError

pytest.importorskip("neuralpowerd")
AVAILABLE = pytest.importorskip("neuralpower_sampler").AVAILABLE


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


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_a_client_gets_in_with_keys_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the daemon's key one line says what to do; with it, and allowed, ticks arrive over TCP."""
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


class Tap:
    """Passes one connection on to a port, and keeps what the client said."""

    def __init__(self, port: int) -> None:
        self.said, self._server = b"", socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._run, args=(port,), daemon=True).start()

    def _run(self, port: int) -> None:
        with self._server:
            client, _ = self._server.accept()
        with client, socket.create_connection(("127.0.0.1", port)) as daemon:
            threading.Thread(target=self._back, args=(daemon, client), daemon=True).start()
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    self.said += data
                    daemon.sendall(data)

    def _back(self, daemon: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := daemon.recv(65536):
                client.sendall(data)


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_a_handshake_that_is_replayed_reads_nothing(tmp_path: Path) -> None:
    """All bytes of an allowed client's connection, sent once more: the daemon's answer is a greeting and a new cookie, and no message."""
    port, keys, config = free_port(), tmp_path / "keys", tmp_path / "d.toml"
    config.write_text(
        f'runtime_dir = "{tmp_path}/run"\nsource = "sim"\n[tcp]\nbind = "127.0.0.1:{port}"\nkeys_dir = "{keys}"\n'
    )
    neuralpowerd = [sys.executable, "-m", "neuralpowerd"]
    public, secret = zmq.curve_keypair()
    for words in (["keys"], ["allow", public.decode()]):
        subprocess.run([*neuralpowerd, *words, "--config", str(config)], check=True, stdout=subprocess.DEVNULL)
    daemon = subprocess.Popen([*neuralpowerd, "run", "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        tap = Tap(port)
        with zmq.Context() as context, context.socket(zmq.SUB) as live:
            live.linger = 0
            live.curve_publickey, live.curve_secretkey = public, secret
            live.curve_serverkey = (keys / "server.public").read_text().strip().encode()
            live.subscribe(b"rails")
            until(lambda: listens(port))
            live.connect(f"tcp://127.0.0.1:{tap.port}")
            assert live.poll(1000 * PATIENCE_S), "the allowed client itself hears nothing"
        heard = b""
        with socket.create_connection(("127.0.0.1", port)) as thief:
            thief.settimeout(3.0)
            with contextlib.suppress(OSError):
                thief.sendall(tap.said[:64])
                while len(heard) < 64 and (data := thief.recv(64)):
                    heard += data
                thief.sendall(tap.said[64:])
                while data := thief.recv(65536):
                    heard += data
        print(f"replayed {len(tap.said)} bytes, heard {len(heard)}")
        # 64 bytes of greeting, WELCOME of 168 and its head; an ERROR may follow, a READY or a message may not.
        assert len(tap.said) > 64 + 200 + 100 and heard[:1] == b"\xff" and len(heard) <= 64 + 170 + 64
        assert b"rails" not in heard and b"READY" not in heard and b"MESSAGE" not in heard
    finally:
        daemon.kill()
        daemon.wait()


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
