"""The plot of a network, the bars of energy, and the conditions: what is drawn is what was measured."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rank import models
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, epoch, ticks

from neuralpower.attribution import Attribution, Baselines, EngineAttribution, LayerPower
from neuralpower.cli import main
from neuralpower.cli.analysing.report import _true_power
from neuralpower.dataset import dataset_of, row
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.interval import Z95
from neuralpower.models.network import NetworkPrediction, Prediction, predict_network
from neuralpower.models.six import EnergyErrors, Remainder
from neuralpower.recordings.recording import Recording
from neuralpower.recordings.writer import Writer
from neuralpower.report import conditions, plots, write_report
from neuralpower.report.energy_plot import energy_bars, measured_stack, predicted_stack
from neuralpower.report.modelled import networks, pairs_of
from neuralpower.report.network_plot import PlottedUnit, layer_power, units
from neuralpower.subscriber.messages import Records, Ticks
from neuralpower.virtual.device.truth import EngineTruth, Truth
from neuralpower_align.layer_power import Level
from neuralpower_wire import Kind, Record

nan = float("nan")


def layer(unit: int, runtime_s: float = 1e-4, power_w: float = 8.0, kind: str = "conv") -> LayerPower:
    return LayerPower(f"l{unit}", kind, unit, 1, 50, 1, runtime_s, 1e-6, power_w, 0.1 * power_w)


def engine(*layers: LayerPower) -> EngineAttribution:
    return EngineAttribution("ab" * 16, "net", "least-squares", layers, 50, 3e-3, 4.5, 3.0, 0.03, True)


def test_units_are_runs_of_layers_with_their_interval() -> None:
    """Neighbours of one unit are one block with the longest one's interval; a layer without time belongs to none."""
    net = engine(layer(0), layer(1, 1e-5, 6.0), layer(1, 9e-5, 7.0), layer(2, 0.0), layer(3, power_w=nan))
    first, second, third = units(net)
    assert first == PlottedUnit(0, 0, 8.0, pytest.approx(Z95 * 0.8)) and second == PlottedUnit(
        1, 2, 7.0, pytest.approx(Z95 * 0.7)
    )
    assert (third.first, third.last) == (4, 4) and np.isnan(third.power_w)


def test_what_the_attribution_tells_of_units_and_levels_is_drawn() -> None:
    """A unit's own interval comes before its longest layer's; idle powers are lines."""
    told = replace(
        engine(layer(0), layer(1, 1e-5), layer(1)),
        unit_power_w=(8.0, 7.5),
        unit_se_w=(0.5, 0.25),
        energy_se_j=1e-5,
    )
    assert units(told) == [
        PlottedUnit(0, 0, 8.0, pytest.approx(Z95 * 0.5)),
        PlottedUnit(1, 2, 7.5, pytest.approx(Z95 * 0.25)),
    ]
    levels = Baselines(Level(2.0, 0.1), Level(3.0, 0.1))
    figure = layer_power([told], simulated=False, baselines=levels)
    lines = {line.get_ydata()[0] for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1}
    assert {2.0, 3.0, 4.5} <= lines
    assert measured_stack(told).half_j == pytest.approx(Z95 * 1e-5)


