"""(h) The estimator beside the daemon: its CPU at 1 kHz and 400 inferences a second of 60 layers beside the sampler's, and its memory.

A simulated run is written into logs like the daemon's, and the worker takes it from there as fast as it can; what it spends is set
against the ticks it took. For memory a stretch of the run is repeated until a million inferences have gone by.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.worlds.attribution.case import Case, load
from tests.worlds.attribution.world import Recording, draw

from neuralpower.console import progress
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.stream.online import Online
from neuralpower_sampler import Ring
from neuralpower_wire import READING, Channel, Chip, Epoch, Kind, Record
from neuralpower_wire.batch import pack
from neuralpowerd.live.estimates_worker import Worker
from neuralpowerd.logs.journal import Journal, boot_id

from ..accuracy.estimate import readings_of
from ..machine import MEMORY, Missing
from ..report import Result
from ..sampling import loops
from ..statistics import Form, compare

MINUTES = 12.0
SEED, LAYERS, PER_S, MILLION = 1000, 60, 400, 1_000_000
WINDOW_S = 30.0
LOOK_NS = 2_000_000_000
"""The worker is asked for a message so often, as in the daemon."""
SEAM_NS = 21_000_000
"""A whole number of scans of 840 us and of ticks of 1 ms: so long a stretch and its multiples can be repeated."""


def run(form: Form) -> Result:
    """CPU first, then memory."""
    result = Result()
    seconds = form.pick(20, 100)
    recording = draw(_case(round((WINDOW_S + seconds + 6) * PER_S)), SEED).recording
    rounds = form.count(1, 3)
    worker, sampler, lines = [], [], []
    with progress("h: the estimator", rounds + 1) as advance, loops.ours() as ours, loops.six_files() as files:
        for number in range(rounds):
            cpu, acquired, note = _cpu(recording)
            worker.append(cpu)
            lines.append(f"until it ran, from a window of {WINDOW_S:.0f} s, it took {acquired:.1f} s once; {note}")
            sampler.append(ours(loops.Job(form.pick(1, 5), files)).metrics()["cpu"])
            advance(number + 1, f"round {number + 1} of {rounds}")
        memory = _memory(recording, round(form.pick(0.05, 1) * MILLION))
        advance(rounds + 1, "memory")
    rate = recording.begin_ns.size / ((recording.end_ns[-1] - recording.begin_ns[0]) * 1e-9)
    result.rows.append(compare("CPU of the estimator / the sampler's thread, per tick", worker, sampler, "µs"))
    result.notes = [
        f"1 kHz, one rail, {rate:.0f} inferences a second of {LAYERS} layers, simulated; both logs are read as in the daemon",
        lines[-1],
        *memory,
    ]
    return result


def _case(inferences: int) -> Case:
    """The fast case with short layers and gaps, on a steady clock, so that a stretch of it can be repeated."""
    whole = load().case("fast")
    return replace(
        whole,
        network=replace(whole.network, layers=(LAYERS, LAYERS), duration_us=(10, 58)),
        run=replace(whole.run, inferences=inferences, longest_lag_ms=0.0, slack_us=10),
        sensor=replace(whole.sensor, clock=0.0, swing_ppm=0.0, walk_ppm=0.0),
    )


def _cpu(recording: Recording) -> tuple[float, float, str]:
    """CPU of a worker per tick once it runs, µs; what it took until then, s; what it says in the end."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="npbench") as folder, _Logs(recording, Path(folder)) as logs:
        logs.write_until(int(recording.begin_ns[0] + (WINDOW_S + 4) * 1e9))
        before = time.process_time()
        worker = Worker(Path(folder), WINDOW_S)
        worker.look()
        acquired, ticks = time.process_time() - before, -logs.tick
        online = worker.stream.online
        if online is None or online.state != "running":
            raise Missing(f"the estimator did not get to run: {online.why if online else worker.counts.why}")
        took = 0.0
        for at in range(int(logs.until_ns), int(recording.t_ns[-1]), LOOK_NS):
            logs.write_until(at + LOOK_NS)
            before = time.process_time()
            worker.look()
            worker.message(0)
            took += time.process_time() - before
        told = online.estimates()[0]
        said = f"state {told.state}, {told.inferences} inferences, {online.restarts} restarts, {online.nbytes / 2**20:.1f} MiB of state"
        return took / (ticks + logs.tick) * 1e6, acquired, said


