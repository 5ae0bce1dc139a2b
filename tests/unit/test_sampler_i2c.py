"""The registers' source beside a bus in software: identity, the bound driver, the saved config."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from neuralpower_sampler import AVAILABLE, I2cChip, I2cSource, SamplerError, _source_calls, i2c_restore
from neuralpower_sampler._calls import Handle

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

RAILS = [(0, 1, "bus_uv"), (0, 1, "shunt_uv")]


class FakeBus:
    """Chips that keep what is written; a journal of writes, and whether the saved file was there at each."""

    def __init__(self, saved: Path) -> None:
        self.saved = saved
        self.registers = {address: {0x00: 0x7127, 0xFE: 0x5449, 0xFF: 0x3220} for address in (0x40, 0x41)}
        self.bound: set[int] = set()
        self.writes: list[tuple[int, int, bool]] = []
        self.refuse = False

    closed = False

    def close(self) -> None:
        pass

    def claim(self, address: int) -> None:
        if address in self.bound:
            raise SamplerError("busy", errno.EBUSY)

    def read(self, address: int, register: int) -> int:
        return self.registers[address][register]

    def write(self, address: int, register: int, value: int) -> None:
        if self.refuse:
            raise SamplerError("no answer", errno.EIO)
        self.writes.append((address, value, self.saved.exists()))
        self.registers[address][register] = value


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    fake = FakeBus(tmp_path / "saved")
    monkeypatch.setattr(_source_calls, "i2c_open", lambda device: fake)
    monkeypatch.setattr(_source_calls, "i2c_claim", lambda fake, address: fake.claim(address))
    monkeypatch.setattr(_source_calls, "i2c_read", lambda fake, address, register: fake.read(address, register))
    monkeypatch.setattr(
        _source_calls, "i2c_write", lambda fake, address, register, value: fake.write(address, register, value)
    )
    monkeypatch.setattr(
        _source_calls, "source_i2c", lambda fake, chips, channels, wait_ns: Handle(object(), lambda pointer: 0, "x")
    )
    return fake


def test_a_config_is_saved_before_it_is_written_and_restored_by_close(bus: FakeBus) -> None:
    """The file is there at every write, holds only what was changed, and goes when all is as it was."""
    source = I2cSource("/dev/i2c-1", [I2cChip(0x40, config=0x7007), I2cChip(0x41)], RAILS, saved=bus.saved)
    assert source.freshness == "known" and source.configs == [0x7007, 0x7127]
    assert json.loads(bus.saved.read_text()) == {"device": "/dev/i2c-1", "configs": {"0x40": 0x7127}}
    source.close()
    source.close()
    assert bus.writes == [(0x40, 0x7007, True), (0x40, 0x7127, True)]
    assert not bus.saved.exists()


def test_what_a_killed_run_left_is_restored_by_the_next_start(bus: FakeBus) -> None:
    """The original is what the first run found, not what it wrote."""
    I2cSource("/dev/i2c-1", [I2cChip(0x40, config=0x7007)], RAILS, saved=bus.saved)
    second = I2cSource("/dev/i2c-1", [I2cChip(0x40, config=0x7FFF)], RAILS, saved=bus.saved)
    assert [value for _, value, _ in bus.writes] == [0x7007, 0x7127, 0x7FFF]
    second.close()
    assert bus.registers[0x40][0] == 0x7127


def test_restore_by_hand(bus: FakeBus) -> None:
    """It says what it wrote; without a file it does nothing; a chip that does not answer keeps the file."""
    assert i2c_restore(bus.saved) == []
    I2cSource("/dev/i2c-1", [I2cChip(0x40, config=0x7007)], RAILS, saved=bus.saved)
    bus.refuse = True
    with pytest.raises(SamplerError, match="no answer"):
        i2c_restore(bus.saved)
    bus.refuse = False
    assert i2c_restore(bus.saved) == ["/dev/i2c-1: config 0x7127 restored at 0x40"]
    bus.saved.write_text("[]")
    with pytest.raises(SamplerError, match="no saved config"):
        i2c_restore(bus.saved)


def test_a_bound_chip_is_refused_unless_forced(bus: FakeBus) -> None:
    """The line explains the race; nothing was written."""
    bus.bound.add(0x40)
    with pytest.raises(SamplerError, match=r"a driver is bound to the chip at 0x40.*conversion-ready flag.*force"):
        I2cSource("/dev/i2c-1", [I2cChip(0x40, config=0x7007)], RAILS, saved=bus.saved)
    assert not bus.writes and not bus.saved.exists()
    I2cSource("/dev/i2c-1", [I2cChip(0x40)], RAILS, force=True).close()


def test_nothing_is_written_where_it_is_not_asked_for(bus: FakeBus) -> None:
    """No config, or the one that is there already: no write and no file."""
    I2cSource("/dev/i2c-1", [I2cChip(0x40), I2cChip(0x41, config=0x7127)], RAILS, saved=bus.saved).close()
    assert not bus.writes and not bus.saved.exists()


def test_what_cannot_be_read_is_refused(bus: FakeBus) -> None:
    """Another chip, another address, a write without a file, a channel that is not there."""
    bus.registers[0x41][0xFF] = 0x2260
    for attempt, line in (
        (lambda: I2cSource("/dev/i2c-1", [I2cChip(0x41)], RAILS), "no INA3221 at 0x41"),
        (lambda: I2cSource("/dev/i2c-1", [I2cChip(0x40, config=0x7007)], RAILS), "needs a file"),
        (lambda: I2cSource("/dev/i2c-1", [I2cChip(0x40)], [(1, 1, "bus_uv")]), "no channel 1"),
        (lambda: I2cSource("/dev/i2c-1", [I2cChip(0x40)], [(0, 1, "power_uw")]), "no channel 1"),
        (lambda: I2cChip(0x44), "0x40 to 0x43"),
        (lambda: I2cChip(0x40, config=0x8000), "config"),
    ):
        with pytest.raises(SamplerError, match=line):
            attempt()


def test_a_write_that_fails_puts_back_what_was_written(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second chip refuses its config: the first gets its own back."""
    real = bus.write

    def write(address: int, register: int, value: int) -> None:
        if (address, value) == (0x41, 0x7007):
            raise SamplerError("no answer", errno.EIO)
        real(address, register, value)

    monkeypatch.setattr(bus, "write", write)
    chips = [I2cChip(0x40, config=0x7007), I2cChip(0x41, config=0x7007)]
    with pytest.raises(SamplerError, match="no answer"):
        I2cSource("/dev/i2c-1", chips, RAILS, saved=bus.saved)
    assert {registers[0] for registers in bus.registers.values()} == {0x7127} and not bus.saved.exists()
