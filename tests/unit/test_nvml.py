"""Source nvml: what it measures of NVML, what it plans, and what it says where NVML gives nothing. Over a stand-in: simulated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.worlds.gpu.nvml_library import stand_in

from neuralpower_sampler import AVAILABLE, Nvml, NvmlChannel, NvmlSource, SamplerError
from neuralpower_sampler.errors import Own
from neuralpower_sampler.nvml import NvmlValue
from neuralpower_wire import Channel, Chip, Epoch, ReadingState, Ticks, rail_power_w, tick_dtype
from neuralpower_wire.batch import pack
from neuralpower_wire.power import counted, stamps_ns
from neuralpower_wire.tick import Flag
from neuralpowerd import cli
from neuralpowerd.check import check
from neuralpowerd.check import nvml as check_nvml
from neuralpowerd.check.findings import BETTER, GOOD, PROBLEM
from neuralpowerd.config import AUTO, Config, NvmlTable, PlanTable
from neuralpowerd.errors import ConfigError, DaemonError
from neuralpowerd.sources import nvml as nvml_source
from neuralpowerd.sources.boards import find
from neuralpowerd.sources.nvml import (
    MOST_EVERY,
    WORTH,
    GpuSensor,
    clock_of,
    fitting,
    paced,
    period_of,
    rails_of,
    reasons_of,
    renewal,
)
from neuralpowerd.sources.plan import Plan
from neuralpowerd.sources.registry import make_plan
from neuralpowerd.watch.fresh import FreshWatch

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs the C sampler")

Make = Callable[..., Plan]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A configuration for the stand-in; `words` are for it (tests/c/stand_in/nvml.c)."""

    def made(words: str = "", **more: object) -> Config:
        monkeypatch.setenv("NVML_STAND_IN", words)
        wish = Config(
            source="nvml", sysfs_root=str(tmp_path), runtime_dir=str(tmp_path), nvml=NvmlTable(str(stand_in()))
        )
        return replace(wish, **more)  # type: ignore[arg-type]  # fields by name

    return made


# ---- What goes wrong ---------------------------------------------------------------------------------------------

