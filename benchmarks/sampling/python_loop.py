"""The loop that most people write: open, read and close each file, every period. Run as a script; prints one line of JSON.

python_loop.py PERIOD_NS SECONDS PRIORITY CPU FILE...
"""

from __future__ import annotations

import json
import os
import sys
import time

WARM_UP_NS = 100_000_000


def main() -> None:
    """Read the files at the deadlines; CPU time and lateness after the first 100 ms."""
    period_ns, seconds, priority, cpu = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    paths = sys.argv[5:]
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    if priority > 0:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    lateness_us: dict[int, int] = {}
    deadline = begin = time.monotonic_ns()
    counted_from, ticks, slots, cpu_ns = 0, 0, 0, 0
    while True:
        deadline += period_ns
        wait_ns = deadline - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        now = time.monotonic_ns()
        for path in paths:
            with open(path) as file:
                int(file.read())
        if not counted_from:
            if now - begin < WARM_UP_NS:
                continue
            counted_from, cpu_ns = now, time.thread_time_ns()
        late = (now - deadline) // 1000
        lateness_us[late] = lateness_us.get(late, 0) + 1
        ticks += 1
        slots += 1
        now = time.monotonic_ns()
        passed = max(0, (now - deadline) // period_ns)
        slots += passed
        deadline += passed * period_ns
        if now - counted_from >= seconds * 1e9:
            break
    result = {
        "ticks": ticks,
        "slots": slots,
        "cpu_ns": time.thread_time_ns() - cpu_ns,
        "elapsed_ns": now - counted_from,
        "lateness": [[late * 1000, (late + 1) * 1000, count] for late, count in sorted(lateness_us.items())],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
