"""neuralpower export: a recording as tables or as a trace."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuralpower.cli.analysing.device import add_device, opened
from neuralpower.cli.analysing.span import add_span, chosen
from neuralpower.cli.outputs import OutputFile
from neuralpower.console import print_json, progress
from neuralpower.errors import Failure, InputError

HELP = """A recording as CSV tables (rails.csv, inferences.csv, layers.csv) or as a trace for ui.perfetto.dev.

In the trace rails are counters, inferences and layers slices, marks and events instants, at the device's CLOCK_MONOTONIC.
A counter shows what the sensor gave at its tick: the sensor's delay and lag are not removed.

Of a folder with recordings of several devices the tables of each are written, with the time on the recorder's clock, which is
the same for all, in the column recorder_ns and what it may be wrong by in recorder_bound_ns; a trace is of one device.

examples:
  neuralpower export monday --perfetto monday.pftrace --csv tables
  neuralpower export rack --csv tables
  neuralpower export rack --device jetson-1 --perfetto jetson-1.pftrace"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recording", metavar="DIR", help="folder of a recording")
    parser.add_argument("--csv", metavar="OUT", help="folder for the tables, made if missing")
    parser.add_argument(
        "--perfetto",
        action=OutputFile,
        metavar="FILE",
        help="trace for ui.perfetto.dev; compressed if the name ends in .gz",
    )
    add_device(parser)
    add_span(parser)
    parser.add_argument("--skip-damaged", action="store_true", help="read past damaged files")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Write what was asked for."""
    from neuralpower.recordings.devices.folder import devices_in
    from neuralpower.recordings.exports.exporting import write_csv
    from neuralpower.recordings.exports.perfetto import write_perfetto

    if not args.csv and not args.perfetto:
        raise InputError("nothing to write: give --csv OUT, --perfetto FILE or both")
    several = {} if args.device or args.perfetto else devices_in(Path(args.recording))
    names = list(several) if len(several) > 1 else [args.device]
    recordings = []
    for args.device in names:
        recordings.append(chosen(opened(args.recording, args, args.skip_damaged), args))
    written: dict[str, int] = {}
    with progress(f"exporting {args.recording}"):
        try:
            for name, recording in zip(names, recordings, strict=True):
                if args.csv:
                    written |= write_csv(recording, Path(args.csv, name) if len(names) > 1 else Path(args.csv))
                if args.perfetto:
                    written |= write_perfetto(recording, Path(args.perfetto))
        except OSError as error:
            raise Failure(f"{error.filename or args.csv or args.perfetto}: {error.strerror or error}") from None
    simulated = any(each.simulated for each in recordings)
    if args.json:
        print_json({"simulated": simulated, "written": written})
    else:
        mark = " (simulated)" if simulated else ""
        for path, count in written.items():
            print(f"{path}: {count} rows{mark}" if path.endswith(".csv") else f"{path}: {count} events{mark}")
    return 0
