"""What is fitted beside the powers: stalls, drift, the poles of the sensor, and when its conversions really ended.

The model of a reading that saw the class j for the share w_j, of which the stall-weighted share is u_j, at a time t:

    y = sum_j P_j (w_j + (beta + beta_j) u_j) (1 + sum_m a_m phi_m(t), layers only) + sum_m b_m phi_m(t) w_idle

All but the powers are parameters of the same regression, with derivative columns at their present values. beta is the share of
stall (a layer that takes longer keeps its energy rather than its power) that layers have in common, beta_j what each differs by.
The drift functions are Legendre polynomials over the recording, of mean 0. The shift of a piece of readings is a cubic B-spline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.layout import US, Layout
from neuralpower_align.model.piece import Piece
from neuralpower_align.model.rows import Design
from neuralpower_align.sensor.kernel import MOST_SKEW, SHORTEST_NS, Kernel, lag_of_ns, lag_rate, measured_ns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

KNOT_S = 10.0
"""Chip: distance of knots of the spline that the conversions' ends may be off by."""
DRIFTS = 3
"""Tuning: drift functions: a slope, a bend and an S over the recording."""
STALL_MEAN, STALL_SPREAD = 0.5, 0.29
"""Prior: of a share between 0 and 1 of which nothing is known."""
DRIFT_SPREAD = 0.02
"""Prior: powers drift by some percent with temperature."""
TAMED_SPREAD = 0.4
"""Prior: of powers of layers about their mean, as a share of it, while the sensor is sought."""
FREE_SPREAD = 2.0
"""Prior: of any power about the mean of all readings, as a share of that: says nothing of what was measured, and keeps what hardly was (the launch
of an engine that ran for half a second) from running away with the sensor."""
FREE_LAYER_SPREAD = 20.0
"""Prior: the same of layers: what these have in common is told afterwards, and must not be said twice."""
SHIFT_SPREAD_US = 150.0
"""Prior: how far the conversions' ends may be off where the search before has laid them."""
SHIFT_BEND_US = 60.0
"""Prior: second differences of that from knot to knot."""
KNOWN_SHIFT_US = 5.0
"""Prior: where the sensor was found of other classes, of the same readings' time, by so much its delay may still be off."""
LAG_SPREAD_US = 1000.0
"""Prior: of a lag about the one acquired; says little."""
BLUR_SPREAD, WIDEST = 0.4, 2.0
"""Prior: of the logarithm of the variance by which edges are blurred over that of the scatter: slopes, and with them the scatter, are made of powers
held near their mean. It goes no further than the latter."""
SKEW_SPREAD = 0.7
"""Prior: of the skewness of inferences' places: that of a wait which scatters by half a normal curve is 1, and of what the rest of the room leaves of it
either sign."""
SPLIT_SPREAD, HELD = 3.0, 1e-6
"""Prior: of the column that looks for a second pole, which says nothing; and of a parameter that is held."""
SHORT_NS = 50e3
"""Tuning: a lag this short may go to the shortest in one step."""


def legendre(x: Floats) -> Floats:
    """The drift functions (..., m) of x within -1 and 1: Legendre's polynomials, of mean 0. Powers of arrays take ten times as long as products."""
    square = x * x
    return np.stack([x, (3 * square - 1) / 2, (5 * square - 3) * x / 2], axis=-1)[..., :DRIFTS]


@dataclass(frozen=True)
class Spline:
    """Cubic B-splines with equal knots over [begin, end]: columns 0 .. columns - 1."""

    begin_ns: float
    knot_ns: float
    columns: int

    @classmethod
    def over(cls, begin_ns: float, end_ns: float, knot_s: float = KNOT_S) -> Spline:
        """Knots about `knot_s` apart."""
        parts = max(round((end_ns - begin_ns) / (knot_s * 1e9)), 1)
        return cls(begin_ns, max(end_ns - begin_ns, 1.0) / parts, parts + 3)

    def basis(self, at_ns: Floats) -> tuple[Ints, Floats]:
        """First of four columns that count at each time, and their weights (..., 4), which add up to 1."""
        first, f = self._place(at_ns)
        rest, square = 1 - f, f * f
        cube = square * f
        weights = [rest * rest * rest, 3 * cube - 6 * square + 4, 3 * (square - cube + f) + 1, cube]
        return first, np.stack(weights, axis=-1) / 6

    def value(self, at_ns: Floats, coefficients: Floats) -> Floats:
        """The curve at some times, in the unit of the coefficients."""
        first, f = self._place(at_ns)
        a, b, c, d = (coefficients[k : self.columns - 3 + k] for k in range(4))
        # The cubic between two knots, from its highest power on: all rows of a recording are placed at each step of a fit.
        powers = ((d - a) / 6 + (b - c) / 2, (a + c) / 2 - b, (c - a) / 2, (a + c) / 6 + 2 * b / 3)
        found = powers[0][first]
        for power in powers[1:]:
            found *= f
            found += power[first]
        return found

    def _place(self, at_ns: Floats) -> tuple[Ints, Floats]:
        """The knot before each time, and how far it lies behind it, in distances of knots."""
        place = np.clip((at_ns - self.begin_ns) / self.knot_ns, 0.0, self.columns - 3 - 1e-9)
        first = place.astype(np.int64)
        return first, place - first

    def precision(self, spread: float, bend: float) -> Floats:
        """Inverse covariance of coefficients that are of size `spread` and whose second differences are of size `bend`."""
        second = np.diff(np.eye(self.columns), 2, axis=0)
        return np.asarray(np.eye(self.columns) / spread**2 + second.T @ second / bend**2, np.float64)


