"""The models as scikit-learn's users know them: names of columns, clone, Pipeline, GridSearchCV, JSON instead of pickle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import neuralpower.models as public
from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.models import Dictionary, SixModels, SparsePolynomial, load, save
from neuralpower.models.frames import as_dataset

SIZES = {"a": 2.0 ** np.arange(1, 7).repeat(8), "b": 2.0 ** np.tile(np.arange(8), 6)}
Y = 3.0 + SIZES["a"] + 0.1 * SIZES["b"]


def frame(*names: str) -> pa.Table:
    """A frame of sizes with its columns in this order."""
    return pa.table({name: SIZES[name] for name in names})


def columns(rows: int = 60) -> dict[str, Any]:
    """Fully connected layers as columns of one's own, in an order of one's own."""
    random = np.random.default_rng(3)
    return {
        "out_c": np.round(2 ** random.uniform(4, 10, rows)).astype(int),
        "precision": ["FP16"] * rows,
        "in_c": np.round(2 ** random.uniform(4, 10, rows)).astype(int),
        "kind": ["fc"] * rows,
        "batch": [1] * rows,
    }


def measured(table: dict[str, Any]) -> np.ndarray:
    """Runtime, s, and power, W, (rows, 2)."""
    work = table["in_c"] * table["out_c"]
    return np.column_stack([2e-6 + 1e-11 * work, 5 + 1e-6 * work])


@pytest.fixture(scope="module")
def six() -> SixModels:
    table = columns()
    return SixModels(folds=2).fit(table, measured(table))


@pytest.fixture(scope="module")
def sparse() -> SparsePolynomial:
    return SparsePolynomial(degrees=(1, 2), penalties=12).fit(frame("a", "b"), Y)


def test_public_names_are_there() -> None:
    """Everything that the package exports can be had, and nothing else is imported for it."""
    assert all(getattr(public, name) is not None for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        public.Nothing  # noqa: B018  # reading it is the test


# ---- scikit-learn's checks ---------------------------------------------------------------------

OF_UNFITTED = ("check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_repr",
               "check_no_attributes_set_in_init", "check_do_not_raise_errors_in_init_or_set_params", "check_mixin_order",
               "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params")  # fmt: skip
"""scikit-learn's checks that fit nothing. Those that do make arrays of numbers, which are no layers: six models say so in their tags."""


@pytest.mark.parametrize("check", OF_UNFITTED)
def test_six_models_pass_the_checks_that_fit_nothing(check: str) -> None:
    """Parameters, clone, tags and repr are as scikit-learn has them; each check is there in some version of it."""
    if not hasattr(estimator_checks, check):
        pytest.skip(f"this scikit-learn has no {check}")
    getattr(estimator_checks, check)("SixModels", SixModels())


@pytest.mark.filterwarnings("ignore:Can't test estimator SixModels")
def test_check_estimator_takes_six_models() -> None:
    """scikit-learn's own check, which leaves out what needs arrays of numbers."""
    estimator_checks.check_estimator(SixModels())
    assert isinstance(SixModels(), BaseEstimator)


# ---- Names of columns --------------------------------------------------------------------------


def test_reordered_columns_are_refused(sparse: SparsePolynomial) -> None:
    """Columns in another order, or with other names, are never silently predicted."""
    assert sparse.feature_names_in_.tolist() == ["a", "b"] and sparse.n_features_in_ == 2
    with pytest.raises(ValueError, match="same order"):
        sparse.predict(frame("b", "a"))
    with pytest.raises(ValueError, match="feature names"):
        sparse.predict(frame("a", "b").rename_columns(["a", "c"]))
    with pytest.raises(ValueError, match="same order"):
        sparse.predict_interval(frame("b", "a"))


def test_a_dictionary_wants_its_columns() -> None:
    """A frame whose columns are not those of the dictionary, in its order, is refused when fitting."""
    dictionary = Dictionary(columns=("b", "a"), powers=("a", "b"))
    with pytest.raises(ValueError, match="the columns a, b, and the dictionary b, a"):
        SparsePolynomial(dictionary).fit(frame("a", "b"), Y)
    fitted = SparsePolynomial(dictionary, degrees=(1,), penalties=10).fit(frame("b", "a"), Y)
    assert fitted.predict(frame("b", "a")) == pytest.approx(Y, rel=0.02)


def test_six_models_take_columns_by_name(six: SixModels) -> None:
    """The order of columns changes nothing; one that was fitted with and is not there is named."""
    table = columns()
    assert six.feature_names_in_.tolist() == ["out_c", "precision", "in_c", "kind", "batch"]
    turned = pa.table({name: table[name] for name in sorted(table)})
    np.testing.assert_array_equal(six.predict(turned), six.predict(table))
    assert six.predict(table) == pytest.approx(measured(table), rel=0.1)
    with pytest.raises(InputError, match="lacks the column precision"):
        six.predict(turned.drop_columns(["precision"]))


