"""Ranking: candidates, intervals, limits, the energy-precision ratio, the Pareto front; and what the command refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_features_onnx import tiny

from neuralpower.cli import main
from neuralpower.cli.modelling.rank import read_errors
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.models import store
from neuralpower.models.conditions import with_precision
from neuralpower.models.network import predict_network
from neuralpower.models.regression.polynomial import Interval, Polynomial, PredictionBounds
from neuralpower.models.regression.terms import Term
from neuralpower.models.six import CrossValidation, LayerModel, Remainder, SixModels
from neuralpower.models.validation.score import Score
from neuralpower.ranking import Candidate, Limits, PredictedValue, candidate, front, ranked, sums

ENGINE = Path(__file__).parents[1] / "fixtures" / "engines" / "trt10.json"


def models(watts: float = 8.0, kinds: tuple[str, ...] = ("conv", "pool", "fc"), simulated: bool = False) -> SixModels:
    """Runtime is 5 µs and 10 ps for each byte, plus or minus 20 %; power is `watts`, plus or minus 10 %."""

    def polynomial(intercept: float, coefficients: tuple[float, ...], width: float) -> Polynomial:
        terms = (Term((("bytes", 1),)),)[: len(coefficients)]
        interval = Interval(1 - width, 1 + width)
        domain = {"bytes": (1.0, 1e6)}
        return Polynomial(
            ("bytes",),
            1,
            intercept,
            terms,
            coefficients,
            (1.0,) * len(terms),
            PredictionBounds(1e-6, None, {}),
            interval,
            domain,
        )

    cv = CrossValidation(Score(10, 0.1, 0.1, 0.1), 0.1, 0.2, None, 5, "network", 0)
    made = SixModels.fitted(remainder_=Remainder(5, 2e-6, 5.0), rows_=10, sha256_="0" * 64, simulated_=simulated)
    for kind in kinds:
        made.models_[kind, "runtime"] = LayerModel(kind, "runtime", polynomial(5e-6, (1e-11,), 0.2), cv)
        made.models_[kind, "power"] = LayerModel(kind, "power", polynomial(watts, (), 0.1), cv)
    return made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A model, a network with open batch, and an engine."""
    store.save(models(simulated=True), tmp_path / "m.json")
    tiny(tmp_path / "tiny.onnx")
    (tmp_path / "built.json").write_bytes(ENGINE.read_bytes())
    return tmp_path


def made(name: str, energy: float, time: float, error: float | None = None, batch: int = 1) -> Candidate:
    around = (PredictedValue(v, 0.9 * v, 1.1 * v) for v in (time, energy))
    return Candidate(name, "m", "FP16", batch, *around, 5, 5, {}, 0, error)


def test_sums_add_ends_and_the_remainder() -> None:
    """Ends of layers add up as if all erred alike; energy's relative half-width is that of runtime and power in quadrature."""
    conv = Layer("c", "conv", 1, 8, 9, 9, 8, 9, 9, 3, 3, precision="FP16")
    predicted = predict_network(models(), "net", [conv, conv, Layer("o", "other"), Layer("u", "unclassified")])
    runtime, energy = sums(predicted)
    one = 5e-6 + 1e-11 * conv.memory_accesses() * 2
    assert runtime.value == pytest.approx(2 * one + 2e-6) and runtime.high == pytest.approx(2 * 1.2 * one + 2e-6)
    assert energy.value == pytest.approx(2 * one * 8 + 1e-5)
    assert energy.high - energy.value == pytest.approx(2 * one * 8 * (0.2**2 + 0.1**2) ** 0.5)
    found = candidate(predicted, "m", 0.3, False)
    assert (found.covered, found.layers, dict(found.not_covered)) == (2, 4, {"unclassified": 1})
    with pytest.raises(InputError, match="no layer of it can be predicted"):
        candidate(predict_network(models(kinds=()), "net", [conv]), "m", None, False)


