"""Power of layers while things run: `neuralpower attribute` as a stream, in memory that does not grow.

    online = Online(rails=1)
    online.add_readings(0, readings)              # as they come
    online.add_inference("hash", begin_ns, end_ns, durations_ns)
    while online.step():                          # some milliseconds of work each
        pass
    online.estimates()                            # per engine

It waits until a first window is full, acquires the sensors from it and estimates on it as the batch does, and once again from a window four times
as long; from then on each chunk of readings is summed into normal equations (stream/rail.py) and forgotten. Where a sensor is lost or proves wrong it is acquired anew from the
window of what came last. An engine that comes later is added, the one unseen for longest makes room for it (stream/arrivals.py).
Inferences without the profiler are told from readings of their own (stream/whole.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.acquire.sensing import sensor_of
from neuralpower_align.activity.classes import Classes, EngineRuns, Usual
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.activity.unnamed import named
from neuralpower_align.clock.scan_clock import ChannelReadings
from neuralpower_align.errors import Unattributable
from neuralpower_align.fit.estimate import estimate
from neuralpower_align.fit.search import FoundAt
from neuralpower_align.fit.starts import Maximum
from neuralpower_align.result.results import Fitted
from neuralpower_align.result.trust import contradiction, inflation_of
from neuralpower_align.sensor.excitation import BINS, excitation
from neuralpower_align.stream.arrivals import Arrivals
from neuralpower_align.stream.clocks import SINCE_NS, UsualClocks
from neuralpower_align.stream.engines import moves, rearranged, referred, usual
from neuralpower_align.stream.rail import Rail
from neuralpower_align.stream.told import EngineEstimate, not_running, running, together
from neuralpower_align.stream.whole import Whole
from neuralpower_align.stream.window import RecentReadings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ENOUGH = 300
"""Rule: inferences of an engine before anything is said of it."""
FIRST_NS, FIRST_ROWS, WINDOW_NS, WORTH_FILLING = 30e9, 15_000, 120e9, 1.5
"""Rule: the first window is as short as a recording that is enough, and holds so many readings of layers, but is never longer than a full one; from a full one
that is so many times as long it is acquired anew, from where the first had its maxima, which decides between them."""
CHUNK_NS, LONGEST_CHUNK_NS = 2e9, 5e9
CHUNK_ROWS = 520
"""Tuning: conversions of a chunk: eight blocks, and some to spare."""
HOLD_NS = 2.5e9
"""Board: readings wait so long for inferences that are reported late."""
MARGIN_NS = 1.2e9
"""Tuning: what ran so long before and after a chunk is looked at: gaps longer than 1 s are idling."""
MEMORY_FILTERS = 7
"""Tuning: what ran so many lengths of the chip's filter before a chunk is looked at: exp(-7) of it is left then."""
SPAN_NS = 3600e9
"""Prior: what is older counts ever less, and drift is told over so long."""
AGE_NS = 10e9
"""Tuning: what was learnt is aged once in so long: each time drift is laid over another span, which takes time."""
MARKS_NS = 30e9
"""Tuning: readings whose marks tell the clock; as long as a first window."""
LOST = "the clock of the conversions was lost"
OTHER_CLOCKS = "the board has run at other clocks since"
LOOK_AHEAD_NS = 8e9
"""Tuning: the clock of conversions is measured so far ahead of the readings that are summed."""


