"""Choosing degree, penalty and regions: the held-out error of many sums, from few Gram matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.law import rough
from neuralpower.models.regression.merged import Merged
from neuralpower.models.regression.path import Lasso, Moments
from neuralpower.models.regression.polynomial import AT_ONCE, PredictionBounds, octaves
from neuralpower.models.regression.regions import FACTORS, SUMS, regions_of
from neuralpower.models.regression.terms import Term, plain

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

LOSSES = ("relative", "log-ratio", "relative-y", "squared")
FARTHEST = 3.0
"""A value so many times its prediction, or that part of it, pulls no more if it is still farther off: a few strange layers carry no fit."""
MOST_TERMS = 48
"""Of a sum that multiplies a law, which has up to twenty amounts of its own: more than 80 together nobody reads."""
LENGTHS = (0, 6, 16)
"""Terms of the shorter sums that are tried where layers near by add to them: what both tell is better told once."""
FEWER = np.geomspace(1.0, 1e-6, 60)
"""Penalties along which terms are given up until no more than these are left."""
PATIENCE = 5
"""Penalties without a lower error after which no lesser one is tried."""


def working(y: Floats, expected: Floats | None, loss: str) -> tuple[Floats, Floats]:
    """Response and scale, (units,) each: least squares of response over scale is a step of the loss towards its minimum.

    ``relative``: (y - ŷ)/ŷ, whose fit has the mean of y right (gamma quasi-likelihood); ``log-ratio``: ln(y/ŷ), linearised; both about what is `expected`
    so far. ``relative-y``: (y - ŷ)/y, as where nothing is expected yet; ``squared``: y - ŷ.
    """
    if loss == "squared":
        return y, np.full(len(y), np.mean(y))
    if expected is None or loss == "relative-y":
        return y, y
    if loss == "relative":
        return y, np.maximum(expected, y / FARTHEST)
    return expected * (1 + np.clip(np.log(y / expected), -np.log(FARTHEST), np.log(FARTHEST))), expected


def costs(predicted: Floats, y: Floats, loss: str) -> Floats:
    """What each prediction costs, (units,): what degree, penalty and regions are chosen by.

    For ``relative`` the gamma deviance, 2·(y/ŷ - 1 - ln(y/ŷ)), which is least where ŷ is the mean of y.
    """
    if loss == "squared":
        return np.asarray((predicted - y) ** 2)
    if loss == "relative-y":
        return np.asarray((predicted / y - 1) ** 2)
    ratio = np.clip(y / predicted, FARTHEST**-2, FARTHEST**2)
    return np.asarray(2 * (ratio - 1 - np.log(ratio)) if loss == "relative" else np.log(ratio) ** 2)


@dataclass(frozen=True)
class Choice:
    """The best penalty found for some terms: as a share of the least that leaves none, its held-out error and predictions
    (units,), nan where no fold made one. `terms` are indices into the dictionary's terms; `regions` whether there are more.
    """

    degree: int
    penalty: float
    error: float
    held_out: Floats
    terms: Indices
    regions: bool = False
    folds: tuple[tuple[Floats, float], ...] = ()
    """Coefficients of the terms and intercept, by fold."""


@dataclass(frozen=True)
class Sum:
    """A sum fitted to all rows, with its bounds; `scales` are the terms' weighted standard deviations."""

    intercept: float
    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    scales: tuple[float, ...]
    bounds: PredictionBounds


@dataclass(frozen=True)
class _Design:
    """Terms with their values (units, terms) less `mean`, over `scale`."""

    terms: list[Term]
    z: Floats
    mean: Floats
    scale: Floats

    def with_more(self, other: _Design, chosen: Indices) -> _Design:
        return _Design(
            [*(self.terms[index] for index in chosen), *other.terms],
            np.column_stack([self.z[:, chosen], other.z]),
            np.concatenate([self.mean[chosen], other.mean]),
            np.concatenate([self.scale[chosen], other.scale]),
        )