def _seconds(readings: ChannelReadings, first: int, last: int) -> Iterator[ChannelReadings]:
    begin = int(readings.read_ns[0])
    for second in range(first, last):
        low = begin + second * 10**9
        part = slice(*np.searchsorted(readings.read_ns, [low, low + 10**9]).tolist())
        yield readings.take(part)


class _Logs:
    """Ring and journal as a daemon would have written them, up to any time."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        self._recording = recording
        chip = recording.chip
        channels = (
            Channel("total", "bus_uv", "c", 1, lsb=8000),
            Channel("total", "shunt_uv", "c", 1, shunt_uohm=chip.shunt_uohm, lsb=40),
        )
        each_us = round(chip.conversion_ns / 1e3)
        kind = Chip("c", each_us, each_us, chip.averaging, round(chip.scan_ns))
        epoch = Epoch(1, 0, 10**6, int(recording.t_ns[0]), "sim", True, "bench", channels, (kind,), ("total",))
        self._ring = Ring.create(folder / "ticks.ring", 2, 10**6, recording.t_ns.size / 1e3 + 10)
        self._ring.begin_epoch(pack(epoch.to_dict()))
        self._journal = Journal(folder / "journal.ring", 128 << 20, boot_id())
        self._rows = np.zeros((recording.t_ns.size, 2), READING)
        for column, reading in enumerate((recording.bus, recording.shunt)):
            self._rows["value"][:, column] = reading.value_uv
            self._rows["begin_ns"][:, column] = reading.begin_ns - recording.t_ns
            self._rows["end_ns"][:, column] = reading.end_ns - recording.t_ns
        self.tick = self.inference = self.until_ns = 0

    def write_until(self, t_ns: int) -> None:
        """All ticks and inferences before a time."""
        recording = self._recording
        while self.inference < recording.end_ns.size and recording.end_ns[self.inference] < t_ns:
            i, self.inference = self.inference, self.inference + 1
            end = int(recording.end_ns[i])
            body = {
                "session": bytes(16), "seq": i, "engine": "e", "begin_ns": int(recording.begin_ns[i]), "end_ns": end,
                "durations_ns": recording.durations_ns[i].astype("<i8"),
            }  # fmt: skip
            self._journal.append(Record(Kind.INFERENCE, end, body))
        while self.tick < recording.t_ns.size and recording.t_ns[self.tick] < t_ns:
            self._ring.append(self.tick, int(recording.t_ns[self.tick]), 1, self._rows[self.tick])
            self.tick += 1
        self.until_ns = t_ns

    def __enter__(self) -> _Logs:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ring.close()
        self._journal.close()


def _memory(recording: Recording, inferences: int) -> list[str]:
    """What is kept, and what the process holds, along `inferences` of them."""
    readings, online = readings_of(recording), Online(1, WINDOW_S * 1e9)
    begin = int(recording.begin_ns[0])
    length = int(recording.end_ns[-1] - begin) // SEAM_NS * SEAM_NS
    inside = (recording.begin_ns >= begin) & (recording.end_ns < begin + length)
    first, last, durations = recording.begin_ns[inside], recording.end_ns[inside], recording.durations_ns[inside]
    part = readings.take((readings.read_ns >= begin) & (readings.read_ns < begin + length))
    sizes: list[tuple[int, int, int]] = []
    done, turn, cpu = 0, 0, time.process_time()
    while done < inferences:
        shift = turn * length
        online.spoil(begin + shift - 2_000_000, begin + shift + 2_000_000)
        at = 0
        moved = replace(part, read_ns=part.read_ns + shift)
        for second in _seconds(moved, 0, length // 10**9 + 1):
            if not second.read_ns.size:
                continue
            online.add_readings(0, second)
            while at < first.size and last[at] + shift <= second.read_ns[-1]:
                online.add_inference("e", int(first[at]) + shift, int(last[at]) + shift, durations[at])
                at += 1
            while online.step():
                pass
        done, turn = done + at, turn + 1
        sizes.append((done, online.nbytes, _resident()))
    cpu = time.process_time() - cpu
    early = next(size for size in sizes if size[0] >= min(inferences // 4, sizes[-1][0]))
    return [
        f"memory: after {early[0]} inferences {early[1] / 2**20:.1f} MiB of state, {early[2] / 2**20:.0f} MiB resident; "
        f"after {sizes[-1][0]}: {sizes[-1][1] / 2**20:.1f} and {sizes[-1][2] / 2**20:.0f} (the simulated run itself is in both)",
        f"state then: {online.state}, {online.restarts} restarts, {cpu:.0f} s of CPU in all",
    ]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
