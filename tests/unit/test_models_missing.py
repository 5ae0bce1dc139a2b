"""Fitting to data of which something is missing: powers withheld or uncertain, no runtimes, one type, one network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from test_models_store import measured

from neuralpower.cli import main
from neuralpower.dataset import COLUMNS, LATER, Dataset, write_dataset
from neuralpower.models import store
from neuralpower.models.judging import evaluation
from neuralpower.models.rows import fingerprint
from neuralpower.models.six import TOO_FEW_GROUPS, SixModels

LOCKED = "its period is locked to the chip's scan"


def changed(column: str, values: Callable[[Dataset], object]) -> Dataset:
    """The measured layers with another column."""
    data = measured()
    table = dict(data.table)
    table[column] = np.broadcast_to(np.asarray(values(data), table[column].dtype), len(data)).copy()
    return Dataset(table, data.provenance)


def withheld(chosen: Sequence[bool]) -> Dataset:
    """The measured layers, the power of some withheld."""
    data = measured()
    hidden = np.asarray(chosen)
    table = {
        **data.table,
        **{name: np.where(hidden, np.nan, data[name]) for name in ("power_w", "power_se_w")},
        "withheld": np.where(hidden, LOCKED, "").astype(object),
    }
    return Dataset(table, data.provenance)


def run(data: Dataset, folder: Path) -> int:
    write_dataset(data.table, folder / "d.parquet", data.provenance)
    return main(["fit", str(folder / "d.parquet"), "-o", str(folder / "m.json"), "--folds", "4"])


UNUSABLE = {
    "withheld": lambda: withheld([True] * 73),
    "uncertain": lambda: changed("power_se_w", lambda data: data["power_w"] / 2),
    "of no known error": lambda: changed("power_se_w", lambda data: np.inf),
    "zero": lambda: changed("power_w", lambda data: 0.0),
}


@pytest.mark.parametrize("made", UNUSABLE.values(), ids=UNUSABLE)
def test_without_a_usable_power_there_is_one_line(
    made: Callable[[], Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how many layers there are and what is wrong with their powers; status 1 and no model file."""
    data = made()
    assert len(data) == 73
    assert run(data, tmp_path) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("neuralpower: no power of 65 layers can be used: ")
    assert ("locked to" in error) == bool(data.withheld) and not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("known", [range(11), range(15), range(40, 55), range(0, 64, 3), range(64)])
def test_a_few_powers_give_a_model_or_a_reason(known: Sequence[int]) -> None:
    """However few layers have a power, their fit ends with a model or with why there is none; runtimes have theirs."""
    hidden = ~np.isin(np.arange(73), known)
    six = SixModels(folds=4).fit(withheld(hidden.tolist()))
    assert ("conv", "runtime") in six.models_
    assert (("conv", "power") in six.models_) != (("conv", "power") in six.skipped_)
    if ("conv", "power") in six.models_:
        assert six.models_["conv", "power"].cross_validation.score.rows <= len(known)


def test_what_is_left_of_a_type_has_the_folds_of_what_is_left() -> None:
    """Where powers are too few to be held out, runtimes are as if there were no power; the baselines come on the same folds."""
    data = withheld((~np.isin(np.arange(73), range(11))).tolist())
    six, alone = SixModels(folds=4).fit(data), SixModels(folds=4).fit(changed("power_w", lambda _: np.nan))
    assert six.skipped_["conv", "power"] == TOO_FEW_GROUPS
    key = ("conv", "runtime")
    assert six.models_[key].cross_validation == alone.models_[key].cross_validation
    ways = evaluation.simpler_ways(six, data)[key]
    assert all(way.score.rows == six.models_[key].cross_validation.score.rows for way in ways.values())


SIBLINGS: dict[str, tuple[Callable[[], Dataset], int]] = {
    "no runtime": (lambda: changed("runtime_s", lambda _: np.nan), 0),
    "no power, and none looked for": (lambda: changed("power_w", lambda _: np.nan), 0),
    "nothing measured": (lambda: changed("power_w", lambda _: np.nan).take(np.zeros(73, bool)), 2),
    "one network": (lambda: measured().take(measured()["network"] == "n0"), 2),
    "two networks": (lambda: measured().take(np.isin(measured()["network"], ["n0", "n1"])), 0),
    "networks without a name": (lambda: changed("network", lambda _: ""), 0),
    "one layer, often": (lambda: measured().take(np.zeros(40, np.intp)), 2),
    "convolutions alone": (lambda: measured().take(measured()["kind"] == "conv"), 0),
    "other layers alone": (lambda: measured().take(measured()["kind"] == "other"), 2),
    "all powers equal": (lambda: changed("power_w", lambda _: 7.0), 0),
    "all runtimes equal": (lambda: changed("runtime_s", lambda _: 1e-3), 0),
}


@pytest.mark.parametrize(("made", "status"), SIBLINGS.values(), ids=SIBLINGS)
def test_whatever_lacks_there_is_no_traceback(
    made: Callable[[], Dataset], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model file with reasons for what is not in it, or one line."""
    assert run(made(), tmp_path) == status
    said = capsys.readouterr()
    if status:
        assert len([line for line in said.err.splitlines() if line.startswith("neuralpower: ")]) == 1
    else:
        six = store.load(tmp_path / "m.json")
        assert len(six.models_) + len(six.skipped_) == 6 and "no pool power model" in said.out


def test_fit_says_how_many_rows_have_no_power(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows without power are in the runtime models alone."""
    data = withheld([place % 4 == 0 for place in range(73)])
    assert run(data, tmp_path) == 0
    assert f"rows with power 54/73, 19 withheld: {LOCKED}; rows without power are in no power model" in (
        capsys.readouterr().out
    )
    models = store.load(tmp_path / "m.json").models_
    rows = [models["conv", target].cross_validation.score.rows for target in ("runtime", "power")]
    assert rows == [64, int(np.isfinite(data.where(kind="conv")["power_w"]).sum())]


def test_data_without_anything_withheld_keeps_its_fingerprint() -> None:
    """Models fitted by earlier versions still know their data, hashed without the column; a reason makes other data of it."""
    data, digest = measured(), hashlib.sha256()
    for name in COLUMNS:
        if name not in LATER:
            digest.update(json.dumps([name, data[name].tolist()]).encode())
    assert fingerprint(data) == digest.hexdigest() != fingerprint(withheld([False] * 72 + [True]))


@pytest.mark.parametrize("told", ["device", "simulated", ""])
def test_rows_of_several_devices_are_told(told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their times and powers do not compare, least of all measured ones with simulated ones; of one device nothing is said."""
    few = np.arange(73) < 5
    data = changed("device", lambda _: np.where(few & (told == "device"), "board A", "board B"))
    data.table["simulated"] = few & (told == "simulated")
    assert run(data, tmp_path) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "several devices" in line]
    first = {"device": "board A", "simulated": "board B, simulated"}
    assert not told or f"({first[told]}: 5 rows; board B: 68 rows)" in said[0]
    assert len(said) == (1 if told else 0)
