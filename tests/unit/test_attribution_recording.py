"""Attribution of a small recording held in memory: repeated layers, networks, the dataset, and what it refuses."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks.accuracy.estimate import readings_of
from tests.worlds.attribution.case import load
from tests.worlds.attribution.world import World, draw
from tests.worlds.held_recording import Memory
from threadpoolctl import threadpool_info, threadpool_limits

from neuralpower.attribution import Attribution, Unprofiled, attribute
from neuralpower.attribution.attribute import apart
from neuralpower.attribution.sources import measured_engines, named_stretches, rails_of
from neuralpower.cli.analysing import attribute as command
from neuralpower.collect import rows_of
from neuralpower.errors import InputError
from neuralpower_align.errors import Unattributable
from neuralpower_wire import Channel, Chip, Epoch, Flag, Kind, ReadingState, Record, tick_dtype

IDLE_W, NETWORK_W, REPEATED_W = 4.0, np.array([9.0, 6.5, 12.0, 8.0, 10.0, 7.0]), 10.5
NETWORK_NS = np.array([300_000, 150_000, 500_000, 200_000, 400_000, 250_000])
COPIES, COPY_NS, GAP_NS = 100, 250_000, 600


def convolution(name: str, channels: int) -> dict[str, Any]:
    """A 1x1 convolution as TensorRT 10 tells it."""

    def tensor(label: str, c: int) -> dict[str, Any]:
        return {"Name": label, "Dimensions": [1, c, 28, 28], "Format/Datatype": "Channel major FP16 format"}

    return {
        "Name": name, "LayerType": "CaskConvolution", "Inputs": [tensor("x", channels)], "Outputs": [tensor("y", 64)],
        "Kernel": [1, 1], "PaddingMode": "kEXPLICIT_ROUND_DOWN", "PrePadding": [0, 0], "PostPadding": [0, 0], "Stride": [1, 1],
        "Dilation": [1, 1], "OutMaps": 64, "Groups": 1, "Weights": {"Type": "Half", "Count": channels * 64}, "Activation": "NONE",
        "TacticName": "t", "StreamId": 0, "Metadata": "",
    }  # fmt: skip


def engine(name: str, channels: Sequence[int]) -> dict[str, Any]:
    layers = [convolution(f"{name}.{i}", c) for i, c in enumerate(channels)]
    names = [layer["Name"] for layer in layers]
    return {
        "hash": name,
        "name": name,
        "inspector": {"Layers": layers, "Bindings": ["x"]},
        "layers": names,
        "simulated": True,
    }


def small() -> Memory:
    """Three seconds of a network and of a repeated layer, read by a sensor of 200 us delay without scan or lag."""
    random = np.random.default_rng(1)
    bodies = {"net": engine("net", [8, 16, 24, 32, 40, 48]), "same": engine("same", [64] * COPIES)}
    edges, power, runs, t = [0], [IDLE_W], [], 500_000_000
    for name, count in (("net", 700), ("same", 40)):
        watts = NETWORK_W if name == "net" else np.full(COPIES, REPEATED_W)
        mean = NETWORK_NS if name == "net" else np.full(COPIES, COPY_NS)
        for _ in range(count):
            t += int(random.exponential(700_000)) + 300_000
            begin = t
            durations = np.rint(mean * (1 + 0.03 * random.standard_normal(mean.size))).astype(np.int64)
            for duration, watt in zip(durations, watts, strict=True):
                edges += [t, t + int(duration)]
                power += [float(watt), IDLE_W]
                t += int(duration) + GAP_NS
            t -= GAP_NS
            runs.append(SimpleNamespace(engine=name, begin_ns=begin, end_ns=t, durations_ns=durations))
        t += 200_000_000
    edge, level = np.array(edges), np.array(power)
    total = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(edge))])

    def energy(at: np.ndarray) -> np.ndarray:
        which = np.searchsorted(edge, at, side="right") - 1
        return np.asarray(total[which] + level[which] * (at - edge[which]))

    t_ns = np.arange(400_000_000, t, 1_000_000) + random.integers(0, 60_000, np.arange(400_000_000, t, 1_000_000).size)
    watts = (energy(t_ns - 200_000) - energy(t_ns - 340_000)) / 140_000 + 0.01 * random.standard_normal(t_ns.size)
    channel = Channel("VDD_IN", "power_uw", "ina", 1)
    chip = Chip("ina", shunt_conversion_us=140, averaging=1, scan_ns=0)
    epoch = Epoch(1, 0, 1_000_000, 0, "sim", True, "bench", (channel,), (chip,), ("VDD_IN",))
    rows = np.zeros(t_ns.size, tick_dtype(1))
    rows["t_ns"], rows["epoch"], rows["index"] = t_ns, 1, np.arange(t_ns.size)
    rows["readings"]["value"][:, 0] = np.rint(watts * 1e6)
    return Memory(epoch, rows, bodies, runs)


@pytest.fixture(scope="module")
def memory() -> Memory:
    return small()


@pytest.fixture(scope="module")
def attribution(memory: Memory) -> Attribution:
    return attribute(memory)


def test_network_layers_are_found(attribution: Attribution) -> None:
    """Each layer of the network has its power and runtime, with errors that hold the truth."""
    net = attribution.engines["net"]
    assert net.units == 6 and net.inferences == 700 and not net.repeated and net.simulated
    for layer, watts, ns in zip(net.layers, NETWORK_W, NETWORK_NS, strict=True):
        assert layer.power_w == pytest.approx(watts, rel=0.02)
        assert abs(layer.runtime_s - ns * 1e-9) < 4 * layer.runtime_se_s
        assert layer.energy_j == pytest.approx(layer.power_w * layer.runtime_s)
        assert layer.kind == "conv" and layer.geometry is not None
    assert attribution.delay_s == pytest.approx(200e-6, abs=15e-6)
    assert attribution.launch_gap_s == pytest.approx(GAP_NS * 1e-9, abs=2e-7)


def test_repeated_layer_is_read_directly(attribution: Attribution) -> None:
    """Equal layers are one row, its power the mean of settled readings, launch gaps taken out."""
    same = attribution.engines["same"]
    assert same.repeated and same.method == "direct" and same.layers[0].repeats == COPIES
    assert same.layers[0].power_w == pytest.approx(REPEATED_W, rel=2e-3)
    told = (same.unit_power_w, same.unit_se_w, same.unit_covariance_w2)
    one = same.layers[0]
    assert told == ((one.power_w,), (one.power_se_w,), ((pytest.approx(one.power_se_w**2),),))
    assert same.layers[0].runtime_s == pytest.approx(COPY_NS * 1e-9, rel=2e-3)
    assert same.energy_per_inference_j == pytest.approx(COPIES * REPEATED_W * COPY_NS * 1e-9, rel=5e-3)


def test_dataset_has_every_layer_once(attribution: Attribution) -> None:
    """A row for each layer of the network and one for the repeated layer, told apart by origin, all marked simulated."""
    dataset = rows_of(attribution, "run")
    assert dataset["origin"].tolist() == ["network"] * 6 + ["sweep"]
    assert dataset["in_c"].tolist() == [8, 16, 24, 32, 40, 48, 64]
    assert dataset["simulated"].all() and dataset["position"].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert np.isfinite(dataset["power_w"]).all() and dataset["device"].tolist() == ["bench"] * 7
    assert dataset.provenance["method"] == "least-squares"


def test_layers_that_share_a_unit_have_a_wider_error(memory: Memory, attribution: Attribution) -> None:
    """A demand that only all layers meet merges them; they keep their runtimes and get the unit's power with a wide error."""
    told = attribution.engines["net"]
    seconds = np.array([layer.runtime_s for layer in told.layers])
    error = np.sqrt(seconds @ np.array(told.unit_covariance_w2) @ seconds) / (seconds @ np.array(told.unit_power_w))
    net = attribute(memory, half_width=1e-9, group_error=1.001 * error).engines["net"]
    assert net.units == 1 and not net.layers_withheld and {layer.members for layer in net.layers} == {6}
    mean = float(np.average(NETWORK_W, weights=NETWORK_NS))
    for layer, watts in zip(net.layers, NETWORK_W, strict=True):
        assert layer.power_w == pytest.approx(mean, rel=0.02)
        assert abs(layer.power_w - watts) < 3 * layer.power_se_w
    by_time = sorted(net.layers, key=lambda layer: layer.runtime_s)
    assert by_time[0].power_se_w > by_time[-1].power_se_w > 0


