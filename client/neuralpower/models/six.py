"""The six models: runtime and power of convolutions, pools and fully connected layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuralpower.dataset import Dataset
from neuralpower.errors import Failure, InputError
from neuralpower.features.layers import Layer
from neuralpower.models.frames import FEATURES, as_dataset, names_of, varied_of
from neuralpower.models.from_networks import fit_networks
from neuralpower.models.others import means
from neuralpower.models.regression.design import DICTIONARIES, KINDS, TARGETS, dictionary_of, with_clock
from neuralpower.models.regression.folds import configurations_of
from neuralpower.models.regression.polynomial import Polynomial
from neuralpower.models.regression.quantities import measure, measure_rows
from neuralpower.models.rows import clocks, fingerprint, networks_of, no_power, rows_of
from neuralpower.models.validation.held_out import CrossValidation, HeldOut, KindFolds
from neuralpower.models.validation.score import geometric_error
from neuralpower.models.whole import WholeModel, fit_whole

if TYPE_CHECKING:
    from neuralpower.models.regression.lasso import Nested, SparsePolynomial

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Key = tuple[str, str]

UNITS = {"runtime": "s", "power": "W", "energy": "J"}
FEWEST_CONFIGURATIONS = 10
"""Different layers that a model needs; fewer say nothing about the next one."""
FEWEST_STARTED = 4
"""The same where another device's model says what they are compared with: enough for a scale and an error."""
CLEARLY = 0.9
"""A power model that goes by predicted runtimes has to err less by this factor than one that goes by sizes, since its folds know runtimes that new layers lack."""
TOO_FEW_GROUPS = "too few groups of layers to cross-validate; measure more networks or a sweep"


@dataclass(frozen=True)
class LayerModel:
    """The model of one layer type and target, and the errors to expect from it."""

    kind: str
    target: str
    polynomial: Polynomial
    cross_validation: CrossValidation

    def predict(self, layers: Sequence[Layer]) -> Floats:
        """Predictions in seconds or watts, shape (layers,)."""
        return self.polynomial.predict(measure(layers, self.polynomial.columns))

    def predict_interval(self, layers: Sequence[Layer]) -> tuple[Floats, Floats]:
        """Lower and upper ends in seconds or watts, shape (layers,) each, that hold ``polynomial.LEVEL`` of such layers."""
        return self.polynomial.predict_interval(measure(layers, self.polynomial.columns))

    def outside(self, layers: Sequence[Layer]) -> list[list[str]]:
        """For each layer, what of it lies outside the training data."""
        return self.polynomial.outside(measure(layers, self.polynomial.columns))

    def unsupported(self, layers: Sequence[Layer]) -> list[list[str]]:
        """For each layer, what of it no layer in training is like."""
        return self.polynomial.unsupported(measure(layers, self.polynomial.columns))


@dataclass(frozen=True)
class EnergyErrors:
    """Energy of one layer type on held-out folds: runtime times power from the two models, and a model of energy itself."""

    product: CrossValidation
    direct: CrossValidation
    direct_terms: int


@dataclass(frozen=True)
class Remainder:
    """The mean layer that is known and not modelled (kinds ``other`` and ``reformat``): reformats, elementwise operations, softmax.

    `power_w` is None where no power of such a layer was measured.
    """

    layers: int
    runtime_s: float
    power_w: float | None