@dataclass(frozen=True)
class Pull:
    """By how much half the log det of the powers' information falls with lag, 1/us, with blur, with skewness and with the layout's parameters (j,): what a
    likelihood of the sensor has in which powers were not fitted but integrated over (restricted likelihood, Patterson and Thompson 1971)."""

    lag: float
    blur: float
    skew: float
    layout: Floats


@dataclass(frozen=True)
class Model:
    """Present values of everything. `layer` (c,): which classes are layers; `stalls`, `second`: whether these are fitted."""

    power_w: Floats
    layer: Bools
    kernel: Kernel
    splines: tuple[Spline, ...]
    begin_ns: float
    end_ns: float
    layout: Layout
    stall: float = STALL_MEAN
    stall_of: Floats | None = None
    drift: Floats | None = None
    idle_drift: Floats | None = None
    own_phi: Floats | None = None
    """The drift functions' means (c, m) over the time that each class ran; None: not known."""
    shift_us: tuple[Floats, ...] = ()
    lag_from_ns: float = 0.0
    second_from_ns: float = 0.0
    stalls: bool = True
    each: bool = True
    """Whether each class has a stall share of its own beside the common one."""
    second: bool = False
    tested: bool = False
    """Without a second pole: whether the column that looks for one is free."""
    sensor: bool = True
    known: bool = False
    """Whether poles, layout and blur are known: only shifts are fitted of what is the sensor's."""
    centre_w: float = 0.0
    """Powers of layers are held near this, by TAMED_SPREAD of it, so that they do not explain what the sensor should; 0: they are not."""
    blurs: bool = False
    """Whether edges may be as wide as fits best, rather than as inferences scatter."""
    edge_ns: float = 0.0
    """While a maximum is sought: edges are this wide whatever the scatter; 0: as wide as that says."""
    wider: float = 0.0
    """Logarithm of the squared width of edges over the variance by which inferences scatter."""
    level_w: float = 0.0
    """Mean of all readings: layers' mean lies between this and three times this; 0: not known."""
    pull: Pull | None = None
    """Held for a turn, like weights; None: nothing is said of it."""
    likely_w: Floats | None = None
    """Powers (c,) held near their mean: what slopes are made of. Those of noisy estimates would be too steep, and would agree with
    the noise that they came from: that biases the shift, and makes too little of the slack."""

    @property
    def slope_w(self) -> Floats:
        """Powers (c,) that slopes are made of, W."""
        return self.power_w if self.likely_w is None else self.likely_w

    @property
    def stall_shares(self) -> Floats | None:
        """Of each class (c,) as they are known; None while each has one of its own that is fitted."""
        if self.each or not self.stalls or self.stall_of is None:
            return None
        return np.where(self.layer, self.stall + self.stall_of, 0.0)

    @property
    def index(self) -> Index:
        """Where each parameter is."""
        return Index(self)

    def drifts(self, at_ns: Floats) -> Floats:
        """Drift functions (..., m) at some times, -1 to 1."""
        return legendre(2 * (at_ns - self.begin_ns) / max(self.end_ns - self.begin_ns, 1.0) - 1)


