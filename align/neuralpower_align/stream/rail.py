"""One channel's estimate that goes on for ever: each chunk of readings is expanded where the estimate is, summed, and forgotten.

Powers, stalls, drift and poles are parameters for good. The shift of the clock is a cubic B-spline of which only the
coefficients that coming readings touch are kept; those before are eliminated. Expansion points need not agree between chunks, since
the sums are about one reference point; what remains of a moved expansion is of second order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import US
from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.clock.scan_clock import ChannelReadings, ScanClock
from neuralpower_align.fit.estimate import WORTH_STALLS, Estimate
from neuralpower_align.fit.gls import Normal, accumulate
from neuralpower_align.fit.information import Information, Solved, within
from neuralpower_align.fit.search import FINAL_NOISE_BLOCKS
from neuralpower_align.fit.surface import MARGIN_NS
from neuralpower_align.model.drifts import drift_sums
from neuralpower_align.model.noise import Noise, Sample, blurred, estimate_noise
from neuralpower_align.model.nuisance import HELD, KNOT_S, Model, Spline, columns, prior, room_to_bounds
from neuralpower_align.model.piece import Piece, piece_of
from neuralpower_align.model.rows import BLOCK, Design, blocks_of, designs
from neuralpower_align.sensor.kernel import Kernel
from neuralpower_align.stream.packed import packed, unpacked
from neuralpower_align.stream.spans import legendre_within, reexpanded
from neuralpower_align.stream.track import Track

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KNOT_NS = KNOT_S * 1e9
"""Tuning: distance of knots of the shift, as in the batch."""
ACTIVE = 5
"""Tuning: coefficients of the shift that are kept: over two knots."""
SHIFT_US = 40.0
"""Prior: what a clock that is laid may be wrong by, and some more."""
LOOK_US, LOOKS, LEAST_LOOK = 60.0, 2, 100
"""Prior: what a piece ahead may be off where it is expected; rounds of measuring it, and fewest rows."""
ROUNDS = 3
"""Tuning: most times that a chunk is expanded where the estimate with it is."""
CLOSE_US = 6.0
"""Tuning: a chunk whose shift was expected to within this need not be expanded again."""
BEYOND_NS = 2e9
"""Tuning: the shift's spline reaches so far beyond the newest reading, since the clock is laid on by whole knots."""
AHEAD_NS = 5e9
"""Tuning: the drift's functions are laid so far beyond the newest reading."""
STALE = 3.0
"""Rule: rows were expanded too far away if a pole has moved by so many of the standard errors that it had when it was acquired."""
LAID_CHUNKS = 15
"""Rule: an engine that came later has been seen for half a minute, as long as a window that is enough for one."""
NOISY, NOISY_CHUNKS = 2.0, 5
"""Rule: squared whitened residuals per row, and in how many chunks in a row, that say that the sensor is lost."""
LIKELY_EVERY = 5
"""Tuning: chunks after which the powers that slopes are made of are made anew."""
NOISE_EVERY, NOISE_SOME, NOISE_MOST = 10, 12, 800
"""Tuning: variances are estimated from so many blocks of each tenth chunk, and count as if from so many blocks at most."""


