"""The service's unit: what bounds and closes it in is there, without a systemd to ask."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/neuralpowerd.service"


@pytest.fixture(scope="module")
def unit() -> configparser.RawConfigParser:
    """As systemd reads it: keys are case-sensitive."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's manual has it
    parser.read(UNIT)
    return parser


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("UMask", "0077"),
        ("ProtectProc", "invisible"),
        ("RemoveIPC", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("IPAddressDeny", "any"),
        ("IPAddressAllow", "localhost"),
        ("PrivateDevices", "yes"),
        ("ProtectSystem", "strict"),
        ("RestrictNamespaces", "yes"),
        ("SystemCallFilter", "@system-service"),
        ("User", "neuralpower"),
    ],
)
def test_it_is_closed_in(unit: configparser.RawConfigParser, key: str, value: str) -> None:
    assert unit["Service"][key] == value


@pytest.mark.parametrize("key", ["LimitNOFILE", "MemoryMax", "TasksMax", "LimitMEMLOCK", "WatchdogSec", "LimitRTPRIO"])
def test_it_is_bounded(unit: configparser.RawConfigParser, key: str) -> None:
    """A number, and not none at all."""
    assert unit["Service"][key].rstrip("MGs").isdigit()


def test_a_daemon_that_ends_again_and_again_is_left(unit: configparser.RawConfigParser) -> None:
    """With the wait between two starts, so many are tried within the interval; a configuration that cannot be is not tried again."""
    assert int(unit["Unit"]["StartLimitBurst"]) * 0.5 < int(unit["Unit"]["StartLimitIntervalSec"].rstrip("s"))
    assert unit["Service"]["RestartSec"] == "500ms" and unit["Service"]["RestartPreventExitStatus"] == "2"


@pytest.mark.parametrize("key", ["PrivateUsers", "ProcSubset"])
def test_what_is_left_out_is_told_with_its_reason(unit: configparser.RawConfigParser, key: str) -> None:
    """Either set, or in the page."""
    page = (UNIT.parents[1] / "docs/security.md").read_text()
    assert key in unit["Service"] or f"`{key}" in page.partition("Not set, with the reason:")[2]
