"""Power of the layers of all engines of a recording with their intervals: the whole way from readings to units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.energy import energy_between
from neuralpower_align.estimate import Estimate, estimate
from neuralpower_align.excitation import MOST_UNSEEN, Excitation, excitation
from neuralpower_align.resolution import GROUP_ERROR, HALF_WIDTH, resolved_units
from neuralpower_align.scan_clock import ChannelReadings, Sensor
from neuralpower_align.schedule import Laid, Schedule, Stretch, schedule
from neuralpower_align.sensing import sensor_of
from neuralpower_align.units import Units
from neuralpower_align.windows import launch_gap_ns, layer_windows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BASELINES = ("device-idle", "context-idle", "gap", "aside")
LONGEST_HOLE_NS = 50_000_000
"""Energy is summed over no longer hole in the readings than this."""
MOST_SLACK, LEAST_ROOM_NS = 0.6, 20e3
LEAST_BESIDE = 5e-3
"""Of so small a share of an inference before and after its layers no power can be told: it counts as the layers'."""
FEWEST_CLUSTERS = 30
UNDECLARED = 3.0
"""Gaps of a run that differ by more standard errors from gaps measured alone hold something that nobody declared."""


@dataclass(frozen=True)
class Engine:
    """All inferences of one engine: anchors (m,), durations (m, n), ns; `alike` (n,) numbers layers 0, 1, .. in the order
    of first appearance, with one number for layers known to be the same.

    `whole`: nobody knows what ran within its inferences, and the durations are slices of all of the time between the anchors.
    """

    begin_ns: Ints
    end_ns: Ints
    durations_ns: Ints
    alike: Ints
    whole: bool = False


@dataclass(frozen=True)
class Baseline:
    """A stretch of which the recording says what it was (one of BASELINES), outside all inferences; `engine`: whose gap.

    "aside": something else ran, which is no baseline of anything.
    """

    kind: str
    begin_ns: int
    end_ns: int
    engine: int = 0


@dataclass(frozen=True)
class Level:
    """A power and its standard error, W; nan where nothing was measured."""

    power_w: float
    se_w: float


@dataclass(frozen=True)
class EnginePower:
    """Of one engine. Per layer (n,): its unit; power of the unit and its standard error, W, with covariance (n, n) of single layers
    (neighbours that are copies of one layer are one in it).

    `layer_w` (n,): each layer's own estimate, resolved or not. `units`: what was told apart. Energy of all layers of a mean
    inference, J, with its standard error; `window_j` is all energy between its anchors. `withheld`: why nothing should be made of the powers, "" if something may. Launch: from the begin anchor to the first layer; tail: from the last to the end anchor.
    """

    unit: Ints
    power_w: Floats
    power_se_w: Floats
    layer_w: Floats
    covariance: Floats
    units: Units
    energy_j: float
    energy_se_j: float
    launch: Level
    tail: Level
    gap: Level
    withheld: str = ""
    window_j: float = float("nan")
    window_se_j: float = float("nan")


@dataclass(frozen=True)
class Balance:
    """Where the measured energy went, J: measured = layers + gaps + idle + unattributed, exactly.

    The launch gaps between the layers of an inference are counted with the layers, launch and tail with the gaps.
    """

    measured_j: float
    layers_j: float
    gaps_j: float
    idle_j: float

    @property
    def unattributed_j(self) -> float:
        """What no class explains."""
        return self.measured_j - self.layers_j - self.gaps_j - self.idle_j


@dataclass(frozen=True)
class Fitted:
    """One rail: the sensor from which the fit set out, what was found, and by how much its variances were widened, 1 or more."""

    sensor: Sensor
    found: Estimate
    inflation: float


@dataclass(frozen=True)
class LayerPower:
    """Everything that was found; `rails`: what was fitted, their sum is what the rest is about."""

    engines: tuple[EnginePower, ...]
    idle: Level
    device_idle: Level
    context_idle: Level
    rails: tuple[Fitted, ...]
    balance: Balance
    launch_gap_ns: float
    notes: tuple[str, ...] = field(default=())