def test_layers_without_a_model_are_nan(six: SixModels) -> None:
    """A type that was not measured has no number, and nothing to score is refused."""
    table = {**columns(2), "kind": ["fc", "other"]}
    predicted = six.predict(table)
    assert np.isfinite(predicted[0]).all() and np.isnan(predicted[1]).all()
    with pytest.raises(InputError, match="nothing to score"):
        six.score({**columns(1), "kind": ["other"]}, np.ones((1, 2)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precison": ["FP16"] * 60}, "column 'precison', which no table of layers has"),
        ({"in_c": [1.5] * 60}, "column in_c of X, row 0: 1.5 is no whole number"),
        ({"in_c": [float("nan")] * 60}, "column in_c of X, row 0: nan is no whole number"),
        ({"in_c": [0] * 60}, "X, row 0: layer row 0: a fc layer with an impossible in_c"),
        ({"in_c": ["many"] * 60}, "column in_c of X holds what is no number"),
        ({"in_c": [4]}, "columns of different lengths"),
        ({"in_c": [[4]] * 60}, "column in_c of X has 2 dimensions"),
        ({"kind": ["conv"] * 60}, "lacks the column in_h, which a conv layer needs"),
        ({"kind": ["lstm"] * 60}, "kind 'lstm' is none of"),
    ],
)
def test_what_is_no_table_of_layers_is_one_line(changed: dict[str, Any], said: str) -> None:
    """What, where and what to do, also for scikit-learn, whose ValueError it is."""
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        as_dataset({**columns(), **changed})
    assert "\n" not in str(caught.value)


def test_arrays_and_doubled_columns_are_refused() -> None:
    """An array of numbers has no names; a frame may have a name twice; y has a runtime and a power for each row."""
    with pytest.raises(InputError, match="ndarray, which has no named columns"):
        SixModels().fit(np.ones((30, 4)))
    doubled = pa.table([pa.array([1]), pa.array([2])], names=["in_c", "in_c"])
    with pytest.raises(InputError, match="two columns in_c"):
        as_dataset(doubled)
    with pytest.raises(InputError, match=r"y of shape \(60,\)"):
        SixModels().fit(columns(), np.ones(60))


def test_models_that_are_not_fitted_say_so(tmp_path: Path) -> None:
    """Before fit there is nothing to predict or to save."""
    for estimator in (SixModels(), SparsePolynomial()):
        with pytest.raises(NotFittedError):
            estimator.predict(columns())
        with pytest.raises(NotFittedError):
            save(estimator, tmp_path / "none.json")
    assert not list(tmp_path.iterdir())


# ---- Clone, Pipeline, GridSearchCV -------------------------------------------------------------


def test_a_clone_is_unfitted_and_fits_the_same(six: SixModels, sparse: SparsePolynomial) -> None:
    """Parameters come along, what was fitted does not, and fitting again gives the same numbers."""
    table = columns()
    again = clone(six)
    assert again.get_params() == six.get_params() and not hasattr(again, "models_")
    assert again.fit(table, measured(table)) == six
    np.testing.assert_array_equal(
        clone(sparse).fit(frame("a", "b"), Y).predict(frame("a", "b")), sparse.predict(frame("a", "b"))
    )


def test_they_work_in_a_pipeline(six: SixModels) -> None:
    """Behind a step that makes sizes of what a user has, and behind one that picks columns."""
    table = columns()
    theirs = pa.table(table).rename_columns([name.replace("in_c", "features") for name in table])

    def ours(given: pa.Table) -> pa.Table:
        return given.rename_columns([name.replace("features", "in_c") for name in given.column_names])

    pipeline = Pipeline([("names", FunctionTransformer(ours)), ("models", SixModels(folds=2))])
    np.testing.assert_array_equal(pipeline.fit(theirs, measured(table)).predict(theirs), six.predict(table))
    sizes = make_pipeline(FunctionTransformer(np.sqrt), SparsePolynomial(degrees=(2,), penalties=12))
    x = np.column_stack([SIZES["a"], SIZES["b"]])
    assert sizes.fit(x, Y).score(x, Y) > 0.98


