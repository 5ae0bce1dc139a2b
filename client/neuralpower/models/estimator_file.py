"""Any fitted estimator of this package as readable JSON, without pickle: what is loaded predicts to the last bit what was saved."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neuralpower import __version__
from neuralpower.files import write_whole
from neuralpower.models import store
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.lasso import SparsePolynomial
from neuralpower.models.six import SixModels

FORMAT, VERSION = "neuralpower-polynomial", 1
_NUMBERS = {"penalties": int, "folds": int, "seed": int, "loss": str, "regions": bool}


def save(model: SixModels | SparsePolynomial, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; `path` is replaced only once the new file is whole.

    Raises NotFittedError where it is not fitted, Failure when it cannot be written. Predictions of inner folds (``held_out_``) are not kept.
    """
    if isinstance(model, SixModels):
        check_is_fitted(model, "models_")
        store.save(model, path)
        return
    text = json.dumps(document(model), indent=1, allow_nan=False) + "\n"
    write_whole(path, text.encode(), "the model")


def load(path: str | os.PathLike[str]) -> SixModels | SparsePolynomial:
    """Read what :func:`save`, or ``neuralpower fit``, wrote. Raises InputError, one line, on anything else."""
    return store.read(path, _parse)


def document(model: SparsePolynomial) -> dict[str, Any]:
    """A fitted ``SparsePolynomial`` as JSON values."""
    check_is_fitted(model, "polynomial_")
    given = model.get_params(deep=False)
    dictionary = given.pop("dictionary")
    runtime = model.polynomial_.runtime
    names = getattr(model, "feature_names_in_", None)
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"neuralpower {__version__}",
        "parameters": {
            **given,
            "degrees": list(model.degrees),
            "dictionary": None if dictionary is None else asdict(dictionary),
        },
        "feature_names_in": None if names is None else names.tolist(),
        "penalty": model.penalty_,
        "selection_error": model.selection_error_,
        "polynomial": store.polynomial_document(model.polynomial_),
        "runtime": store.polynomial_document(runtime) if runtime else None,
    }


def _parse(found: object) -> SixModels | SparsePolynomial:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return store.parse(found)
    if found.get("version") != VERSION:
        raise ValueError(f"version {found.get('version')!r}, this program reads {VERSION}; fit again")
    model = SparsePolynomial(**_parameters(_entry(found, "parameters")))
    runtime = (
        None if found.get("runtime") is None else store.read_polynomial(_entry(found, "runtime"), None, zeros=True)
    )
    model.polynomial_ = store.read_polynomial(_entry(found, "polynomial"), runtime, zeros=True)
    model.n_features_in_ = len(model.polynomial_.columns)
    names = found.get("feature_names_in")
    if names is not None:
        if (
            not isinstance(names, list)
            or len(names) != model.n_features_in_
            or not all(isinstance(n, str) for n in names)
        ):
            raise ValueError(f"'feature_names_in' is no list of {model.n_features_in_} names")
        model.feature_names_in_ = np.array(names, dtype=object)
    model.degree_ = model.polynomial_.degree
    model.penalty_, model.selection_error_ = (_positive(found, name) for name in ("penalty", "selection_error"))
    return model


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    if given.keys() != {*_NUMBERS, "degrees", "dictionary"}:
        raise ValueError("'parameters' are not those of SparsePolynomial")
    for name, kind in _NUMBERS.items():
        if type(given[name]) is not kind:
            raise ValueError(f"{name!r} is {given[name]!r}")
    degrees, dictionary = given["degrees"], given["dictionary"]
    if not isinstance(degrees, list) or not all(type(each) is int for each in degrees):
        raise ValueError("'degrees' is no list of whole numbers")
    return {**given, "degrees": tuple(degrees), "dictionary": None if dictionary is None else _dictionary(dictionary)}


def _dictionary(entry: Any) -> Dictionary:
    names = {each.name for each in fields(Dictionary)}
    flags = {"tiled", "capped"}
    if not isinstance(entry, dict) or entry.keys() != names:
        raise ValueError("'dictionary' is none")
    if any(not isinstance(value, bool if name in flags else list) for name, value in entry.items()):
        raise ValueError("'dictionary' holds what it cannot")
    return Dictionary(**{name: _tuples(value) for name, value in entry.items()})


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _entry(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} is not an object")
    return value


def _positive(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if not isinstance(value, float) or not 0 <= value < float("inf"):
        raise ValueError(f"{name!r} is {value!r}")
    return value
