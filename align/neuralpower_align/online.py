"""Power of layers while things run: `neuralpower attribute` as a stream, in memory that does not grow.

    online = Online(rails=1)
    online.add_readings(0, readings)              # as they come
    online.add_inference("hash", begin_ns, end_ns, durations_ns)
    while online.step():                          # some milliseconds of work each
        pass
    online.estimates()                            # per engine

It waits until a window is full, acquires the sensors from it and estimates on it as the batch does; from then on each chunk of
readings is summed into normal equations (online_rail.py) and forgotten. Where a sensor is lost or proves wrong it is acquired anew from the
window of what came last. An engine that comes later is added, the one unseen for longest makes room for it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.estimate import estimate
from neuralpower_align.excitation import BINS, Excitation, excitation
from neuralpower_align.layer_power import FEWEST_CLUSTERS, Classes, Engine, EnginePower
from neuralpower_align.layer_power import _engine as engine_power
from neuralpower_align.online_engines import moves, rearranged, referred, usual
from neuralpower_align.online_rail import Rail
from neuralpower_align.online_window import RecentInferences, RecentReadings
from neuralpower_align.resolution import GROUP_ERROR, HALF_WIDTH
from neuralpower_align.scan_clock import ChannelReadings
from neuralpower_align.schedule import Schedule
from neuralpower_align.sensing import sensor_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_ENGINES, MAX_LAYERS, MAX_LAYERS_TOGETHER = 4, 160, 240
"""Engines told apart at a time, layers of one, and of all of them."""
MAX_INFERENCES = 65536
"""Of each engine, kept in the window."""
ENOUGH = 300
"""Inferences of an engine before anything is said of it."""
WINDOW_NS = 120e9
CHUNK_NS, LONGEST_CHUNK_NS = 2e9, 5e9
CHUNK_ROWS = 520
HOLD_NS = 2.5e9
"""Readings wait so long for inferences that are reported late."""
MARGIN_NS = 1.2e9
"""What ran so long before and after a chunk is looked at: gaps longer than 1 s are idling."""
MEMORY_FILTERS = 7
SPAN_NS = 3600e9
"""What is older counts ever less, and drift is told over so long."""
AGE_NS = 10e9
MARKS_NS = 30e9
SPOILED_NS = (3e6, 20e6)
"""Readings from so long before until so long after something unknown ran are left out."""
MAX_SPOILED = 4096


@dataclass(frozen=True)
class EngineEstimate:
    """What is known of an engine now. `state`: waiting (for a full window), acquiring, running; `why`: what it waits for, or why its
    power is withheld. `power` is None until it runs."""

    engine: str
    state: str
    why: str
    inferences: int
    power: EnginePower | None = None


class Online:
    """The stream of one epoch. Not thread-safe; no clock, no I/O: time is what readings say."""

    def __init__(self, rails: int, window_ns: float = WINDOW_NS, enough: int = ENOUGH) -> None:
        self.window_ns, self.enough = window_ns, enough
        self.restarts = self.late = self.overlapping = self.left_out = 0
        self.why = "a full window"
        self.recent = [RecentReadings(window_ns + 3 * LONGEST_CHUNK_NS) for _ in range(rails)]
        self.engines: OrderedDict[str, RecentInferences] = OrderedDict()
        self.rails: list[Rail] = []
        self.classes: Classes | None = None
        self.names: list[str] = []
        self.lost_ns = 0
        """Time whose readings were not used."""
        self._spoiled: deque[tuple[int, int]] = deque(maxlen=MAX_SPOILED)
        self._cover: dict[str, Floats] = {}
        self._usual: dict[str, Floats] = {}
        self._done_ns: list[int] = [0] * rails
        self._begin_ns = 0.0
        self._aged_ns = 0.0
        self._again_ns = 0.0

    # ---- what comes in -------------------------------------------------------------------------

    def add_readings(self, rail: int, readings: ChannelReadings) -> None:
        """Readings of a rail that follow those before."""
        self.recent[rail].add(readings)

    def add_inference(self, engine: str, begin_ns: int, end_ns: int, durations_ns: Ints) -> None:
        """An inference; those of an engine come in order. What cannot be used spoils the readings of its time."""
        if self.rails and begin_ns < min(self._done_ns):
            self.late += 1
            return
        known = self.engines.get(engine)
        layers = int(durations_ns.size)
        fits = 0 < layers <= MAX_LAYERS and (known is None or known.layers == layers)
        if not fits or (known is not None and begin_ns < known.last_ns):
            self.overlapping += fits
            self.left_out += not fits
            self.spoil(begin_ns, end_ns)
            return
        if known is None:
            known = self.engines[engine] = RecentInferences(layers, MAX_INFERENCES)
        known.add(begin_ns, end_ns, durations_ns)
        self.engines.move_to_end(engine)
        self._make_room()

    def spoil(self, begin_ns: int, end_ns: int) -> None:
        """Something unknown ran then: the readings of that time tell nothing."""
        self._spoiled.append((begin_ns, end_ns))

    def _make_room(self) -> None:
        while len(self.engines) > MAX_ENGINES or (
            len(self.engines) > 1 and sum(each.layers for each in self.engines.values()) > MAX_LAYERS_TOGETHER
        ):
            name, gone = self.engines.popitem(last=False)
            for begin, end in zip(gone.begin_ns[: gone.held].tolist(), gone.end_ns[: gone.held].tolist(), strict=True):
                if not self.rails or end > min(self._done_ns):
                    self.spoil(begin, end)
            self._cover.pop(name, None)

    # ---- work ----------------------------------------------------------------------------------

    @property
    def newest_ns(self) -> int:
        """When the last reading was read that all rails have."""
        return min(recent.newest_ns for recent in self.recent)

    def step(self) -> bool:
        """One step: acquire the sensors, or take one chunk. False where there is nothing to do yet."""
        ready_ns = self.newest_ns - HOLD_NS
        if not self.rails:
            return self._begin(ready_ns)
        done = min(self._done_ns)
        # The batch's readings reach to the end: a chunk is taken once it is whole.
        length = self._chunk_ns()
        if ready_ns < done + length:
            return False
        self._renumber()
        self._chunk(done + int(length))
        return True

    def finish(self) -> None:
        """Take what is left, however short: nothing more will come."""
        while self.rails and min(self._done_ns) + 1 < self.newest_ns:
            before = min(self._done_ns)
            self._chunk(min(before + int(self._chunk_ns()), self.newest_ns))
            if self.rails and min(self._done_ns) <= before:
                break

    def _chunk_ns(self) -> float:
        scan = max((self._slowest(recent) for recent in self.recent), default=1e6)
        return float(np.clip(CHUNK_ROWS * scan, CHUNK_NS, LONGEST_CHUNK_NS))

    def _slowest(self, recent: RecentReadings) -> float:
        if not recent.parts:
            return 1e6
        part = recent.parts[-1]
        tick = float(np.median(np.diff(part.read_ns))) if part.read_ns.size > 1 else 1e6
        return max(part.scan_ns, tick)

    def _begin(self, ready_ns: float) -> bool:
        """Acquire from a full window, if there is one."""
        first_ns = max((int(r.parts[0].read_ns[0]) for r in self.recent if r.parts), default=0)
        many = [name for name, each in self.engines.items() if each.count >= self.enough]
        if not many or not all(r.parts for r in self.recent):
            self.why = f"{self.enough} inferences of one engine"
            return False
        since = max(first_ns, self._again_ns)
        if ready_ns - since < self.window_ns:
            self.why = f"{(self.window_ns - (ready_ns - since)) / 1e9:.0f} s more of readings"
            return False
        begin = ready_ns - self.window_ns
        self._again_ns = ready_ns - self.window_ns / 2
        self.names = many
        engines = [self.engines[name].between(begin, ready_ns) for name in many]
        kept = [i for i, engine in enumerate(engines) if engine.begin_ns.size]
        self.names, engines = [many[i] for i in kept], [engines[i] for i in kept]
        if not engines:
            return False
        try:
            self._acquire(engines, begin, ready_ns)
        except ValueError as reason:
            self.rails, self.classes = [], None
            self.why = f"a sensor that can be acquired: {reason}"
            return True
        return True

    def _acquire(self, engines: list[Engine], begin_ns: float, end_ns: float) -> None:
        classes = Classes.of(engines)
        plan = classes.schedule(engines, ())
        rails, sensors = [], []
        for recent in self.recent:
            readings = recent.between(begin_ns, end_ns)
            if readings is None:
                raise ValueError("no readings")
            readings = self._clean(readings, [])
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            coarse = classes.coarse(engines, max(readings.scan_ns / 2, 1.0))
            sensor = sensor_of(plan.activity, [readings], alone, coarse)
            sensors.append(sensor)
            rails.append(Rail.of(estimate(plan, [readings], sensor, classes.is_layer()), sensor))
        self.rails, self.classes = rails, classes
        self._usual = usual(plan, self.names)
        self._cover = {name: np.zeros(BINS) for name in self.names}
        self._done_ns = [int(begin_ns)] * len(rails)
        self._begin_ns = self._aged_ns = begin_ns
        self.why = ""
        # The window's rows, expanded where the batch ended.
        while self.rails and min(self._done_ns) + 1e9 < end_ns:
            before = min(self._done_ns)
            self._chunk(int(min(before + self._chunk_ns(), end_ns)))
            if self.rails and min(self._done_ns) <= before:
                break
        for rail in self.rails:
            rail.goes_on()

    def _chunk(self, end_ns: int) -> None:
        """Take the readings of all rails up to `end_ns`."""
        assert self.classes is not None
        begin = min(self._done_ns)
        margin = MARGIN_NS + MEMORY_FILTERS * max(r.parts[-1].averaging * r.parts[-1].scan_ns for r in self.recent if r.parts)  # fmt: skip
        around = [self.engines[name].between(begin - margin, end_ns + margin) for name in self.names]
        around = self._apart(around)
        others = [
            (int(b), int(e))
            for name, each in self.engines.items()
            if name not in self.names
            for one in [each.between(begin - 1e9, end_ns + 1e9)]
            for b, e in zip(one.begin_ns.tolist(), one.end_ns.tolist(), strict=True)
        ]
        if not any(engine.begin_ns.size for engine in around):
            self.lost_ns += int(end_ns - begin)
            self._done_ns = [int(end_ns)] * len(self.rails)
            return
        plan = referred(self.classes.schedule(around, ()), self.names, self._usual)
        for number, rail in enumerate(self.rails):
            self._feed(number, rail, plan, end_ns, others)
        for name, engine in zip(self.names, around, strict=True):
            self._note_cover(name, engine, begin, end_ns)
        for each in self.engines.values():
            each.forget_before(min(self._done_ns) - max(self.window_ns, margin))
        self._age()
        self._judge()

    def _feed(self, number: int, rail: Rail, plan: Schedule, end_ns: int, others: list[tuple[int, int]]) -> None:
        readings = self.recent[number].between(self._done_ns[number], end_ns)
        marks = self.recent[number].between(end_ns - MARKS_NS, end_ns)
        clean = None if readings is None else self._clean(readings, others)
        if clean is None or marks is None or not clean.read_ns.size:
            self.lost_ns += int(end_ns - self._done_ns[number])
            self._done_ns[number] = int(end_ns)
            return
        last = rail.feed(plan, clean, marks)
        if last is None:
            self._restart("the clock of the conversions was lost")
            return
        # What does not fill a block is taken with the next chunk; too few rows for one are given up.
        self._done_ns[number] = last if last > self._done_ns[number] else int(end_ns)

    def _clean(self, readings: ChannelReadings, others: list[tuple[int, int]]) -> ChannelReadings:
        """Without readings of times in which something unknown ran."""
        spoiled = [*self._spoiled, *others]
        if not spoiled:
            return readings
        before, after = SPOILED_NS
        spans = np.array(spoiled, np.float64) + np.array([-before, after])
        spans = spans[np.argsort(spans[:, 0])]
        until = np.maximum.accumulate(spans[:, 1])
        which = np.searchsorted(spans[:, 0], readings.read_ns, side="right") - 1
        bad = (which >= 0) & (readings.read_ns <= until[np.maximum(which, 0)])
        return readings.take(~bad) if bad.any() else readings

    def _apart(self, around: list[Engine]) -> list[Engine]:
        """Without inferences that overlap one of another engine that began before."""
        if len(around) < 2:
            return around
        begin = np.concatenate([each.begin_ns for each in around])
        end = np.concatenate([each.end_ns for each in around])
        order = np.argsort(begin, kind="stable")
        free = np.append(-(2**62), np.maximum.accumulate(end[order])[:-1])
        good = np.empty(order.size, bool)
        good[order] = begin[order] >= free
        for b, e in zip(begin[~good].tolist(), end[~good].tolist(), strict=True):
            if not self._spoiled or (b, e) not in self._spoiled:
                self.spoil(b, e)
                self.overlapping += 1
        kept, at = [], 0
        for each in around:
            mine = good[at : at + each.begin_ns.size]
            kept.append(replace(each, begin_ns=each.begin_ns[mine], end_ns=each.end_ns[mine], durations_ns=each.durations_ns[mine]))  # fmt: skip
            at += each.begin_ns.size
        return kept

    def _note_cover(self, name: str, engine: Engine, begin_ns: float, end_ns: float) -> None:
        """Where windows lay in inferences, of the first rail."""
        rail, readings = self.rails[0] if self.rails else None, self.recent[0].between(begin_ns, end_ns)
        if rail is None or rail.track is None or readings is None or not engine.begin_ns.size:
            return
        number = np.unique(rail.track.clock.last_before(readings.read_ns))
        at = rail.track.clock.end(number) - rail.delay_ns
        seen = excitation(at, readings.window_ns, engine.begin_ns, engine.end_ns)
        cover = self._cover.setdefault(name, np.zeros(BINS))
        cover += seen.cover * at.size

    def _age(self) -> None:
        """Beyond the span what is older counts less."""
        done = float(min(self._done_ns))
        if done - self._begin_ns <= SPAN_NS or done - self._aged_ns < AGE_NS:
            self._aged_ns = max(self._aged_ns, min(done, self._begin_ns + SPAN_NS))
            return
        for rail in self.rails:
            rail.aged(1 - (done - self._aged_ns) / SPAN_NS, done - SPAN_NS)
        self._aged_ns = done

    def _judge(self) -> None:
        for rail in self.rails:
            if not rail.again and rail.trouble:
                self._restart(rail.trouble)
                return

    def _restart(self, why: str) -> None:
        """Begin anew from the window."""
        self.restarts += 1
        self.rails, self.classes = [], None
        self.why = f"the sensor to be acquired anew: {why}"
        self._again_ns = max(self._again_ns, self.newest_ns - HOLD_NS - self.window_ns)

    # ---- engines that come and go --------------------------------------------------------------

    def _renumber(self) -> None:
        """Take in engines that were seen often enough, let those go that made room."""
        wanted = [name for name in self.names if name in self.engines]
        done = min(self._done_ns)
        for name, each in self.engines.items():
            new = name not in self.names and each.count >= self.enough
            if new and each.between(done - MARGIN_NS, done + HOLD_NS).begin_ns.size:
                wanted.append(name)
        if wanted == self.names or self.classes is None:
            return
        if not wanted:
            self._restart("no engine is left")
            return
        engines = [self.engines[name].between(-(2.0**62), 2.0**62) for name in wanted]
        kept = [i for i, engine in enumerate(engines) if engine.begin_ns.size]
        wanted, engines = [wanted[i] for i in kept], [engines[i] for i in kept]
        if not wanted:
            return
        classes = replace(Classes.of(engines), between_ns=self.classes.between_ns)
        new_of = moves(self.classes, self.names, classes, wanted)
        self._usual = {**usual(classes.schedule(self._apart(engines), ()), wanted), **{n: u for n, u in self._usual.items() if n in wanted}}  # fmt: skip
        self.rails = [rearranged(rail, classes, new_of) for rail in self.rails]
        self.classes, self.names = classes, wanted

    # ---- what comes out ------------------------------------------------------------------------

    def estimates(self) -> list[EngineEstimate]:
        """What is known of each engine now."""
        found: list[EngineEstimate] = []
        power = self._power() if self.rails else None
        for name, each in self.engines.items():
            if self.classes is None or power is None or name not in self.names:
                few = each.count < self.enough
                why = f"{self.enough} inferences" if few else self.why
                acquiring = why.startswith(("a sensor", "the sensor"))
                found.append(EngineEstimate(name, "acquiring" if acquiring else "waiting", why, each.count))
                continue
            number = self.names.index(name)
            cover = self._cover.get(name)
            excited = [Excitation(cover / cover.mean())] if cover is not None and cover.any() else []
            watts, covariance, scattered = power
            mine = engine_power(
                watts,
                covariance,
                self.classes,
                number,
                each.mean(),
                HALF_WIDTH,
                GROUP_ERROR,
                excited,
                scattered=scattered,
            )
            found.append(EngineEstimate(name, "running", mine.withheld, each.count, mine))
        return found

    def _power(self) -> tuple[Floats, Floats, Floats]:
        """Of all classes, all rails together: powers (c,) W, covariance and sandwich (c, c) W^2."""
        assert self.classes is not None
        count = self.classes.count
        power, covariance, scattered = np.zeros(count), np.zeros((count, count)), np.zeros((count, count))
        layers = np.concatenate(self.classes.layers)
        for rail, done in zip(self.rails, self._done_ns, strict=True):
            model, found = rail.solved(float(done) - rail.delay_ns)
            inflation = 1.0
            if rail.known.clusters >= FEWEST_CLUSTERS and found.scattered is not None:
                ratio = np.diag(found.scattered)[layers] / np.maximum(np.diag(found.covariance)[layers], 1e-30)
                inflation = max(float(np.mean(ratio)), 1.0)
            power += model.power_w
            covariance += inflation * found.covariance[:count, :count]
            if found.scattered is not None:
                scattered += found.scattered[:count, :count]
        return power, covariance, scattered

    @property
    def state(self) -> str:
        """Of all: waiting, acquiring, running."""
        return "running" if self.rails else "acquiring" if "sensor" in self.why else "waiting"

    @property
    def nbytes(self) -> int:
        """What is kept between steps, bytes."""
        parts: list[RecentReadings | RecentInferences | Rail] = [*self.recent, *self.engines.values(), *self.rails]
        return sum(part.nbytes for part in parts) + 8 * BINS * len(self._cover)
