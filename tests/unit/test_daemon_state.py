"""SIGUSR1: what the daemon says of itself; and what two ends of different versions say to each other."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from neuralpower_sampler import AVAILABLE
from neuralpower_wire import Epoch, VersionError
from neuralpower_wire.batch import pack, unpack
from neuralpower_wire.history import Reply
from neuralpowerd.config import Config, parse
from neuralpowerd.logs.history import History
from neuralpowerd.logs.journal import Journal
from neuralpowerd.logs.ledger import Ledger
from neuralpowerd.part import DaemonPart
from neuralpowerd.system.notify import Notifier
from neuralpowerd.system.state import MOST_LINE, MOST_LINES, state_lines

TABLES = "[realtime]\npriority = 0\nlock_memory = false\n[journal]\nmebibytes = 1\n[publish]\nstatus_s = 0.1\n"


def test_the_state_is_what_is_not_by_default_and_the_status() -> None:
    """A line for each, bytes as hexadecimal digits."""
    config = parse('source = "sim"\n[plan]\nrails = ["A"]\n[realtime]\npriority = 1', "f")
    status = {"stream": bytes(2), "rails": {"A": 1.5, "B": None}}
    assert list(state_lines(config, status)) == [
        'state: configuration: source = "sim"',
        "state: configuration: realtime.priority = 1",
        'state: configuration: plan.rails = ["A"]',
        'state: stream: "0000"',
        'state: rails: {"A": 1.5, "B": null}',
        "state: 5 lines",
    ]


def test_the_state_is_bounded() -> None:
    """However much a status holds."""
    told = list(state_lines(Config(), {str(number): "x" * 10_000 for number in range(1000)}))
    assert len(told) == MOST_LINES + 1 and told[-1] == "state: 900 lines more"
    assert all(len(line) <= MOST_LINE + len("state: ") for line in told)


@pytest.mark.skipif(not AVAILABLE, reason="the sampler is not built")
def test_sigusr1_logs_the_state_and_ends_nothing(
    tmp_path: Path, signals: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon goes on, and is told by the next signal."""
    from neuralpowerd.service import Service

    caplog.set_level(logging.INFO)

    class Asks(DaemonPart):
        """Sends one signal, and when it was answered the other."""

        def begin_epoch(self, epoch: Epoch) -> None:
            os.kill(os.getpid(), signal.SIGUSR1)

        def second(self) -> None:
            if "state: tick_rate_hz: " in caplog.text:
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                os.kill(os.getpid(), signal.SIGUSR1)

    config = parse(f'source = "sim"\nruntime_dir = "{tmp_path}"\nhistory_seconds = 10\n{TABLES}', "f")
    service = Service(lambda: config, Notifier("", 0))
    service.parts.append(Asks())
    service.run()
    assert f'state: configuration: runtime_dir = "{tmp_path}"' in caplog.text and "state: lateness_ns: {" in caplog.text


def test_a_question_of_another_version_is_answered_in_ours_and_told(tmp_path: Path) -> None:
    """Both ends say the same line: the client because the answer has our version, the daemon in its log."""
    told: list[tuple[bytes, Any]] = []
    ledger = Ledger(Journal(tmp_path / "j", 1 << 20, bytes(16)), lambda: 1, 1)
    history = History(list, ledger, dict, lambda peer, error: told.append((peer, error)))
    (frame,) = history.answer(pack({"v": 2, "id": 7, "do": "status", "new": True}), peer=b"p").encode()
    ((peer, error),) = told
    assert peer == b"p" and str(error) == str(VersionError(2, 1))
    as_theirs = pack({**unpack(frame), "v": 2})  # what a client of version 2 sees as foreign is our 1
    with pytest.raises(
        VersionError, match="the other end speaks version 2 of the wire and this one version 1: install"
    ):
        Reply.decode([as_theirs])
    assert unpack(frame)["v"] == 1 and "install the same neuralpower on both" in unpack(frame)["error"]
    ledger.journal.close()
