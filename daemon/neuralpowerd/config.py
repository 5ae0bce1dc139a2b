"""The daemon's configuration: every key a documented field with a default and a range, every mistake one clear line.

docs/configuration.md lists the same keys for people; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from neuralpower_wire.address import DEFAULT, Address
from neuralpower_wire.errors import WireError

from .errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def key(
    default: Any, doc: str, *, low: float | None = None, high: float | None = None, of: tuple[Any, ...] = ()
) -> Any:
    """A field with its explanation and what it may hold: a range (for lists and text: of length), or one of `of`."""
    return field(default=default, metadata={"doc": doc, "low": low, "high": high, "of": of})


AUTO = "auto"
SOURCES = (AUTO, "hwmon", "iio", "i2c", "nvml", "sim", "replay")
"""Where readings may come from: AUTO, and the sources that planners register themselves for (`sources/registry.py`)."""


@dataclass(frozen=True)
class RealtimeTable:
    """How the sampling loop is scheduled."""

    priority: int = key(80, "SCHED_FIFO priority of the loop; 0 leaves it an ordinary thread", low=0, high=99)
    cpu: int = key(-1, "processor the loop is pinned to; -1 lets the kernel choose", low=-1, high=1023)
    lock_memory: bool = key(True, "lock the ring and the loop's stack in memory, so that no tick waits for a page")
    spin_us: int = key(
        0,
        "poll the clock so long before each deadline instead of sleeping, at most half a period",
        low=0,
        high=5_000_000,
    )
    hold_latency: bool = key(False, "hold /dev/cpu_dma_latency at 0 µs, so that processors wake sooner")


@dataclass(frozen=True)
class PublishTable:
    """What leaves the daemon, and how often."""

    batch_ms: int = key(
        50, "time between live batches: at 50 ms a publisher costs a third of what it does at 20", low=5, high=1000
    )
    status_s: float = key(1.0, "time between status messages", low=0.1, high=60)
    high_water: int = key(1000, "messages kept for a slow subscriber before it loses some", low=10, high=100_000)


@dataclass(frozen=True)
class JournalTable:
    """The log of inferences and all that explains them."""

    mebibytes: int = key(32, "size of the journal; 10,000 inferences of 60 layers take about 7", low=1, high=4096)


@dataclass(frozen=True)
class InferencesTable:
    """Bounds on what inference processes may make the daemon hold."""

    max_sessions: int = key(
        32, "inference processes known at a time; the longest silent one is forgotten", low=1, high=1024
    )
    max_engines: int = key(256, "engine descriptions known at a time", low=1, high=4096)
    credit: int = key(256, "inferences a process may send before it must wait for more credit", low=1, high=65536)
    durations_tolerance: float = key(
        0.5, "how much longer than its window an inference's layers may be in sum, as a share of it", low=0, high=10
    )


@dataclass(frozen=True)
class EstimatesTable:
    """The power of layers while things run, estimated by a process beside the daemon."""

    enabled: bool = key(True, "start that process, at the lowest priority, with the first inference")
    window_s: float = key(
        120.0,
        "readings and inferences from which the sensor is acquired for good, kept as they are; it is acquired first from 30 of them",
        low=10,
        high=300,
    )
    every_s: float = key(2.0, "time between messages, where anything has changed", low=0.5, high=60)
    most_cpu: float = key(
        0.75,
        "share of one processor that the process takes at most; with less it acquires the sensor later, and may have to pass ticks over",
        low=0.05,
        high=1.0,
    )


@dataclass(frozen=True)
class SimTable:
    """The simulated power monitor, used where no rail is found or when asked for."""

    rails: tuple[str, ...] = key(
        ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), "rails of the simulated board, three to a chip", low=1, high=8
    )
    total: tuple[str, ...] = key(("VDD_IN",), "rails whose sum is the board's power", low=0, high=8)
    bus_uv: tuple[int, ...] = key((5_000_000,), "bus voltage of each rail in µV; one value serves all", low=1, high=8)
    shunts_uohm: tuple[int, ...] = key(
        (5000,), "shunt resistance of each rail in µΩ; one value serves all", low=1, high=8
    )
    idle_uw: tuple[int, ...] = key(
        (3_000_000, 600_000, 900_000), "idle power of each rail in µW; one value serves all", low=1, high=8
    )
    config: int = key(
        0x7007,
        "INA3221 configuration register; 0x7007 is 140 µs per conversion, the chip's reset is 0x7127",
        low=0,
        high=0xFFFF,
    )
    delay_us: float = key(0.0, "pure delay between a rail and what a conversion sees", low=0, high=100_000)
    lag_us: float = key(
        0.0, "time constant of the one-pole lag between a rail and what a conversion sees", low=0, high=100_000
    )
    clock_ppm: float = key(0.0, "period error of the chip's clock", low=-50_000, high=50_000)
    noise_uv: float = key(20.0, "noise of a shunt conversion, standard deviation in µV", low=0, high=10_000)
    seed: int = key(1, "seed of the noise, so that a run can be repeated", low=0, high=2**31 - 1)
    driver: str = key(
        "continuous",
        "what stands between chip and daemon: the newer or older hwmon driver, JetPack 4's, or the bare registers",
        of=("continuous", "waiting", "iio", "i2c", "single-shot"),
    )
    bus_hz: int = key(0, "bit clock of the bus, which makes reads take time; 0: they take none", low=0, high=3_400_000)
    cvrf: str = key(
        "scan", "whether the chip says that it is ready after each scan or after each N", of=("scan", "averaging")
    )


@dataclass(frozen=True)
class PlanTable:
    """What is measured, and what may be done for it."""

    rails: tuple[str, ...] = key((), "rails to measure, by name; empty: all that are found", low=0, high=24)
    voltage_every: int = key(
        0,
        "read voltages in every so many-th tick; 0: in each, or down to every tenth where period_us leaves no time for that",
        low=0,
        high=100,
    )
    allow_write: bool = key(
        False, "let the daemon set the driver's update_interval for the wanted period; put back at the end"
    )


@dataclass(frozen=True)
class I2cTable:
    """Source i2c: registers of INA3221 chips on /dev/i2c-N. What is empty here is taken from the device tree."""

    device: str = key("", "the bus, as /dev/i2c-1", high=256)
    addresses: tuple[int, ...] = key((), "addresses of the chips, 0x40 to 0x43", low=0, high=4)
    rails: tuple[str, ...] = key((), 'names of the rails, three to a chip; "" is a channel without one', low=0, high=12)
    shunts_uohm: tuple[int, ...] = key((), "shunt of each rail in µΩ; one value serves all", low=0, high=12)
    offsets_uv: tuple[int, ...] = key(
        (),
        "taken from the amount of each shunt voltage, in µV, as a device tree's shunt-volt-offset-uv",
        low=0,
        high=12,
    )
    config: int = key(
        0, "configuration register to write, put back at the end; 0 leaves it as it is found", low=0, high=0xFFFF
    )
    force: bool = key(False, "read chips that a driver is bound to, and race with it; see operations.md")


@dataclass(frozen=True)
class NvmlTable:
    """Source nvml: power and energy of GPUs through NVIDIA's management library."""

    library: str = key("libnvidia-ml.so.1", "the library, by name or path", low=1, high=4096)
    share: float = key(
        0.002, "share of one processor that asking it may take, of all GPUs together", low=0.0001, high=0.5
    )