@pytest.mark.parametrize("count", [1, 12, 200])
def test_a_network_is_drawn_whole(count: int) -> None:
    """Every layer has its runtime and energy, the true power its points; names where there is room, numbers elsewhere."""
    net = engine(*(layer(i // 3, (i % 5 + 1) * 1e-5, kind=("conv", "pool", "odd")[i % 3]) for i in range(count)))
    true_w = [7.0] * (count - 1) + [nan]
    figure = layer_power([net], simulated=True, true_w={net.hash: true_w})
    power, runtime, energy = figure.axes
    assert [bar.get_height() for bar in runtime.patches] == pytest.approx([x.runtime_s * 1e6 for x in net.layers])
    assert sum(bar.get_height() for bar in energy.patches) == pytest.approx(100)
    dots = [line for line in power.lines if line.get_marker() == "."]
    assert sum(len(line.get_xdata()) for line in dots) == count - 1
    assert (energy.get_xlabel() == "layer, in order") == (count > 48)
    assert "<svg" in plots.inline(figure, f"n{count}", "network")


def test_a_network_of_which_nothing_is_known_is_drawn() -> None:
    """Powers and gaps that were not found leave places empty."""
    unknown = EngineAttribution(
        "ab" * 16, "$net$", "window-mean", (layer(0, power_w=nan),), 1, nan, nan, nan, nan, False
    )
    assert "<svg" in plots.inline(layer_power([unknown, unknown], simulated=False), "u", "unknown")


def test_a_unit_hardly_known_does_not_flatten_the_rest() -> None:
    """The axis ends where units that are known would reach, though a short one came out three times as high."""
    net = replace(engine(layer(0), layer(1, power_w=24.0)), unit_power_w=(8.0, 24.0), unit_se_w=(0.1, 6.0))
    figure = layer_power([net], simulated=True)
    assert 8.2 < figure.axes[0].get_ylim()[1] < 16.0


def test_bars_hold_all_energy() -> None:
    """Repeats count, kinds nobody models are other, the remainder is in a prediction's bar; without a sum there is no bar."""
    measured = measured_stack(engine(layer(0), layer(1, kind="unclassified")))
    assert measured.energy_j == {"conv": pytest.approx(8e-4), "pool": 0, "fc": 0, "other": pytest.approx(8e-4)}
    conv = Layer("c", "conv", 1, 8, 9, 9, 8, 9, 9)
    told = (Prediction(conv, 1e-4, 9.0, 9e-4), Prediction(Layer("o", "other"), reason="other, not modelled"))
    predicted = predicted_stack(NetworkPrediction("net", told, Remainder(3, 2e-5, 5.0), 1), "predicted")
    assert predicted.energy_j["other"] == pytest.approx(1e-4) and predicted.total_j == pytest.approx(1e-3)
    part = measured_stack(engine(layer(0), layer(1, power_w=nan)))
    bars = plots.inline(energy_bars([measured, predicted, part]), "bars", "bars")
    assert not part.energy_j and "1.6 mJ" in bars and "not known of all layers" in bars


def test_conditions_tell_what_was_not_recorded(tmp_path: Path) -> None:
    """Values that moved show their range, the board its settings, and what nobody wrote down is named."""
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower")
    writer.keep(Ticks(STREAM, ticks(0, 10), epoch()))
    first = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})
    told = [Record(Kind.CONDITION, 5, {"gpu_c": 40 + i, "power_mode": "15W", "note": f"n{i}"}) for i in range(3)]
    writer.keep(Records(JOURNAL_STREAM, 0, [first, *told]))
    writer.finish()
    section = conditions.section(Recording(tmp_path / "rec"), None, {"seed": 7})
    facts = dict(pair for block in section.blocks if block.type == "facts" for pair in block.rows)
    (table,) = [block for block in section.blocks if block.type == "table"]
    assert facts["power mode"] == "15W" and facts["not recorded"] == "jetpack, tensorrt, clocks locked"
    assert facts["board"] == "virtual" and "simulated" in facts["power"] and facts["seed"] == "7"
    assert [list(row.cells) for row in table.rows] == [
        ["gpu_c", "40", "40", "42"],
        ["note", "n0, then n1, then n2", "", ""],
    ]


def test_ticks_of_an_unknown_epoch_are_shown_without_their_lateness(tmp_path: Path) -> None:
    """However many there are: a sentence stands in place of the figure, and dashes in the table."""
    writer = Writer(tmp_path / "rec", "ipc:///run/neuralpower")
    writer.keep(Ticks(STREAM, ticks(0, 500), epoch()))
    writer.finish()
    assert main(["report", str(tmp_path / "rec"), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "their lateness, are not known" in page and "<svg" not in page and not re.search(r"\bnan\b", page)


def test_truth_is_read_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The true power is that of the rail that feeds the board; other files are refused in one line."""
    told = EngineTruth("net", ["a"], ["VDD_IN", "GPU"], runs=1, total_s=[1e-3], total_j=[[8e-3, 2e-3]])
    truth = Truth(1, ["VDD_IN", "GPU"], "VDD_IN", [3.0, 1.0], 5.0, engines={"ab": told})
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(asdict(truth)))
    assert _true_power(path) == {"ab": [pytest.approx(8.0)]}
    strange: list[Any] = [
        "",
        "{}",
        "[1]",
        '{"engines": {"a": 1}}',
        '{"engines": {}, "rails": [], "total": "x"}',
        "\x00",
    ]
    for content in strange:
        path.write_text(content)
        with pytest.raises(InputError, match=r"not the truth of a virtual device"):
            _true_power(path)
    assert main(["report", str(tmp_path / "none"), "-o", "x.html"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_models_are_set_beside_what_was_measured(tmp_path: Path) -> None:
    """Errors by type, coefficients, predictions with intervals and the energy's two ways stand on the page."""
    six = models(simulated=True)
    cv = six.models_["conv", "runtime"].cross_validation
    six.energy_["conv"] = EnergyErrors(cv, cv, 7)
    convs = [Layer(f"c{i}", "conv", 1, 8 * i, 9, 9, 8, 9, 9, 3, 3, precision="FP16") for i in range(1, 6)]
    measured: dict[str, Any] = {"network": "net", "origin": "network", "runtime_se_s": 1e-7, "power_se_w": 0.5}
    rows = [row(c, **measured, position=i, runtime_s=5e-6, power_w=8.0) for i, c in enumerate(convs)]
    points = pairs_of(six, dataset_of(rows, {}))
    exact = six.models_["conv", "runtime"].predict(convs)
    assert [p.predicted for p in points["runtime, ms"]] == pytest.approx(1e3 * exact)
    assert [p.predicted_high for p in points["runtime, ms"]] == pytest.approx(1.2e3 * exact)
    assert [p.measured_half for p in points["power, W"]] == pytest.approx([Z95 * 0.5] * 5)
    predicted = predict_network(six, "net", [*convs, Layer("u", "unclassified")])
    path = tmp_path / "r.html"
    write_report(path, models=six, evaluation=dataset_of(rows, {}), predictions=[predicted], title="T")
    page = path.read_text()
    for part in ("conv runtime", "fitted directly", "without ten", "interval", "1 unclassified"):
        assert part in page, part
    assert page.count("<svg") == 2 and "Held out: net" in page and page.count("Simulated.") > 4


def test_networks_stand_in_one_table_with_their_accuracy() -> None:
    """Accuracy is 1 - |error| on either side; networks that were not measured are left out, none at all is no table."""
    net = engine(layer(0), layer(1))
    attribution = Attribution("least-squares", {net.hash: net}, *[nan] * 2, None, *[nan] * 3, None, "b", True, ())
    conv = Layer("c", "conv", 1, 8, 9, 9, 8, 9, 9)
    told = NetworkPrediction("net", (Prediction(conv, 2.5e-4, 8.0, 2e-3),), None, 0)
    section = networks([told, replace(told, name="other")], attribution)
    assert section is not None
    first, mean, paper = (list(row.cells) for row in section.blocks[0].rows)  # type: ignore[union-attr]  # a table
    assert first == ["net", "0.2500", "0.2000", "75.0 %", "8.000", "8.000", "100.0 %", "2.000", "1.600", "75.0 %"]
    assert mean[3] == "75.0 %" and paper[3] == "88.24 %"
    assert networks([replace(told, name="other")], attribution) is None
