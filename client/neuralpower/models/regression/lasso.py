"""The estimator: Lasso on a dictionary of terms, for the relative error, with degree and penalty by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6 has it as a method
    validate_data = None

from neuralpower.models.regression import kriging
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.folds import assign, configurations_of, labels, relabelled
from neuralpower.models.regression.kriging import Kriging
from neuralpower.models.regression.law import Law, rough
from neuralpower.models.regression.merged import Merged
from neuralpower.models.regression.polynomial import Interval, Polynomial
from neuralpower.models.regression.quantities import rates
from neuralpower.models.regression.search import FARTHEST, LOSSES, Choice, Sum, TermSearch
from neuralpower.models.regression.terms import Term

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL_ERROR = 0.1
"""The relative error that a model of this kind makes of a layer measured exactly; a label is trusted by comparison with it."""
SEARCH_TRAINING, SEARCH_TEST = 2000, 1000
"""Of more units than these together so many choose degree, penalty and regions, by one split: they tell as much as folds of fewer do.
All of them fit what was chosen."""
LAW_ROWS = 20_000
"""Of more rows so many tell the law, which has a dozen numbers."""
ITERATED, ROUNDS = ("relative", "log-ratio"), 2
"""Losses about what is expected, and how often that is found anew: by terms of the least degree, for folds that did not hold a layer."""
HIGHEST = 2
"""Degree of a sum that multiplies a law: what is finer is for the layers near by to tell."""
INNER_SEED = 7919
"""Added to the seed of the inner folds, so that they are not the outer ones."""


@dataclass(frozen=True)
class Nested:
    """The runtime model of the same layers: predictions for the rows to fit, made by folds that did not hold them, and the model."""

    runtime_s: Floats
    polynomial: Polynomial


def numbered(groups: NDArray[Any]) -> Ints:
    """A number for each group, (rows,), in order of first appearance."""
    return relabelled(groups) if groups.dtype.kind in "iu" else labels(groups.tolist())


class SparsePolynomial(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Sparse polynomial regression for a relative error (NeuralPower, arXiv 1710.05420, with another loss and more terms).

    With the loss ``relative`` it minimises

        Σ_i w_i (y_i - b - Σ_j c_j f_j(x_i))² / (2 Σ_i w_i) + α Σ_j s_j |c_j|

    over b and c, where f_j are the terms of `dictionary` to degree K, and the regions in which those alone err in one
    direction; s_j are the terms' standard deviations under the weights w_i = v_i / ŷ_i². ŷ_i is what is expected of y_i so far, found
    anew by folds that do not hold it, so that errors count relative to the prediction, high ones like low ones, and sums come out right
    (gamma quasi-likelihood); a layer more than FARTHEST times as long as expected counts as one that is. v_i = 1 / (1 + (e_i / (MODEL_ERROR
    y_i))²), e_i being the standard error of y_i: what is known worse than the model can be counts less. K and α are those whose
    predictions for held-out folds have the least gamma deviance under v_i. Other losses: ``log-ratio``, ln(y/ŷ) squared; ``relative-y``, w_i =
    v_i / y_i² and least RMSPE, which rewards guessing low; ``squared``, the original's, which serves long layers only.

    Rows that were measured together (units) enter as one: the share-weighted mean of their terms against their joint value.
    Of many thousand units a sample chooses the terms.

    Args:
        dictionary: the terms to choose from; None: monomials of the columns, which are then called x0, x1, ….
        degrees: the degrees K to try.
        penalties: how many α to try, from the one that leaves no term, evenly on a log scale.
        folds, seed: the folds by which K and α are chosen; groups are kept whole.
        loss: ``relative-y`` (the default), ``relative``, ``log-ratio`` or ``squared``.
        regions: whether regions are looked for, where the dictionary says by which quantities; of a sum that multiplies a law, whether layers near
            by add to it (:mod:`.kriging`).

    Attributes:
        polynomial_: the fitted ``Polynomial``.
        n_features_in_, feature_names_in_: how many columns X had, and their names where it was a frame. A frame with others, or with these in
            another order, is refused.
        degree_, penalty_: K, and α as a share of the least α that leaves no term.
        held_out_: predictions for the rows by the inner folds at K and α, shape (rows,), nan where no fold could make one.
        selection_error_: the root of the mean (weighted) cost that chose them. It was minimised: never quote it, cross-validate
            the whole estimator.
    """

    def __init__(
        self,
        dictionary: Dictionary | None = None,
        degrees: Sequence[int] = (1, 2, 3),
        penalties: int = 40,
        folds: int = 5,
        seed: int = 0,
        loss: str = "relative-y",
        regions: bool = True,
    ) -> None:
        self.dictionary = dictionary
        self.degrees = degrees
        self.penalties = penalties
        self.folds = folds
        self.seed = seed
        self.loss = loss
        self.regions = regions

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        relative_se: ArrayLike | None = None,
        units: ArrayLike | None = None,
        shares: ArrayLike | None = None,
        nested: Nested | None = None,
    ) -> SparsePolynomial:
        """Fit quantities X of shape (rows, columns of the dictionary), all positive, to targets y > 0 of shape (rows,).

        `groups`, shape (rows,), are kept on one side of the inner folds; so are equal rows of X, which are the groups
        when none are given. `relative_se`, shape (rows,), are the targets' standard errors as shares of them, 0 when none
        are given. `units`, shape (rows,), numbers what was measured together and has one value of y, each row's own when
        not given; `shares`, shape (rows,), is what each row counts in its unit. `nested` gives the rates their runtime.
        Raises ValueError on other shapes, on values that are not positive and finite, and on fewer than two groups.
        """
        x, target, dictionary = self._checked(X, y)
        rows = Merged.of(len(target), units, shares)
        column = dictionary.named(x)
        if nested is not None:
            column |= rates(column, nested.runtime_s)
        trust, parts = self._trust_and_parts(x, rows, groups, relative_se)
        work = dictionary.amounts_of_work(column)
        law = self._law(work, dictionary, x, column, target, rows.share) if work else None
        base = law.at(column) if law and self.loss in ITERATED else None
        level = float(np.exp(np.log(target).mean()))
        if base is not None and dictionary.logarithmic:
            base = np.full(len(target), level)
        if base is not None:
            dictionary = dictionary.proportional()
        search = TermSearch(
            dictionary, column, rows, rows.first(target), trust, parts,
            np.geomspace(1.0, 1e-4, self.penalties), self.loss, self.seed, None, base,
        )  # fmt: skip
        few = search.sampled(SEARCH_TRAINING, SEARCH_TEST)
        asked = few or search
        if self.loss in ITERATED:
            asked = asked.guessed()
            for _ in range(ROUNDS if base is None else 1):
                asked = asked.towards(asked.degree(self.degrees[:1]).held_out)
        best, near = self._choose(asked), None
        if self.regions and base is not None:
            best, near = self._krige(asked, best, dictionary.columns)
        held_out, found = near.held_out if near else best.held_out, asked.final(best)
        if few is not None:
            if self.loss in ITERATED:
                search = search.towards(search.predicted(found))
            found = search.refitted(found.terms, best.penalty)
            held_out = few.among(len(rows.first(target)), held_out)
        added = None
        if near:
            most = kriging.POINTS if len(target) <= kriging.MANY else kriging.POINTS_OF_MANY
            added = kriging.fit(
                dictionary.columns,
                asked.places(dictionary.columns),
                asked.left_of(found),
                asked.trust,
                near,
                most,
                self.seed,
            )
        self.degree_, self.penalty_, self.selection_error_ = (
            best.degree,
            best.penalty,
            near.error if near else best.error,
        )
        self.held_out_ = rows.spread(held_out)
        if law and base is not None and self.loss == "relative" and not dictionary.capped:
            law = law.times(self._calibrate(rows.first(target), held_out))
        self.polynomial_ = self._polynomial(
            found, best.degree, x, target, rows, dictionary, nested, law, None if base is None else level, added
        )
        return self

    @property
    def multiplies(self) -> bool:
        """Whether what it fits is the exponent of two by which a law is multiplied, if the dictionary has one."""
        return self.loss in ITERATED and self.dictionary is not None

    def _trust_and_parts(
        self, x: Floats, rows: Merged, groups: ArrayLike | None, relative_se: ArrayLike | None
    ) -> tuple[Floats, list[tuple[Bools, Bools]]]:
        """What each unit counts beside the others, by its error; and the inner folds."""
        configurations = configurations_of(x)
        group = configurations if groups is None else numbered(np.asarray(groups))
        se = np.broadcast_to(np.asarray(0.0 if relative_se is None else relative_se, dtype=np.float64), (len(x),))
        return 1 / (1 + (rows.first(se) / MODEL_ERROR) ** 2), self._parts(rows, group, configurations)

    def _law(
        self,
        work: Sequence[Term],
        dictionary: Dictionary,
        x: Floats,
        column: dict[str, Floats],
        y: Floats,
        share: Floats,
    ) -> Law:
        """What launches and work cost, from at most LAW_ROWS rows."""
        some: slice | NDArray[np.intp] = slice(None)
        if len(y) > LAW_ROWS:
            some = np.sort(np.random.default_rng(self.seed).permutation(len(y))[:LAW_ROWS])
        expected = rough(dictionary.named(x[some]), y[some], share[some])
        return Law.of({name: values[some] for name, values in column.items()}, work, y[some], share[some], expected)

    def _calibrate(self, y: Floats, held_out: Floats) -> float:
        """The mean of measured over predicted of held-out units (units,), by which logarithms, which have the middle of y, fall short of its mean.

        What is more than FARTHEST times as long counts as that; the predictions of held-out rows are moved along.
        """
        known = np.isfinite(held_out)
        factor = float(np.minimum(y[known] / held_out[known], FARTHEST).mean())
        self.held_out_ = factor * self.held_out_
        return factor

    def _krige(
        self, search: TermSearch, best: Choice, columns: Sequence[str]
    ) -> tuple[Choice, kriging.Nearness | None]:
        """How long the sum is to which layers near a new one add, and how they do; None where held-out units err no less for it."""
        x, usual = search.places(columns), kriging.KERNELS[-1:]

        def tried(choice: Choice, kernels: Sequence[tuple[str, float]]) -> kriging.Nearness | None:
            left = search.left(choice)
            return kriging.choose(x, left, search.trust, search.parts, partial(search.judged, left), self.seed, kernels)

        # How long the sum is hardly depends on how far layers reach: one after the other.
        listed = [(each, found) for each in search.shorter(best) if (found := tried(each, usual)) is not None]
        if not listed:
            return best, None
        chosen, _ = min(listed, key=lambda item: item[1].error)
        near = tried(chosen, kriging.KERNELS)
        if near is None or near.error >= best.error:
            return best, None
        return chosen, near

    def _choose(self, search: TermSearch) -> Choice:
        """Degree, penalty and whether there are regions."""
        if search.multiplies:
            return search.degree([each for each in self.degrees if each <= HIGHEST] or [HIGHEST])
        best = search.degree(self.degrees)
        return search.with_regions(best) if self.regions and search.has_regions else best

    def predict(self, X: ArrayLike) -> Floats:
        """Predictions, shape (rows,), within the bounds of what was measured."""
        x = self._columns(X)
        return self.polynomial_.predict(x)

    def predict_interval(self, X: ArrayLike) -> tuple[Floats, Floats]:
        """Lower and upper ends, shape (rows,) each, that hold ``polynomial.LEVEL`` of layers like those in training."""
        x = self._columns(X)
        return self.polynomial_.predict_interval(x)

    def _columns(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        return self._validated(X, reset=False)

    def _validated(self, X: ArrayLike, reset: bool) -> Floats:
        """X as numbers; `reset` notes how many columns there are and what a frame calls them, otherwise they have to be the same in the same order."""
        if validate_data is None:
            return np.asarray(self._validate_data(X, dtype=np.float64, reset=reset), dtype=np.float64)
        return np.asarray(validate_data(self, X, dtype=np.float64, reset=reset), dtype=np.float64)

    def _checked(self, X: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats, Dictionary]:
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is none of {', '.join(LOSSES)}")
        if y is None:
            raise ValueError("This SparsePolynomial estimator requires y to be passed, but the target y is None")
        x = self._validated(X, reset=True)
        target: Floats = np.asarray(column_or_1d(y, warn=True), dtype=np.float64)
        check_consistent_length(x, target)
        dictionary = self.dictionary or Dictionary.plain(x.shape[1])
        if x.shape[1] != len(dictionary.columns):
            raise ValueError(f"need X of shape (rows, {len(dictionary.columns)}), got {x.shape}")
        named = list(getattr(self, "feature_names_in_", dictionary.columns))
        if self.dictionary and named != list(dictionary.columns):
            raise ValueError(
                f"X has the columns {', '.join(named)}, and the dictionary {', '.join(dictionary.columns)}, in this order"
            )
        # Monomials alone bear a zero; logarithms do not.
        if not (x > 0).all() and (self.dictionary or not (x >= 0).all()):
            raise ValueError("Negative values in data, or values that are not positive, are no sizes of layers")
        if not (np.isfinite(target).all() and (target > 0).all()):
            raise ValueError("y has values that are not positive and finite, such as NaN or infinity")
        return x, target, dictionary

    def _parts(self, rows: Merged, group: Ints, configurations: Ints) -> list[tuple[Bools, Bools]]:
        """(training, test) of each inner fold, shape (units,) each; no configuration is on both sides."""
        if len(np.unique(group)) < 2:
            raise ValueError("cross-validation needs at least two groups of rows (n_samples = 1 or all rows alike)")
        fold = rows.first(assign(rows.joined(group), self.folds, self.seed + INNER_SEED))
        parts = []
        for number in np.unique(fold):
            test = fold == number
            seen = np.isin(configurations, configurations[rows.spread(test)])
            train = ~test & ~rows.any(seen)
            if train.any():
                parts.append((train, test))
        if not parts:
            raise ValueError("cross-validation needs at least two groups of rows that have no layer in common")
        return parts

    def _polynomial(
        self,
        found: Sum,
        degree: int,
        x: Floats,
        y: Floats,
        rows: Merged,
        dictionary: Dictionary,
        nested: Nested | None,
        law: Law | None,
        level: float | None,
        near: Kriging | None,
    ) -> Polynomial:
        known = np.isfinite(self.held_out_)
        units = rows.first(known)
        ratios = rows.first(y / self.held_out_)[units]
        if level is not None:
            # The rows that say how far off the folds' models were have chosen the terms: as for least squares of so many, by the share of terms.
            ratios = ratios ** np.sqrt(1 + len(found.terms) / len(ratios))
        column = dictionary.named(x)
        names = [name for name in dict.fromkeys((*dictionary.regions, *dictionary.rates)) if name in column]
        told = {name: rows.mean(values)[units] for name, values in column.items()} if names else None
        return Polynomial(
            columns=dictionary.columns,
            degree=degree,
            intercept=found.intercept + np.log2(level) if level and dictionary.logarithmic else found.intercept,
            terms=found.terms,
            coefficients=found.coefficients,
            scales=found.scales,
            bounds=found.bounds,
            interval=Interval.of(ratios, names, told),
            domain={name: (float(values.min()), float(values.max())) for name, values in column.items()},
            runtime=nested.polynomial if nested and not dictionary.logarithmic else None,
            law=None if dictionary.logarithmic else law,
            proportional=level is not None and not dictionary.logarithmic,
            logarithmic=level is not None and dictionary.logarithmic,
            kriging=near,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.target_tags.positive_only = True
        tags.target_tags.required = True
        return tags
