"""What the measured layers near a new one say of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuralpower.models.estimator_file import load, save
from neuralpower.models.regression import kriging
from neuralpower.models.regression.design import Dictionary
from neuralpower.models.regression.lasso import SparsePolynomial

DICTIONARY = Dictionary(
    columns=("in_c", "out_c"), powers=("in_c", "out_c"), rates=("in_c",), law=("in_c",), regions=("in_c", "out_c")
)


def drawn(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Sizes, and runtimes by a rule that has no short formula: waves along both sizes' logarithms, up to a factor of two either way."""
    x = 2.0 ** np.random.default_rng(seed).uniform(3, 9, (rows, 2))
    return x, 1e-6 * (1 + 0.1 * x[:, 0]) * 2 ** np.sin(2 * np.log2(x).sum(axis=1))


def off(model: SparsePolynomial, x: np.ndarray, y: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(np.median(np.abs(np.log(model.predict(x) / y))))


def test_layers_near_by_tell_what_no_formula_does() -> None:
    """A rule of the library's own is known where layers like the new one were measured."""
    x, y = drawn(400, 1)
    new = drawn(200, 2)
    alone = SparsePolynomial(DICTIONARY, degrees=(1,), loss="relative", regions=False).fit(x, y)
    near = SparsePolynomial(DICTIONARY, degrees=(1,), loss="relative").fit(x, y)
    assert near.polynomial_.kriging is not None and alone.polynomial_.kriging is None
    assert off(near, *new) < 0.25 * off(alone, *new)


def test_far_from_all_layers_nothing_is_added() -> None:
    """What is added falls with the distance to every measured layer, to nothing."""
    x = 2.0 ** np.random.default_rng(3).uniform(3, 4, (50, 2))
    choice = kriging.Nearness("rough", 1.0, 0.02, 0.0, np.zeros(50))
    fitted = kriging.fit(("a", "b"), x, np.ones(50), np.ones(50), choice, 800, 0)
    middle = {"a": np.array([2.0**3.5]), "b": np.array([2.0**3.5])}
    away = {"a": np.array([2.0**9]), "b": np.array([2.0**3.5])}
    assert fitted.at(middle)[0] == pytest.approx(1.0, abs=0.1)
    assert abs(fitted.at(away)[0]) < 0.01


def test_a_layer_far_off_says_only_so_much() -> None:
    """One that takes a thousand times as long counts as eight times as long: its neighbours are not lost to it."""
    x = 2.0 ** np.random.default_rng(4).uniform(3, 9, (60, 1))
    left = np.zeros(60)
    left[0] = 10.0
    choice = kriging.Nearness("smooth", 1.0, 0.02, 0.0, np.zeros(60))
    fitted = kriging.fit(("a",), x, left, np.ones(60), choice, 800, 0)
    assert fitted.at({"a": x[:, 0]}).max() <= kriging.MOST_OCTAVES


def test_it_comes_back_from_a_file(tmp_path: Path) -> None:
    """To the last bit; and the formula says how many layers it is made of."""
    path = tmp_path / "e.json"
    model = SparsePolynomial(DICTIONARY, degrees=(1,), loss="relative").fit(*drawn(120, 5))
    save(model, path)
    new = drawn(30, 6)[0]
    assert (load(path).predict(new) == model.predict(new)).all()
    assert "kriging of 120" in model.polynomial_.formula("runtime", "s")
    told = json.loads(path.read_text())
    assert "kriging" in json.dumps(told)
