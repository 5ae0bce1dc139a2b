"""The zoo: 21 classic networks, each run in a process of its own and recorded into a folder of its own.

A network that does not fit may take its process with it (a device without memory kills it), and must not take the others. What
is finished is a folder under its name; what is under way ends in `.part`, so whatever ends the run, the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from neuralpower_wire.files import replace_file, sync_folder

from ..errors import Failure, InputError
from . import sweep

REPOSITORY = "pytorch/vision:v0.14.1"
"""Of torch.hub. Later ones refuse to load where torchvision's own operators have not been compiled."""
LEAST_FREE = 256 * 2**20
"""Bytes that must be free before a network is begun; one of a minute takes some 30 MB."""
TRIES = 2
"""A network under which the run ended so many times without a word is passed over: it may be what ends it."""
STATE = "zoo.json"
LEAST_TOLD_S = 60.0
"""Less time left is not worth a word."""
_START_S = 30.0
_STOP_S = 60.0
_LOOK_S = 0.1
_PDEATHSIG = 1


class ZooNetwork(NamedTuple):
    """One of the zoo: its name, and what the virtual device calls it where that is something else. Or `layers` of a sweep, by their spec."""

    name: str
    described: str = ""
    layers: str = ""

    def spec(self, simulated: bool, repository: str = REPOSITORY) -> str:
        """What `neuralpower profile` is asked to run."""
        if self.layers:
            return self.layers
        if simulated:
            return self.described or self.name
        return "torch:neuralpower.runtimes.lenet:lenet5" if self.name == "lenet5" else f"hub:{repository}:{self.name}"


NETWORKS = (
    ZooNetwork("lenet5"),
    ZooNetwork("alexnet"),
    ZooNetwork("squeezenet1_1", "squeezenet1.1"),
    ZooNetwork("squeezenet1_0", "squeezenet1.0"),
    ZooNetwork("shufflenet_v2_x1_0", "shufflenet_v2"),
    ZooNetwork("mobilenet_v2"),
    ZooNetwork("mobilenet_v3_large"),
    ZooNetwork("mnasnet1_0"),
    ZooNetwork("efficientnet_b0"),
    ZooNetwork("resnet18"),
    ZooNetwork("googlenet"),
    ZooNetwork("resnet34"),
    ZooNetwork("densenet121"),
    ZooNetwork("resnet50"),
    ZooNetwork("resnext50_32x4d", "resnext50"),
    ZooNetwork("inception_v3"),
    ZooNetwork("resnet101"),
    ZooNetwork("wide_resnet50_2"),
    ZooNetwork("vgg11"),
    ZooNetwork("vgg13"),
    ZooNetwork("vgg16"),
)
"""From small to large, so that what does not fit comes last."""


@dataclass
class Result:
    """How far a network is: `done`, `skipped` for a `reason`, or neither yet; `tries` counts its beginnings."""

    state: str = ""
    reason: str = ""
    tries: int = 0


PART = 8
"""Layers of a sweep that run in one process and are recorded together: what is lost where one takes it with it, and what a new process costs, are both small."""


def swept(seed: int, count: int) -> list[ZooNetwork]:
    """Parts of a sweep of so many layers, numbered."""
    firsts = range(0, count, PART)
    return [
        ZooNetwork(f"sweep-{seed}-{first:05d}", layers=sweep.spec(seed, first, min(PART, count - first)))
        for first in firsts
    ]


def chosen(names: Sequence[str]) -> list[ZooNetwork]:
    """The networks of these names, all where there are none; InputError for a name that is not of the zoo."""
    by_name = {network.name: network for network in NETWORKS}
    for name in names:
        if name not in by_name:
            raise InputError(f"no network {name!r} in the zoo; there are {', '.join(by_name)}")
    return [by_name[name] for name in names] if names else list(NETWORKS)


