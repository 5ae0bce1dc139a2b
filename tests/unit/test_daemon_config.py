"""The configuration: every key documented, every mistake one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuralpowerd.config import SOURCES, Config, keys, load, parse
from neuralpowerd.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_every_key_is_documented() -> None:
    """docs/configuration.md has a row for each key, with its default, and none for a key that is not there."""
    rows = [
        line.split("|") for line in (ROOT / "docs/configuration.md").read_text().splitlines() if line.startswith("| `")
    ]
    documented = {row[1].strip(" `"): row[2].strip(" `") for row in rows}
    expected = {name: shown(item.default) for name, item in keys()} | {"sim.config": "0x7007"}
    assert documented == expected
    explained = {row[1].strip(" `"): row[4].strip() for row in rows}
    assert explained == {name: item.metadata["doc"] for name, item in keys()}


def shown(default: object) -> str:
    """A default as TOML writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, tuple):
        return f"[{', '.join(map(shown, default))}]"
    return f"{default}"


def test_the_sample_is_the_defaults() -> None:
    """systemd/neuralpowerd.toml names every key with its default, and parses."""
    path = ROOT / "systemd/neuralpowerd.toml"
    assert load(path) == Config()
    text = path.read_text()
    assert all(f"\n{name.rpartition('.')[2]} = " in f"\n{text}" for name, _ in keys())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("perod_us = 1", "f.toml: perod_us: unknown key; known here are"),
        (
            "[realtime]\nprio = 1",
            "f.toml: realtime.prio: unknown key; known here are cpu, hold_latency, lock_memory, priority, spin_us",
        ),
        ("period_us = 1.5", "f.toml: period_us: must be an integer, not 1.5"),
        ("period_us = true", "f.toml: period_us: must be an integer, not True"),
        ("period_us = 10", "f.toml: period_us: 10 is impossible; choose 0, or 100 to 10000000"),
        ("realtime = 3", "f.toml: realtime: must be a table, write [realtime]"),
        (
            'source = "gpu"',
            f"f.toml: source: 'gpu' is impossible; choose one of {', '.join(SOURCES)}",
        ),
        ('[sim]\nrails = "A"', "f.toml: sim.rails: must be a list, each text in quotes, not 'A'"),
        ("[sim]\nrails = [1]", "f.toml: sim.rails: must be a list"),
        ('[sim]\nrails = ["A", "A"]', "f.toml: sim.rails: names must differ"),
        ('[sim]\ntotal = ["A"]', "f.toml: sim.total: 'A' is not in sim.rails"),
        ("[sim]\nbus_uv = [1, 2]", "f.toml: sim.bus_uv: has 2 values for 3 rails"),
        ("[sim]\nconfig = 0x7120", "f.toml: sim.config: 0x7120 does not measure continuously"),
        ("[sim]\nnoise_uv = inf", "f.toml: sim.noise_uv: inf is impossible"),
        ("[sim]\nnoise_uv = nan", "f.toml: sim.noise_uv: nan is impossible"),
        ('[sockets]\nmode = "999"', "f.toml: sockets.mode: '999' is no file mode"),
        ('[tcp]\nbind = "here"', "f.toml: tcp.bind: 'here' is no address"),
        ('[tcp]\nbind = "*:65535"', "f.toml: tcp.bind:"),
        ("[i2c]\naddresses = [0x44]", "f.toml: i2c.addresses: an INA3221 has 0x40 to 0x43"),
        ('[i2c]\naddresses = [0x40]\nrails = ["A"]', "f.toml: i2c.rails: give three for each"),
        ("[i2c]\nconfig = 0x7120", "f.toml: i2c.config: 0x7120 does not measure continuously"),
        ("[conditions]\nrate_hz = 20", "f.toml: conditions.rate_hz: 20.0 is impossible; choose 1 to 10"),
        ('source = "replay"', "f.toml: replay: source replay needs a file"),
        ("period_us = 10000000\nhistory_seconds = 1", "f.toml: history_seconds: 1 s hold fewer than 5 ticks"),
        ("x =", "f.toml: not TOML:"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str) -> None:
    """An unknown key, a wrong type, an impossible value: one line with file, key and remedy."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_values_arrive(tmp_path: Path) -> None:
    """What the file says is what the configuration holds; integers serve as numbers."""
    config = parse(
        'period_us = 500\n[sim]\nrails = ["A"]\ntotal = []\nidle_uw = [1]\nlag_us = 30\n[realtime]\ncpu = 2', "f"
    )
    assert (config.period_us, config.sim.rails, config.sim.lag_us, config.realtime.cpu) == (500, ("A",), 30.0, 2)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