def test_what_meets_no_demand_is_not_told(memory: Memory) -> None:
    """A hopeless demand leaves layers their runtimes and a reason; the energy of an inference is known as well as before."""
    net = attribute(memory, half_width=1e-9, group_error=1e-9).engines["net"]
    assert len(net.layers_withheld) == 6 and not net.withheld and net.resolved_time_share == 0
    for layer, ns in zip(net.layers, NETWORK_NS, strict=True):
        assert np.isnan(layer.power_w) and "not known to 1e-07 %" in layer.withheld
        assert layer.runtime_s * 1e9 == pytest.approx(ns, rel=0.02)
    truth_j = float(NETWORK_W @ NETWORK_NS) * 1e-9
    assert net.energy_per_inference_j == pytest.approx(truth_j, rel=0.01) and 0 < net.energy_se_j < 0.01 * truth_j


def test_a_layer_alone_in_its_unit_keeps_the_error_of_its_unit() -> None:
    """Two equal members may differ by half the variance of the range; one that takes all the time cannot differ at all."""
    unit, power = np.array([0, 0, 1, 2, 2]), np.array([5.0, 5.0, 9.0, 6.0, 6.0])
    off = apart(unit, np.array([1e-3, 1e-3, 2e-3, 1e-3, 0.0]), power, 3.0)
    assert off[:4] == pytest.approx([np.sqrt(0.5 * 36 / 12), np.sqrt(0.5 * 36 / 12), 0.0, 0.0])
    assert off[4] == pytest.approx(np.sqrt(2 * 36 / 12))