class Index:
    """Numbers of parameters: powers, stalls of each class, common stall, poles, drifts, blur, skewness, layout, shifts of each piece."""

    def __init__(self, model: Model) -> None:
        classes = model.power_w.size
        self.power = slice(0, classes)
        at = classes
        self.stall_of = slice(at, at + (classes if model.stalls and model.each else 0))
        self.stall = slice(self.stall_of.stop, self.stall_of.stop + int(model.stalls))
        self.lag = slice(self.stall.stop, self.stall.stop + int(model.sensor))
        self.second = slice(self.lag.stop, self.lag.stop + int(model.sensor))
        self.drift = slice(self.second.stop, self.second.stop + DRIFTS)
        self.idle_drift = slice(self.drift.stop, self.drift.stop + DRIFTS)
        self.blur = slice(self.idle_drift.stop, self.idle_drift.stop + int(model.sensor))
        self.skew = slice(self.blur.stop, self.blur.stop + int(model.sensor))
        self.layout = slice(self.skew.stop, self.skew.stop + (model.layout.size if model.sensor else 0))
        at = self.layout.stop
        self.shift: list[slice] = []
        for spline in model.splines:
            self.shift.append(slice(at, at + (spline.columns if model.sensor else 0)))
            at = self.shift[-1].stop
        self.size = at

    @property
    def constant(self) -> tuple[slice, ...]:
        """Of the sensor what is the same all the time: poles, blur, skewness, layout."""
        return self.lag, self.second, self.blur, self.skew, self.layout

    @property
    def lasting(self) -> tuple[slice, ...]:
        """What means the same over another time: powers, the stall that layers have in common, and what is constant of the sensor. Drifts and
        shifts are of a time, stalls of single classes are not fitted everywhere."""
        return self.power, self.stall, *self.constant

    @property
    def of_sensor(self) -> Ints:
        """Numbers of all that says when and how the sensor saw the power: what is constant of it, and shifts."""
        every = (*self.constant, *self.shift)
        return np.concatenate([np.arange(each.start, each.stop) for each in every])


def columns(model: Model, design: Design) -> tuple[Ints, Floats, Floats]:
    """Parameters that touch the rows (q,), derivative columns (b, n, q), and what the model says of the rows (b, n), W."""
    numbers, both = columns_and_residual(model, design)
    return numbers, both[..., :-1], said(model, design)


def said(model: Model, design: Design) -> Floats:
    """What the model says of the rows (b, n), W."""
    phi = model.drifts(design.at_ns)
    return _said(model, design, phi, _shares(model, design, phi))


def columns_and_residual(model: Model, design: Design) -> tuple[Ints, Floats]:
    """Parameters that touch the rows (q,); and in one array (b, n, q + 1) the derivative columns and, last, what the model leaves of the rows, W."""
    index, likely, layer = model.index, model.slope_w[design.touched], model.layer[design.touched]
    phi = model.drifts(design.at_ns)
    share = _shares(model, design, phi)
    numbers, parts = [np.arange(index.power.start, index.power.stop)[design.touched]], [share]
    if model.stalls:
        if model.each:
            assert design.stalled is not None
            numbers.append(index.stall_of.start + design.touched)
            parts.append(design.stalled * np.where(layer, likely, 0.0))
        numbers.append(np.arange(index.stall.start, index.stall.stop))
        parts.append(design.by_stall[..., None])
    if model.sensor:
        numbers.append(np.arange(index.lag.start, index.second.stop))
        # Poles change at the same mean answer: what is longer is seen so much later.
        by_lag = (design.by_lag + design.slide) * (US * lag_rate(model.kernel.lag_ns))
        by_second = (design.by_second + design.slide) * US if model.second else design.by_second
        parts += [by_lag[..., None], by_second[..., None]]
    layers = design.share @ np.where(layer, likely, 0.0)
    numbers.append(np.arange(index.drift.start, index.idle_drift.stop))
    parts += [phi * layers[..., None], phi * _idle(model, design)[..., None]]
    if model.sensor:
        numbers.append(np.arange(index.blur.start, index.skew.stop))
        parts += [design.by_blur[..., None], design.by_skew[..., None]]
        numbers.append(index.layout.start + design.moved)
        parts.append(design.layout)
        first, weights = model.splines[design.piece].basis(design.at_ns)
        low, high = int(first.min()), int(first.max()) + 4
        dense = np.zeros((*first.shape, high - low))
        np.put_along_axis(dense, first[..., None] - low + np.arange(4), weights * design.slide[..., None] * US, axis=-1)
        numbers.append(index.shift[design.piece].start + np.arange(low, high))
        parts.append(dense)
    parts.append((design.value_w - _said(model, design, phi, share))[..., None])
    return np.concatenate(numbers), np.concatenate(parts, axis=-1)