def test_they_work_in_a_grid_search() -> None:
    """A dataset and an Arrow frame are divided by rows; the best loss is refitted; groups are kept whole by scikit-learn's own folds."""
    table = columns(40)
    y = measured(table)
    rows = [
        row(Layer(f"f{i}", "fc", 1, int(table["in_c"][i]), 1, 1, int(table["out_c"][i]), 1, 1, precision="FP16"),
            network=f"n{i % 8}", origin="sweep", runtime_s=y[i, 0], power_w=y[i, 1])
        for i in range(40)
    ]  # fmt: skip
    dataset = dataset_of(rows, {})
    search = GridSearchCV(SixModels(folds=2), {"loss": ["relative", "squared"]}, cv=2).fit(dataset)
    assert search.best_params_["loss"] in ("relative", "squared") and -0.1 < search.best_score_ < 0
    assert search.predict(dataset) == pytest.approx(y, rel=0.1)
    scores = cross_val_score(SixModels(folds=2), dataset, groups=dataset["network"], cv=GroupKFold(2))
    assert (scores < 0).all() and (scores > -0.2).all()
    sparse = GridSearchCV(SparsePolynomial(penalties=10), {"degrees": [(1,), (2,)]}, cv=3).fit(frame("a", "b"), Y)
    assert sparse.best_estimator_.feature_names_in_.tolist() == ["a", "b"]


def test_a_dataset_gives_columns_by_name_and_rows_by_number() -> None:
    """As scikit-learn divides it."""
    dataset = as_dataset(columns(5))
    assert dataset.shape == (5, len(dataset.table))
    assert isinstance(dataset["in_c"], np.ndarray)
    for chosen in (np.array([3, 1]), [3, 1], (np.array([3, 1]), ...)):
        part = dataset[chosen]
        assert isinstance(part, Dataset) and part["in_c"].tolist() == dataset["in_c"][[3, 1]].tolist()
    assert len(dataset[1:3]) == 2 and len(dataset[dataset["in_c"] > 0]) == 5


# ---- JSON --------------------------------------------------------------------------------------


def test_json_comes_back_to_the_last_bit(six: SixModels, sparse: SparsePolynomial, tmp_path: Path) -> None:
    """Both estimators predict the same after a round trip, keep names and parameters, and are written as the same bytes again."""
    for name, estimator, x in (("six", six, columns()), ("sparse", sparse, frame("a", "b"))):
        path = tmp_path / f"{name}.json"
        save(estimator, path)
        loaded = load(path)
        assert type(loaded) is type(estimator) and loaded.get_params() == estimator.get_params()
        np.testing.assert_array_equal(loaded.predict(x), estimator.predict(x))
        assert loaded.feature_names_in_.tolist() == estimator.feature_names_in_.tolist()
        save(loaded, tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    np.testing.assert_array_equal(load(path).predict_interval(x), sparse.predict_interval(x))


def test_json_keeps_a_dictionary(tmp_path: Path) -> None:
    """With hinges, rooflines, a law and regions; a clone of what was loaded fits the same."""
    dictionary = Dictionary(columns=("a", "b"), physical=("a",), powers=("a", "b"), hinges=("b",), ridges=(("a", "b"),),
                            cases=(("[b>4]", ("a",)),), regions=("a", "b"), amounts=("a",), rates=("a",), law=("a",))  # fmt: skip
    x = np.column_stack([SIZES["a"], SIZES["b"]])
    fitted = SparsePolynomial(dictionary, degrees=(1,), penalties=10).fit(x, Y)
    save(fitted, tmp_path / "m.json")
    loaded = load(tmp_path / "m.json")
    far = np.array([[1000.0, 1.0], [2.0, 2.0]])
    np.testing.assert_array_equal(loaded.predict(far), fitted.predict(far))
    assert loaded.dictionary == dictionary and not hasattr(loaded, "feature_names_in_")
    np.testing.assert_array_equal(clone(loaded).fit(x, Y).predict(x), fitted.predict(x))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("version",), 99, "version 99"),
        (("parameters", "loss"), 3, "'loss' is 3"),
        (("parameters", "degrees"), ["1"], "no list of whole numbers"),
        (("parameters", "dictionary"), {"columns": []}, "'dictionary' is none"),
        (("feature_names_in",), ["a"], "no list of 2 names"),
        (("penalty",), "much", "'penalty' is 'much'"),
        (("polynomial",), None, "'polynomial' is not an object"),
        (("polynomial", "degree"), 0, "'degree' is 0"),
        (("polynomial", "domain"), {}, "unknown feature"),
    ],
)
def test_a_broken_file_is_one_line(
    sparse: SparsePolynomial, tmp_path: Path, place: tuple[str, ...], value: Any, said: str
) -> None:
    """Whatever does not fit is refused where it is read."""
    path = tmp_path / "m.json"
    save(sparse, path)
    found = json.loads(path.read_text())
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match="not a model") as caught:
        load(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