def test_window_mean_says_what_it_is(memory: Memory) -> None:
    """The baseline has its own method name, no sensor, and a note that says how many layers met no reading."""
    baseline = attribute(memory, "window-mean")
    assert baseline.method == "window-mean" and np.isnan(baseline.delay_s) and baseline.balance is None
    assert any("baseline" in note for note in baseline.notes)
    powers = np.array([layer.power_w for layer in baseline.engines["net"].layers])
    assert np.abs(powers - NETWORK_W).max() > 1.0


def test_missing_readings_are_left_out(memory: Memory) -> None:
    """A third of the readings missing changes no power by more than its error allows."""
    rows = memory.rows.copy()
    rows["readings"]["state"][::3] = 3
    rows["readings"]["value"][::3] = 0
    holed = attribute(replace(memory, rows=rows)).engines["net"]
    for layer, watts in zip(holed.layers, NETWORK_W, strict=True):
        assert layer.power_w == pytest.approx(watts, rel=0.03)


def test_what_cannot_be_attributed_is_refused_in_one_line(memory: Memory) -> None:
    """No ticks, no inferences, no total, an unknown method: each one line that says what."""
    with pytest.raises(InputError, match="no ticks"):
        attribute(replace(memory, streams=[]))
    with pytest.raises(InputError, match="no inference"):
        attribute(replace(memory, runs=[]))
    with pytest.raises(InputError, match="total power"):
        attribute(replace(memory, epoch=replace(memory.epoch, totals=())))
    with pytest.raises(InputError, match="window-mean"):
        attribute(memory, "guess")