@dataclass
class Zoo:
    """A folder with a recording of each network.

    Args:
        folder: where they go; made if it is not there.
        address: the daemon's runtime directory.
        command: what runs a network, given it and the folder of its recording; it prints its outcome as JSON.
        again: whether to try what was skipped before.
        notice: told one line for each network.
        budget_s: no network is begun that would not end within so long, by how long those before it took; none for no limit.

    Raises:
        InputError: a folder that holds something else.
    """

    folder: Path
    address: str
    command: Callable[[ZooNetwork, Path], list[str]]
    again: bool = False
    notice: Callable[[str], None] = lambda line: None
    budget_s: float = math.inf
    results: dict[str, Result] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = (self.folder / STATE).read_text(encoding="utf-8")
            self.results = {name: Result(**result) for name, result in json.loads(text)["networks"].items()}
        except FileNotFoundError:
            if any(self.folder.iterdir()):
                raise InputError(f"{self.folder}: holds something else; name a new folder") from None
            self.results = {}
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"{self.folder / STATE}: is damaged; remove it to begin anew with what is not finished"
            ) from None

    def run(self, networks: Sequence[ZooNetwork]) -> None:
        """Run what is not done yet.

        Raises:
            Failure: the daemon or the recorder ended, or the disk is full. Another run goes on from there.
        """
        began, ran = time.monotonic(), 0
        for number, network in enumerate(networks, 1):
            spent_s = time.monotonic() - began
            each_s = spent_s / ran if ran else 0.0
            if spent_s + each_s > self.budget_s:
                self.notice(
                    f"the time is over: {len(networks) - number + 1} of {len(networks)} are left; the same command goes on with them"
                )
                return
            result = self.results.setdefault(network.name, Result())
            if (self.folder / network.name).exists():
                result.state = "done"
            elif result.state == "skipped" and not self.again:
                pass
            elif result.state != "skipped" and result.tries >= TRIES:
                result.state, result.reason = "skipped", f"the run ended {result.tries} times while it ran"
            else:
                self._one(network, result)
                ran += 1
            self._store()
            told = f"{number} of {len(networks)} {network.name}: {result.state} {result.reason}".rstrip()
            left_s = (len(networks) - number) * (time.monotonic() - began) / max(ran, 1)
            self.notice(f"{told}; about {left_s / 60:.0f} min left" if ran and left_s >= LEAST_TOLD_S else told)

    def outcome(self, name: str) -> dict[str, Any] | None:
        """What the run of a finished network printed; None where there is none."""
        try:
            document = json.loads((self.folder / name / "outcome.json").read_text(encoding="utf-8"))
            return dict(document["engines"][0], simulated=document["simulated"])
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None

    def _one(self, network: ZooNetwork, result: Result) -> None:
        self._room()
        result.state, result.reason, result.tries = "running", "", result.tries + 1
        self._store()
        part = self.folder / f"{network.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            reason = self._recorded(network, part)
        except KeyboardInterrupt:
            result.state, result.tries = "", result.tries - 1
            self._store()
            raise
        except Failure:  # not the network's fault; where the disk is full, what cannot be used makes room to say so
            result.state, result.tries = "", result.tries - 1
            shutil.rmtree(part, ignore_errors=True)
            with contextlib.suppress(Failure):
                self._store()
            raise
        if reason:
            result.state, result.reason = "skipped", reason
            shutil.rmtree(part, ignore_errors=True)
            return
        part.rename(self.folder / network.name)
        sync_folder(self.folder)
        result.state = "done"

    def _recorded(self, network: ZooNetwork, part: Path) -> str:
        """Record the network's run; returns why there is none, or nothing."""
        log, recorded = self.folder / f"{network.name}.log", self.folder / f"{network.name}.recorder.log"
        recorder = [sys.executable, "-m", "neuralpower.cli", "record", self.address, "-o", str(part)]
        with open(recorded, "wb") as lines, _process(recorder, lines, lines) as recording:
            deadline = time.monotonic() + _START_S
            while not (part / "recording.json").exists():
                if recording.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"nothing is recorded: {_last(recorded)}")
                time.sleep(_LOOK_S)
            with (
                open(log, "wb") as errors,
                open(part / "outcome.json", "wb") as printed,
                _process(self.command(network, part), printed, errors) as run,
            ):
                while run.poll() is None:
                    if recording.poll() is not None:
                        raise Failure(f"{network.name}: the recorder ended: {_last(recorded)}")
                    time.sleep(_LOOK_S)
            recording.send_signal(signal.SIGINT)
            stopped = recording.wait(_STOP_S)
        if run.returncode == 0 and stopped == 0:
            return ""
        self._room()
        if stopped or not self._answers():
            raise Failure(f"{network.name}: {_last(recorded if stopped else log)}")
        if run.returncode < 0:
            return f"ended by {signal.Signals(-run.returncode).name}: out of memory?"
        return _last(log)

    def _answers(self) -> bool:
        from ..subscriber.client import Client

        try:
            with Client(self.address, topics=("rails",)) as client:
                return bool(client.status())
        except (Failure, InputError):
            return False

    def _room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE:
            raise Failure(
                f"{self.folder}: {free / 2**20:.0f} MiB are free, a network needs {LEAST_FREE / 2**20:.0f}; make room and run this again"
            )

    def _store(self) -> None:
        body = {"networks": {name: asdict(result) for name, result in self.results.items()}}
        try:
            replace_file(self.folder / STATE, json.dumps(body, indent=1).encode())
        except OSError as error:
            raise Failure(f"{self.folder / STATE}: {error.strerror}") from None


@contextmanager
def _process(command: list[str], output: Any, errors: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive this one, however it ends, nor the block."""
    parent, libc = os.getpid(), ctypes.CDLL(None, use_errno=True)

    def follow() -> None:
        libc.prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True, preexec_fn=follow
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _last(log: Path) -> str:
    """The last line of a log."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("neuralpower: ").strip() if lines else "it said nothing"
