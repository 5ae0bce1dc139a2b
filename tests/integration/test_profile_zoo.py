"""`neuralpower profile --zoo` against a real daemon: a recording of each network, crashes, what does not fit, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_process import Daemon
from tests.patience import until

from neuralpower.cli import main
from neuralpower.errors import Failure, InputError
from neuralpower.experiment import zoo
from neuralpower.experiment.zoo import Zoo, ZooNetwork, chosen
from neuralpower.recordings.recording import Recording

OUTCOME = {"simulated": True, "engines": [{"name": "x"}]}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def printing(network: ZooNetwork, part: Path) -> list[str]:
    """A run that ends well."""
    return python(f"print({json.dumps(json.dumps(OUTCOME))})")


def test_a_killed_run_goes_on_where_it_ended(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed by force during the second network: nothing is left running, the first is not run again, the second is."""
    folder, address = tmp_path / "zoo", str(daemon.folder)
    Zoo(folder, address, printing).run(chosen(["alexnet"]))
    first = (folder / "alexnet" / "recording.json").stat().st_mtime_ns
    arguments = [
        "profile",
        "--zoo",
        "alexnet",
        "squeezenet1_1",
        "--virtual",
        "--runs",
        "30",
        "-o",
        str(folder),
        "--json",
    ]
    arguments += ["--address", address]
    run = subprocess.Popen([sys.executable, "-m", "neuralpower.cli", *arguments], stdout=subprocess.DEVNULL)

    def nearly_done() -> bool:
        assert run.poll() is None
        return (folder / "squeezenet1_1.part" / "outcome.json").exists()

    until(nearly_done)
    run.kill()
    run.wait()
    assert not (folder / "squeezenet1_1").exists()
    until(lambda: not children_of(folder))
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["simulated"] and [each["state"] for each in document["networks"]] == ["done", "done"]
    assert (folder / "alexnet" / "recording.json").stat().st_mtime_ns == first
    recording = Recording(folder / "squeezenet1_1")
    assert {body["name"] for body in recording.engines().values()} == {"squeezenet1.1", "squeezenet1.1 unprofiled"}
    outcome = document["networks"][1]["outcome"]
    assert len(recording.inferences()) == outcome["inferences"] + outcome["unprofiled"] > 30
    assert (folder / "squeezenet1_1" / "truth.json").exists()


def children_of(folder: Path) -> list[str]:
    """Processes that have `folder` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found


def test_what_does_not_fit_is_passed_over(daemon: Daemon, tmp_path: Path) -> None:
    """One that cannot be built and one that takes its process with it: both named, the others recorded, not tried again unasked."""
    tried: list[str] = []

    def command(network: ZooNetwork, part: Path) -> list[str]:
        tried.append(network.name)
        if network.name == "alexnet":
            return python("import sys; sys.exit('neuralpower: TensorRT cannot build it: out of memory')")
        if network.name == "vgg16":
            return python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        return printing(network, part)

    networks, said = chosen(["alexnet", "vgg16", "lenet5"]), []
    for again in (False, False, True):
        Zoo(tmp_path, str(daemon.folder), command, again, said.append).run(networks)
    results = Zoo(tmp_path, str(daemon.folder), command).results
    assert [results[network.name].state for network in networks] == ["skipped", "skipped", "done"]
    assert results["alexnet"].reason == "TensorRT cannot build it: out of memory"
    assert results["vgg16"].reason == "ended by SIGKILL: out of memory?"
    assert tried == ["alexnet", "vgg16", "lenet5", "alexnet", "vgg16"] and said[2] == "3 of 3 lenet5: done"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["lenet5"]


def test_a_network_that_ends_the_machine_is_left_out(daemon: Daemon, tmp_path: Path) -> None:
    """Two runs ended without a word while it ran: the third passes over it."""
    networks = chosen(["vgg16"])
    (tmp_path / zoo.STATE).write_text(
        json.dumps({"networks": {"vgg16": {"state": "running", "reason": "", "tries": 2}}})
    )
    Zoo(tmp_path, str(daemon.folder), printing).run(networks)
    result = Zoo(tmp_path, str(daemon.folder), printing).results["vgg16"]
    assert (result.state, result.reason) == ("skipped", "the run ended 2 times while it ran")


def test_a_full_disk_ends_the_run_and_the_next_goes_on(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is skipped for want of room: the message says so, and with room the network is recorded."""
    networks = chosen(["lenet5"])
    with monkeypatch.context() as tight:
        tight.setattr(zoo, "LEAST_FREE", 2**60)
        with pytest.raises(Failure, match="make room and run this again"):
            Zoo(tmp_path, str(daemon.folder), printing).run(networks)
    Zoo(tmp_path, str(daemon.folder), printing).run(networks)
    assert Zoo(tmp_path, str(daemon.folder), printing).results["lenet5"].state == "done"


def test_a_recorder_that_ends_is_no_fault_of_the_network(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with the recorder's own words, its process with it, and the network is tried again."""

    def command(network: ZooNetwork, part: Path) -> list[str]:
        for line in Path("/proc").iterdir():
            if line.name.isdigit() and b"record" in (words := arguments_of(line)) and str(part).encode() in words:
                os.kill(int(line.name), signal.SIGKILL)
        return python("import time; time.sleep(60)")

    with pytest.raises(Failure, match="the recorder ended"):
        Zoo(tmp_path, str(daemon.folder), command).run(chosen(["lenet5"]))
    assert Zoo(tmp_path, str(daemon.folder), command).results["lenet5"].tries == 0
    Zoo(tmp_path, str(daemon.folder), printing).run(chosen(["lenet5"]))
    assert (tmp_path / "lenet5" / "recording.json").exists()


def arguments_of(process: Path) -> list[bytes]:
    """Of a folder of /proc; none of a process that is gone."""
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--zoo"], "say where with -o DIR"),
        (["--zoo", "nonet", "-o", "x"], "no network 'nonet' in the zoo; there are lenet5, alexnet"),
        (["--zoo", "-o", "x", "--repeat-layers"], "--zoo goes without"),
        (["--zoo", "-o", "x", "--batch", "2"], "runs at fp16 and batch 1"),
        (["lenet5", "-o", "x"], "-o, --again and --budget go with --zoo and --sweep"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not go together is said before anything runs."""
    assert main(["profile", "--virtual", *arguments]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """Neither filled nor emptied; a damaged list is named."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        Zoo(tmp_path, "/nowhere", printing)
    (tmp_path / zoo.STATE).write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        Zoo(tmp_path, "/nowhere", printing)