@pytest.mark.parametrize("error", [np.linalg.LinAlgError("Singular matrix"), ValueError("shapes do not fit")])
def test_a_fault_of_the_estimator_is_not_taken_for_bad_input(
    error: Exception, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes up as it is; what the estimator says of the readings is one line for whoever asked."""
    module = importlib.import_module("neuralpower.attribution.attribute")

    def fails(*_: Any, **__: Any) -> None:
        raise error

    def refuses(*_: Any, **__: Any) -> None:
        raise Unattributable("inferences overlap in time")

    monkeypatch.setattr(module.align, "layer_power", fails)
    with pytest.raises(type(error)) as caught:
        attribute(memory)
    assert caught.value is error
    monkeypatch.setattr(module.align, "layer_power", refuses)
    with pytest.raises(InputError, match=r"^inferences overlap in time$"):
        attribute(memory)


def test_inferences_that_cannot_be_used_are_counted(memory: Memory) -> None:
    """Overlapping, undescribed and ill-sized inferences are left out, and a note says how many."""
    first = memory.runs[0]
    odd = [
        SimpleNamespace(
            engine="net", begin_ns=first.begin_ns + 10, end_ns=first.end_ns, durations_ns=first.durations_ns
        ),
        SimpleNamespace(
            engine="ghost", begin_ns=first.end_ns + 5, end_ns=first.end_ns + 6, durations_ns=first.durations_ns
        ),
        SimpleNamespace(
            engine="net", begin_ns=first.end_ns + 7, end_ns=first.end_ns + 8, durations_ns=first.durations_ns[:2]
        ),
    ]
    found = attribute(replace(memory, runs=[*memory.runs, *odd]), "window-mean")
    assert any(note.startswith("3 inferences left out") for note in found.notes)
    assert found.engines["net"].inferences == 700


@pytest.mark.parametrize("method,step", [("least-squares", "layer_power"), ("window-mean", "window_mean")])
def test_one_thread_does_the_linear_algebra(
    method: str, step: str, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, in both methods; as many are there afterwards, also where it ended in an error."""

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    def seen(*_: Any, **__: Any) -> None:
        found.append(threads())
        raise InputError("enough seen")

    module, found = importlib.import_module("neuralpower.attribution.attribute"), list[set[int]]()
    with threadpool_limits(2, user_api="blas"):
        attribute(memory, "window-mean")
        assert threads() == {2}
        monkeypatch.setattr(module.align if step == "layer_power" else module, step, seen)
        with pytest.raises(InputError, match="enough seen"):
            attribute(memory, method)
        assert threads() == {2}
    assert found == [{1}]


def test_tables_name_every_layer(attribution: Attribution, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed tables hold each layer, the repeated layer, the sensor and the balance, marked simulated."""
    command.print_attribution(attribution, command.choose(attribution, None))
    printed = capsys.readouterr().out
    assert all(f"net.{i}" in printed for i in range(6)) and "same.0" in printed
    assert "(simulated)" in printed and "delay" in printed and "unattributed" in printed
    with pytest.raises(InputError, match="no engine 'other'"):
        command.choose(attribution, "other")
    document = command.document(attribution, command.choose(attribution, "net"))
    assert [each["name"] for each in document["engines"]] == ["net"]
    assert len(document["engines"][0]["layers"]) == 6


def recorded(world: World, behaviour: str, every: int = 1) -> Memory:
    """A recording of a world of the accuracy case as the daemon makes it, the voltage read in each `every`-th tick."""
    seen, chip = world.recording, world.recording.chip
    channels = (
        Channel("TOTAL", "bus_uv", "ina", 1, 0, 0, 8000, every),
        Channel("TOTAL", "shunt_uv", "ina", 1, chip.shunt_uohm, 0, 40),
    )
    microseconds = round(chip.conversion_ns / 1e3)
    chips = (Chip("ina", microseconds, microseconds, chip.averaging, round(chip.scan_ns), "nominal", behaviour),)
    epoch = Epoch(1, 0, 1_000_000, 0, "hwmon", True, "bench", channels, chips, ("TOTAL",))
    rows = np.zeros(seen.t_ns.size, tick_dtype(2))
    rows["t_ns"], rows["epoch"], rows["index"] = seen.t_ns, 1, np.arange(seen.t_ns.size)
    for place, reading in enumerate((seen.bus, seen.shunt)):
        rows["readings"]["value"][:, place] = reading.value_uv
        rows["readings"]["begin_ns"][:, place] = reading.begin_ns - seen.t_ns
        rows["readings"]["end_ns"][:, place] = reading.end_ns - seen.t_ns
    held = np.arange(seen.t_ns.size) % every != 0
    bus = rows["readings"][:, 0]
    for name in ("value", "begin_ns", "end_ns"):
        bus[name] = bus[name][np.arange(held.size) // every * every]
    bus["begin_ns"][held] = bus["end_ns"][held] = 0
    bus["flags"][held], bus["state"][held] = Flag.HELD, ReadingState.REPEATED
    rows["readings"][:, 0] = bus
    body = engine("net", [8] * seen.durations_ns.shape[1])
    runs = [
        SimpleNamespace(engine="net", begin_ns=int(begin), end_ns=int(end), durations_ns=durations)
        for begin, end, durations in zip(seen.begin_ns, seen.end_ns, seen.durations_ns, strict=True)
    ]
    return Memory(epoch, rows, {"net": body}, runs)


def short(name: str, inferences: int) -> World:
    """A world of the case with few inferences."""
    case = load().case(name)
    return draw(replace(case, run=replace(case.run, inferences=inferences, baselines_s=1.0)), 1001)


@pytest.mark.parametrize("name,driver", [("fast", "continuous"), ("waiting", "waiting")])
def test_a_recording_gives_all_that_the_accuracy_case_gives(name: str, driver: str) -> None:
    """Time of the register, its value, the chip's configuration, the driver's waits: as where the wire's clock is known."""
    world = short(name, 300)
    wanted = readings_of(world.recording)
    notes: list[str] = []
    (piece,) = rails_of(recorded(world, driver), None, notes).readings[0]
    assert not notes
    np.testing.assert_allclose(piece.read_ns, wanted.read_ns, atol=2_000)
    np.testing.assert_allclose(piece.power_w, wanted.power_w)
    np.testing.assert_array_equal(piece.register, wanted.register)
    same = ("window_ns", "scan_ns", "averaging", "step_w", "place" if driver.endswith("waiting") else "averaging")
    for each in same:
        assert getattr(piece, each) == pytest.approx(getattr(wanted, each)), each
    if wanted.waits_ns is None:
        assert piece.waits_ns is None
    else:
        assert piece.waits_ns is not None and len(wanted.waits_ns) > 100
        np.testing.assert_allclose(piece.waits_ns, wanted.waits_ns, atol=5_000)


def test_single_shots_and_mixed_drivers_say_that_the_transfer_is_not_known() -> None:
    """Each read of a single shot lasts a scan, of which nothing is taken off."""
    memory = recorded(short("waiting", 50), "single-shot")
    notes: list[str] = []
    (piece,) = rails_of(memory, None, notes).readings[0]
    end = memory.rows["t_ns"] + memory.rows["readings"]["end_ns"][:, 1]
    np.testing.assert_array_equal(piece.read_ns, end)
    assert piece.waits_ns is None and len(notes) == 1 and "on the wire" in notes[0]


def test_currents_are_kept_where_the_voltage_was_not_read() -> None:
    """With the voltage in each tenth tick no reading is lost, and the power is that with all voltages but for their noise."""
    world = short("fast", 1500)
    (all_read,) = rails_of(recorded(world, "continuous"), None, []).readings[0]
    memory = recorded(world, "continuous", every=10)
    (tenth,) = rails_of(memory, None, []).readings[0]
    np.testing.assert_array_equal(tenth.read_ns, all_read.read_ns)
    np.testing.assert_allclose(tenth.power_w, all_read.power_w, rtol=2e-3)
    memory.rows["readings"]["flags"][1::2, 1] = Flag.HELD
    (half,) = rails_of(memory, None, []).readings[0]
    np.testing.assert_array_equal(half.read_ns, all_read.read_ns[::2])


def span(kind: str, name: str, begin_ns: int, end_ns: int) -> Record:
    """A mark that declares a stretch."""
    text = json.dumps({"kind": kind, "begin_ns": begin_ns, "end_ns": end_ns})
    return Record(Kind.MARK, end_ns, {"name": name, "text": text})


def test_other_things_that_ran_are_handed_over_around_inferences(memory: Memory) -> None:
    """An aside becomes one stretch for each hole between inferences; a baseline that an inference touches none."""
    first, second, third = memory.runs[:3]
    middle = (first.begin_ns + first.end_ns) // 2
    marks = [span("aside", "between rounds", middle, third.begin_ns), span("baseline", "gap", middle, middle + 9)]
    alone = span("baseline", "device idle", first.begin_ns - 900, first.begin_ns - 100)
    marked = replace(memory, marks=[alone, *marks])
    found = named_stretches(marked, measured_engines(marked, 0, 2**60, []))
    assert [(each.kind, each.begin_ns, each.end_ns) for each in found] == [
        ("device-idle", first.begin_ns - 900, first.begin_ns - 100),
        ("aside", first.end_ns, second.begin_ns),
        ("aside", second.end_ns, third.begin_ns),
    ]


@pytest.fixture(scope="module")
def with_unprofiled(memory: Memory) -> Attribution:
    """The last third of the network's inferences ran without the profiler."""
    plain = {
        "hash": "plain",
        "name": "net unprofiled",
        "inspector": {"Layers": [{"Name": "inference", "LayerType": "Inference"}], "Bindings": [], "Unprofiled": "net"},
        "layers": ["inference"],
        "simulated": True,
    }
    nets = [run for run in memory.runs if run.engine == "net"]
    blind = [
        SimpleNamespace(
            engine="plain", begin_ns=run.begin_ns, end_ns=run.end_ns, durations_ns=np.array([run.end_ns - run.begin_ns])
        )
        for run in nets[466:]
    ]
    bodies = {"net": memory.bodies["net"], "plain": plain}
    rows = memory.rows[memory.rows["t_ns"] < nets[-1].end_ns + 100_000_000]
    return attribute(replace(memory, rows=rows, bodies=bodies, runs=[*nets[:466], *blind]))


def test_inferences_without_the_profiler_are_no_layers(
    with_unprofiled: Attribution, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stand beside the profiled ones, with the truth in their intervals, and never in the dataset."""
    assert list(with_unprofiled.engines) == ["net"]
    net = with_unprofiled.engines["net"]
    found = net.unprofiled
    assert isinstance(found, Unprofiled) and found.unprofiled.inferences == 234 and found.profiled.inferences == 466
    truth_j = float(NETWORK_W @ NETWORK_NS + IDLE_W * GAP_NS * 5) * 1e-9
    for each in (found.profiled, found.unprofiled):
        assert 0 < each.energy_se_j < 0.03 * each.energy_j
        assert abs(each.energy_j - truth_j) < 4 * each.energy_se_j + 0.002 * truth_j
    for value, error in (found.time_ratio, found.energy_ratio):
        # The energies themselves are allowed 0.2 % beside their errors, above.
        assert abs(value - 1) < 4 * error + 0.002 and 4 * error < 0.2
    for layer, watts in zip(net.layers, NETWORK_W, strict=True):
        assert layer.power_w == pytest.approx(watts, rel=0.05)
    assert set(rows_of(with_unprofiled, "run")["network"].tolist()) == {"net"}
    command.print_attribution(with_unprofiled, command.choose(with_unprofiled, None))
    assert "234 inferences without" in capsys.readouterr().out
    told = command.document(with_unprofiled, [net])["engines"][0]["unprofiled"]
    assert json.loads(json.dumps(told))["time_ratio"]["value"] == pytest.approx(1, abs=0.05)


def test_a_recording_without_any_profiled_inference_is_refused(memory: Memory) -> None:
    """There is no layer in it."""
    body = {**memory.bodies["net"], "inspector": {"Unprofiled": "net"}, "layers": ["inference"]}
    run = memory.runs[0]
    blind = SimpleNamespace(engine="net", begin_ns=run.begin_ns, end_ns=run.end_ns, durations_ns=np.array([5]))
    with pytest.raises(InputError, match="no inference"):
        attribute(replace(memory, bodies={"net": body}, runs=[blind]))
