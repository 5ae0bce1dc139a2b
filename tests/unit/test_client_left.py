"""A daemon that ends while a client does something else: the client lives, and finds what waited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys, time, zmq
from neuralpower.subscriber import client
client.RECEIVE_HIGH_WATER = 10
context = zmq.Context()
ends = []
for name, kind in (("live", zmq.PUB), ("history", zmq.ROUTER)):
    end = context.socket(kind)
    end.sndhwm, end.linger = 100_000, 0
    end.bind(f"ipc://{sys.argv[1]}/{name}.ipc")
    ends.append(end)
with client.Client(sys.argv[1], topics=["status"]) as paused:
    time.sleep(0.5)
    for _ in range(20_000):
        ends[0].send_multipart([b"status", b"x" * 1000])
    time.sleep(0.5)
    for end in ends:
        end.close()
    time.sleep(3.0)
    print("lives", bool(paused.poll(0.1)))
"""


def test_a_client_that_does_not_look_lives(tmp_path: Path) -> None:
    """More waits than the high-water mark when the daemon closes: libzmq's heartbeat would abort the process within seconds."""
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "lives True\n"), done.stderr[-500:]
