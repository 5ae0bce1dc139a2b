"""What an inference process takes in with the profiler: numpy, msgpack and pyzmq, and nothing else that is not Python's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, time

class Only:
    allowed = {"numpy", "msgpack", "zmq", "neuralpower", "neuralpower_wire", *sys.stdlib_module_names, *sys.builtin_module_names}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.allowed and not name.startswith("__editable__"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Only())
begin = time.perf_counter()
from neuralpower import LayerProfiler, attach, mark, window
seconds = time.perf_counter() - begin
ours = sorted(name for name in sys.modules if name.startswith("neuralpower."))
with open("/proc/self/status") as status:
    resident = next(line for line in status if line.startswith("VmRSS")).split()[1]
print(f"{resident} KiB resident, {1000 * seconds:.0f} ms to import")
print(",".join(ours))
"""


def test_the_profiler_takes_in_little(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything else is blocked, and of the client there are the profiler and what it raises; its cost is printed."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cost, modules = done.stdout.splitlines()
    with capsys.disabled():
        print(f"\nprofiler: {cost}")
    rooms = {name.split(".")[1] for name in modules.split(",")}
    assert rooms <= {"profiler", "address", "errors"}
