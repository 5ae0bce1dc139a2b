"""Delivery under chaos: clients and daemon killed, the network cut, clients stopped, slow, coming and leaving; and what became of each entry.

    python -m tests.beds.delivery.run --minutes 10 [--seed N]
    python -m tests.beds.delivery.run --minutes 10 --address ipc:///run/neuralpower

Without --address it starts a daemon of its own on the simulated source, with a process that infers. With --address it does to that daemon's
clients what it may: the daemon is neither killed nor cut off. Every index of both logs that a client was to get must have been delivered
to it once, as it is, or been reported lost to it; and lost may be only what the daemon no longer holds. Prints the account of each client, of the
inferences, and what the daemon holds of memory and descriptors. Ends with status 1 where anything is unaccounted. What it asserts does not
depend on how fast the machine is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from .chaos import Bed, Plan
from .verdict import judge


def main() -> int:
    """Run it; 0 where all is accounted for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.beds.delivery.run", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N")
    parser.add_argument("--address", metavar="ADDRESS", help="a running daemon; without it one is started, simulated")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of when what happens (default: 1)")
    parser.add_argument("--daemon-kills", type=int, metavar="N", help="default: two a minute")
    parser.add_argument(
        "--relay", action="store_true", help="cut the network without a network namespace, as where there is no root"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of what everybody said")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="npd"))
    plan = Plan.drawn(args.minutes * 60.0, args.seed, 0 if args.address else args.daemon_kills, not args.address)
    print(plan.told, flush=True)
    bed = Bed(folder, plan, args.address, args.relay)
    try:
        bed.run()
        sound = judge(bed)
    finally:
        bed.close()
        if args.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("all accounted for" if sound else "NOT all accounted for", flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    os.environ.pop("NOTIFY_SOCKET", None)
    sys.exit(main())