def _shares(model: Model, design: Design, phi: Floats) -> Floats:
    """Of the classes touched in the rows (b, n, t), with stalls and drift."""
    layer = model.layer[design.touched]
    if model.stalls and model.stall_of is not None and design.stalled is not None:
        share = design.stalled * np.where(layer, model.stall + model.stall_of[design.touched], 0.0)
        share += design.share
    else:
        share = np.array(design.share)
    if model.drift is not None:
        np.multiply(share, (1 + phi @ model.drift)[..., None], out=share, where=layer)
    return share


def _said(model: Model, design: Design, phi: Floats, share: Floats) -> Floats:
    found = share @ model.power_w[design.touched]
    if model.idle_drift is not None:
        found = found + (phi @ model.idle_drift) * _idle(model, design)
    return np.asarray(found, np.float64)


def _idle(model: Model, design: Design) -> Floats:
    """The share of all that is no layer (b, n)."""
    return np.asarray(design.share @ np.where(model.layer[design.touched], 0.0, 1.0), np.float64)


def prior(model: Model) -> tuple[Floats, Floats]:
    """Precision (q, q) of what is known beforehand, and how far (q,) its centre lies from the present values."""
    index = model.index
    precision, away = np.zeros((index.size, index.size)), np.zeros(index.size)

    def put(where: slice, spread: npt.ArrayLike, now: npt.ArrayLike, centre: float) -> None:
        place = np.arange(where.start, where.stop)
        precision[place, place] = 1 / np.square(spread)
        away[place] = centre - np.asarray(now, np.float64)

    if model.level_w:
        spread = np.where(model.layer, FREE_LAYER_SPREAD, FREE_SPREAD)
        put(index.power, spread * model.level_w, model.power_w, model.level_w)
    if model.centre_w:
        layers = np.flatnonzero(model.layer)
        precision[layers, layers] = 1 / (TAMED_SPREAD * model.centre_w) ** 2
        away[layers] = model.centre_w - model.power_w[layers]
    if model.stalls:
        if model.each:
            put(index.stall_of, STALL_SPREAD, 0.0 if model.stall_of is None else model.stall_of, 0.0)
        put(index.stall, STALL_MEAN, model.stall, STALL_MEAN)
    put(index.drift, DRIFT_SPREAD, 0.0 if model.drift is None else model.drift, 0.0)
    put(
        index.idle_drift,
        DRIFT_SPREAD * max(model.level_w, 0.1),
        0.0 if model.idle_drift is None else model.idle_drift,
        0.0,
    )
    if model.sensor:
        put(
            index.lag,
            HELD if model.known else LAG_SPREAD_US,
            0.0 if model.known else (measured_ns(model.kernel.lag_ns) - measured_ns(model.lag_from_ns)) / US,
            0.0,
        )
        if model.second and not model.known:
            put(index.second, LAG_SPREAD_US, (model.kernel.second_ns - model.second_from_ns) / US, 0.0)
        else:
            put(index.second, SPLIT_SPREAD if model.tested else HELD, 0.0, 0.0)
        put(index.blur, BLUR_SPREAD if model.blurs else HELD, model.wider if model.blurs else 0.0, 0.0)
        skews = model.blurs and not model.known
        put(index.skew, SKEW_SPREAD if skews else HELD, model.kernel.skew if skews else 0.0, 0.0)
        if model.known:
            put(index.layout, HELD, 0.0, 0.0)
        else:
            precision[index.layout, index.layout], centre = model.layout.prior
            away[index.layout] = centre - model.layout.value
        if model.pull is not None and not model.known:
            for place, pull in (
                (index.lag.start, model.pull.lag),
                (index.blur.start, model.pull.blur * model.blurs),
                (index.skew.start, model.pull.skew * model.blurs),
            ):
                away[place] += pull / precision[place, place]
            away[index.layout] += np.linalg.solve(precision[index.layout, index.layout], model.pull.layout)
        kernel = model.kernel
        from_ns = model.lag_from_ns + (model.second_from_ns if model.second else 0.0)
        later_us = 0.0 if model.known else (kernel.lag_ns + kernel.second_ns - from_ns) / US
        for number, (spline, where) in enumerate(zip(model.splines, index.shift, strict=True)):
            if model.known:
                precision[where, where] = np.eye(spline.columns) / KNOWN_SHIFT_US**2
            else:
                precision[where, where] = spline.precision(SHIFT_SPREAD_US, SHIFT_BEND_US)
            away[where] = later_us - model.shift_us[number] if model.shift_us else 0.0
    return precision, away