def layer_power(
    engines: Sequence[Engine],
    rails: Sequence[Sequence[ChannelReadings]],
    sensors: Sequence[Sensor | None] = (),
    baselines: Sequence[Baseline] = (),
    half_width: float = HALF_WIDTH,
    group_error: float = GROUP_ERROR,
) -> LayerPower:
    """Attribute the power of some rails together to the layers of all engines.

    rails: the stretches of readings of each rail; their powers are added up, their errors taken as independent. sensors: what is known
    of each rail's sensor, nearly right; where it is None it is acquired. Raises ValueError if inferences overlap or readings lack.
    """
    classes = Classes.of(engines)
    plan = classes.schedule(engines, baselines)
    fitted, power = [], np.zeros(plan.count)
    covariance, scattered = np.zeros((plan.count, plan.count)), np.zeros((plan.count, plan.count))
    for number, readings in enumerate(rails):
        known = sensors[number] if number < len(sensors) else None
        if known is None:
            alone = tuple(np.flatnonzero(~classes.is_layer()).tolist())
            half_scan_ns = max(piece.scan_ns for piece in readings) / 2
            known = sensor_of(plan.activity, readings, alone, classes.coarse(engines, max(half_scan_ns, 1.0)))
        sensor = known
        found = estimate(plan, readings, sensor, classes.is_layer())
        inflation = _inflation(found, classes)
        fitted.append(Fitted(sensor, found, inflation))
        power += found.power_w
        covariance += found.power_covariance * inflation
        scattered += found.scattered[: plan.count, : plan.count]
    contradicted = _contradicted(engines, fitted)
    rows = [
        _engine(
            power,
            covariance,
            classes,
            number,
            engine,
            half_width,
            group_error,
            _excited(engine, fitted),
            contradicted,
            scattered,
        )
        for number, engine in enumerate(engines)
    ]
    likely = np.sum([rail.found.model.slope_w for rail in fitted], axis=0)
    unknown = np.sqrt(np.diag(covariance)) > 0.5 * float(np.mean(likely[classes.is_layer()]))
    declared, notes = _declared_gaps(np.where(unknown, likely, power), covariance, classes)
    return LayerPower(
        engines=tuple(rows),
        idle=_level(power, covariance, classes.idle, plan),
        device_idle=_level(power, covariance, classes.device_idle, plan),
        context_idle=_level(power, covariance, classes.context_idle, plan),
        rails=tuple(fitted),
        balance=_balance(plan, rails, classes, declared),
        launch_gap_ns=classes.between_ns,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class Classes:
    """Numbers for all unknowns: the layers of each engine, its launch, its tail, its gap, its gap measured alone; idling last."""

    layers: tuple[Ints, ...]
    launch: Ints
    tail: Ints
    gap: Ints
    gap_alone: Ints
    idle: int
    device_idle: int
    context_idle: int
    aside: int
    between_ns: float

    @classmethod
    def of(cls, engines: Sequence[Engine]) -> Classes:
        """Number them."""
        layers, others, at = [], [], 0
        for engine in engines:
            size = int(engine.alike.max()) + 1 if engine.alike.size else 0
            layers.append(np.arange(at, at + size))
            others.append(np.arange(at + size, at + size + 4))
            at += size + 4
        table = np.array(others, np.int64).reshape(-1, 4)
        told = [e for e in engines if not e.whole]
        slack = [float(np.median(e.end_ns - e.begin_ns - e.durations_ns.sum(axis=1))) for e in told]
        launches = [max(int(np.median((e.durations_ns > 0).sum(axis=1))) - 1, 0) for e in told]
        return cls(
            layers=tuple(layers), launch=table[:, 0], tail=table[:, 1], gap=table[:, 2], gap_alone=table[:, 3],
            idle=at, device_idle=at + 1, context_idle=at + 2, aside=at + 3, between_ns=launch_gap_ns(slack, launches),
        )  # fmt: skip

    @property
    def count(self) -> int:
        """How many."""
        return self.aside + 1

    def launch_gap_ns(self, engine: Engine) -> float:
        """The gap laid before each further layer of an engine."""
        return 0.0 if engine.whole else self.between_ns

    def is_layer(self) -> Bools:
        """Which are layers (c,)."""
        found = np.zeros(self.count, bool)
        found[np.concatenate(self.layers)] = True
        return found

    def coarse(self, engines: Sequence[Engine], piece_ns: float) -> Ints:
        """Coarser class of each class (c,), for the search of the sensor: layers of an engine in pieces of about `piece_ns`, 10 to
        40 of them, and its launch, tail and gap as one."""
        found, at = np.zeros(self.count, np.int64), 0
        for number, (engine, layers) in enumerate(zip(engines, self.layers, strict=True)):
            spent = np.bincount(engine.alike, engine.durations_ns.mean(axis=0), layers.size)
            middle = (np.cumsum(spent) - spent / 2) / max(float(spent.sum()), 1e-9)
            pieces = int(np.clip(spent.sum() / piece_ns, 10, 40))
            piece = np.unique(np.minimum((middle * pieces).astype(np.int64), pieces - 1), return_inverse=True)[1]
            found[layers] = at + piece.reshape(-1)
            at += int(piece.max(initial=-1)) + 1
            found[[self.launch[number], self.tail[number], self.gap[number]]] = at
            found[self.gap_alone[number]] = at + 1
            at += 2
        found[self.idle :] = at + np.arange(self.count - self.idle)
        return found

    def schedule(self, engines: Sequence[Engine], baselines: Sequence[Baseline]) -> Schedule:
        """What ran when."""
        laid = [
            Laid(
                layer_windows(e.begin_ns, e.end_ns, e.durations_ns, between_ns=self.launch_gap_ns(e)),
                layers[e.alike], int(self.gap[i]), e.begin_ns, e.end_ns, int(self.launch[i]), int(self.tail[i]),
            )
            for i, (e, layers) in enumerate(zip(engines, self.layers, strict=True))
        ]  # fmt: skip
        numbers = {"device-idle": self.device_idle, "context-idle": self.context_idle, "aside": self.aside}
        named = [Stretch(numbers.get(b.kind, int(self.gap_alone[b.engine])), b.begin_ns, b.end_ns) for b in baselines]
        return schedule(laid, self.idle, self.count, named=named)


def _inflation(found: Estimate, classes: Classes) -> float:
    """By how much the scatter of clusters exceeds what the model says, in the mean over layers; 1 where it does not."""
    if found.clusters < FEWEST_CLUSTERS:
        return 1.0
    layers = np.concatenate(classes.layers)
    model, scattered = np.diag(found.covariance)[layers], np.diag(found.scattered)[layers]
    ratio = float(np.mean(scattered / np.maximum(model, 1e-30))) if layers.size else 1.0
    return max(ratio, 1.0)


def _contradicted(engines: Sequence[Engine], fitted: Sequence[Fitted]) -> str:
    """Why the fit cannot be believed, "" if it can.

    No inference runs outside its anchors. Where readings scatter as if they did, something is wrong with the sensor, or with what
    ran when, that the scatter has to make up for.
    """
    told = [e for e in engines if not e.whole]
    if not told:
        return ""
    room = np.concatenate([(e.end_ns - e.begin_ns - e.durations_ns.sum(axis=1)) / 2 for e in told])
    most = MOST_SLACK * float(np.median(room)) + LEAST_ROOM_NS
    worst = max(float(np.sqrt(rail.found.noise.slack)) for rail in fitted)
    if worst <= most:
        return ""
    return (
        f"readings scatter as if inferences ran {worst / 1e3:.0f} us rms from where they were laid, and between their anchors there "
        f"are {float(np.median(room)) / 1e3:.0f} us to either side: sensor or layers are not what they are taken for"
    )


def _excited(engine: Engine, fitted: Sequence[Fitted]) -> list[Excitation]:
    """How each rail's windows lay in the inferences."""
    return [
        excitation(piece.at_ns, piece.window_ns, engine.begin_ns, engine.end_ns)
        for rail in fitted
        for piece in [max(rail.found.pieces, key=lambda each: each.number.size)]
        if not piece.unplaced_ns
    ]


def _engine(
    power_w: Floats,
    covariance: Floats,
    classes: Classes,
    number: int,
    engine: Engine,
    half_width: float,
    group_error: float,
    excited: Sequence[Excitation] = (),
    contradicted: str = "",
    scattered: Floats | None = None,
) -> EnginePower:
    # Copies of one layer in a row, thousands in a repeated-layer engine, are one: their power is one unknown.
    first = np.append(0, np.flatnonzero(np.diff(engine.alike)) + 1)
    run = np.repeat(np.arange(first.size), np.diff(np.append(first, engine.alike.size)))
    layers = classes.layers[number][engine.alike[first]]
    seconds = np.add.reduceat(engine.durations_ns.mean(axis=0), first) * 1e-9
    gap = int(classes.gap[number])
    # In the launch gaps that were laid with each layer the board draws what it draws between inferences.
    ran = np.add.reduceat((engine.durations_ns > 0).mean(axis=0), first) * classes.launch_gap_ns(engine) * 1e-9
    excess = ran / np.maximum(seconds, 1e-12)
    change = np.zeros((layers.size, power_w.size))
    change[np.arange(layers.size), layers] = 1 + excess
    change[:, gap] -= excess
    own, own_covariance = change @ power_w, change @ covariance @ change.T
    units = resolved_units(own, own_covariance, seconds, half_width, group_error)
    hidden = max((each.unseen for each in excited), default=0.0)
    window = np.zeros(power_w.size)
    np.add.at(window, layers, seconds + ran)
    spent, inside = float((engine.end_ns - engine.begin_ns).mean()) * 1e-9, float(window.sum())
    if spent - inside > LEAST_BESIDE * spent:
        window[[classes.launch[number], classes.tail[number]]] = (spent - inside) / 2
    else:
        window *= spent / max(inside, 1e-12)
    scatter = covariance if scattered is None else scattered
    withheld = contradicted
    if hidden > MOST_UNSEEN:
        withheld = f"{hidden:.0%} of an inference were never seen: its period is locked to the chip's scan"
    told = units.told & (not withheld)
    units = replace(units, told=told)
    return EnginePower(
        unit=units.unit[run],
        withheld=withheld,
        power_w=units.power_w[units.unit][run],
        power_se_w=units.power_se_w[units.unit][run],
        layer_w=own[run],
        covariance=own_covariance,
        units=units,
        energy_j=float(own @ seconds),
        energy_se_j=_sum_error(seconds @ change, covariance, scatter),
        launch=_level(power_w, covariance, int(classes.launch[number])),
        tail=_level(power_w, covariance, int(classes.tail[number])),
        gap=_level(power_w, covariance, gap),
        window_j=float(window @ power_w),
        window_se_j=_sum_error(window, covariance, scatter),
    )


def _sum_error(weights: Floats, covariance: Floats, scattered: Floats) -> float:
    """Standard error of a weighted sum of powers: slow changes matter most for such, so the scatter of seconds has its say for itself."""
    return float(np.sqrt(max(0.0, *(float(weights @ each @ weights) for each in (covariance, scattered)))))


def _level(power_w: Floats, covariance: Floats, number: int, plan: Schedule | None = None) -> Level:
    error = float(np.sqrt(max(covariance[number, number], 0.0)))
    if plan is not None and not np.any(plan.classes == number):
        return Level(float("nan"), float("nan"))
    return Level(float(power_w[number]), error)


def _declared_gaps(power_w: Floats, covariance: Floats, classes: Classes) -> tuple[Floats, list[str]]:
    """What gaps draw as far as somebody declared it (c,), W: as measured alone where those of the run differ from that."""
    declared, notes = np.array(power_w), []
    for number, (run, alone) in enumerate(zip(classes.gap.tolist(), classes.gap_alone.tolist(), strict=True)):
        variance = covariance[run, run] + covariance[alone, alone] - 2 * covariance[run, alone]
        more = power_w[run] - power_w[alone]
        if variance < 0.25 * max(power_w[alone], 0.0) ** 2 and abs(more) > UNDECLARED * np.sqrt(max(variance, 0.0)):
            declared[run] = power_w[alone]
            notes.append(
                f"gaps of engine {number + 1} draw {more:+.2g} W beside what a gap measured alone draws: it counts as unattributed"
            )
    return declared, notes


def _balance(
    plan: Schedule,
    rails: Sequence[Sequence[ChannelReadings]],
    classes: Classes,
    declared_w: Floats,
) -> Balance:
    """Energy measured over all unbroken readings, and what the classes' powers make of the same time."""
    activity, measured, seconds = plan.activity, 0.0, np.zeros(plan.count)
    for number, readings in enumerate(rails):
        for piece in readings:
            breaks = np.flatnonzero(np.diff(piece.read_ns) > LONGEST_HOLE_NS)
            lows, highs = np.append(0, breaks + 1), np.append(breaks, piece.read_ns.size - 1)
            for low, high in zip(lows, highs, strict=True):
                begin, end = int(piece.read_ns[low]), int(piece.read_ns[high])
                part = slice(low, high + 1)
                measured += float(energy_between(piece.read_ns[part], piece.power_w[part], begin, end))
                if number == 0:
                    seconds += activity.occupied_s(begin, end)
    energy = declared_w * seconds
    idle = np.array([classes.idle, classes.device_idle, classes.context_idle, classes.aside])
    layers_j, idle_j = float(energy[classes.is_layer()].sum()), float(energy[idle].sum())
    return Balance(measured, layers_j, float(energy.sum()) - layers_j - idle_j, idle_j)
