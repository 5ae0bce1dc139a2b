"""The report: self-contained, escaped, marked, and complete for whatever it is given."""

from __future__ import annotations

import argparse
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from neuralpower.attribution import Attribution, EngineAttribution, LayerPower
from neuralpower.cli.analysing import report as command
from neuralpower.dataset import Dataset, dataset_of, row
from neuralpower.errors import Failure, InputError
from neuralpower.features.layers import Layer
from neuralpower.interval import MEANING
from neuralpower.models.network import NetworkPrediction, Prediction
from neuralpower.models.rows import fingerprint
from neuralpower.models.six import SixModels
from neuralpower.report import modelled, plots, write_report
from neuralpower.report.blocks import fixed, known_to, number, percent, plus_minus
from neuralpower.report.network_plot import layer_power
from neuralpower_align.result.results import Balance

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags nest, and collects text and what is fetched from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.fetched: list[str] = []
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]
        self.fetched += [tag] if tag in ("script", "iframe", "link") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src",)]

    def handle_data(self, data: str) -> None:
        self.text += data


def layer(name: str, unit: int, members: int, power: float = 9.0) -> LayerPower:
    return LayerPower(name, "conv", unit, members, 50, 1, 1e-4, 1e-6, power, 0.2, Layer(name, "other"))


def some_attribution(simulated: bool = True, name: str = "net & <co>") -> Attribution:
    layers = (layer("conv<1> --> $x$ $", 0, 1), layer("conv2", 1, 2), layer("conv3", 1, 2, float("nan")))
    engine = EngineAttribution("ab" * 16, name, "least-squares", layers, 50, 3e-3, 4.5, 3.0, 0.03, simulated)
    one = LayerPower("same", "pool", 0, 1, 20, 64, 3e-4, 1e-7, 7.0, 0.01)
    same = EngineAttribution("cd" * 16, "sweep/same", "direct", (one,), 20, 1e-1, 4.5, 1.0, 0.03, simulated)
    balance = Balance(100.0, 60.0, 25.0, 14.0)
    engines = {engine.hash: engine, same.hash: same}
    return Attribution(
        "least-squares", engines, 4e-4, 2e-4, 8.4e-4, 6e-7, 4.5, 0.03, balance, "orin-nano", simulated, ("a note",)
    )  # fmt: skip


def prediction(name: str) -> NetworkPrediction:
    layers = (
        Prediction(Layer("conv<1>", "other"), 1.1e-4, 8.0, 8.8e-4, ("out_c 4096 (16 to 2048)",)),
        Prediction(Layer("strange", "unclassified"), reason="unclassified"),
    )
    return NetworkPrediction(name, layers, None, 0)


def test_page_is_whole_and_stands_alone(tmp_path: Path) -> None:
    """Tags nest, nothing is fetched, names are escaped, and each layer, note and prediction is in it."""
    attribution = some_attribution()
    path = write_report(
        tmp_path / "page.html", attribution=attribution, predictions=[prediction("net & <co>")], provenance={"seed": 7}
    )
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.fetched == []
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", html)
    for expected in (
        "conv<1>",
        "conv2",
        "net & <co>",
        "a note",
        "seed",
        "out_c 4096 (16 to 2048)",
        "unattributed",
        "same",
    ):
        assert expected in page.text
    assert "conv<1>" not in html and "<co>" not in html and "-->" not in html
    assert (
        page.text.count(MEANING) == 1
        and page.text.count("standard error") == 1
        and not re.search(r"\bnan\b", page.text)
    )
    assert 'name="viewport"' in html and "prefers-color-scheme" in html and "@media print" in html


def test_simulated_is_said_everywhere_or_nowhere(tmp_path: Path) -> None:
    """A page from simulated power says so in its title, head, every section and every caption; another does not say it at all."""
    marked = write_report(tmp_path / "a.html", attribution=some_attribution(True)).read_text(encoding="utf-8")
    assert "(simulated)</title>" in marked and 'class="banner"' in marked
    assert marked.count("<h2>") == len(re.findall(r"<h2>[^<]*<span class=\"badge\">simulated", marked))
    assert marked.count("<figcaption>") == len(re.findall(r"Simulated\.</figcaption>", marked)) > 0
    real = write_report(tmp_path / "b.html", attribution=some_attribution(False, "net")).read_text(encoding="utf-8")
    assert "simulated" not in Page(real).text.lower()