@dataclass(frozen=True)
class ConditionsTable:
    """What the machine was like meanwhile, in the journal."""

    rate_hz: float = key(1.0, "how often clocks, temperatures, load and the like are written down", low=1, high=10)
    power_mode: str = key("/var/lib/nvpmodel/status", "file that names the power mode", high=1024)


@dataclass(frozen=True)
class SocketsTable:
    """Who may connect locally."""

    group: str = key("", "group that owns the local sockets; empty keeps the daemon's own", high=64)
    mode: str = key("0660", "file mode of the local sockets, octal; nothing for others", low=3, high=4)
    max_connections: int = key(
        256, "connections at the local sockets together, half of them of one user; a client has two", low=4, high=4096
    )


@dataclass(frozen=True)
class TcpTable:
    """Clients on other machines, always encrypted, only those whose key is in the allow-list."""

    bind: str = key("", 'address to listen at, as "*:7380"; history is at the next port; empty: no TCP', high=256)
    keys_dir: str = key(
        "/etc/neuralpower/keys", "folder of the server's key pair and of the allowed clients' keys", low=1, high=1024
    )
    max_connections: int = key(
        64, "connections at both ports together, half of them from one address; a client has two", low=4, high=4096
    )


@dataclass(frozen=True)
class PrometheusTable:
    """A page for Prometheus: off unless it has a port. It asks for no key; who reaches it reads it."""

    port: int = key(0, "TCP port of the page /metrics; 0: there is none", low=0, high=65535)
    host: str = key("127.0.0.1", "address to listen at, in numbers; 0.0.0.0 is every interface", low=1, high=45)


