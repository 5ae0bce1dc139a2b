"""make accuracy: the accuracy cases in virtual time. `python -m benchmarks.accuracy --help` from the top of the checkout."""

from __future__ import annotations

import argparse
import os

# One network a process: threads of the linear algebra would only get into each other's way. Before numpy is there.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"


def main() -> int:
    """Run what was asked for; 1 where a network could not be estimated at all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    commands = parser.add_subparsers(dest="part", required=True)
    attribution = commands.add_parser("attribution", help="power of layers (attribution.toml, docs/accuracy.md)")
    attribution.add_argument("--case", action="append", metavar="NAME", help="only this case; may be given again")
    attribution.add_argument("--networks", type=int, metavar="N", help="per case, in place of the case's own number")
    attribution.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    attribution.add_argument("--quick", action="store_true", help="the reduced set: few networks of some cases")
    seeds = attribution.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, metavar="N", help="of the first network (default: the development seeds)")
    seeds.add_argument("--quoted", action="store_true", help="the seeds that quoted figures come from")
    from neuralpower.errors import InputError

    from . import models
    from .runs import ablation, command, record

    ran = commands.add_parser("run", help="what users' runs are told (docs/decisions/0008, docs/accuracy.md)")
    command.add_arguments(ran)
    without = commands.add_parser("ablation", help="one user's run with each effect of the virtual device off in turn")
    ablation.add_arguments(without)
    recorded = commands.add_parser("record", help="a user's run in virtual time: its recording and its truth")
    record.add_arguments(recorded)
    layers = commands.add_parser(
        "models", help="layer models on measured convolutions and virtual devices (docs/models.md)"
    )
    models.add_arguments(layers)
    args = parser.parse_args()
    try:
        if args.part == "record":
            return record.run(args)
        if args.part == "run":
            return command.run(args)
        if args.part == "ablation":
            return ablation.run(args)
    except (InputError, KeyError, ValueError) as error:
        parser.error(str(error.args[0]))
    if args.part == "models":
        models.run(args)
        return 0
    from .attribution import run

    try:
        return run(args.case, args.networks, args.seed, args.jobs, quick=args.quick, quoted=args.quoted)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))


if __name__ == "__main__":
    raise SystemExit(main())