class TermSearch:
    """One fit's rows, and what was computed of them once.

    The terms to the highest degree have one Gram matrix. That of a fold's training rows is this less that of its test rows,
    and that of a lower degree is a part of it.

    Args:
        dictionary: the terms. column: quantities and rates, (rows,) each. rows: which of them are one unit.
        y, trust: targets and how much each counts, (units,). parts: (training, test) of each fold, (units,).
        penalties: in falling order, as shares. loss, seed: as of the estimator. expected: what is expected of y so far, (units,).
        base: what the terms' sum multiplies by its power of two, (rows,); without it the sum is the prediction.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        column: dict[str, Floats],
        rows: Merged,
        y: Floats,
        trust: Floats,
        parts: Sequence[tuple[Bools, Bools]],
        penalties: Floats,
        loss: str,
        seed: int,
        expected: Floats | None = None,
        base: Floats | None = None,
    ) -> None:
        self._dictionary, self._column, self._rows, self._y = dictionary, column, rows, y
        self._trust, self._parts, self._penalties, self._loss, self._seed = trust, parts, penalties, loss, seed
        self._place: Indices | None = None
        self._expected, self._base = expected, base
        if base is None:
            self._level, self._means = None, rows
            self._response, scale = working(y, expected, loss)
            self._weights = trust / scale**2
        else:
            # A small change of its rows' logarithms changes a unit by their mean, each counting as much as it makes of the unit.
            self._level = rows.mean(base)
            self._means = rows if rows.alone else Merged.of(len(base), rows.unit, rows.share * base)
            about = y if expected is None else expected
            self._response = np.log2(about / self._level) + np.clip(
                np.log2(y / about), -np.log2(FARTHEST), np.log2(FARTHEST)
            )
            self._weights = trust
        self._unit_column = {name: rows.mean(values) for name, values in column.items()}

    @cached_property
    def _bounds(self) -> list[PredictionBounds]:
        return [self._bound(train) for train, _ in self._parts]

    @property
    def has_regions(self) -> bool:
        """Whether the dictionary says by which quantities regions are told apart."""
        return bool(self._dictionary.regions)

    def sampled(self, training: int, test: int) -> TermSearch | None:
        """The same search among so many units of the first fold's training and test units; None where all are no more than these."""
        if len(self._y) <= training + test:
            return None
        random = np.random.default_rng(self._seed)
        drawn = [
            random.permutation(np.flatnonzero(side))[:most]
            for side, most in zip(self._parts[0], (training, test), strict=True)
        ]
        place = np.sort(np.concatenate(drawn))
        units = np.zeros(len(self._y), dtype=bool)
        units[place] = True
        part = tuple(np.isin(place, each) for each in drawn)
        rows = self._rows.spread(units)
        column = {name: values[rows] for name, values in self._column.items()}
        few = TermSearch(
            self._dictionary, column, self._rows.where(rows), self._y[place], self._trust[place], [(part[0], part[1])],
            self._penalties, self._loss, self._seed, None if self._expected is None else self._expected[place],
            None if self._base is None else self._base[rows],
        )  # fmt: skip
        few._place = place
        return few

    def towards(self, expected: Floats) -> TermSearch:
        """The same search with the loss about what is `expected`, (units,); about the value itself where that is nan."""
        known = np.where(np.isfinite(expected), expected, self._y)
        found = TermSearch(self._dictionary, self._column, self._rows, self._y, self._trust, self._parts, self._penalties,
                       self._loss, self._seed, known, self._base)  # fmt: skip
        found._place = self._place
        return found

    def guessed(self) -> TermSearch:
        """The same search about a first guess, which no few values carry."""
        named = {name: self._unit_column[name] for name in self._dictionary.columns}
        return self.towards(rough(named, self._y, self._trust))

    def predicted(self, found: Sum) -> Floats:
        """What a sum says of all units, (units,)."""
        coefficients = np.asarray(found.coefficients)
        sums = found.intercept + np.concatenate([matrix @ coefficients for _, matrix in self._blocks(found.terms)])
        return found.bounds.apply(self._scaled(sums, np.ones(len(self._y), dtype=bool)), self._unit_column)

    def _scaled(self, sums: Floats, units: Bools) -> Floats:
        """What sums of terms say of some units, (units,) or (units, models)."""
        if self._level is None:
            return sums
        return np.asarray(self._level[units].reshape(-1, *[1] * (sums.ndim - 1)) * octaves(sums))

    def among(self, units: int, values: Floats) -> Floats:
        """Values of the sampled units at their places among all (units,), nan elsewhere."""
        spread = np.full(units, np.nan)
        spread[self._place] = values
        return spread

    def refitted(self, terms: Sequence[Term], penalty: float) -> Sum:
        """The sum of given terms fitted to all rows."""
        weights = self._weights / self._weights.sum()
        mean, largest = np.zeros(len(terms)), np.zeros(len(terms))
        for at, matrix in self._blocks(terms):
            mean += weights[at] @ matrix
            largest = np.maximum(largest, np.abs(matrix).max(axis=0))
        products = np.zeros((len(terms) + 2, len(terms) + 2))
        for at, matrix in self._blocks(terms):
            products += Moments.of(matrix - mean, self._response[at], self._weights[at]).products
        scale = np.sqrt(np.diag(products)[1:-1] / products[0, 0])
        kept = np.flatnonzero(scale > 1e-9 * largest)
        mean, scale = mean[kept], scale[kept]
        over = np.concatenate([[1.0], scale, [1.0]])
        moments = Moments(Moments(products).only(kept).products / np.outer(over, over))
        design = _Design([terms[index] for index in kept.tolist()], np.zeros((0, len(kept))), mean, scale)
        return self._sum(design, moments, penalty)

    def _blocks(self, terms: Sequence[Term]) -> Iterator[tuple[slice, Floats]]:
        """The terms' values, (units, terms), some units at a time; units of several rows all at once, for they may be anywhere."""
        if not self._rows.alone:
            yield slice(None), self._means.mean(self._dictionary.matrix(terms, self._column))
            return
        for begin in range(0, len(self._y), AT_ONCE):
            at = slice(begin, begin + AT_ONCE)
            yield at, self._dictionary.matrix(terms, {name: values[at] for name, values in self._column.items()})

    def degree(self, degrees: Sequence[int]) -> Choice:
        """The best of the degrees at its best penalty, without regions."""
        self._design = self._standardised(
            self._dictionary.terms(max(degrees), self._column), np.ones(len(self._y), bool)
        )
        position = {term: index for index, term in enumerate(self._design.terms)}
        z, y, weights = self._design.z, self._response, self._weights
        self._moments = Moments.of(z, y, weights)
        self._trained = [self._moments - Moments.of(z[~train], y[~train], weights[~train]) for train, _ in self._parts]
        choices: list[Choice] = []
        for degree in degrees:
            offered = self._dictionary.terms(degree, self._column)
            chosen = np.array([position[term] for term in offered if term in position], dtype=np.intp)
            if choices and len(chosen) == len(choices[-1].terms):
                continue  # the data know no more terms at this degree than at the last
            solvers = [Lasso(moments.only(chosen)) for moments in self._trained]
            held_out = [z[test][:, chosen] for _, test in self._parts]
            choices.append(self._penalty(degree, solvers, held_out, chosen))
        return min(choices, key=lambda choice: choice.error)

    def with_regions(self, choice: Choice) -> Choice:
        """The same degree with regions, each fold's found in its own training rows; `choice` itself where that is no better."""
        solvers, designs = [], []
        for number, (train, test) in enumerate(self._parts):
            design = self._with_regions(choice, train, self._trained[number])
            designs.append(design.z[test])
            solvers.append(Lasso(Moments.of(design.z[train], self._response[train], self._weights[train])))
        found = self._penalty(choice.degree, solvers, designs, choice.terms, regions=True)
        return found if found.error < choice.error else choice

    def final(self, choice: Choice) -> Sum:
        """The sum fitted to all rows as chosen."""
        everything = np.ones(len(self._y), dtype=bool)
        if choice.regions:
            design = self._with_regions(choice, everything, self._moments)
            moments = Moments.of(design.z, self._response, self._weights)
        else:
            empty = _Design([], np.zeros((len(self._y), 0)), np.zeros(0), np.zeros(0))
            design, moments = self._design.with_more(empty, choice.terms), self._moments.only(choice.terms)
        return self._sum(design, moments, choice.penalty)

    def _sum(self, design: _Design, moments: Moments, penalty: float) -> Sum:
        solver = Lasso(moments)
        penalties, scales = self._penalties[self._penalties >= penalty], solver.scales
        coefficients, intercepts = solver.follow(penalties)
        used = np.flatnonzero(coefficients[:, -1])
        if self._level is not None and len(used) > MOST_TERMS:
            # Terms that move less go first (adaptive Lasso, Zou 2006): the path's own first terms fit worse than as many of its last.
            moved = np.abs(coefficients[used, -1]) * scales[used]
            path, _ = Lasso(moments.only(used), moved.max() / moved).follow(FEWER)
            few = int(np.flatnonzero((path != 0).sum(axis=0) <= MOST_TERMS)[-1])
            kept = used[path[:, few] != 0]
            coefficients = np.zeros((len(coefficients), len(penalties)))
            coefficients[kept], intercepts = Lasso(moments.only(kept)).follow(penalties)
        used = np.flatnonzero(coefficients[:, -1])
        slopes = coefficients[used, -1] / design.scale[used]
        return Sum(
            float(intercepts[-1] - slopes @ design.mean[used]),
            tuple(design.terms[index] for index in used),
            tuple(slopes.tolist()),
            tuple((scales[used] * design.scale[used]).tolist()),
            self._bound(np.ones(len(self._y), dtype=bool)),
        )

    def _penalty(
        self, degree: int, solvers: list[Lasso], designs: list[Floats], terms: Indices, regions: bool = False
    ) -> Choice:
        """The penalty of least held-out error, which falls and then rises as terms fit noise. `designs`: of the test rows."""
        best = Choice(degree, 1.0, np.inf, np.zeros(0), terms, regions)
        for start in range(0, len(self._penalties), PATIENCE):
            chunk = self._penalties[start : start + PATIENCE]
            held_out = np.full((len(self._y), len(chunk)), np.nan)
            followed = [solver.follow(chunk) for solver in solvers]
            for (_, test), (coefficients, intercepts), z, bounds in zip(
                self._parts, followed, designs, self._bounds, strict=True
            ):
                held_out[test] = bounds.apply(self._scaled(intercepts + z @ coefficients, test), self._at(test))
            errors = [self._error(held_out[:, number]) for number in range(len(chunk))]
            least = int(np.argmin(errors))
            if errors[least] < best.error:
                folds = tuple(
                    (coefficients[:, least], float(intercepts[least])) for coefficients, intercepts in followed
                )
                best = Choice(degree, float(chunk[least]), errors[least], held_out[:, least], terms, regions, folds)
            # The terms that a longer sum has are not kept, and cost the most to find.
            if self._level is not None and max(np.count_nonzero(each[:, -1]) for each, _ in followed) > MOST_TERMS:
                break
            if start + len(chunk) - 1 - int(np.searchsorted(-self._penalties, -best.penalty)) >= PATIENCE:
                break
        return best

    @property
    def multiplies(self) -> bool:
        """Whether the sum is the exponent by which a law is multiplied."""
        return self._level is not None

    def shorter(self, choice: Choice) -> list[Choice]:
        """The choice, and the same terms at higher penalties, which leave fewer of them or none."""
        penalties = self._penalties[self._penalties >= choice.penalty]
        followed = [Lasso(moments.only(choice.terms)).follow(penalties) for moments in self._trained]
        counts = np.median([np.count_nonzero(each, axis=0) for each, _ in followed], axis=0)
        ends = dict.fromkeys(int(np.flatnonzero(counts <= most)[-1]) for most in LENGTHS)
        return [
            replace(
                choice,
                penalty=float(penalties[at]),
                folds=tuple((coefficients[:, at], float(intercepts[at])) for coefficients, intercepts in followed),
            )
            for at in ends
            if penalties[at] > choice.penalty
        ] + [choice]

    def left(self, choice: Choice) -> list[Floats]:
        """Of each fold, the octaves that its sum and the law leave of all units, (units,) each."""
        z = self._design.z[:, choice.terms]
        return [self._octaves_left(intercept + z @ coefficients) for coefficients, intercept in choice.folds]

    def left_of(self, found: Sum) -> Floats:
        """The same of a sum fitted to all rows, (units,)."""
        coefficients = np.asarray(found.coefficients)
        sums = np.concatenate([matrix @ coefficients for _, matrix in self._blocks(found.terms)])
        return self._octaves_left(found.intercept + sums)

    def _octaves_left(self, sums: Floats) -> Floats:
        assert self._level is not None
        return np.asarray(np.log2(self._y / self._level) - sums)

    def judged(self, left: Sequence[Floats], added: Floats) -> tuple[float, Floats]:
        """The error and the predictions of held-out units, (units,), where so many octaves, (units,), are added to what each fold's sum says."""
        found = np.full(len(self._y), np.nan)
        for (_, test), octaves_left, bounds in zip(self._parts, left, self._bounds, strict=True):
            said = self._y[test] * octaves(added[test] - octaves_left[test])
            found[test] = bounds.apply(said, self._at(test))
        return self._error(found), found

    def places(self, names: Sequence[str]) -> Floats:
        """The units' quantities (units, names), of several rows their geometric mean."""
        return np.exp(np.column_stack([self._rows.mean(np.log(self._column[name])) for name in names]))

    @property
    def trust(self) -> Floats:
        """How much each unit counts, (units,)."""
        return self._trust

    @property
    def parts(self) -> Sequence[tuple[Bools, Bools]]:
        return self._parts

    def _error(self, predicted: Floats) -> float:
        known = np.isfinite(predicted)
        return float(
            np.sqrt(np.average(costs(predicted[known], self._y[known], self._loss), weights=self._trust[known]))
        )

    def _with_regions(self, choice: Choice, train: Bools, moments: Moments) -> _Design:
        """The chosen terms, and the regions of the training rows in which they alone err in one direction."""
        solver = Lasso(moments.only(choice.terms))
        z = self._design.z[:, choice.terms]
        coefficients, intercepts = solver.follow(self._penalties[self._penalties >= choice.penalty])
        everything = np.ones(len(self._y), dtype=bool)
        sums = self._scaled(intercepts[-1] + z @ coefficients[:, -1], everything)
        smooth = self._bound(train).apply(sums, self._unit_column)
        names = [name for name in self._dictionary.regions if name in self._column]
        x = np.column_stack([self._unit_column[name][train] for name in names])
        ratio, weights = (self._y / smooth)[train], (self._weights * smooth**2)[train]
        if self._loss not in ("relative-y", "squared"):
            # One layer that takes fifty times as long says nothing of its neighbours: logarithms, bounded.
            ratio, weights = np.log(np.clip(ratio, FARTHEST**-2, FARTHEST**2)), self._trust[train]
        boxes = regions_of(names, x, ratio, weights, self._seed, SUMS if self._level is None else FACTORS)
        amounts = [plain(name).exponents for name in self._dictionary.amounts]
        terms = [Term((*box.exponents, *amount)) for amount in [(), *amounts] for box in boxes]
        # Boxes are all different: no need to look for equal columns among so many.
        return self._design.with_more(self._standardised(terms, train, look_for_equal=False), choice.terms)

    def _standardised(self, terms: list[Term], train: Bools, look_for_equal: bool = True) -> _Design:
        """The terms that differ among the training rows, with zero mean and unit deviation there under the weights."""
        if not terms:
            return _Design([], np.zeros((len(self._y), 0)), np.zeros(0), np.zeros(0))
        matrix = self._means.mean(self._dictionary.matrix(terms, self._column))
        kept = distinct(matrix[train]) if look_for_equal else np.arange(len(terms))
        weights = self._weights[train] / self._weights[train].sum()
        trained = matrix[train][:, kept] if look_for_equal else matrix[train]
        mean = weights @ trained
        scale = np.sqrt(weights @ (trained - mean) ** 2)
        varied = scale > 1e-9 * np.abs(trained).max(axis=0)
        kept, mean, scale = kept[varied], mean[varied], scale[varied]
        if len(kept) < matrix.shape[1]:
            matrix = matrix[:, kept]
        matrix -= mean
        matrix /= scale
        return _Design([terms[index] for index in kept], matrix, mean, scale)

    def _bound(self, train: Bools) -> PredictionBounds:
        return PredictionBounds.of(self._at(train), self._y[train], self._dictionary.rates, self._dictionary.capped)

    def _at(self, units: Bools) -> dict[str, Floats]:
        return {name: self._unit_column[name][units] for name in self._dictionary.rates}


def distinct(matrix: Floats) -> Indices:
    """The columns that vary and are no multiple of an earlier one (plus a constant).

    Data with one batch size and square layers make many terms equal; the earliest of them is the simplest.
    """
    centred = matrix - matrix.mean(axis=0)
    scale = centred.std(axis=0)
    vary = np.flatnonzero(scale > 1e-9 * np.abs(matrix).max(axis=0))
    z = centred[:, vary] / scale[vary]
    alike = np.abs(np.triu(z.T @ z / len(z), k=1)) > 1 - 1e-9
    return np.asarray(vary[~alike.any(axis=0)])