@dataclass(frozen=True)
class RecorderTable:
    """The flight recorder: when something happens, the minutes around it are saved. Off unless it has a folder."""

    folder: str = key("", "folder on the disk, this daemon's own; empty: nothing is saved", high=1024)
    mebibytes: int = key(64, "what all files there may take together; the oldest go first", low=1, high=1_048_576)
    before_s: float = key(
        60.0, "saved of the time before it happened, as far as history_seconds has it", low=1, high=3600
    )
    after_s: float = key(30.0, "saved of the time after", low=0, high=3600)
    power_w: float = key(
        0.0, "save when the total is above this, as a mean of ten ticks; 0: never", low=0, high=100_000
    )
    energy_j: float = key(0.0, "save when the total takes more than this in energy_s; 0: never", low=0, high=1e9)
    energy_s: float = key(60.0, "the time that energy_j is of", low=1, high=3600)
    throttling: bool = key(True, "save when heat or overcurrent begins to slow the machine down")
    contradiction: bool = key(True, "save when readings cannot be, or contradict what is known of the sensor")
    mark: str = key("save", "save when somebody puts a mark of this name; empty: at no mark", high=256)


@dataclass(frozen=True)
class Config:
    """All of it. Tables of the file are the fields that are dataclasses."""

    runtime_dir: str = key(
        DEFAULT.folder, "folder of the logs and local sockets; lives in memory and over restarts", low=1, high=80
    )
    sysfs_root: str = key("/", "where sys/ and proc/ are looked for", low=1, high=1024)
    source: str = key(
        AUTO,
        "where readings come from; auto takes the driver's rails if there are any, else sim",
        of=SOURCES,
    )
    replay: str = key(
        "", "recorded ticks for source replay: a .npy file of ticks with its epoch beside it as .json", high=4096
    )
    period_us: int = key(
        0,
        "time between ticks, from 100 on; 0 takes 1000, or the least that the bus can carry",
        low=0,
        high=10_000_000,
    )
    history_seconds: int = key(
        300, "ticks kept for late readers; about 11 MB a minute for three rails", low=1, high=86400
    )
    realtime: RealtimeTable = field(default_factory=RealtimeTable)
    publish: PublishTable = field(default_factory=PublishTable)
    journal: JournalTable = field(default_factory=JournalTable)
    inferences: InferencesTable = field(default_factory=InferencesTable)
    estimates: EstimatesTable = field(default_factory=EstimatesTable)
    plan: PlanTable = field(default_factory=PlanTable)
    i2c: I2cTable = field(default_factory=I2cTable)
    nvml: NvmlTable = field(default_factory=NvmlTable)
    conditions: ConditionsTable = field(default_factory=ConditionsTable)
    sim: SimTable = field(default_factory=SimTable)
    sockets: SocketsTable = field(default_factory=SocketsTable)
    tcp: TcpTable = field(default_factory=TcpTable)
    prometheus: PrometheusTable = field(default_factory=PrometheusTable)
    recorder: RecorderTable = field(default_factory=RecorderTable)