class SixModels(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Runtime and power models of conv, pool and fc layers, fitted to one dataset.

    X is a table with a row per layer and named columns (docs/python.md): a ``Dataset``, a frame, or a mapping of columns. Columns go by their
    names, in any order.

    Args:
        folds, seed: of the outer folds, by which errors are told.
        loss: ``relative``, ``log-ratio``, ``relative-y`` or ``squared`` (the original's).

    Attributes:
        models_: (kind, target) -> ``LayerModel``.
        energy_: kind -> ``EnergyErrors``, where both models and energies are there.
        skipped_: (kind, target) -> why there is no such model.
        remainder_: the mean of the layers of kind ``other``, or None where none was measured.
        whole_: what layers leave of whole inferences, or None where too few were measured.
        sha256_, rows_, networks_, devices_, simulated_: what the models were fitted to.
        precisions_: precision -> how many modelled layers ran in it, empty where none is known.
        clocks_: clock of the GPU, MHz -> how many modelled layers ran at it, empty where it was not varied.
        started_from_: SHA-256 of the data of the models that these started from, or "".
        n_features_in_, feature_names_in_: the columns of X that the models see.
    """

    models_: dict[Key, LayerModel]
    energy_: dict[str, EnergyErrors]
    skipped_: dict[Key, str]
    remainder_: Remainder | None
    whole_: WholeModel | None
    sha256_: str
    rows_: int
    networks_: list[str]
    devices_: list[str]
    simulated_: bool
    precisions_: dict[str, int]
    clocks_: dict[int, int]
    started_from_: str

    def __init__(self, folds: int = 5, seed: int = 0, loss: str = "relative") -> None:
        self.folds = folds
        self.seed = seed
        self.loss = loss

    @classmethod
    def fitted(cls, folds: int = 5, seed: int = 0, loss: str = "relative", **attributes: Any) -> SixModels:
        """Models of which the fitted `attributes` are known, as those of a file; what is not given is empty."""
        models = cls(folds, seed, loss)
        models._take(_blank())
        models.see(FEATURES)
        if unknown := attributes.keys() - vars(models).keys():
            raise TypeError(f"no such attribute of fitted models: {min(unknown)}")
        models._take(attributes)
        return models

    def _take(self, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Whether both say the same of all layers, and of themselves."""
        return isinstance(other, SixModels) and self._told() == other._told()

    __hash__ = None  # type: ignore[assignment]  # what is equal by its values and can change has none

    def _told(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.endswith("_in_")}

    def fit(
        self,
        X: Any,
        y: Any = None,
        advance: Callable[[float, str], None] | None = None,
        start: SixModels | None = None,
    ) -> SixModels:
        """Fit all models that the table has rows for; `advance(models done, what is next)` is told of progress.

        `start`: the models of another device, from whose coefficients these start. `y`, shape (rows, 2), holds runtimes, s, and powers, W, nan where not measured; None where X has them as ``runtime_s`` and ``power_w``.
        Raises InputError when the table has rows for none, or is none, Failure when powers were looked for and none can be used.
        """
        from threadpoolctl import threadpool_limits

        dataset, seen = as_dataset(X, y), names_of(X)
        varied = varied_of(dataset)
        self.see([name for name in seen if name in FEATURES or name in varied])
        # The matrices are small: a second thread only waits for the first, and on a busy machine for its turn.
        with threadpool_limits(1):
            return self._fit(dataset, advance, start)

    def see(self, names: Sequence[str]) -> None:
        """Note which columns of a table the models see."""
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)

    def predict(self, X: Any) -> Floats:
        """Runtime, s, and power, W, of each layer, shape (rows, 2); nan where there is no model for it.

        Raises InputError when X lacks a column that the models were fitted with.
        """
        layers = self._layers(X)
        found = np.full((len(layers), len(TARGETS)), np.nan)
        for (kind, target), model in self.models_.items():
            mine = [place for place, layer in enumerate(layers) if layer.kind == kind]
            if mine:
                found[mine, TARGETS.index(target)] = model.predict([layers[place] for place in mine])
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the geometric error, exp(mean |ln(ŷ/y)|) - 1, of all runtimes and powers that X, or y, has and that are predicted: 0 is perfect.

        Raises InputError where there is nothing to score.
        """
        dataset = as_dataset(X, y)
        measured = np.column_stack([dataset["runtime_s"], dataset["power_w"]]).astype(np.float64)
        predicted = self.predict(X)
        known = np.isfinite(predicted) & np.isfinite(measured) & (measured > 0)
        if not known.any():
            raise InputError("nothing to score: no layer has a model and a measured runtime or power")
        return -geometric_error(predicted[known], measured[known])

    def _layers(self, X: Any) -> list[Layer]:
        check_is_fitted(self, "models_")
        missing = set(self.feature_names_in_) - set(names_of(X))
        if missing:
            raise InputError(f"X lacks the column {min(missing)}, with which the models were fitted")
        return as_dataset(X).layers()

    def __sklearn_tags__(self) -> Any:
        """Its rows are layers with named columns: an array of numbers is none."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.dict = True
        return tags

    def _more_tags(self) -> dict[str, Any]:
        """The same for scikit-learn before 1.6."""
        return {"X_types": ["dict"]}

    def _fit(
        self, dataset: Dataset, advance: Callable[[float, str], None] | None, start: SixModels | None
    ) -> SixModels:
        self._take(_blank())
        if unusable := no_power(dataset):
            raise Failure(unusable)
        fewest = FEWEST_STARTED if start else FEWEST_CONFIGURATIONS
        estimator = started(self, start) if start else self.estimator
        left_out = {target: np.full(len(dataset), np.nan) for target in TARGETS}
        for number, kind in enumerate(KINDS):
            if advance:
                advance(2 * number, kind)
            targets = []
            for target in TARGETS:
                different = len(np.unique(rows_of(dataset, kind, target).configurations))
                if different < fewest:
                    reason = f"{different} different layers measured, {fewest} needed"
                    self.skipped_[kind, target] = reason
                else:
                    targets.append(target)
            if targets:
                self._fit_kind(kind, tuple(targets), dataset, left_out, estimator)
        alone = None if self.models_ else fit_networks(dataset, self.folds, self.seed)
        if alone:
            self.models_ = {key: LayerModel(*key, *found) for key, found in alone.models.items()}
            self.skipped_ = {key: reason for key, reason in self.skipped_.items() if key not in self.models_}
        if not self.models_:
            short = f"no layer type has {fewest} different layers with a measured runtime or power"
            raise InputError(TOO_FEW_GROUPS if TOO_FEW_GROUPS in self.skipped_.values() else short)
        self.models_ = {key: self.models_[key] for key in DICTIONARIES if key in self.models_}
        self.remainder_ = _remainder(dataset)
        both = tuple(kind for kind in KINDS if {(kind, target) for target in TARGETS} <= set(self.models_))
        self.whole_ = alone.whole if alone else fit_whole(dataset, both, left_out)
        self.started_from_ = start.sha256_ if start else ""
        self.sha256_, self.rows_, self.simulated_ = fingerprint(dataset), len(dataset), dataset.simulated
        self.networks_ = sorted(networks_of(dataset))
        measured = np.isfinite(dataset["runtime_s"].astype(np.float64)) | np.isfinite(
            dataset["power_w"].astype(np.float64)
        )
        measured |= alone is not None
        modelled = dataset.take(measured & np.isin(dataset["kind"], [kind for kind, _ in self.models_]))
        self.precisions_ = dict(Counter(filter(None, modelled["precision"].tolist())).most_common())
        self.clocks_ = clocks(modelled, *KINDS)
        self.devices_ = sorted(set(dataset["device"].tolist()) - {""})
        return self

    def folds_of(self, dataset: Dataset, kind: str) -> KindFolds:
        """The outer folds of a layer type that has models: the same whenever they are asked for."""
        targets = [target for key, target in DICTIONARIES if key == kind and (kind, target) in self.models_]
        return KindFolds.of(dataset, kind, (*targets, *(["energy"] if len(targets) == len(TARGETS) else [])),
                            self.folds, self.seed)  # fmt: skip

    def _fit_kind(
        self,
        kind: str,
        targets: tuple[str, ...],
        dataset: Dataset,
        left_out: Mapping[str, Floats],
        estimator: Estimator,
    ) -> None:
        asked = (*targets, "energy") if len(targets) == len(TARGETS) else targets
        folds = KindFolds.of(dataset, kind, asked, self.folds, self.seed)
        found = held_out(folds, kind, estimator)
        whole = fit_together(folds, kind, folds.fold >= 0, estimator)
        scores = {target: found[target].score() for target in targets}
        good = tuple(target for target in targets if scores[target] is not None and target in whole)
        if good != targets:
            self.skipped_ |= {(kind, target): TOO_FEW_GROUPS for target in targets if target not in good}
            if good:  # folds are of the rows of all targets that are fitted
                self._fit_kind(kind, good, dataset, left_out, estimator)
            return
        for target, score in scores.items():
            assert score is not None
            self.models_[kind, target] = LayerModel(kind, target, whole[target].polynomial_, score)
            _note(left_out[target], dataset, self.models_[kind, target], found[target])
        if "energy" in asked:
            product, direct = found["product"].score(), found["energy"].score()
            if product is not None and direct is not None and "energy" in whole:
                self.energy_[kind] = EnergyErrors(product, direct, len(whole["energy"].polynomial_.terms))

    def estimator(self, kind: str, target: str) -> SparsePolynomial:
        """An unfitted estimator as these models are made of."""
        from neuralpower.models.regression.lasso import SparsePolynomial

        return SparsePolynomial(dictionary_of(kind, target), folds=self.folds, seed=self.seed, loss=self.loss)


def _blank() -> dict[str, Any]:
    """The fitted attributes of models that know nothing."""
    return {
        "models_": {}, "energy_": {}, "skipped_": {}, "remainder_": None, "whole_": None,
        "sha256_": "", "rows_": 0, "networks_": [], "devices_": [], "simulated_": False,
        "precisions_": {}, "clocks_": {}, "started_from_": "",
    }  # fmt: skip


Estimator = Callable[[str, str], "SparsePolynomial"]


def started(models: SixModels, start: SixModels) -> Estimator:
    """Estimators that start from the models of another device; a model that it does not have, and that of energy itself, starts from nothing."""
    from neuralpower.models.regression.transfer import StartedPolynomial

    def made(kind: str, target: str) -> SparsePolynomial:
        known = start.models_.get((kind, target))
        return StartedPolynomial(
            known.polynomial if known else None, **models.estimator(kind, target).get_params(deep=False)
        )

    return made


def fit_together(folds: KindFolds, kind: str, train: Bools, estimator: Estimator) -> dict[str, SparsePolynomial]:
    """target -> an estimator fitted to the training rows of the dataset; power with the runtime model inside.

    A target whose training rows are too few or all alike is left out.
    """
    fitted: dict[str, SparsePolynomial] = {}
    for target, rows in folds.rows.items():
        if folds.few(target, train):
            continue
        chosen = rows.where(train[rows.index])
        # Only power asks how long a layer runs: runtime and energy come from sizes.
        nested = _nested(folds, train, fitted.get("runtime"), chosen.x, chosen.index) if target == "power" else None
        unfitted = estimator(kind, target)
        if folds.clocked and unfitted.dictionary:
            unfitted.set_params(dictionary=with_clock(unfitted.dictionary))
        tried = [unfitted]
        if nested is not None and unfitted.dictionary and unfitted.multiplies:
            tried.append(estimator(kind, target).set_params(dictionary=unfitted.dictionary.by_sizes()))
        for each in tried:
            each.fit(
                chosen.x, chosen.y, folds.group[chosen.index], chosen.relative_se, chosen.units, chosen.shares, nested
            )
        by_rates, *by_sizes = tried
        clearly = all(by_rates.selection_error_ < CLEARLY * each.selection_error_ for each in by_sizes)
        fitted[target] = by_rates if clearly else by_sizes[0]
    return fitted


def _nested(
    folds: KindFolds, train: Bools, runtime: SparsePolynomial | None, x: Floats, index: NDArray[np.intp]
) -> Nested | None:
    """The runtime model for the rows of a power model: by its inner folds where they held a row out."""
    from neuralpower.models.regression.lasso import Nested

    if runtime is None:
        return None
    predicted = runtime.predict(x)
    rows = folds.rows["runtime"]
    timed = rows.index[train[rows.index]]
    known = np.isfinite(runtime.held_out_)
    _, at, mine = np.intersect1d(timed[known], index, return_indices=True)
    predicted[mine] = runtime.held_out_[known][at]
    return Nested(predicted, runtime.polynomial_)


def held_out(folds: KindFolds, kind: str, estimator: Estimator) -> Mapping[str, HeldOut]:
    """target -> the predictions of held-out layers; ``product`` is energy as runtime times power."""
    found = {target: HeldOut(folds, target) for target in folds.rows}
    if "energy" in found:
        found["product"] = HeldOut(folds, "energy")
    for train, test in folds.parts():
        fitted = fit_together(folds, kind, train, estimator)
        for target, model in fitted.items():
            rows = folds.rows[target]
            # A fold may hold layers of which only the other target was measured.
            if len(x := rows.x[test[rows.index]]):
                found[target].add(test, model.predict(x), model.predict_interval(x))
        if "product" in found and {"runtime", "power"} <= set(fitted):
            rows = folds.rows["energy"]
            x = rows.x[test[rows.index]]
            if len(x):
                found["product"].add(test, fitted["runtime"].predict(x) * fitted["power"].predict(x))
    return found


def _note(into: Floats, dataset: Dataset, model: LayerModel, found: HeldOut) -> None:
    """Put what outer folds predict for the layers that they held out into `into` (rows,), and the model's word for the rest of the type."""
    of_kind = np.flatnonzero(dataset["kind"] == model.kind)
    x = measure_rows(dataset.table, of_kind, model.kind, model.polynomial.columns)
    into[of_kind] = model.polynomial.predict(x)
    index, known = found.folds.rows[model.target].index, np.isfinite(found.predicted)
    # The same layer in a network, measured there or not, is no more unknown to the model than the one it was fitted to.
    alike = configurations_of(x)
    at = np.searchsorted(of_kind, index[known])
    sums, counts = (np.bincount(alike[at], values, alike.max() + 1) for values in (found.predicted[known], None))
    held = counts[alike] > 0
    into[of_kind[held]] = (sums[alike] / np.maximum(counts[alike], 1))[held]
    into[index[known]] = found.predicted[known]


def _remainder(dataset: Dataset) -> Remainder | None:
    """Mean runtime over layers of kind ``other``; power weighted by runtime, so that layers × both is their energy."""
    others = dataset.take(means(dataset))
    runtime, power = others["runtime_s"].astype(np.float64), others["power_w"].astype(np.float64)
    timed = np.isfinite(runtime) & (runtime >= 0)
    both = timed & np.isfinite(power) & (power > 0) & (runtime > 0)
    if not timed.any():
        return None
    mean_w = float(np.average(power[both], weights=runtime[both])) if both.any() else None
    return Remainder(int(timed.sum()), float(runtime[timed].mean()), mean_w)