def test_predictions_stand_beside_what_was_measured(tmp_path: Path) -> None:
    """A recorded network has predicted, measured and error; one that was not recorded has dashes."""
    pages = []
    for name in ("net", "other"):
        write_report(tmp_path / "p.html", attribution=some_attribution(name="net"), predictions=[prediction(name)])
        pages.append(Page((tmp_path / "p.html").read_text(encoding="utf-8")).text)
    assert "0.1100" in pages[0] and "0.3000" in pages[0] and "−63.3 %" in pages[0]
    assert "−63.3 %" not in pages[1]


def test_a_plot_says_what_of_it_the_models_were_fitted_to() -> None:
    """The very rows, some of the networks, none of them, or a network on its own."""

    def data(*names: str) -> Dataset:
        shapes = [Layer("a", "pool", 1, c, 8, 8, c, 4, 4, 2, 2, 2, 2) for c in (4, 8)]
        return dataset_of(
            [row(shape, network=name, origin="network", runtime_s=1e-3) for name in names for shape in shapes], {}
        )

    models = SixModels.fitted(networks_=["a", "b"], sha256_=fingerprint(data("a", "b")))
    told = [modelled._seen(models, data(*names)) for names in ("ab", "ac", "cd", "a", "c")]
    assert [text.removeprefix("The models were ") for text in told] == [
        "fitted to these layers.",
        "fitted to 1 of these 2 networks.",
        "fitted to none of these 2 networks.",
        "fitted to this network.",
        "not fitted to this network.",
    ]


def test_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A missing folder is a Failure with one line, and nothing half-written stays."""
    with pytest.raises(Failure, match="cannot write the report"):
        write_report(tmp_path / "no" / "page.html", attribution=some_attribution())
    assert list(tmp_path.iterdir()) == []


def test_plots_are_written_in_known_formats(tmp_path: Path) -> None:
    """SVG and PNG are written; another ending is refused; inline SVG follows the page's colours and fetches nothing."""
    networks = [engine for engine in some_attribution().engines.values() if not engine.repeated]
    for name, begin in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        plots.save(layer_power(networks, simulated=True), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)
    with pytest.raises(InputError, match=r"a\.txt: a plot ends in \.svg"):
        plots.save(layer_power(networks, simulated=True), tmp_path / "a.txt")
    svg = plots.inline(layer_power(networks, simulated=True), "x", "power")
    assert "var(--ink)" in svg and plots.INK not in svg and 'aria-label="power"' in svg


def test_plots_take_gaps_and_empty_panels() -> None:
    """Missing power and panels without a positive pair do not stop a plot."""
    t = np.linspace(0.0, 10.0, 2000)
    watts = np.where((t > 3) & (t < 4), np.nan, 5.0 + np.sin(t))
    assert "<svg" in plots.inline(plots.rails(t, {"VDD_IN": watts}, [(1.0, 2.0, "net")]), "r", "rails")
    panels = {
        "runtime, ms": [plots.PredictionPair("conv", 1.0, 1.2)],
        "power, W": [plots.PredictionPair("fc", 0.0, 1.0)],
    }
    assert "<svg" in plots.inline(plots.scatter(panels), "s", "scatter")
    late = plots.inline(plots.lateness(np.array([5.0, 50.0, 500.0] * 50)), "l", "late")
    assert ">100<" in late and "mathdefault" not in late


def test_numbers_are_set_for_columns() -> None:
    """Thin spaces between thousands, a real minus, a dash for nothing."""
    assert fixed(12345.678, 1) == "12\u202f345.7" and fixed(-1.0, 2) == "−1.00" and fixed(float("nan"), 2) == "–"
    assert number(0.00123456) == "0.001235" and number(None) == "–" and number(0.0) == "0"
    assert known_to(-12345.6, 2.724) == ("−12\u202f345.6", "2.7") and known_to(8.76, float("nan")) == ("8.760", "–")
    assert known_to(12345.6, 2.724)[0] == "12\u202f345.6" and plus_minus(float("nan"), 1.0, "W") == "–"
    assert percent(-0.1234, sign=True) == "−12.3 %" and percent(0.05, sign=True) == "+5.0 %"


def test_command_refuses_what_it_cannot_open(tmp_path: Path) -> None:
    """A missing source, two of a kind, or a dataset alone: one line that names it."""
    with pytest.raises(InputError, match="no such"):
        command._opened(argparse.Namespace(sources=[tmp_path / "none"], device=""))
    broken = tmp_path / "model.json"
    broken.write_text("{")
    with pytest.raises(InputError, match="broken JSON"):
        command._opened(argparse.Namespace(sources=[broken], device=""))