def test_the_order_follows_the_criterion() -> None:
    """Energy and time are for one item; the ratio is error^alpha times energy, and needs every error."""
    a, b, c = made("a", 1.0, 5.0, 0.4), made("b", 4.0, 4.0, 0.1, batch=8), made("c", 2.0, 1.0, 0.1)
    names = {by: [each.network for each, _ in ranked([a, b, c], by)] for by in ("energy", "runtime", "epr")}
    assert names == {"energy": ["b", "a", "c"], "runtime": ["b", "c", "a"], "epr": ["b", "c", "a"]}
    assert a.epr(2.0) == PredictedValue(pytest.approx(0.16), pytest.approx(0.144), pytest.approx(0.176))
    assert [each.network for each, _ in ranked([a, c], "epr", alpha=0.0)] == ["a", "c"]
    with pytest.raises(InputError, match="no accuracy is given for d"):
        ranked([a, made("d", 1.0, 1.0)], "epr")


def test_limits_look_at_the_interval() -> None:
    """Within with its whole interval, with its prediction alone, or not; what is not comes last, however cheap."""
    cheap, dear = made("cheap", 1.0, 9.0), made("dear", 3.0, 2.0)
    assert [Limits(runtime).met(dear) for runtime in (1.9, 2.1, 2.2, None)] == ["no", "perhaps", "yes", "yes"]
    assert [(each.network, met) for each, met in ranked([cheap, dear], "energy", Limits(3.0))] == [
        ("dear", "yes"),
        ("cheap", "no"),
    ]
    assert front([each for each, met in ranked([cheap, dear], "energy", Limits(1.0)) if met != "no"]) == []
    assert Limits(energy_j=1.0).met(made("batch", 4.0, 1.0, batch=8)) == "yes"


def test_nobody_beats_the_front() -> None:
    """Against errors where all are known, else against time; equal candidates both stay."""
    a, b, c = made("a", 1.0, 3.0, 0.4), made("b", 2.0, 2.0, 0.5), made("c", 3.0, 1.0, 0.1)
    assert front([a, b, c]) == [a, c] and front([a, replace(b, error=None), c]) == [a, replace(b, error=None), c]
    assert front([a, a]) == [a, a] and front([]) == []


def test_precision_is_that_of_modelled_layers() -> None:
    """What has no model keeps what it has."""
    conv, other = Layer("c", "conv", 1, 8, 9, 9, 8, 9, 9, precision="FP32"), Layer("o", "other", precision="FP32")
    assert [layer.precision for layer in with_precision([conv, other], "INT8")] == ["INT8", "FP32"]


