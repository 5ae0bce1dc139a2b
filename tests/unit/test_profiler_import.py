"""What an inference process takes in with the profiler: numpy, msgpack and pyzmq, and nothing else that is not Python's own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MOST_MIB, MOST_S = 64, 1.0
"""Found: 37 MiB and 0.15 s, of which numpy is two thirds; the bounds leave room for a slower machine and another numpy."""
PROGRAM = """
import sys, time

class Only:
    allowed = {"numpy", "msgpack", "zmq", "neuralpower", "neuralpower_wire", *sys.stdlib_module_names, *sys.builtin_module_names}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.allowed and not name.startswith("__editable__"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Only())
begin = time.process_time()
from neuralpower import LayerProfiler, attach, mark, window
seconds = time.process_time() - begin
ours = sorted(name for name in sys.modules if name.startswith("neuralpower."))
with open("/proc/self/status") as status:
    resident = next(line for line in status if line.startswith("VmRSS")).split()[1]
print(resident, seconds)
print(",".join(ours))
"""


def test_the_profiler_takes_in_little(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything else is blocked, and of the client there are the profiler, addresses and what is raised; what it costs is printed and bounded."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cost, modules = done.stdout.splitlines()
    resident_mib, seconds = int(cost.split()[0]) / 1024, float(cost.split()[1])
    with capsys.disabled():
        print(f"\nprofiler: {resident_mib:.0f} MiB resident, {1000 * seconds:.0f} ms of the processor to import")
    assert resident_mib < MOST_MIB
    assert seconds < MOST_S or "COVERAGE_PROCESS_START" in os.environ
    rooms = {name.split(".")[1] for name in modules.split(",")}
    assert rooms <= {"profiler", "address", "errors"}
