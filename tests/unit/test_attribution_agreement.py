"""Layers measured twice on the virtual device, in virtual time: attributed within a network, and repeated in engines of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.worlds.held_recording import Memory

from neuralpower.attribution import Attribution, attribute
from neuralpower.attribution.agreement import most_missed, pairs, sentence
from neuralpower.cli.analysing.attribute import document
from neuralpower.show.attribution import summary
from neuralpower.virtual.device.hardware import RAILS, Hardware
from neuralpower.virtual.device.load import Load
from neuralpower.virtual.device.plan import BoardState, DevicePlanner
from neuralpower.virtual.networks.known import build
from neuralpower.virtual.repeats import probes_of
from neuralpower.virtual.sweep import repeated
from neuralpower_sampler import AVAILABLE, SimChip, simulate
from neuralpower_wire import Channel, Chip, Epoch
from neuralpower_wire.timeline import make_records

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the C sampler is not installed")

SEED, IDLE_UW = 11, (3_000_000, 600_000, 900_000)
REST_NS = 200_000_000


def recording(inferences: int, copies: int) -> Memory:
    """AlexNet so many times with random gaps, and its layers repeated, each engine so many times; read each ms at 140 µs."""
    hardware = Hardware.drawn(SEED)
    planner = DevicePlanner(hardware, IDLE_UW, SEED)
    network = build("alexnet")
    loads = [(Load.of("alexnet", network, hardware), inferences)]
    probes = probes_of(network, "alexnet")
    loads += [(Load.of(f"repeat/{p.name}", repeated(p, hardware, SEED), hardware), copies) for p in probes]
    starts, stops, powers, runs, bodies, at = [], [], [], [], {}, 10**9
    for load, count in loads:
        chunk = planner.inferences(load, count, at, REST_NS)
        starts.append(chunk.start_ns), stops.append(chunk.stop_ns), powers.append(chunk.power_uw)
        at = int(chunk.stop_ns[-1])
        body = {
            "hash": load.hash,
            "name": load.name,
            "inspector": load.inspector,
            "layers": load.layers,
            "simulated": True,
        }
        bodies[load.hash] = body
        anchors = zip(chunk.enter_ns.tolist(), chunk.leave_ns.tolist(), chunk.reported_ns, strict=True)
        runs += [SimpleNamespace(engine=load.hash, begin_ns=b, end_ns=e, durations_ns=d) for b, e, d in anchors]
    after = planner.level_uw(BoardState.DEVICE_IDLE, at)[None]
    starts.append(np.array([at])), stops.append(np.array([at + REST_NS])), powers.append(after)
    records = make_records(0, np.concatenate(starts), np.concatenate(stops), np.concatenate(powers))
    t_ns = np.arange(10**9 + 10_000_000, at + REST_NS - 20_000_000, 1_000_000)
    t_ns += np.random.default_rng(SEED).integers(0, 60_000, t_ns.size)
    chip = SimChip("ina", (RAILS[0], "", ""), [5_000_000] * 3, [5_000] * 3, 0x7007)
    reads = [(0, 1, "bus_uv"), (0, 1, "shunt_uv")]
    idle = dict(zip(RAILS, IDLE_UW, strict=True))
    rows = simulate(records, idle, [chip], reads, t_ns, epoch=1, delay_ns=300_000, lag_ns=600_000, seed=SEED)
    steps = {"bus_uv": 8_000, "shunt_uv": 40}
    channels = tuple(Channel(RAILS[0], quantity, "ina", 1, 5_000, lsb=steps[quantity]) for _, _, quantity in reads)
    known = Chip("ina", 140, 140, 1, 280_000)
    epoch = Epoch(1, 0, 1_000_000, 0, "sim", True, "bench", channels, (known,), (RAILS[0],))
    return Memory(epoch, rows, bodies, runs)


@pytest.fixture(scope="module")
def attribution() -> Attribution:
    return attribute(recording(1500, 15))


def test_repeated_layers_and_attribution_agree(attribution: Attribution) -> None:
    """On the virtual device no more layers disagree than 95 % intervals allow, and there is something to disagree about."""
    found = pairs(attribution)
    assert len(found) >= 3
    assert sum(not pair.agrees for pair in found) <= most_missed(len(found))
    assert all(1.96 * pair.se_w < 0.2 * pair.repeated.power_w for pair in found)
    scaled = [pair.off_w / pair.se_w for pair in found]
    assert math.sqrt(np.mean(np.square(scaled))) < 2.0


def test_how_many_agree_is_told(attribution: Attribution) -> None:
    """A line for people, numbers for machines; a layer that is off by much is counted."""
    found = pairs(attribution)
    agree = sum(pair.agrees for pair in found)
    assert f"{agree} of {len(found)} layers of networks agree" in "\n".join(summary(attribution))
    told = document(attribution, [])["repeated_layers"]
    assert (told["compared"], told["agree"]) == (len(found), agree) and len(told["pairs"]) == len(found)
    off = replace(found[0], attributed=replace(found[0].attributed, power_w=2 * found[0].repeated.power_w))
    assert not off.agrees and sentence([off]).startswith("repeated layers: 0 of 1")
    assert sentence([]) == ""


def test_chance_misses() -> None:
    """The 97.5 % point of the binomial distribution at 5 %."""
    assert [most_missed(count) for count in (0, 1, 10, 20, 100)] == [0, 1, 2, 3, 10]