def test_the_command_ranks_every_form(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches and precisions multiply an ONNX network, an engine stays as built; models have names; a plot is written."""
    store.save(models(watts=20.0), files / "fast.json")
    (files / "top1.json").write_text('{"tiny": 70, "built": 80}')
    networks = [str(files / "tiny.onnx"), str(files / "built.json")]
    forms = ["--batch", "1,4", "--precision", "FP16,int8", "--model", f"30w={files / 'fast.json'}"]
    command = ["rank", str(files / "m.json"), *networks, *forms, "--accuracy", str(files / "top1.json")]
    plot = files / "p.svg"
    assert main([*command, "--json", "--plot", str(plot)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["by"] == "epr" and len(told["candidates"]) == 2 * (4 + 1)
    assert {(c["model"], c["batch"], c["precision"]) for c in told["candidates"] if c["network"] == "tiny"} == {
        (model, batch, precision) for model in ("m", "30w") for batch in (1, 4) for precision in ("FP16", "INT8")
    }
    ratios = [c["epr_j"]["value"] for c in told["candidates"]]
    assert ratios == sorted(ratios) and ratios[0] > 0 and any(c["pareto"] for c in told["candidates"])
    assert plot.read_text().startswith("<?xml")
    assert main([*command, "--max-runtime-ms", "0.06", "--max-energy-mj", "50", "--by", "energy"]) == 0
    shown = capsys.readouterr().out
    for part in ("(simulated)", "EPR mJ", "limits", "30w", "Pareto", "6/6", "6/8"):
        assert part in shown


def test_one_network_without_any_option(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One network is a ranking too; layers without a model and extrapolations are named."""
    store.save(models(kinds=("conv", "fc")), files / "m.json")
    assert main(["rank", str(files / "m.json"), str(files / "tiny.onnx"), "--batch", "9999"]) == 0
    shown = capsys.readouterr().out
    assert "By energy for one item" in shown and "no pool runtime or power model" in shown
    assert "warning: outside" in shown and "simulated" not in shown
    store.save(models(kinds=("fc",)), files / "m.json")
    onnx = tiny(files / "other.onnx")
    assert main(["rank", str(files / "m.json"), str(onnx), "--plot", str(files / "one.png")]) == 0


def test_networks_of_one_name_are_told_apart(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of one name go by their paths, and an accuracy may name either."""
    (files / "b").mkdir()
    other = tiny(files / "b" / "tiny.onnx")
    (files / "a.csv").write_text(f"network,accuracy\n{other},50\ntiny,0.7e2\n")
    command = ["rank", str(files / "m.json"), str(files / "tiny.onnx"), str(other), "--accuracy", str(files / "a.csv")]
    assert main([*command, "--json"]) == 0
    told = {c["network"]: c["error"] for c in json.loads(capsys.readouterr().out)["candidates"]}
    assert told == {str(files / "tiny.onnx"): pytest.approx(0.3), str(other): pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--batch", "0"], "--batch 0"),
        (["--batch", "1,,2"], "--batch 1,,2"),
        (["--batch", "99999999999999"], "--batch 9"),
        (["--precision", "FP12"], "--precision FP12"),
        (["--alpha", "nan"], "--alpha nan"),
        (["--alpha", "-1"], "--alpha -1"),
        (["--max-runtime-ms", "0"], "--max-runtime-ms 0"),
        (["--max-energy-mj", "inf"], "--max-energy-mj inf"),
        (["--plot", "p.txt"], ".svg"),
        (["--by", "epr"], "--accuracy"),
        (["--by", "beauty"], "invalid choice"),
        (["--model", "x"], "NAME=FILE"),
        (["--model", "m=nowhere.json"], "two models are called m"),
        (["--model", "n=nowhere.json"], "nowhere.json"),
        (["--accuracy", "nowhere.json"], "nowhere.json"),
        (["TINY"], "named twice"),
        (["nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_nonsense_is_one_line(files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    """Impossible sizes, limits, names and files are refused with what was given."""
    network = str(files / "tiny.onnx")
    given = [network if each == "TINY" else each for each in arguments]
    assert main(["rank", str(files / "m.json"), network, *given]) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1


ACCURACIES: list[tuple[str, Any]] = [
    ("", "no accuracy"), ("{}", "no accuracy"), ("[]", "no accuracy"), ("{", "broken JSON"), ('[["a", 1]]', "not accuracies"),
    ('{"a": null}', "accuracy of a"), ('{"a": true}', "accuracy of a"), ('{"a": 0}', "accuracy of a"), ('{"a": 101}', "accuracy of a"),
    ('{"a": 70, "b": 0.7}', "mixed"), ('{"a": 70, "a": 71}', "two accuracies"), ("network,accuracy\n", "no accuracy"),
    ("a,b,c\n", "accuracy of a"), ("a\n", "a line without"), ('{"a": "NaN"}', "accuracy of a"), ('{"a": {"top1": 3}}', "accuracy of a"),
    ("\x00\x01", "a line without"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "part"), ACCURACIES)
def test_accuracies_that_are_none_are_refused(tmp_path: Path, content: str, part: str) -> None:
    """Every broken file of accuracies says what is wrong."""
    path = tmp_path / "a"
    path.write_text(content)
    with pytest.raises(InputError, match=part):
        read_errors(path)


def test_accuracies_are_shares_or_percentages(tmp_path: Path) -> None:
    """JSON and CSV, with or without a heading; 1.0 alone is a share."""
    path = tmp_path / "a"
    for content in ('{"a": 70.0, "b": "80"}', "network,accuracy\na, 70\nb,80,note\n", "a,0.7\nb,0.8"):
        path.write_text(content)
        assert read_errors(path) == {"a": pytest.approx(0.3), "b": pytest.approx(0.2)}
    path.write_text('{"a": 1.0}')
    assert read_errors(path) == {"a": 0.0}


def test_accuracies_deeper_than_python_prints_are_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found by `make fuzz`."""
    (files / "deep.json").write_text('{"net": ' + "[" * 900 + "]" * 900 + "}")
    assert main(["rank", str(files / "m.json"), str(files / "tiny.onnx"), "--accuracy", str(files / "deep.json")]) == 2
    assert "a list or an object" in capsys.readouterr().err