def load(path: Path | None) -> Config:
    """The configuration in `path`, or the defaults for None; ConfigError names file, key and remedy."""
    if path is None:
        return Config()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}; name a TOML file or leave --config out") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """The configuration in the TOML `text`; `name` stands for the file in messages."""
    try:
        document = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # tomllib's own, a number of thousands of digits, brackets without end
        raise ConfigError(f"{name}: not TOML: {str(error)[:160]}; correct the line") from None
    config = _table(Config, document, name, "")
    _fit_together(config, name)
    return config


def keys(cls: type = Config, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every key with its field, as ("realtime.priority", field)."""
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from keys(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item


def _table(cls: type[T], table: Mapping[str, Any], name: str, prefix: str) -> T:
    hints, known = get_type_hints(cls), {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # cls is a table
    values: dict[str, Any] = {}
    for found, value in table.items():
        where = f"{name}: {prefix}{found}"
        if found not in known:
            near = ", ".join(sorted(known))
            raise ConfigError(f"{where}: unknown key; known here are {near}")
        kind = hints[found]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: must be a table, write [{found}]")
            values[found] = _table(kind, value, name, f"{found}.")  # type: ignore[arg-type]  # is_dataclass said so
        else:
            values[found] = _value(kind, value, known[found].metadata, where)
    return cls(**values)


_NAMES = {int: "an integer", float: "a number", str: "text in quotes", bool: "true or false"}


def _value(kind: Any, value: Any, rule: Mapping[str, Any], where: str) -> Any:
    """`value` checked against its type and its rule."""
    if get_origin(kind) is tuple:
        element = get_args(kind)[0]
        if not isinstance(value, list) or not all(_is(element, item) for item in value):
            raise ConfigError(f"{where}: must be a list, each {_NAMES[element]}, not {value!r}")
        value = tuple(value)
    elif not _is(kind, value):
        raise ConfigError(f"{where}: must be {_NAMES[kind]}, not {value!r}")
    elif kind is float:
        value = float(value)
    if any(
        isinstance(text, str) and not text.isprintable() for text in (value if isinstance(value, tuple) else [value])
    ):
        raise ConfigError(f"{where}: has a character that cannot be printed; take it out")
    if rule["of"] and value not in rule["of"]:
        raise ConfigError(f"{where}: {value!r} is impossible; choose one of {', '.join(rule['of'])}")
    size, of_length = (len(value), True) if isinstance(value, (tuple, str)) else (value, False)
    low, high = rule["low"], rule["high"]
    if not ((low is None or size >= low) and (high is None or size <= high)):
        shown = f"a length of {size}" if of_length else f"{value}"
        raise ConfigError(f"{where}: {shown} is impossible; choose {low if low is not None else 0} to {high}")
    return value


def _is(kind: type, value: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def _fit_together(config: Config, name: str) -> None:
    """What no single key shows."""
    _fit_sim(config.sim, name)
    _fit_i2c(config.i2c, name)
    try:
        mode = int(config.sockets.mode, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ConfigError(f'{name}: sockets.mode: {config.sockets.mode!r} is no file mode; write it as "0660"')
    if mode & 0o007:
        raise ConfigError(
            f"{name}: sockets.mode: {config.sockets.mode!r} lets everybody in; put users into a group, name it in sockets.group"
        )
    if config.realtime.spin_us * 2 > (config.period_us or 1000):
        raise ConfigError(
            f"{name}: realtime.spin_us: {config.realtime.spin_us} µs is more than half a period; choose at most half of period_us"
        )
    if config.tcp.bind:
        try:
            Address.parse_bind(config.tcp.bind)
        except WireError as error:
            raise ConfigError(f"{name}: tcp.bind: {error}") from None
    try:
        if "%" in config.prometheus.host:  # which interface: a name again
            raise ValueError
        ipaddress.ip_address(config.prometheus.host)
    except ValueError:
        raise ConfigError(
            f'{name}: prometheus.host: {config.prometheus.host!r} is no address; write numbers, as "127.0.0.1"'
        ) from None
    if config.source == "replay" and not config.replay:
        raise ConfigError(f"{name}: replay: source replay needs a file of ticks; name one")
    if 0 < config.period_us < 100:
        raise ConfigError(f"{name}: period_us: {config.period_us} is impossible; choose 0, or 100 to 10000000")
    if config.period_us * 5 > config.history_seconds * 1_000_000:
        raise ConfigError(
            f"{name}: history_seconds: {config.history_seconds} s hold fewer than 5 ticks; make it longer"
        )


def _fit_sim(sim: SimTable, name: str) -> None:
    if len(set(sim.rails)) != len(sim.rails) or not all(0 < len(rail.encode()) < 32 for rail in sim.rails):
        raise ConfigError(f"{name}: sim.rails: names must differ and have 1 to 31 bytes; rename {list(sim.rails)!r}")
    unknown = [rail for rail in sim.total if rail not in sim.rails]
    if unknown:
        raise ConfigError(f"{name}: sim.total: {unknown[0]!r} is not in sim.rails; add it there or take it out")
    for listed in ("bus_uv", "shunts_uohm", "idle_uw"):
        values = getattr(sim, listed)
        if len(values) not in (1, len(sim.rails)):
            raise ConfigError(
                f"{name}: sim.{listed}: has {len(values)} values for {len(sim.rails)} rails; give one or as many"
            )
        if min(values) < (0 if listed == "idle_uw" else 1) or max(values) > 10**9:
            raise ConfigError(f"{name}: sim.{listed}: {list(values)!r} is impossible; choose up to 1000000000")
    if sim.config & 0x7000 == 0 or sim.config & 7 != 7:
        raise ConfigError(
            f"{name}: sim.config: {sim.config:#06x} does not measure continuously; end it in 7, with a channel on"
        )


def _fit_i2c(i2c: I2cTable, name: str) -> None:
    if any(not 0x40 <= address <= 0x43 for address in i2c.addresses):
        raise ConfigError(f"{name}: i2c.addresses: an INA3221 has 0x40 to 0x43; correct {list(i2c.addresses)!r}")
    if i2c.rails and len(i2c.rails) != 3 * len(i2c.addresses):
        raise ConfigError(f'{name}: i2c.rails: give three for each of i2c.addresses, "" where a channel has none')
    named = [rail for rail in i2c.rails if rail]
    if len(set(named)) != len(named) or not all(len(rail) < 32 for rail in named):
        raise ConfigError(f"{name}: i2c.rails: names must differ and have at most 31 characters; rename {named!r}")
    for listed in ("shunts_uohm", "offsets_uv"):
        values = getattr(i2c, listed)
        if len(values) not in (0, 1, len(i2c.rails)):
            raise ConfigError(f"{name}: i2c.{listed}: has {len(values)} values; give one, or as many as i2c.rails")
    shunts = i2c.shunts_uohm * len(i2c.rails) if len(i2c.shunts_uohm) == 1 else i2c.shunts_uohm
    if any(rail and not 0 < shunt <= 10**9 for rail, shunt in zip(i2c.rails, shunts, strict=False)):
        raise ConfigError(f"{name}: i2c.shunts_uohm: {list(i2c.shunts_uohm)!r} is impossible; choose 1 to 1000000000")
    if i2c.config and (i2c.config & 0x7000 == 0 or i2c.config & 7 != 7):
        raise ConfigError(
            f"{name}: i2c.config: {i2c.config:#06x} does not measure continuously; end it in 7, with a channel on"
        )
