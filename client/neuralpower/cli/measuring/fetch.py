"""neuralpower fetch: what the flight recorder of a device has saved, as recordings."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralpower import address as addresses
from neuralpower.console import print_json, progress
from neuralpower.errors import Failure, InputError
from neuralpower.names import printable

if TYPE_CHECKING:
    from neuralpower.recordings.writer import Writer
    from neuralpower.subscriber.client import Client
    from neuralpower_wire import Batch, Epoch

HELP = """Bring what the flight recorder of a device has saved, each incident as a recording of its own in DIR.
What is there already is not brought again. With --list, say what there is and bring nothing.

example: neuralpower fetch tcp://jetson:7380 -o saved"""

_NAME = re.compile(r"(\d{8}T\d{6}Z-\d{1,20})\.saved")
"""A name that comes from the network becomes the name of a folder, so it is held against this."""
MOST_BYTES = 1 << 30
"""Of one file, which is held in memory while it is unpacked. A device's folder is 64 MiB by default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "address", nargs="?", default=str(addresses.DEFAULT), help="ipc:///run/neuralpower or tcp://host:port"
    )
    parser.add_argument(
        "-o", "--output", default="saved", metavar="DIR", help="folder of the recordings (default: saved)"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and bring nothing")
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """List or bring; 0 also where there is nothing."""
    from neuralpower.subscriber.client import Client

    addresses.parse(args.address)
    with Client(args.address, topics=()) as client:
        files = [each for each in client.saved() if _usable(each)]
        if not args.list:
            _bring_all(client, files, Path(args.output))
    if args.json:
        print_json({"address": args.address, "files": [_for_machines(each, args) for each in files]})
    elif not files:
        print(f"{printable(args.address)}: nothing is saved")
    else:
        print("\n".join(_line(each, args) for each in files))
    return 0


def _usable(told: dict[str, Any]) -> bool:
    """Whether an entry of the list says what is needed of a file; another is told and left."""
    name, size = told.get("name"), told.get("bytes")
    good = isinstance(name, str) and _NAME.fullmatch(name) and isinstance(size, int) and 0 < size <= MOST_BYTES
    if not good:
        _say(f"{name!s:.64}: not a name and size of a saved file; left out")
    return bool(good)


def _folder(told: dict[str, Any], output: Path) -> Path:
    return output / str(told["name"]).removesuffix(".saved")


def _bring_all(client: Client, files: list[dict[str, Any]], output: Path) -> None:
    wanted = [each for each in files if not _folder(each, output).exists()]
    if not wanted:
        return
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output}: a file; name a folder")
    output.mkdir(parents=True, exist_ok=True)
    size, done = sum(each["bytes"] for each in wanted), 0
    with progress("fetching", float(size)) as advance:
        for each in wanted:
            try:
                data = _bytes(client, each, lambda here, before=done: advance(float(before + here), ""))
                _unpack(data, str(client.address), _folder(each, output))
            except Failure as failure:  # it gave way to a newer one meanwhile, or came damaged: the others can be had
                _say(str(failure))
                each["failed"] = str(failure)
            done += each["bytes"]


def _bytes(client: Client, told: dict[str, Any], advance: Any) -> bytes:
    """The whole file, portion by portion."""
    from neuralpower_wire.saved import MOST_CHUNK

    data = bytearray()
    while len(data) < told["bytes"]:
        more = client.saved_bytes(told["name"], len(data), min(MOST_CHUNK, told["bytes"] - len(data)))
        if not more:
            raise Failure(f"{told['name']}: the device has only {len(data)} of its {told['bytes']} bytes")
        data += more
        advance(len(data))
    return bytes(data)


def _unpack(data: bytes, address: str, folder: Path) -> None:
    """Make the file's messages a recording, which is whole or not there."""
    from neuralpower.recordings.writer import Writer
    from neuralpower_wire import WireError, decode
    from neuralpower_wire.saved import unpack_entries

    try:
        batches = [decode(frames) for frames in unpack_entries(data)]
    except WireError as error:
        raise Failure(f"{folder.name}: came damaged: {error}; run the same command again") from None
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        writer = Writer(aside, address, _say)
        _write(writer, batches, folder.name)
        writer.finish()
        aside.rename(folder)
    except WireError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise Failure(f"{folder.name}: a message of it cannot be read: {error}") from None
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write(writer: Writer, batches: list[Batch], name: str) -> None:
    """First what explains, then both logs."""
    from neuralpower.subscriber.messages import Found, Records, Ticks
    from neuralpower_wire import INFERENCES, RAILS, EpochBegun, batch_to_records, batch_to_ticks
    from neuralpower_wire.saved import END, FOUND

    epochs: dict[tuple[bytes, int], Epoch] = {}
    for batch in batches:
        if batch.topic in (FOUND, INFERENCES):
            stream, first, records = batch_to_records(batch)
            for record in records:
                if isinstance(record.body, EpochBegun):
                    epochs[record.body.stream, record.body.epoch.number] = record.body.epoch
                if batch.topic == FOUND:
                    writer.keep(Found(record))
            if batch.topic == INFERENCES:
                writer.keep(Records(stream, first, records))
    for batch in batches:
        if batch.topic == RAILS:
            stream, ticks = batch_to_ticks(batch)
            if len(ticks):
                writer.keep(Ticks(stream, ticks, epochs.get((stream, int(ticks["epoch"][0])))))
    writer.sync()
    if not batches or batches[-1].topic != END or batches[-1].header.get("whole") is not True:
        _say(f"{name}: not all of the incident fitted into the device's folder: recorder.mebibytes is small")


def _line(told: dict[str, Any], args: argparse.Namespace) -> str:
    """One file for people."""
    reasons = "; ".join(f"{what}: {text}" for what, text in _reasons(told)) or "no reason told"
    mark = " (simulated)" if told.get("simulated") is True else ""
    where = told["name"] if args.list else str(_folder(told, Path(args.output)))
    failed = ", not brought" if "failed" in told else ""
    return printable(f"{where}{mark}: {told['bytes']} bytes{failed}; {reasons}")


def _for_machines(told: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """One file, with where it is."""
    recording = None if args.list or "failed" in told else str(_folder(told, Path(args.output)))
    return {**told, "recording": recording}


def _reasons(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What happened, as far as the list tells it in the right form."""
    reasons = told.get("reasons")
    entries = reasons if isinstance(reasons, list) else []
    return [(str(each[1]), str(each[2])) for each in entries if isinstance(each, list) and len(each) == 3]


def _say(line: str) -> None:
    print(f"neuralpower: {printable(line)}", file=sys.stderr, flush=True)