def moved(model: Model, pieces: list[Piece], change: Floats) -> tuple[Model, list[Piece]]:
    """The model and the pieces after a step of all parameters; steps of the sensor are bounded, so that a wild one does no harm."""
    index = model.index
    stall_of = model.stall_of if model.stall_of is not None else np.zeros(model.power_w.size)
    drift = model.drift if model.drift is not None else np.zeros(DRIFTS)
    idle = model.idle_drift if model.idle_drift is not None else np.zeros(DRIFTS)
    by_w = np.array(change[index.power])
    if model.own_phi is not None:
        # Of an engine that ran at one time power and drift are told as a product alone. A step is one of that, or engines of many times would
        # have steps along a valley that bends, of which only short ones lower the cost.
        before, after = (1 + model.own_phi @ each for each in (drift, drift + change[index.drift]))
        by_w = np.where(model.layer, by_w * before / after, by_w)
    power = model.power_w + by_w
    new = replace(model, power_w=power, drift=drift + change[index.drift], idle_drift=idle + change[index.idle_drift])
    if model.stalls:
        new = replace(new, stall=model.stall + float(change[index.stall][0]))
    if model.stalls and model.each:
        new = replace(new, stall_of=stall_of + change[index.stall_of])
    if not model.sensor:
        return new, pieces
    kernel = model.kernel
    lag = lag_of_ns(measured_ns(kernel.lag_ns) + US * float(change[index.lag][0]))
    second = kernel.second_ns + (US * float(change[index.second][0]) if model.second else 0.0)
    lag = float(
        np.clip(lag, kernel.lag_ns / 3 if kernel.lag_ns > SHORT_NS else SHORTEST_NS, kernel.lag_ns * 2 + SHORT_NS)
    )
    second = float(np.clip(second, kernel.second_ns / 2, kernel.second_ns * 2 + 50e3)) if model.second else 0.0
    later_us = (lag + second - kernel.lag_ns - kernel.second_ns) / US
    shifts, later = [], []
    for number, piece in enumerate(pieces):
        step = np.clip(change[index.shift[number]], -60.0, 60.0) + later_us
        shifts.append(step + (model.shift_us[number] if model.shift_us else 0.0))
        later.append(piece.shifted(US * model.splines[number].value(piece.at_ns, step)))
    layout = model.layout.moved(change[index.layout])
    wider = float(np.clip(model.wider + np.clip(change[index.blur][0], -0.7, 0.7), -WIDEST, WIDEST))
    skew = float(np.clip(kernel.skew + change[index.skew][0], -MOST_SKEW, MOST_SKEW))
    kernel = replace(kernel.with_lags(lag, second), skew=skew)
    return replace(new, wider=wider, kernel=kernel, layout=layout, shift_us=tuple(shifts)), later


def between(one: Model, other: Model, like: Model) -> Floats:
    """By how much the parameters of another model of the same classes and pieces differ from those of one, (q,), as `like` numbers them."""
    index = like.index
    found = np.zeros(index.size)
    found[index.power] = other.power_w - one.power_w
    if like.stalls:
        found[index.stall] = other.stall - one.stall
    zero = np.zeros(DRIFTS)
    for where, mine, theirs in (
        (index.drift, one.drift, other.drift),
        (index.idle_drift, one.idle_drift, other.idle_drift),
    ):
        found[where] = (zero if theirs is None else theirs) - (zero if mine is None else mine)
    if like.sensor:
        found[index.lag] = (measured_ns(other.kernel.lag_ns) - measured_ns(one.kernel.lag_ns)) / US
        found[index.second] = (other.kernel.second_ns - one.kernel.second_ns) / US
        later_us = (other.kernel.lag_ns + other.kernel.second_ns - one.kernel.lag_ns - one.kernel.second_ns) / US
        found[index.blur] = other.wider - one.wider
        found[index.skew] = other.kernel.skew - one.kernel.skew
        found[index.layout] = other.layout.value - one.layout.value
        for where, mine, theirs in zip(index.shift, one.shift_us, other.shift_us, strict=True):
            found[where] = theirs - mine - later_us
    return found


def room_to_bounds(model: Model) -> tuple[Floats, Floats]:
    """How far each parameter (q,) may go down and up."""
    index = model.index
    down, up = np.full(index.size, -np.inf), np.full(index.size, np.inf)
    if model.sensor:
        least, most = model.layout.bounds
        down[index.layout], up[index.layout] = least - model.layout.value, most - model.layout.value
        down[index.blur], up[index.blur] = -WIDEST - model.wider, WIDEST - model.wider
        down[index.skew], up[index.skew] = -MOST_SKEW - model.kernel.skew, MOST_SKEW - model.kernel.skew
        down[index.lag] = (measured_ns(SHORTEST_NS) - measured_ns(model.kernel.lag_ns)) / US
    return down, up