@dataclass
class Rail:
    """The sums of one channel and where they are expanded: `ref` is x0, `off` (q,) the present estimate less x0, while layers' powers are
    held near their mean: there rows are expanded, since of powers that scatter edges seem too steep.

    Lags, layout and the width of edges are expanded where the batch ended, whatever is learnt of them later. What hardly differs in its
    effects (a gap, a delay, a lag) would else be told from how its columns change from place to place, which is no information: errors
    come out too small, and the estimate wanders (Huang, Mourikis and Roumeliotis 2008 on the first estimates of filters).
    """

    ref: Model
    known: Information
    off: Floats
    spent: Floats
    """For how long each class ran in what is summed, and the drift functions over that time (c, 1 + m), ns."""
    noise: Noise
    noise_blocks: int
    track: Track | None
    delay_ns: float
    lag_se_us: float
    chunks: int = 0
    noisy: int = 0
    again: bool = True
    """The window's rows are summed: they are expanded where the batch's estimate on them is."""
    highest_w: float = 0.0
    """Of all readings."""
    held: Kernel | None = None
    laid: Floats = field(default_factory=lambda: np.zeros(0))
    """Where the layout is expanded (p,), less x0; nan: where the estimate is, of an engine that came later, for LAID_CHUNKS."""
    laid_after: int = 0
    rivals: Floats | None = None
    """By how much other maxima of the window differ (k, q) beside shifts and drifts: :attr:`Estimate.rivals`."""
    doubt: str = ""
    """Why another sensor would do as well as the one that was acquired."""

    @classmethod
    def of(cls, found: Estimate, marked: bool, doubt: str) -> Rail:
        """From the batch's estimate on a window of one piece, whose rows are still to be fed. `marked`: whether something beside the fit
        marks the ends of conversions."""
        piece, model = found.held_pieces[0], found.held
        begin, end = float(piece.at_ns[0]), float(piece.at_ns[-1])
        track = None
        delay = found.delay_ns
        if piece.clock is not None:
            clock = piece.clock.moved(delay - piece.delay_ns)
            track = Track.of(clock, delay, marked, begin + delay, end + delay)
        spline = Spline(begin, KNOT_NS, ACTIVE)
        nothing = np.zeros(model.drifts(np.zeros(1)).shape[-1])
        ref = replace(
            model,
            splines=(spline,),
            shift_us=(np.zeros(ACTIVE),),
            drift=nothing,
            idle_drift=nothing,
            stall_of=np.zeros(model.power_w.size),
            each=True,
            likely_w=model.power_w,
        )
        known = Information.empty(ref.index.size)
        shift = ref.index.shift[0]
        known.gram[shift, shift] = np.eye(ACTIVE) / SHIFT_US**2
        now = replace(ref, drift=model.drift, idle_drift=model.idle_drift)
        lag = found.model.index.lag
        se = float(np.sqrt(max(found.covariance[lag, lag][0, 0], 0.0)))
        off = packed(now) - packed(ref)
        spent = np.zeros((model.power_w.size, 1 + nothing.size))
        rivals = np.zeros((len(found.rivals), ref.index.size))
        # Their drifts are of the window alone: over a longer time they would grow to whatever.
        for to, where in zip(ref.index.lasting, found.model.index.lasting, strict=True):
            rivals[:, to] = found.rivals[:, where]
        return cls(
            ref,
            known,
            off,
            spent,
            found.noise,
            FINAL_NOISE_BLOCKS,
            track,
            delay,
            se,
            rivals=rivals,
            doubt=doubt,
            laid=np.zeros(ref.layout.size),
        )

    @property
    def model(self) -> Model:
        """At the present estimate."""
        return self._model(self.off)

    def _model(self, off: Floats) -> Model:
        """At a point, with edges as wide as the tables have them."""
        model = unpacked(self.ref, packed(self.ref) + off)
        if self.held is None:
            return replace(model, kernel=blurred(model.kernel, self.noise, self._blur_ns(model.wider)))
        held = self.held
        return replace(model, kernel=replace(model.kernel, blur_ns=held.blur_ns, late=held.late, far=held.far))

    def _blur_ns(self, wider: float) -> float:
        """How wide edges are."""
        return float(np.sqrt(self.noise.place * np.exp(wider)))

    def _placed(self, plan: Schedule, model: Model) -> Schedule:
        """What ran when, as the model lays it. Engines have parameters of their own even while there is one, since others may come."""
        return replace(plan.placed(model.layout), apart=True)

    @property
    def nbytes(self) -> int:
        """What is kept, bytes."""
        track = 0 if self.track is None else self.track.clock.number.nbytes + self.track.clock.end_ns.nbytes
        return self.known.nbytes + self.off.nbytes + 4 * self.ref.power_w.nbytes + track

    def feed(self, plan: Schedule, readings: ChannelReadings, recent: ChannelReadings) -> int | None:
        """Take the readings that follow; gives after which of them the next chunk begins, None where the clock was lost.

        `plan`: what ran from well before them until after. `recent`: readings of half a minute around them. Rows that do not fill a
        block are left for the next time.
        """
        self._reach(float(readings.read_ns[-1]) - self.delay_ns + BEYOND_NS)
        if self.track is not None:
            track = self.track.led_on(float(readings.read_ns[-1]) + MARGIN_NS, recent)
            if track is None:
                return None
            self.track = track
        self.highest_w = max(self.highest_w, float(readings.power_w.max()))
        piece = self._piece(readings, self.off)
        if not piece.number.size:
            return int(readings.read_ns[0]) - 1
        if self.again:
            self._sum_again(plan, piece)
        else:
            piece = self._sum(plan, readings, piece)
            self.chunks += 1
            if self.chunks == self.laid_after:
                self.laid = self._at_held(self.off)[self.ref.index.layout]
            if self.chunks % LIKELY_EVERY == 0:
                self.ref = replace(self.ref, likely_w=self.ref.power_w + self.off[self.ref.index.power])
            if self.chunks % NOISE_EVERY == 0:
                self._learn_noise(plan, piece)
        return self._read_until(readings, piece)

    def look(self, plan: Schedule, readings: ChannelReadings) -> bool:
        """Measure where the clock runs in readings ahead of those that are fed next, at the present powers; False where it is lost."""
        if self.track is None or self.track.marked:
            return True
        clock = self.track.ahead(float(readings.read_ns[-1]) + MARGIN_NS)
        if clock is None:
            return False
        model = self.model
        laid = self._placed(plan, model)
        for _ in range(LOOKS):
            piece = piece_of(readings, clock, self.delay_ns, MARGIN_NS)
            if piece.number.size < LEAST_LOOK:
                return True
            gram, slope = 1 / LOOK_US**2, 0.0
            for design in designs(laid, 0, piece, self.kernel(piece), model.slope_w):
                more = along(model, design, self.noise, piece.averaging)
                gram, slope = gram + more[0], slope + more[1]
            clock = clock.moved(US * slope / gram)
        middle = int(piece.number[piece.number.size // 2])
        self.track = self.track.measured(middle, float(clock.end(middle)))
        return True

    def placed(self, readings: ChannelReadings) -> Piece:
        """Rows of readings that lie in what was fed already, where the clock is estimated to be."""
        if self.track is None:
            return piece_of(readings, None, self.delay_ns, MARGIN_NS)
        return piece_of(readings, self._clock(self.off), self.delay_ns, MARGIN_NS)

    def _piece(self, readings: ChannelReadings, off: Floats) -> Piece:
        """Full blocks of rows: numbered by where the clock is estimated to be, placed by the clock without the fitted shift."""
        if self.track is None:
            piece = piece_of(readings, None, self.delay_ns, MARGIN_NS)
        else:
            laid = self.track.clock
            piece = piece_of(readings, self._clock(off), self.delay_ns, MARGIN_NS)
            piece = replace(piece, clock=laid, at_ns=laid.end(piece.number) - self.delay_ns)
        full = piece.number.size // BLOCK * BLOCK
        return replace(piece, number=piece.number[:full], at_ns=piece.at_ns[:full], value_w=piece.value_w[:full])

    def _clock(self, off: Floats) -> ScanClock:
        """Where the clock is estimated to be, on the host's clock."""
        assert self.track is not None
        return self.track.clock.moved(lambda ends: self._shift_ns(ends - self.delay_ns, off))

    def _read_until(self, readings: ChannelReadings, piece: Piece) -> int:
        """When the last reading of the rows that were taken was read."""
        if self.track is None:
            return int(readings.read_ns[piece.number.size - 1])
        held = self._clock(self.off).last_before(readings.read_ns - MARGIN_NS)
        last = max(int(np.searchsorted(held, piece.number[-1], side="right")) - 1, 0)
        return int(readings.read_ns[last])

    def _sum(self, plan: Schedule, readings: ChannelReadings, piece: Piece) -> Piece:
        """Add the rows, expanded and numbered where the estimate with them is; gives them."""
        off, spline, index = self._at_held(self.off), self.ref.splines[0], self.ref.index
        for number in range(ROUNDS):
            model = self._model(off)
            normal = self._normal(plan, piece, model, blocks_of(piece.number.size))
            best = self._best(self.known.add(normal, off))
            change = spline.value(piece.at_ns, (best - off)[index.shift[0]])
            if float(np.max(np.abs(change))) < CLOSE_US or number == ROUNDS - 1:
                break
            again = self._piece(readings, best)
            if not again.number.size:
                break
            off, piece = self._at_held(best), again
        self.known = self.known.add(normal, off, normal.gram @ (best - off))
        self.off = best
        self._spend(plan, piece, model)
        self.noisy = self.noisy + 1 if normal.square > NOISY * normal.rows else 0
        return piece

    def _sum_again(self, plan: Schedule, piece: Piece) -> None:
        off = self._at_held(self.off)
        model = self._model(off)
        normal = self._normal(plan, piece, model, blocks_of(piece.number.size))
        self.known = self.known.add(normal, off, np.zeros(off.size))
        self._spend(plan, piece, model)

    def _spend(self, plan: Schedule, piece: Piece, model: Model) -> None:
        """Note how long what ran while these rows were seen."""
        laid = self._placed(plan, model)
        self.spent = self.spent + drift_sums(model, laid, float(piece.at_ns[0]), float(piece.at_ns[-1]))

    def goes_on(self) -> None:
        """The window is summed: what comes is new."""
        self.again = False
        self.off = self._best(self.known)

    def _best(self, known: Information) -> Floats:
        """The estimate less x0 (q,)."""
        found = known.solve(*self._prior(False, False))
        return within(found.off, found.covariance, *room_to_bounds(self.ref))[0]

    def _normal(self, plan: Schedule, piece: Piece, model: Model, blocks: list[Ints]) -> Normal:
        seen = piece.shifted(US * model.splines[0].value(piece.at_ns, model.shift_us[0]))
        normal = Normal.empty(model.index.size)
        laid = self._placed(plan, model)
        for design in designs(laid, 0, seen, self.kernel(piece), model.slope_w, blocks):
            accumulate(normal, model, design, self.noise, piece.averaging)
        return normal

    def _at_held(self, off: Floats) -> Floats:
        """The estimate as an expansion point: lags, layout, blur and skewness are where the batch ended."""
        index = self.ref.index
        if self.held is None:
            self.held = blurred(self.ref.kernel, self.noise, self._blur_ns(self.ref.wider))
        point = np.array(off)
        point[index.lag] = point[index.second] = point[index.skew] = 0.0
        point[index.layout] = np.where(np.isnan(self.laid), off[index.layout], self.laid)
        if self.held.blur_ns and self.noise.place:
            point[index.blur] = np.log(self.held.blur_ns**2 / self.noise.place) - self.ref.wider
        return point

    def kernel(self, piece: Piece) -> Kernel:
        """The tables for a piece's rows."""
        held = self.held or self.model.kernel
        if (held.window_ns, held.smear_ns) != (piece.window_ns, piece.unplaced_ns):
            near = abs(held.window_ns - piece.window_ns) < 1e-4 * held.window_ns and held.smear_ns == piece.unplaced_ns
            if not near:
                held = self.held = replace(held, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
        return held

    def _learn_noise(self, plan: Schedule, piece: Piece) -> None:
        """Blend in what some blocks of the newest chunk say of the variances."""
        model = self.model
        blocks = blocks_of(piece.number.size)[0]
        some = blocks[np.unique(np.linspace(0, len(blocks) - 1, min(NOISE_SOME, len(blocks))).astype(np.int64))]
        seen = piece.shifted(US * model.splines[0].value(piece.at_ns, model.shift_us[0]))
        samples = [
            Sample(design.value_w - columns(model, design)[2], design, piece.averaging)
            for design in designs(self._placed(plan, model), 0, seen, self.kernel(piece), model.slope_w, [some])
        ]
        try:
            new = estimate_noise(samples, self.noise, piece.step_w**2 / 12)
        except np.linalg.LinAlgError:  # residuals that are no noise
            return
        share = len(some) / (self.noise_blocks + len(some))
        self.noise_blocks = min(self.noise_blocks + len(some), NOISE_MOST)
        blended: Floats = np.asarray((1 - share) * self.noise.variances + share * new.variances, np.float64)
        noise = self.noise.with_variances(blended)
        # What was learnt of the width of edges is of the width itself, which is told against the scatter.
        if noise.place and self.noise.place:
            self.ref = replace(self.ref, wider=self.ref.wider + float(np.log(self.noise.place / noise.place)))
        self.noise = noise

    def _reach(self, end_ns: float) -> None:
        """Drift functions and spline over the readings that come."""
        if end_ns > self.ref.end_ns:
            self._span(self.ref.begin_ns, end_ns + AHEAD_NS)
        while end_ns > self.ref.splines[0].begin_ns + (ACTIVE - 3) * KNOT_NS:
            self._slide()

    def _span(self, begin_ns: float, end_ns: float) -> None:
        """Drift functions over another time."""
        turn = self._turn(begin_ns, end_ns)
        self.known = self.known.mapped(turn)
        self.off = np.asarray(np.linalg.solve(turn, self.off), np.float64)
        self.spent = self.spent @ legendre_within(self.ref.begin_ns, self.ref.end_ns, begin_ns, end_ns)
        self.ref = replace(self.ref, begin_ns=begin_ns, end_ns=end_ns)

    def _turn(self, begin_ns: float, end_ns: float) -> Floats:
        ref, index = self.ref, self.ref.index
        return reexpanded(
            ref.begin_ns, ref.end_ns, begin_ns, end_ns, ref.slope_w, ref.layer, index.drift, index.idle_drift, index.size
        )  # fmt: skip

    def _slide(self) -> None:
        """The oldest coefficient of the shift goes, a new one comes of which nothing is known but that the clock was laid well."""
        spline, at = self.ref.splines[0], self.ref.index.shift[0]
        size = self.off.size
        known = self.known.without(at.start).placed(np.delete(np.arange(size), at.stop - 1), size)
        known.gram[at.stop - 1, at.stop - 1] += 1 / SHIFT_US**2
        self.off = np.append(np.delete(self.off, at.start), 0.0)
        self.known = known
        moved = replace(spline, begin_ns=spline.begin_ns + spline.knot_ns)
        self.ref = replace(self.ref, splines=(moved,))

    def aged(self, share: float, by_ns: float) -> None:
        """What was learnt counts `share` of what it did, and drift is told from so much later on."""
        at = self.ref.index.shift[0]
        sharp = self.known.gram[at, at].copy()
        self.known, self.spent = self.known.forget(share), self.spent * share
        # A little of what holds the shifts must not age away with the rest.
        self.known.gram[at, at] += (1 - share) * np.diag(np.diag(sharp))
        self._span(self.ref.begin_ns + by_ns, self.ref.end_ns)

    def _shift_ns(self, at_ns: Floats, off: Floats | None = None) -> Floats:
        """The fitted shift at times that the spline spans; before and after them as at its ends."""
        model = unpacked(self.ref, packed(self.ref) + (self.off if off is None else off))
        return US * self.ref.splines[0].value(at_ns, model.shift_us[0])

    def _prior(self, free: bool, each: bool) -> tuple[Floats, Floats]:
        """What was known beforehand of all but the shift, whose part is in the sums. `free`: powers of layers are not held near their mean,
        nor the width of edges where rows are expanded; `each`: each layer's own stall share is not held at none.

        Rows of one width say to first order how far it is off. Expanded at what the last ones made of it, it would run away with the noise.
        """
        ref = replace(self.ref, centre_w=0.0) if free else self.ref
        precision, away = prior(ref)
        if ref.stalls and not each:
            own = np.arange(ref.index.stall_of.start, ref.index.stall_of.stop)
            precision[own, own], away[own] = 1 / HELD**2, 0.0
        if not free:
            precision[ref.index.blur, ref.index.blur], away[ref.index.blur] = 1 / HELD**2, 0.0
        shift = self.ref.index.shift[0]
        precision[shift, shift], away[shift] = 0.0, 0.0
        return precision, away

    def solved(self) -> tuple[Model, Solved]:
        """The present estimate with its covariance, powers no longer held near their mean."""
        known, ref = self.known, replace(self.ref, centre_w=0.0)
        found = known.solve(*self._prior(True, False), scattered=True)
        if ref.stalls:
            wide, powers = known.solve(*self._prior(True, True), scattered=True), ref.index.power
            more = wide.covariance[powers, powers] - found.covariance[powers, powers]
            share = np.diag(more) / np.diag(found.covariance)[powers]
            # What is not known of the shares is in the covariance all the same.
            found = wide if np.median(share[ref.layer]) > WORTH_STALLS else found.widened(more, powers)
        # The sensor stays what it is with powers held, as in the batch (`estimate.py`).
        off = found.held_at(self._best(known), ref.index.of_sensor)
        if self.rivals is not None:
            found = found.widened(self.rivals.T @ self.rivals)
        return unpacked(ref, packed(ref) + off), found

    @property
    def trouble(self) -> str:
        """Why the sensor must be acquired anew, "" if it need not."""
        if self.noisy >= NOISY_CHUNKS:
            return "readings scatter more than what is modelled"
        lag = abs(float(self.off[self.ref.index.lag][0]))
        if self.lag_se_us and lag > STALE * max(self.lag_se_us, CLOSE_US):
            return "the lag is not what it was acquired as"
        return ""


def along(model: Model, design: Design, noise: Noise, averaging: int) -> tuple[float, float]:
    """Information on a shift of all rows, 1/us^2, and the slope of the log-likelihood along it, 1/us, all else being as it is."""
    pair = np.stack([US * design.slide, design.value_w - columns(model, design)[2]], axis=-1)
    gram = np.sum(pair.transpose(0, 2, 1) @ np.linalg.solve(noise.covariance(design, averaging), pair), axis=0)
    return float(gram[0, 0]), float(gram[0, 1])