class Online:
    """The stream of one epoch. Not thread-safe; no clock, no I/O: time is what readings say.

    rails: how many channels are added up. window_ns: of a full window; the first is no longer than FIRST_NS.
    """

    def __init__(self, rails: int, window_ns: float = WINDOW_NS, enough: int = ENOUGH) -> None:
        self.window_ns, self.enough = window_ns, enough
        self.first_ns = min(FIRST_NS, window_ns)
        self._full = False
        """Whether the sensors were acquired from a full window."""
        self._maxima: list[tuple[Maximum, ...]] = [()] * rails
        """Of each rail, as it was acquired last."""
        self.restarts = 0
        self.kept_because = ""
        """Why what a first window told was kept when a full one was there; "": it was not."""
        self.why = "a full window"
        self.acquiring = False
        """Whether it waits for a sensor rather than for readings or inferences."""
        self.recent = [RecentReadings(window_ns + 3 * LONGEST_CHUNK_NS + LOOK_AHEAD_NS) for _ in range(rails)]
        self.arrived = Arrivals()
        self.rails: list[Rail] = []
        self.classes: Classes | None = None
        self.names: list[str] = []
        self.whole: Whole | None = None
        self._cover: dict[str, Floats] = {}
        self._usual: dict[str, Floats] = {}
        self._like: dict[str, Usual] = {}
        """What each engine's inferences are like, from the window: those of a chunk alone would lay each chunk in its own way."""
        self._clocks = UsualClocks()
        self._done_ns: list[int] = [0] * rails
        self._seen_ns = 0
        """Up to where clocks were measured."""
        self._begin_ns = 0.0
        self._learnt_ns = 0.0
        """How much time was learnt from, and up to where of that it has aged."""
        self._aged_ns = 0.0
        self._again_ns = 0.0

    # ---- what comes in -------------------------------------------------------------------------

    def add_readings(self, rail: int, readings: ChannelReadings) -> None:
        """Readings of a rail that follow those before."""
        self.recent[rail].add(readings)

    def add_inference(self, engine: str, begin_ns: int, end_ns: int, durations_ns: Ints, profiled: bool = True) -> None:
        """An inference; those of an engine come in order. What cannot be used spoils the readings of its time."""
        done_ns = min(self._done_ns) if self.rails else -(2**62)
        self.arrived.add(engine, begin_ns, end_ns, durations_ns, done_ns, profiled)

    def spoil(self, begin_ns: int, end_ns: int) -> None:
        """Something unknown ran then: the readings of that time tell nothing."""
        self.arrived.spoil(begin_ns, end_ns)

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
        if not self._full and self.first_ns < self.window_ns and ready_ns - self._begin_ns >= self.window_ns:
            self._full = True
            self._fill(ready_ns)
            return True
        done = min(self._done_ns)
        # The batch's readings reach to the end: a chunk is taken once it is whole.
        length = self._chunk_ns()
        if ready_ns < done + length + LOOK_AHEAD_NS:
            return False
        self._renumber()
        self._at_one_clock(done, done + int(length))
        self._look(done + int(length + LOOK_AHEAD_NS))
        if self.rails:
            self._chunk(done + int(length))
        return True

    def finish(self) -> None:
        """Take what is left, however short: nothing more will come."""
        while self.rails and min(self._done_ns) + 1 < self.newest_ns:
            before = min(self._done_ns)
            until = min(before + int(self._chunk_ns()), self.newest_ns)
            self._at_one_clock(before, until)
            self._look(min(until + int(LOOK_AHEAD_NS), self.newest_ns))
            if self.rails:
                self._chunk(until)
            if self.rails and min(self._done_ns) <= before:
                break

    def _chunk_ns(self) -> float:
        scan = max((recent.slowest_ns for recent in self.recent), default=1e6)
        return float(np.clip(CHUNK_ROWS * scan, CHUNK_NS, LONGEST_CHUNK_NS))

    def _begin(self, ready_ns: float) -> bool:
        """Acquire from a full window, if there is one."""
        oldest_ns = max((int(r.parts[0].read_ns[0]) for r in self.recent if r.parts), default=0)
        many = [name for name, each in self.arrived.engines.items() if each.count >= self.enough]
        if not many or not all(r.parts for r in self.recent):
            self.acquiring, self.why = False, f"{self.enough} inferences of one engine"
            return False
        since = max(oldest_ns, self._again_ns)
        known = all(self._maxima) and set(self.names) == set(many)
        # Of a sensor that is known a short window tells which of its maxima it was, and the clock.
        first_ns = self.first_ns if known else self._first_ns(many, since, ready_ns)
        if ready_ns - since < first_ns:
            more_s = (first_ns - (ready_ns - since)) / 1e9
            self.acquiring, self.why = False, f"{more_s:.0f} s more of readings"
            return False
        begin = ready_ns - first_ns
        self._again_ns = ready_ns - self.first_ns / 2
        if not known:
            self._clocks = UsualClocks()
        self._clocks.take(self.arrived, many, begin)
        try:
            found = self._acquire(self.names if known else many, begin, ready_ns, again=known)
            self._full |= WORTH_FILLING * first_ns > self.window_ns
            return found
        except Unattributable as reason:
            self._forget_sensors()
            self.acquiring, self.why = True, f"a sensor that can be acquired: {reason}"
        return True

    def _first_ns(self, names: list[str], since_ns: float, ready_ns: float) -> float:
        """How long the first window must be to hold FIRST_ROWS readings of these engines' layers, as far as readings so far tell."""
        if ready_ns - since_ns < self.first_ns:
            return self.first_ns
        readings = [each.between(since_ns, ready_ns) for each in self.recent]
        engines = [self.arrived.engines[name].between(since_ns, ready_ns) for name in names]
        begin = np.sort(np.concatenate([each.begin_ns for each in engines]))
        end = np.sort(np.concatenate([each.end_ns for each in engines]))
        rows = [
            np.count_nonzero(
                self.arrived.known(each, names)
                & (np.searchsorted(begin, each.read_ns) > np.searchsorted(end, each.read_ns))
            )
            for each in readings
            if each is not None
        ]
        least = min(rows, default=0)
        return float(np.clip(FIRST_ROWS / max(least, 1) * (ready_ns - since_ns), self.first_ns, self.window_ns))

    def _fill(self, ready_ns: float) -> None:
        """Acquire anew from a full window; if that cannot be, go on with what was acquired."""
        try:
            self._acquire(
                [name for name in self.names if name in self.arrived.engines], ready_ns - self.window_ns, ready_ns
            )
        except Unattributable as reason:
            self.kept_because = str(reason)

    def _at_one_clock(self, begin_ns: float, end_ns: float) -> None:
        """Leave out what ran at other clocks about a chunk; where nothing else has run for a window, begin anew with what comes."""
        self._clocks.take(self.arrived, self.names, begin_ns - SINCE_NS, end_ns - begin_ns)
        if self._clocks.elsewhere_ns > self.window_ns:
            self.arrived.count_anew()
            self._clocks = UsualClocks()
            self._restart(OTHER_CLOCKS, float(self.newest_ns), same_sensor=True)

    def _forget_sensors(self) -> None:
        """Nothing is known of them any more."""
        self.rails, self.classes, self.whole = [], None, None
        self._full, self._maxima = False, [()] * len(self.recent)

    def _acquire(self, names: list[str], begin_ns: float, end_ns: float, again: bool = False) -> bool:
        """From what came within; False where none of these engines ran. Nothing is changed where it raises.

        `again`: from the maxima of before alone, or the best of them where a full window was seen, which takes a tenth of the time: a slow
        device that has lost the clock while it acquired the sensor would else lose it for ever.
        """
        around = {name: self.arrived.engines[name].between(begin_ns, end_ns, every=False) for name in names}
        names = [name for name, engine in around.items() if engine.begin_ns.size]
        if not names:
            return False
        engines = self.arrived.apart([around[name] for name in names])
        classes = Classes.of(engines)
        plan = classes.schedule(engines, ())
        rails, maxima, alike = [], [], names == self.names
        for recent, known_maxima in zip(self.recent, self._maxima, strict=True):
            readings = recent.between(begin_ns, end_ns)
            if readings is None:
                raise Unattributable("no readings")
            known = self.arrived.known(readings, names) & named(plan, classes, readings.read_ns)
            readings = readings.take(known)
            if not readings.read_ns.size:
                raise Unattributable("no readings in which nothing else ran")
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            sensor = sensor_of(plan.activity, [readings], alone)
            some = known_maxima[:1] if again and self._full else known_maxima
            found_at = FoundAt(some, alone=again) if alike else FoundAt()
            found = estimate(plan, [readings], sensor, classes.is_layer(), classes.layout, found_at=found_at)
            if not found.settled:
                raise Unattributable("the fit of this window does not settle")
            marked = sensor.found[0] not in ("", "fit") if sensor.found else False
            doubt = contradiction(
                engines,
                [Fitted(sensor, found, inflation_of(found.clusters, found.covariance, found.scattered, classes))],
            )
            rails.append(Rail.of(found, marked, doubt))
            if again and doubt:
                raise Unattributable(doubt)
            maxima.append(() if doubt else found.maxima)
        self.rails, self.classes, self.whole, self.names, self._maxima = rails, classes, None, names, maxima
        self.kept_because = ""
        self._usual = usual(plan, names)
        self._like = {name: engine.usual for name, engine in zip(names, engines, strict=True)}
        self._cover = {name: np.zeros(BINS) for name in names}
        self._done_ns = [int(begin_ns)] * len(rails)
        self._begin_ns, self._learnt_ns, self._aged_ns = begin_ns, 0.0, 0.0
        self.acquiring, self.why = False, ""
        # The window's rows, expanded where the batch ended.
        while self.rails and min(self._done_ns) + 1e9 < end_ns:
            before = min(self._done_ns)
            self._chunk(int(min(before + self._chunk_ns(), end_ns)))
            if self.rails and min(self._done_ns) <= before:
                break
        for rail in self.rails:
            rail.goes_on()
        self._seen_ns = int(end_ns)
        return True

    def _look(self, end_ns: int) -> None:
        """Measure clocks up to `end_ns`, a chunk at a time."""
        while self.rails and self.classes is not None and self._seen_ns < end_ns:
            begin = self._seen_ns
            until = self._seen_ns = min(begin + int(self._chunk_ns()), end_ns)
            around = self._around(begin, until)
            if not any(engine.begin_ns.size for engine in around):
                continue
            plan = referred(self.classes.schedule(around, ()), self.names, self._usual)
            for rail, recent in zip(self.rails, self.recent, strict=True):
                readings = recent.between(begin, until)
                if readings is None:
                    continue
                # Of a layer that draws a tenth more or less the edges tell the clock all the same.
                known = self._known(plan, readings, at_any_clocks=True)
                if known.any() and not rail.look(plan, readings.take(known)):
                    self._restart(LOST, float(readings.read_ns[0]), same_sensor=True)
                    return

    @property
    def _margin_ns(self) -> float:
        """What ran so long before and behind readings is looked at."""
        return MARGIN_NS + MEMORY_FILTERS * max(r.parts[-1].averaging * r.parts[-1].scan_ns for r in self.recent if r.parts)  # fmt: skip

    def _around(self, begin_ns: float, end_ns: float) -> list[EngineRuns]:
        """What ran about some time, of each engine."""
        margin = self._margin_ns
        found = [
            replace(self.arrived.engines[name].between(begin_ns - margin, end_ns + margin), known=self._like[name])
            for name in self.names
        ]
        return self.arrived.apart(found)

    def _chunk(self, end_ns: int) -> None:
        """Take the readings of all rails up to `end_ns`."""
        assert self.classes is not None
        begin, arrived, margin = min(self._done_ns), self.arrived, self._margin_ns
        around = self._around(begin, end_ns)
        if any(engine.begin_ns.size for engine in around):
            self._learnt_ns += end_ns - begin
            plan = referred(self.classes.schedule(around, ()), self.names, self._usual)
            blind = self._with_whole(around, begin - margin, end_ns + margin)
            for number, rail in enumerate(self.rails):
                self._feed(number, rail, plan, end_ns, blind)
            for name, engine in zip(self.names, around, strict=True):
                self._note_cover(name, engine, begin, end_ns)
        else:
            self._done_ns = [int(end_ns)] * len(self.rails)
        arrived.forget_before(min(self._done_ns) - max(self.window_ns, margin))
        self._age()
        self._judge()

    def _feed(self, number: int, rail: Rail, plan: Schedule, end_ns: int, blind: Schedule | None) -> None:
        begin = self._done_ns[number]
        readings = self.recent[number].between(begin, end_ns)
        marks = self.recent[number].between(end_ns + LOOK_AHEAD_NS - MARKS_NS, end_ns + LOOK_AHEAD_NS)
        known = None if readings is None else self._known(plan, readings)
        if readings is None or marks is None or known is None or not known.any():
            self._done_ns[number] = int(end_ns)
            return
        last = rail.feed(plan, readings.take(known), marks)
        if last is None:
            self._restart(LOST, float(readings.read_ns[0]), same_sensor=True)
            return
        # What does not fill a block is taken with the next chunk; too few rows for one are given up.
        done = self._done_ns[number] = last if last > begin else int(end_ns)
        if blind is not None and self.whole is not None:
            blank = ~known & named(blind, self.whole.classes, readings.read_ns) & self.arrived.at_one_clock(readings)
            self.whole.feed(number, rail, blind, readings.take(blank & (readings.read_ns <= done)))

    def _known(self, plan: Schedule, readings: ChannelReadings, at_any_clocks: bool = False) -> Bools:
        """Which readings (k,) saw nothing but engines that are told apart, and what lies between them: nobody names longer idling here,
        and a board draws more with an engine loaded than without."""
        assert self.classes is not None
        known = self.arrived.known(readings, self.names, at_any_clocks)
        return known & named(plan, self.classes, readings.read_ns)

    def _with_whole(self, around: list[EngineRuns], begin_ns: float, end_ns: float) -> Schedule | None:
        """What ran, those without the profiler too; None where there are none, or nobody knows them yet."""
        many = {name: each for name, each in self.arrived.whole.items() if each.count >= self.enough}
        if not many or self.classes is None:
            return None
        if self.whole is None or (self.whole.profiled, set(self.whole.names)) != (tuple(self.names), set(many)):
            every = {name: self.arrived.engines[name].mean() for name in self.names}
            self.whole = Whole.of(every, many, self.rails)
        whole = [many[name].between(begin_ns, end_ns) for name in self.whole.names]
        apart = self.arrived.apart([*around, *whole])
        if not any(each.begin_ns.size for each in apart[len(around) :]):
            return None
        return self.whole.schedule(apart[: len(around)], apart[len(around) :])

    def _note_cover(self, name: str, engine: EngineRuns, begin_ns: float, end_ns: float) -> None:
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
        """Beyond the span what is older counts less. Time in which nothing was learnt makes nothing older."""
        done = self._learnt_ns
        if done <= SPAN_NS or done - self._aged_ns < AGE_NS:
            self._aged_ns = max(self._aged_ns, min(done, SPAN_NS))
            return
        since = done - self._aged_ns
        for rail in self.rails:
            rail.aged(1 - since / SPAN_NS, since)
        if self.whole is not None:
            self.whole.aged(1 - since / SPAN_NS)
        self._aged_ns = done

    def _judge(self) -> None:
        for rail in self.rails:
            if not rail.again and rail.trouble:
                self._restart(rail.trouble)
                return

    def _restart(self, why: str, since_ns: float = 0.0, same_sensor: bool = False) -> None:
        """Begin anew from the window, or from what comes after some time; `same_sensor`: what the sensor is has not been put in doubt."""
        self.restarts += 1
        if same_sensor:
            self.rails, self.classes, self.whole = [], None, None
        else:
            self._forget_sensors()
        self.acquiring, self.why = True, f"the sensor to be acquired anew: {why}"
        self._again_ns = max(self._again_ns, self.newest_ns - HOLD_NS - self.first_ns, since_ns)

    def _renumber(self) -> None:
        """Take in engines that were seen often enough, let those go that made room."""
        every = self.arrived.engines
        wanted = [name for name in self.names if name in every]
        done = min(self._done_ns)
        for name, each in every.items():
            new = name not in self.names and each.count >= self.enough
            if new and each.between(done - MARGIN_NS, done + HOLD_NS).begin_ns.size:
                wanted.append(name)
        if wanted == self.names or self.classes is None:
            return
        if not wanted:
            self._restart("no engine is left")
            return
        engines = [every[name].between(-(2.0**62), 2.0**62) for name in wanted]
        kept = [i for i, engine in enumerate(engines) if engine.begin_ns.size]
        wanted, engines = [wanted[i] for i in kept], [engines[i] for i in kept]
        if not wanted:
            return
        classes = Classes.of(engines)
        new_of = moves(self.classes, self.names, classes, wanted)
        stay = {number: wanted.index(name) for number, name in enumerate(self.names) if name in wanted}
        found = usual(classes.schedule(self.arrived.apart(engines), ()), wanted)
        self._usual = {**found, **{name: each for name, each in self._usual.items() if name in wanted}}
        self._like = {name: self._like.get(name) or engine.usual for name, engine in zip(wanted, engines, strict=True)}
        self.rails = [rearranged(rail, classes, new_of, stay) for rail in self.rails]
        self._cover = {name: each for name, each in self._cover.items() if name in wanted}
        self.classes, self.names = classes, wanted

    # ---- what comes out ------------------------------------------------------------------------

    def estimates(self) -> list[EngineEstimate]:
        """What is known of each engine now."""
        found: list[EngineEstimate] = []
        powers = together(self.rails, self.classes) if self.rails and self.classes else None
        for name, each in self.arrived.engines.items():
            if self.classes is not None and powers is not None and name in self.names:
                found.append(running(name, self.names.index(name), each, self.classes, powers, self._cover))
            else:
                found.append(not_running(name, each, self.enough, self.why, self.acquiring))
        told = {each.engine: each for each in self.whole.told(self.arrived.whole)} if self.whole is not None else {}
        for name, each in self.arrived.whole.items():
            found.append(told.get(name) or not_running(name, each, self.enough, self.why, self.acquiring, whole=True))
        return found

    @property
    def state(self) -> str:
        """Of all: waiting, acquiring, running."""
        return "running" if self.rails else "acquiring" if self.acquiring else "waiting"

    @property
    def nbytes(self) -> int:
        """What is kept between steps, bytes."""
        parts: list[RecentReadings | Rail] = [*self.recent, *self.rails]
        whole = self.whole.nbytes if self.whole is not None else 0
        return sum(part.nbytes for part in parts) + self.arrived.nbytes + whole + 8 * BINS * len(self._cover)
