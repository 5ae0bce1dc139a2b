"""Recording several devices into one folder: a recording of each, by one process, whose clock they all are held against."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ...address import Address, AddressLike
from ...errors import Failure, InputError
from ...subscriber.follower import Past
from ..files.space import STOP
from ..recorder import Summary, record
from .folder import is_recording

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def named(addresses: Mapping[str, AddressLike] | list[tuple[str, Address]]) -> dict[str, AddressLike]:
    """Name -> address, where an empty name is made of the address: the host, or the last part of a local folder.

    Raises InputError: a name that is no name of a folder, or that two would have.
    """
    pairs = list(addresses.items()) if isinstance(addresses, Mapping) else addresses
    found: dict[str, AddressLike] = {}
    for given, address in pairs:
        name = given or _name_of(address)
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no name of a device; letters, digits, '.', '_' and '-': write NAME={address}"
            )
        if name in found:
            raise InputError(f"two devices would be called {name}; write NAME={address} for one of them")
        found[name] = address
    return found


def _name_of(address: AddressLike) -> str:
    if isinstance(address, Address):
        return re.sub(r"[^A-Za-z0-9._-]+", "-", address.host).strip("-.") if address.host else Path(address.folder).name
    return Path(os.fspath(address)).name


def record_together(
    devices: Mapping[str, AddressLike],
    directory: str | os.PathLike[str],
    seconds: float | None = None,
    past: Past = None,
    on_progress: Callable[[dict[str, Summary]], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
    when_full: str = STOP,
) -> dict[str, Summary]:
    """Record each device into `directory`/its name, as :func:`neuralpower.recordings.recorder.record` does one; name -> summary.

    One that fails ends alone; the others go on. `seconds` are of whoever is there first: with it all end. `on_notice` gets lines that begin with the device's name; it and `on_progress` are called by
    several threads, one at a time.

    Raises:
        InputError: a name or an address that cannot be, or a folder that is something else; nobody then records.
        Failure: at the end, a line of each device that failed; what it had is in its folder.
    """
    folder, ending = Path(directory), stop or threading.Event()
    chosen = named(devices)
    if is_recording(folder):
        raise InputError(f"{folder}: is a recording of one device; several want a new or empty folder")
    told: dict[str, Summary] = {}
    errors: dict[str, Exception] = {}
    lock = threading.Lock()

    def one(name: str) -> None:
        def progress(summary: Summary) -> None:
            with lock:
                told[name] = summary
                if on_progress is not None:
                    on_progress(dict(told))

        def notice(line: str) -> None:
            with lock:
                if on_notice is not None:
                    on_notice(f"{name}: {line}")

        try:
            told[name] = record(chosen[name], folder / name, seconds, past, progress, notice, ending, when_full)
            if seconds is not None:
                ending.set()  # one that is not there would be waited for without end
        except Exception as error:
            errors[name] = error
            if isinstance(error, InputError):
                ending.set()
            else:
                notice(str(error))

    threads = [threading.Thread(target=one, args=(name,), name=f"record {name}") for name in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # so that a signal is heard
            thread.join(0.2)
    for name, error in errors.items():
        if isinstance(error, InputError):
            raise InputError(f"{name}: {error}") from None
        if not isinstance(error, Failure):
            raise error
    if errors:
        raise Failure("; ".join(f"{name}: {error}" for name, error in errors.items()))
    return told
