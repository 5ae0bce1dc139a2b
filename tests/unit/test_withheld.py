"""Withheld is withheld: of such an engine no power and no energy comes out anywhere; its runtimes and the reason do."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_attribution_recording import NETWORK_NS, small
from test_profiler_design import progress

from neuralpower.attribution import Attribution, EngineAttribution, LayerPower, Unprofiled, WholeInference, attribute
from neuralpower.attribution.agreement import pairs
from neuralpower.cli import main
from neuralpower.cli.analysing.attribute import choose, document
from neuralpower.collect import rows_of
from neuralpower.dataset import COLUMNS, read_dataset
from neuralpower.dataset_networks import whole_networks
from neuralpower.errors import Failure
from neuralpower.experiment.stopping import LayerIntervals, width_known
from neuralpower.models.six import SixModels
from neuralpower.recordings.recording import Recording
from neuralpower.report.energy_plot import measured_stack
from neuralpower.report.network_plot import layer_power
from neuralpower.show.attribution import print_attribution
from neuralpower_align import layer_power as align
from neuralpower_align.result.results import Level

REASON = "the fit of this run did not settle"
LARGE = 1.3e7
"""The estimator's powers are made so many times too high."""
OTHER = 3.7e8
"""Or so many times: what is withheld can then be seen in whatever changes."""
Outputs = dict[str, str]


def large(found: align.RailAttribution, reason: str, told: bool = True, factor: float = LARGE) -> align.RailAttribution:
    """What the estimator found, far too high, and withheld for a reason. Not `told`: nor is the last unit of a network."""

    def level(of: Level) -> Level:
        return Level(factor * of.power_w, factor * of.se_w)

    engines = []
    for each in found.engines:
        known = each.units.told.copy()
        known[-1] &= told or len(known) == 1
        units = replace(
            each.units, power_w=factor * each.units.power_w, covariance=factor**2 * each.units.covariance, told=known
        )
        higher = {f.name: factor * getattr(each, f.name) for f in fields(each) if f.name.endswith(("_w", "_j"))}
        levels = {name: level(getattr(each, name)) for name in ("launch", "tail", "gap")}
        engines.append(replace(each, **higher, **levels, units=units, withheld=reason))
    balance = replace(found.balance, layers_j=factor * found.balance.layers_j, gaps_j=factor * found.balance.gaps_j)
    return replace(found, engines=tuple(engines), balance=balance)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small().write(tmp_path_factory.mktemp("small") / "rec")


@pytest.fixture(scope="module")
def estimate(folder: Path) -> align.RailAttribution:
    """What the estimator finds in the recording."""
    found: list[align.RailAttribution] = []

    def kept(*args: Any, **options: Any) -> align.RailAttribution:
        found.append(plain(*args, **options))
        return found[0]

    plain = align.layer_power
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align, "layer_power", kept)
        attribute(Recording(folder))
    return found[0]


def doctored(
    patch: pytest.MonkeyPatch, found: align.RailAttribution, reason: str, told: bool = True, factor: float = LARGE
) -> None:
    """From now on every attribution finds this; a repeated layer is not read directly, but as it was found."""
    patch.setattr(align, "layer_power", lambda *_, **__: large(found, reason, told, factor))
    patch.setattr(importlib.import_module("neuralpower.attribution.attribute"), "STEADY_NS", math.inf)


@pytest.fixture(scope="module")
def told(folder: Path, estimate: align.RailAttribution) -> Attribution:
    """The attribution with powers far too high, told."""
    with pytest.MonkeyPatch.context() as patch:
        doctored(patch, estimate, "")
        return attribute(Recording(folder))


@pytest.fixture(scope="module")
def partly(folder: Path, estimate: align.RailAttribution) -> Attribution:
    """The same, the last unit of the network not known well enough."""
    with pytest.MonkeyPatch.context() as patch:
        doctored(patch, estimate, "", told=False)
        return attribute(Recording(folder))