REFUSED = {
    "init=9": ("the NVIDIA driver is not loaded", "modprobe nvidia"),
    "init=4": ("no permission", "/dev/nvidia"),
    "init=17": ("operating system", "/dev/nvidia"),
    "init=18": ("different versions", "restart the machine"),
    "init=999": ("an error of its own", "dmesg"),
    "gpus=0": ("NVML finds no GPU", "nvidia-smi -L"),
    "handle=15": ("GPU 0: the GPU is lost", "restart the machine"),
    "handle=4": ("GPU 0: no permission", "/dev/nvidia"),
    "usage=3 average=3 instant=3 samples=3 energy=3": (
        "NVML knows no power of GPU 0 (Simulated GPU)",
        "--source hwmon",
    ),
    "usage=3 average=3 instant=3 samples=3": ("NVML knows no power of GPU 0", "--source hwmon"),
    "usage=3 average=3 instant=3 samples=3 energy=3 slice=1": ("is a slice (MIG), which has no power", "whole GPU"),
    "usage=4 average=4 instant=4 samples=4 energy=4": ("does not tell the power of GPU 0", "/dev/nvidia"),
    "lost_after_ms=0": ("GPU 0: the GPU is lost", "restart the machine"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_each_refusal_is_one_clear_line(
    words: str, config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong and what to do, in one line and with exit status 1; never a traceback."""
    made = config(words)
    file = tmp_path / "d.toml"
    file.write_text(f'source = "nvml"\nruntime_dir = "{tmp_path}"\nnvml.library = "{made.nvml.library}"\n')
    assert cli.main(["run", "--config", str(file)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    what, remedy = REFUSED[words]
    assert what in lines[0] and remedy in lines[0]


@pytest.mark.parametrize(
    ("library", "error", "remedy"),
    [
        ("/nowhere/libnvidia-ml.so.1", Own.NO_LIBRARY, "install NVIDIA's driver"),
        ("libm.so.6", Own.NOT_NVML, "name lib"),
    ],
)
def test_a_library_that_is_not_there_or_another_is_named(
    library: str, error: Own, remedy: str, config: Callable[..., Config]
) -> None:
    """The line names the key, the library and what to do."""
    with pytest.raises(SamplerError) as caught:
        Nvml(library)
    assert caught.value.errno == error
    with pytest.raises(DaemonError, match=remedy) as told:
        make_plan(config(nvml=NvmlTable(library)))
    assert str(told.value).startswith(f"nvml.library: {library}: ") and "\n" not in str(told.value)


def test_a_gpu_without_power_does_not_keep_the_others(config: Callable[..., Config]) -> None:
    """GPU 0 is lost, GPU 1 is measured, and the note says who is left out."""
    plan = make_plan(config("gpus=2 lost_after_ms=0"))
    assert next(channel.rail for channel in plan.channels) == "gpu1" and plan.totals == ("gpu1",)
    assert "left out: GPU 0: the GPU is lost" in plan.note


# ---- The plan ----------------------------------------------------------------------------------------------------


def test_a_gpu_is_a_rail_with_its_finest_power_and_its_counter(config: Callable[..., Config]) -> None:
    """The ring and the counter are gpu0, the other readings rails beside it that no total adds; all of it says simulated."""
    plan = make_plan(config())
    found = {(channel.rail, channel.quantity): channel for channel in plan.channels}
    assert list(found) == [
        ("gpu0", "power_uw"), ("gpu0", "energy_uj"), ("gpu0.instant", "power_uw"), ("gpu0.average", "power_uw")
    ]  # fmt: skip
    assert plan.totals == ("gpu0",) and plan.board == "Simulated GPU"
    assert plan.simulated and "simulated" in plan.note and "not the machine" in plan.note
    assert 15e6 <= plan.period_ns <= 17e6  # the ring has a reading each 21 ms
    assert found["gpu0", "power_uw"].every == 1 and found["gpu0.instant", "power_uw"].every in (2, 3)
    assert found["gpu0", "energy_uj"].every == 255
    assert plan.voltage_every == 1
    epoch = plan.epoch(1, 0, plan.period_ns, 0)
    assert epoch.rails() == ["gpu0", "gpu0.instant", "gpu0.average"] and epoch.freshness == "unknown"


def test_several_gpus_are_several_rails(config: Callable[..., Config]) -> None:
    """The total adds each GPU once; plan.rails chooses; a rail that is not there is refused by name."""
    plan = make_plan(config("gpus=2"))
    assert plan.totals == ("gpu0", "gpu1") and plan.board == "2 × Simulated GPU"
    one = make_plan(config("gpus=2", plan=PlanTable(rails=("gpu1",))))
    assert {channel.rail for channel in one.channels} == {"gpu1"} and one.totals == ("gpu1",)
    with pytest.raises(ConfigError, match="'gpu2' is no rail here"):
        make_plan(config("gpus=2", plan=PlanTable(rails=("gpu2",))))


@pytest.mark.parametrize(("gpus", "kinds"), [(1, 4), (4, 4), (5, 3), (6, 2), (8, 2), (9, 1), (16, 1)])
def test_more_sensors_than_an_epoch_holds_leave_out_the_least(gpus: int, kinds: int) -> None:
    """First the average goes, last the ring; every GPU keeps its power, and the epoch fits in the ring's table."""
    sensors = [GpuSensor(gpu, kind, 1000, 20_000_000, True) for gpu in range(gpus) for kind in WORTH]
    kept = fitting(sensors)
    assert [sensor.kind for sensor in kept] == [*WORTH[:kinds]] * gpus
    rails = rails_of(kept)
    assert {f"gpu{gpu}" for gpu in range(gpus)} <= set(rails)
    channels = [
        Channel(rail, "energy_uj" if each.kind == "energy" else "power_uw", each.name, 1, lsb=1000, every=255)
        for rail, mine in rails.items()
        for each in mine
    ]
    chips = tuple(Chip(each.name, behaviour="continuous") for each in kept)
    epoch = Epoch(
        1,
        0,
        1,
        0,
        "nvml",
        True,
        "x" * 256,
        tuple(channels),
        chips,
        tuple(f"gpu{g}" for g in range(gpus)),
        note="x" * 256,
    )
    assert len(pack(epoch.to_dict())) < 8192


def test_without_a_ring_the_instant_power_is_the_rail(config: Callable[..., Config]) -> None:
    """And without fields what nvmlDeviceGetPowerUsage gives, whose freshness only its changes tell."""
    plan = make_plan(config("samples=3"))
    assert [each.chip for each in plan.channels] == ["gpu0 instant", "gpu0 energy", "gpu0 average"]
    assert plan.period_ns == 20_000_000
    old = make_plan(config("samples=3 instant=3 average=3 energy=3"))
    assert [(each.rail, each.chip) for each in old.channels] == [("gpu0", "gpu0 average")]
    assert "stamps do not tell" in old.behaviours["gpu0 average"].why


def test_a_divided_gpu_says_whose_power_it_is(config: Callable[..., Config]) -> None:
    """With MIG on, the power is that of all slices."""
    assert "gpu0 is divided (MIG): its power is that of all slices" in make_plan(config("mig=1")).note


def test_ticks_too_seldom_for_the_ring_are_refused_with_what_is_possible(config: Callable[..., Config]) -> None:
    """The wish is refused, the period that the line names is taken, and so is the wish without the ring."""
    with pytest.raises(ConfigError) as caught:
        make_plan(config(period_us=50_000))
    possible = int(str(caught.value).partition("possible: period_us = ")[2].partition(",")[0])
    assert make_plan(config(period_us=possible)).period_ns == possible * 1000
    without = config(period_us=50_000, plan=PlanTable(rails=("gpu0.instant", "gpu0.average")))
    assert make_plan(without).period_ns == 50_000_000


def test_a_busy_machine_makes_no_call_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was interrupted is not counted by the clock; where all were, by the processor time that they took."""
    switches = iter([0, 1, 1, 1, 1, 2, 2, 3])  # of four calls the second alone is left in peace
    monkeypatch.setattr(nvml_source.resource, "getrusage", lambda who: SimpleNamespace(ru_nivcsw=next(switches)))
    took = iter([1000, 2_900_000, 1000, 1000])
    assert nvml_source.cost_ns(lambda: NvmlValue(0, 0, 0, next(took))) == 2_900_000
    switches, busy = iter(range(8)), iter([0, 5, 10, 14, 20, 27, 30, 38])
    monkeypatch.setattr(nvml_source.time, "thread_time_ns", lambda: next(busy))
    assert nvml_source.cost_ns(lambda: NvmlValue(0, 0, 0, 10**9)) == 4


sensors_of_a_gpu = st.lists(
    st.builds(
        GpuSensor,
        st.integers(0, 3),
        st.sampled_from(WORTH),
        st.integers(500, 5_000_000),
        st.integers(1_000_000, 200_000_000),
        st.booleans(),
    ),
    min_size=1,
    max_size=16,
    unique_by=lambda sensor: sensor.name,
)


@given(sensors_of_a_gpu, st.floats(0.0005, 0.5), st.sampled_from([1_000_000, 16_000_000, 20_000_000]))
def test_asking_takes_no_more_than_its_share(sensors: list[GpuSensor], share: float, period_ns: int) -> None:
    """All calls together stay within the share, unless even the slowest pace cannot; counters are never asked more than is left."""
    paces = paced(sensors, period_ns, share)
    assert [pace.sensor for pace in paces] == sensors
    if all(pace.every < MOST_EVERY for pace in paces):
        fields = {gpu: sum(s.gpu == gpu and s.kind in ("instant", "average") for s in sensors) for gpu in range(4)}
        taken = sum(
            pace.share(period_ns, fields[pace.sensor.gpu] if pace.sensor.kind in ("instant", "average") else 1)
            for pace in paces
        )
        assert taken <= share * 1.000001


def test_a_dear_counter_is_asked_seldom_and_a_cheap_one_always() -> None:
    """2.9 ms a look: a turn each ten seconds or so; 2 µs: in each tick."""
    dear, cheap = (paced([GpuSensor(0, "energy", cost)], 16_000_000, 0.002)[0] for cost in (2_900_000, 2_000))
    assert 4 < dear.every * 0.016 < 12 and dear.again == 2
    assert cheap.every == 1


def test_the_period_is_that_of_the_fastest_ring() -> None:
    """Two GPUs: the one with the shorter spacing decides; without any ring 20 ms."""
    rings = [GpuSensor(0, "samples", 1, 21_000_000, True), GpuSensor(1, "samples", 1, 10_000_000, True)]
    assert period_of(Config(), rings) == 8_000_000 and period_of(Config(), rings[:1]) == 16_000_000
    assert period_of(Config(), [GpuSensor(0, "average", 1)]) == 20_000_000
    assert period_of(Config(), [GpuSensor(0, "samples", 1, 100_000, True)]) == 1_000_000


# ---- What the driver's stamps tell -------------------------------------------------------------------------------


def readings_of(stamps: list[int], values: list[int]) -> list[NvmlValue]:
    """Readings 5 ms apart."""
    return [
        NvmlValue(v, s, i * 5_000_000, i * 5_000_000 + 20_000)
        for i, (s, v) in enumerate(zip(stamps, values, strict=True))
    ]


def test_renewals_are_told_from_calls_by_their_stamps() -> None:
    """Stamps that stay tell renewals; stamps of the call do not, and then changes of the value may; without both nothing does."""
    by_ten, of_call = [1000 + i // 10 * 50_000 for i in range(60)], [1000 + i * 5000 for i in range(60)]
    changing, still = [i // 10 for i in range(60)], [7] * 60
    assert renewal(readings_of(by_ten, still)) == (50_000_000, True)
    assert renewal(readings_of(of_call, changing)) == (50_000_000, False)
    assert renewal(readings_of(of_call, still)) == (0, False)
    assert renewal(readings_of([0] * 60, changing)) == (50_000_000, False)
    assert renewal(readings_of([1000] * 60, still)) == (0, True)
    assert renewal(readings_of(of_call, list(range(60)))) == (0, False)
    assert renewal([]) == (0, False)


def test_the_clock_of_the_stamps_is_found() -> None:
    """The wall clock, the monotonic one, or none."""
    assert clock_of([time.time_ns() // 1000 - 50_000]) == "realtime"
    assert clock_of([time.monotonic_ns() // 1000]) == "monotonic"
    assert clock_of([time.time_ns() // 1000 - 3_600_000_000]) is None
    assert clock_of([]) is None and clock_of([0]) is None


@pytest.mark.parametrize("words", ["stamps=1", "stamps=2"])
def test_fields_whose_stamps_do_not_tell_are_not_called_known(words: str, config: Callable[..., Config]) -> None:
    """The plan says so, and the source claims a fresh value only where it has changed."""
    plan = make_plan(config(words))
    assert "its stamps do not tell when" in plan.behaviours["gpu0 instant"].why
    assert "its stamps" not in plan.behaviours["gpu0 samples"].why
    with_source = plan.open()
    assert with_source.freshness == "unknown"
    with_source.close()


def test_a_source_is_known_to_be_fresh_by_stamps(config: Callable[..., Config]) -> None:
    """With stamps of renewals every reading's freshness is known; the library may be closed before the source."""
    config()
    nvml = Nvml(str(stand_in()))
    rows = [NvmlChannel(0, "samples", 4), NvmlChannel(0, "energy", 100, 2), NvmlChannel(0, "instant", 2, stamped=True)]
    source = NvmlSource(nvml, rows, "realtime")
    assert source.freshness == "known" and source.readings == 3
    nvml.close()
    source.close()
    with pytest.raises(SamplerError, match="is closed"):
        nvml.read(0, "instant")


def ticks_of(readings: int, count: int, period_ns: int = 10_000_000) -> Ticks:
    """Ticks of nothing."""
    ticks = np.zeros(count, tick_dtype(readings))
    ticks["slot"] = ticks["index"] = np.arange(count)
    ticks["t_ns"] = 10**12 + np.arange(count) * period_ns
    ticks["epoch"], ticks["n"] = 1, readings
    return ticks


def test_stamps_and_counts_are_read_from_ticks() -> None:
    """A stamp lies before its tick; a counter was renewed between two looks, held ticks being none."""
    ticks = ticks_of(1, 6)
    reading = ticks["readings"][:, 0]
    reading["flags"], reading["scan"] = Flag.STAMPED, 2_000_000
    reading["flags"][2] = 0
    assert stamps_ns(ticks, 0).tolist() == [10**12 + t for t in (-2_000_000, 8_000_000)] + [-1] + [
        10**12 + t for t in (28_000_000, 38_000_000, 48_000_000)
    ]
    reading["flags"] = [0, 0, Flag.HELD, Flag.HELD, 0, 0]
    reading["state"] = [
        ReadingState.UNKNOWN,
        ReadingState.REPEATED,
        ReadingState.REPEATED,
        ReadingState.REPEATED,
        ReadingState.FRESH,
        ReadingState.FRESH,
    ]
    reading["value"], reading["end_ns"] = [5, 5, 5, 5, 9, 10], 100
    after, until, energy_uj = counted(ticks, 0)
    assert (after - 10**12).tolist() == [10_000_000, 40_000_000]
    assert (until - 10**12).tolist() == [40_000_100, 50_000_100] and energy_uj.tolist() == [9, 10]


def test_stamped_readings_make_a_known_rate() -> None:
    """Rates are counted per chip; the bracket of a stamp is no uncertainty of the count, and a counter is in no rate of power."""
    channels = (Channel("gpu0", "power_uw", "gpu0 samples", 1), Channel("gpu0", "energy_uj", "gpu0 energy", 1))
    chips = (Chip("gpu0 samples"), Chip("gpu0 energy"))
    epoch = Epoch(1, 0, 10_000_000, 0, "nvml", True, "x", channels, chips, ("gpu0",))
    watch = FreshWatch(epoch)
    ticks = ticks_of(2, 1001)
    power, energy = ticks["readings"][:, 0], ticks["readings"][:, 1]
    power["flags"], power["span"], power["scan"] = Flag.STAMPED, 200, np.arange(1001) * 1000
    power["state"] = np.where(np.arange(1001) % 2, ReadingState.FRESH, ReadingState.REPEATED)
    energy["state"] = np.where(np.arange(1001) % 500, ReadingState.REPEATED, ReadingState.FRESH)
    for part in np.array_split(ticks, 10):
        watch.see(part)
        watch.update()
    rate = watch.chips["gpu0 samples"]
    assert rate.kind == "known" and rate.rate_hz == pytest.approx(50, rel=0.01)
    assert rate.low_hz is not None and rate.low_hz > 49
    assert watch.rate == rate and watch.chips["gpu0 energy"].rate_hz is not None
    assert not any(register.number for register in watch._registers), "nobody asks when a register changed"
    assert rail_power_w(epoch, ticks)["gpu0"].tolist() == [0.0] * 1001


# ---- Conditions, events, the check -------------------------------------------------------------------------------


def test_conditions_have_clocks_temperature_limit_and_reasons(config: Callable[..., Config]) -> None:
    """In Hz, °C, W and words; what NVML does not tell is left out."""
    assert make_plan(config()).conditions() == {
        "clock_hz.gpu0.sm": 1_980_000_000,
        "clock_hz.gpu0.memory": 3_201_000_000,
        "temperature_c.gpu0": 41,
        "power_limit_w.gpu0": 700.0,
        "throttle_reasons.gpu0": "software-power-cap, hardware-thermal",
    }
    assert make_plan(config("conditions=3")).conditions() == {}
    assert reasons_of(0) == "none" and reasons_of(0x1) == "idle"


def test_a_critical_error_is_news_once(config: Callable[..., Config]) -> None:
    """An XID becomes an event with its number."""
    plan = make_plan(config("lost_after_ms=3000"))
    found = plan.news()
    while not found:
        time.sleep(0.02)
        found = plan.news()
    assert [(name, facts) for name, _, facts in found] == [("gpu-error", {"gpu": 0, "xid": 79})]
    assert not plan.news() and plan.conditions() == {}


def test_the_check_has_a_page_for_gpus(config: Callable[..., Config]) -> None:
    """Library, power, state, each reading with cost and pace, period, and whose power the total is."""
    examined = check.examine(config())
    mine = {each["topic"]: each for each in examined["findings"] if each["group"] == check_nvml.GROUP}
    assert "simulated" in mine["library"]["value"] and mine["gpu0"]["value"].endswith("W   Simulated GPU")
    assert "1980 MHz, 41 °C, limit 700 W" in mine["gpu0 state"]["value"] and mine["gpu0 state"]["verdict"] == BETTER
    assert all("a read takes" in mine[f"gpu0 {kind}"]["value"] for kind in ("samples", "energy", "instant", "average"))
    assert "not the machine" in mine["total"]["value"]
    assert not any("readings are simulated" in each["advice"] for each in examined["findings"])
    assert check.title(examined).endswith("GPUs through NVML")


@pytest.mark.parametrize("words", REFUSED)
def test_the_check_says_what_is_wrong(words: str, config: Callable[..., Config]) -> None:
    """The same refusals, as problems with a remedy."""
    found = [*check_nvml.gpus(config(words), find(Path("/nowhere")))]
    what, remedy = REFUSED[words]
    bad = [each for each in found if each.verdict == PROBLEM]
    assert bad and remedy in bad[0].advice
    assert what in f"{bad[0].value}" or words == "gpus=0"


def test_the_check_offers_nvml_only_where_there_is_something(config: Callable[..., Config]) -> None:
    """Without rails and with a GPU it names the source; without the library it says nothing; with other sources neither."""
    nothing, offered = find(Path("/nowhere")), config(source=AUTO)
    period = next(each for each in check_nvml.gpus(offered, nothing) if each.topic == "period")
    assert period.verdict == GOOD and "--source nvml" in period.advice
    assert not [*check_nvml.gpus(replace(offered, nvml=NvmlTable("/nowhere.so")), nothing)]
    assert not [*check_nvml.gpus(replace(offered, source="sim"), nothing)]
    powerless = [*check_nvml.gpus(config("usage=3 average=3 instant=3 samples=3 energy=3", source=AUTO), nothing)]
    assert all(each.verdict != PROBLEM for each in powerless)