@pytest.fixture(scope="module")
def withheld(folder: Path, estimate: align.RailAttribution) -> Attribution:
    """The same, withheld."""
    with pytest.MonkeyPatch.context() as patch:
        doctored(patch, estimate, REASON)
        return attribute(Recording(folder))


@pytest.fixture(scope="module")
def outputs(
    folder: Path, estimate: align.RailAttribution, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Outputs, Outputs, Outputs]]:
    """What every command writes about the recording: told, withheld, and other powers withheld."""
    written = []
    for reason, factor in (("", LARGE), (REASON, LARGE), (REASON, OTHER)):
        with pytest.MonkeyPatch.context() as patch:
            doctored(patch, estimate, reason, factor=factor)
            written.append(written_about(folder, tmp_path_factory.mktemp("out")))
    yield written[0], written[1], written[2]


def written_about(folder: Path, out: Path) -> Outputs:
    """Command or file -> all text of it."""
    rec, found = str(folder), {}
    shutil.rmtree(folder / "attribution", ignore_errors=True)  # what another estimator's hands left
    calls = {
        "attribute": ["attribute", rec, "--plot", str(out / "layers.svg")],
        "attribute --json": ["attribute", rec, "--json"],
        "attribute --engine": ["attribute", rec, "--engine", "net"],
        "report": ["report", rec, "-o", str(out / "page.html")],
        "dataset": ["dataset", rec, "-o", str(out / "d.parquet")],
        "dataset --json": ["dataset", rec, "-o", str(out / "d.parquet"), "--json"],
        "info": ["info", rec],
        "info d.parquet": ["info", str(out / "d.parquet")],
        "info d.parquet --json": ["info", str(out / "d.parquet"), "--json"],
        "export --csv": ["export", rec, "--csv", str(out / "csv")],
        "export --perfetto": ["export", rec, "--perfetto", str(out / "trace")],
    }
    for name, words in calls.items():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(words) == 0, name
        found[name] = printed.getvalue().replace(str(out), "").replace(str(folder.parent), "")
    for page in ("layers.svg", "page.html"):
        content = (out / page).read_text(encoding="utf-8")
        content = re.sub("<style.*?</style>|<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
        found[page] = unescape(re.sub("<[^>]*>", "\n", content)).replace("\u202f", "")
    data = read_dataset(out / "d.parquet")
    found["d.parquet"] = json.dumps([{name: data[name].tolist() for name in COLUMNS}, data.provenance])
    for path in sorted((out / "csv").iterdir()):
        found[path.name] = path.read_text()
    found["trace"] = (out / "trace").read_bytes().hex()
    return found


def secrets(value: Any) -> Iterator[float]:
    """All the numbers that are far too high."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from secrets(each)
    elif isinstance(value, float) and 1e3 < value < math.inf:
        yield value


def found_in(text: str, numbers: np.ndarray) -> list[str]:
    """The numbers in a text that are one of these, in any unit from micro to mega."""
    seen = []
    for word in set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e\+?\d+)?", text)):
        if float(word) > 100 and any(
            (abs(float(word) / (numbers * 10.0**unit) - 1) < 2e-3).any() for unit in (-6, -3, 0, 3, 6)
        ):
            seen.append(word)
    return seen


SHOWN = ("attribute", "attribute --json", "attribute --engine", "page.html", "d.parquet")
"""What shows powers where they are told."""
MEASURED = ("rails.csv", "inferences.csv", "layers.csv", "trace", "info")
"""What shows what was measured, and nothing that was attributed."""


def test_no_number_of_it_comes_out(outputs: tuple[Outputs, Outputs, Outputs], told: Attribution) -> None:
    """Neither power nor energy of layers, units, launch, tail, gaps and whole inferences is in any output of any command:
    with other ones all is the same, letter by letter."""
    numbers = np.array(sorted(set(secrets(document(told, choose(told, None))["engines"]))))
    assert len(numbers) > 40
    for name in SHOWN:
        assert len(found_in(outputs[0][name], numbers)) >= 6, name  # otherwise nothing would be looked for
    for name, text in outputs[1].items():
        assert text == outputs[2][name], name
    for name in MEASURED:
        assert outputs[0][name] == outputs[1][name], name


def test_the_reason_and_the_runtimes_come_out(outputs: tuple[Outputs, Outputs, Outputs]) -> None:
    """One line of reason for each engine, how many there are, and the layers' runtimes for machines and in the dataset."""
    said = outputs[1]
    for name in ("attribute", "attribute --engine", "attribute --json", "page.html", "layers.svg", "dataset",
                 "dataset --json", "info d.parquet", "info d.parquet --json", "d.parquet"):  # fmt: skip
        assert REASON in " ".join(said[name].split()), name
        assert REASON not in outputs[0][name], name
    assert len(said["attribute --engine"].splitlines()) < 15
    assert "withheld: 2 of 2 engines have no power" in said["attribute"] and "2 withheld" in said["page.html"]
    assert f"with power 0/7, 7 withheld: {REASON}" in said["dataset"]
    assert json.loads(said["dataset --json"])["withheld"] == {REASON: 7}
    net = json.loads(said["attribute --json"])["engines"][0]
    assert [layer["runtime_s"] * 1e9 for layer in net["layers"]] == pytest.approx(NETWORK_NS, rel=0.02)
    assert {(layer["power_w"], layer["energy_se_j"], layer["withheld"]) for layer in net["layers"]} == {
        (None, None, REASON)
    }
    assert net["energy_per_inference_j"] is net["energy_se_j"] is net["power_w"] is net["whole"]["energy_j"] is None
    assert net["unit_power_w"] == net["unit_se_w"] == [None] * 6 and net["withheld"] == REASON
    assert net["measured_energy_j"] > 0


def test_objects_have_nan_and_a_reason(withheld: Attribution, told: Attribution) -> None:
    """Whoever asks the API: NaN, the reason, and what was measured without any attribution."""
    net, before = withheld.engines["net"], told.engines["net"]
    assert withheld.withheld == {"net": REASON, "same": REASON} and not told.withheld
    for layer, known in zip(net.layers, before.layers, strict=True):
        assert layer.withheld == REASON and not layer.resolved and layer.runtime_s == known.runtime_s
        assert np.isnan([layer.power_w, layer.power_se_w, layer.energy_j, layer.energy_se_j]).all()
    told_of = [net.power_w, net.energy_per_inference_j, net.energy_se_j, net.gap_power_w, net.resolved_time_share]
    assert np.isnan(told_of).all() and np.isnan([net.launch.power_w, net.tail.se_w, net.gap.power_w]).all()
    assert net.whole is not None and net.whole.withheld == REASON and np.isnan(net.whole.energy_j)
    assert net.whole.runtime_s == before.whole.runtime_s if before.whole else False
    assert net.measured_energy_j == before.measured_energy_j and net.runtime_s == before.runtime_s
    assert withheld.balance is not None and told.balance is not None
    assert np.isnan([withheld.balance.layers_j, withheld.balance.gaps_j, withheld.balance.unattributed_j]).all()
    assert withheld.balance.measured_j == told.balance.measured_j
    assert pairs(withheld) == [] and math.isnan(width_known(net))


def test_nobody_can_make_a_withheld_one_with_numbers(told: Attribution) -> None:
    """However it is put together, a reason takes the numbers away: also those of inferences without the profiler."""
    whole = WholeInference(10, 1e-3, 1e-6, 5e-3, 1e-5)
    net = replace(told.engines["net"], unprofiled=Unprofiled(whole, whole), whole=whole)
    assert net.unprofiled is not None and np.isfinite(net.unprofiled.energy_ratio).all()
    hidden = replace(net, withheld=REASON)
    assert hidden.unprofiled is not None and hidden.unprofiled.unprofiled.withheld == REASON
    assert np.isnan(hidden.unprofiled.energy_ratio).all() and np.isfinite(hidden.unprofiled.time_ratio).all()
    assert not list(secrets(document(told, [hidden])["engines"]))
    assert math.isnan(LayerPower("a", "conv", 0, 1, 9, 1, 0.0, 0.0, 7.0, 0.1, withheld=REASON).energy_j)
    assert math.isnan(WholeInference(1, 1.0, 0.1, 2.0, 0.1, REASON).energy_se_j)


def test_what_is_drawn_of_it_has_no_height(withheld: Attribution, told: Attribution) -> None:
    """Runtimes as before, the reason in the place of power, no line, no band, no bar of energy."""
    power, runtime = layer_power([withheld.engines["net"]], simulated=True, baselines=told.baselines,
                                 true_w={"net": [1e7] * 6}).axes  # fmt: skip
    assert not power.patches and not power.lines and not power.collections and power.get_yticks().size == 0
    assert len(runtime.patches) == 6
    stack = measured_stack(withheld.engines["net"])
    assert not stack.energy_j and stack.unknown == "withheld"


def test_the_dataset_keeps_runtimes_and_says_why(withheld: Attribution) -> None:
    """Rows with a runtime, no power, and the reason; the whole inference with its time; `fit` refuses in one line."""
    data = rows_of(withheld, "run")
    assert data.withheld == {REASON: 7} and np.isfinite(data["runtime_s"]).all()
    for name in ("power_w", "power_se_w", "energy_j", "energy_se_j"):
        assert np.isnan(data[name]).all(), name
    (whole,) = whole_networks(data)
    assert whole.runtime_s > 0 and math.isnan(whole.energy_j) and math.isnan(whole.energy_se_j)
    assert math.isnan(whole.layers_energy_se_j(data["position"][:6], data["runtime_s"][:6].astype(float)))
    with pytest.raises(Failure, match=f"no power of 7 layers can be used: 7 are withheld .{REASON}"):
        SixModels().fit(data)


def test_an_experiment_goes_on_and_says_why(
    folder: Path, estimate: align.RailAttribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`profile --until` never takes a withheld power for known, and at its end says that it is withheld."""
    doctored(monkeypatch, estimate, REASON)
    rule = LayerIntervals(folder, "net", 50.0, longest_s=60.0)
    assert rule.enough(progress(inferences=100)) == ""
    assert rule.enough(progress(inferences=200, seconds=61)).endswith(f"is withheld: {REASON}")


def test_a_unit_that_is_not_told_is_withheld_alone(
    partly: Attribution, told: Attribution, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its layers have no power and a reason, the others theirs; the energy of an inference is known all the same."""
    net, whole = partly.engines["net"], told.engines["net"]
    last = net.layers[-1]
    assert "not known to 5 %" in last.withheld and math.isnan(last.power_w) and last.runtime_s > 0
    assert [layer.withheld for layer in net.layers[:-1]] == [""] * 5 and not net.withheld
    assert [layer.power_w for layer in net.layers[:-1]] == [layer.power_w for layer in whole.layers[:-1]]
    assert math.isnan(net.unit_power_w[-1]) and net.energy_per_inference_j == whole.energy_per_inference_j
    assert whole.energy_per_inference_j == pytest.approx(sum(layer.energy_j for layer in whole.layers))
    print_attribution(partly, choose(partly, "net"))
    printed = capsys.readouterr().out
    assert "not told: 1 of 6 layers, 14% of the time: its power is not known" in printed
    assert found_in(printed, np.array([whole.layers[-1].power_w, whole.layers[-1].energy_j])) == []
    stack = measured_stack(net)
    assert stack.energy_j["not told"] == pytest.approx(whole.layers[-1].energy_j, rel=1e-6)
    assert rows_of(partly, "run").withheld == {last.withheld: 1}


def test_a_sum_with_a_part_missing_is_no_sum(told: Attribution) -> None:
    """Where a layer has no energy and nobody knows that of all together, there is none of an inference."""
    net = told.engines["net"]
    missing = replace(net.layers[0], power_w=math.nan)
    part: EngineAttribution = replace(net, layers=(missing, *net.layers[1:]), energy_j=math.nan)
    assert math.isnan(part.energy_per_inference_j) and math.isnan(part.power_w)
    assert measured_stack(part).unknown == "not known of all layers"
