"""What a network is priced in: the precision, batch size and clock of the training data, and what is refused for want of measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_features_onnx import tiny

from neuralpower.cli import main
from neuralpower.dataset import Dataset, dataset_of, row, write_dataset
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.features.network import Network, load_network
from neuralpower.models import store
from neuralpower.models.conditions import as_priced
from neuralpower.models.packaged import PACKAGED, packaged
from neuralpower.models.six import SixModels


def drawn(precisions: dict[str, int], batches: tuple[int, ...] = (1, 2, 4), mhz: tuple[int, ...] = (0,)) -> Dataset:
    """Convolutions; a launch of 5 µs, work at 1000 operations a cycle (of 1 GHz where no clock is told), and a power that grows with the clock."""
    random = np.random.default_rng(5)
    rows = []
    for precision, count in precisions.items():
        for _ in range(count):
            c, side, clock = int(random.integers(4, 64)), int(random.integers(7, 40)), int(random.choice(mhz))
            layer = Layer("c", "conv", int(random.choice(batches)), c, side, side, c, side, side, 3, 3, pad_h=1, pad_w=1,
                          precision=precision, gpu_mhz=clock)  # fmt: skip
            runtime = 5e-6 + layer.macs() / (1e3 * (clock or 1000) * 1e6)
            power = 4 + 4 * (clock or 1000) / 1000 * (1 - 5e-6 / runtime)
            rows.append(row(layer, network="", origin="sweep", runtime_s=runtime, power_w=power))
    return dataset_of(rows, {})


@pytest.fixture(scope="module")
def halves() -> SixModels:
    """Most layers in FP16, some in FP32."""
    return SixModels(folds=2).fit(drawn({"FP16": 80, "FP32": 20}))


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Network]:
    return lambda batch=1: load_network(tiny(tmp_path / "tiny.onnx"), batch)


def precisions(network: Network) -> set[str]:
    return {layer.precision for layer in network.layers if layer.modelled}


def test_wide_weights_are_priced_as_an_engine_would_be_built(
    halves: SixModels, network: Callable[..., Network]
) -> None:
    """FP32 weights take the precision of most training data, and one line says so; what is asked for is taken as it is, without a line."""
    assumed = as_priced(halves, network())
    assert precisions(assumed) == {"FP16"}
    (line,) = [note for note in assumed.notes if "priced in" in note]
    assert line.startswith("priced in FP16, as 80 of 100 layers in training ran") and "--precision" in line
    asked = as_priced(halves, network(), "FP32")
    assert precisions(asked) == {"FP32"} and not [note for note in asked.notes if "priced in" in note]


def test_what_the_file_says_otherwise_is_kept(halves: SixModels) -> None:
    """Layers with other weights, and an engine's, keep their precision."""
    mixed = [Layer("a", "conv", 1, 8, 8, 8, 8, 8, 8, precision=p) for p in ("INT8", "FP32", "FP16")]
    found = as_priced(halves, Network("n", mixed, "onnx")).layers
    assert [layer.precision for layer in found] == ["INT8", "FP16", "FP16"]
    assert as_priced(halves, Network("n", mixed, "engine")).layers == mixed


def test_models_without_a_precision_say_that(network: Callable[..., Network]) -> None:
    """Where the data do not tell theirs, the file's weights are taken, with a line."""
    six = SixModels(folds=2).fit(drawn({"": 60}))
    found = as_priced(six, network())
    assert precisions(found) == {"FP32"} and any("do not know the precision" in note for note in found.notes)


def test_what_was_never_measured_is_refused(halves: SixModels, network: Callable[..., Network]) -> None:
    """A precision, a batch size or a clock without any data: one line that says what would have to be measured. Between measured sizes it works."""
    with pytest.raises(
        InputError,
        match=r"--precision INT8: measured in FP16 \(80 layers\), FP32 \(20 layers\).*measure layers in INT8",
    ):
        as_priced(halves, network(), "INT8")
    with pytest.raises(InputError, match="batch 8: measured from 1 to 4; to predict it, measure layers at batch 8"):
        as_priced(halves, network(8))
    assert as_priced(halves, network(3)).layers
    with pytest.raises(InputError, match="--gpu-mhz 900: the layers in training do not vary the clock"):
        as_priced(halves, network(), "", 900)


def test_a_clock_that_the_data_vary_is_a_feature() -> None:
    """Layers measured at four clocks tell the runtime and power at a fifth between them; outside of them is refused; most of the data is the default."""
    six = SixModels(folds=2).fit(drawn({"FP16": 240}, batches=(1,), mhz=(400, 600, 900, 1200)))
    layer = Layer("c", "conv", 1, 48, 28, 28, 48, 28, 28, 3, 3, pad_h=1, pad_w=1, precision="FP16")
    asked = Network("n", [layer], "onnx")
    for mhz in (500, 750, 1100):
        (priced,) = as_priced(six, asked, "", mhz).layers
        truth = 5e-6 + layer.macs() / (1e9 * mhz)
        assert priced.gpu_mhz == mhz
        assert six.models_["conv", "runtime"].predict([priced])[0] == pytest.approx(truth, rel=0.1)
        assert six.models_["conv", "power"].predict([priced])[0] == pytest.approx(
            4 + mhz / 250 * (1 - 5e-6 / truth), rel=0.1
        )
    with pytest.raises(
        InputError, match="measured from 400 to 1200 MHz; to predict n there, measure layers at 1500 MHz"
    ):
        as_priced(six, asked, "", 1500)
    assumed = as_priced(six, asked)
    assert assumed.layers[0].gpu_mhz in six.clocks_ and any(
        "--gpu-mhz says otherwise" in note for note in assumed.notes
    )


def test_models_that_know_clocks_come_back_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Precisions and clocks are in the file; predict and rank take --gpu-mhz, and say what they assume without it."""
    data = drawn({"FP16": 120}, mhz=(500, 1000))
    write_dataset(data.table, tmp_path / "d.parquet", {})
    assert main(["fit", str(tmp_path / "d.parquet"), "-o", str(tmp_path / "m.json"), "--folds", "2"]) == 0
    six = store.load(tmp_path / "m.json")
    assert six.clocks_ == {mhz: int((data["gpu_mhz"] == mhz).sum()) for mhz in (500, 1000)} and six.precisions_ == {
        "FP16": 120
    }
    tiny(tmp_path / "tiny.onnx")
    capsys.readouterr()
    found = {}
    for mhz in ("500", "1000"):
        assert main(["predict", str(tmp_path / "m.json"), str(tmp_path / "tiny.onnx"), "--gpu-mhz", mhz, "--json"]) == 0
        found[mhz] = json.loads(capsys.readouterr().out)
    assert found["500"]["runtime_s"] > found["1000"]["runtime_s"]
    assert main(["rank", str(tmp_path / "m.json"), str(tmp_path / "tiny.onnx")]) == 0
    assert capsys.readouterr().err.count("--gpu-mhz says otherwise") == 1
    assert main(["predict", str(tmp_path / "m.json"), str(tmp_path / "tiny.onnx"), "--gpu-mhz", "0"]) == 2


@pytest.mark.parametrize("name", PACKAGED)
def test_models_that_come_with_the_package_predict(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their name alone, with a line on what they were fitted to; a file of that name comes first."""
    monkeypatch.chdir(tmp_path)
    tiny(tmp_path / "tiny.onnx")
    assert main(["predict", name, "tiny.onnx"]) == 0
    said = capsys.readouterr()
    assert f"note: {name}: {PACKAGED[name]}" in said.err and "runtime ms" in said.out
    assert not store.load(name).simulated_
    (tmp_path / name).write_text("{}")
    assert main(["predict", name, "tiny.onnx"]) == 2


@pytest.mark.parametrize(("name", "form", "source"), [
    ("h200-cudnn", "measured", "h200/measured.json"), ("neurstrucenergy-conv", "neurstrucenergy", "neurstrucenergy/conv2d.txt"),
])  # fmt: skip
def test_they_are_fitted_to_what_they_say(name: str, form: str, source: str, public_data: Path, tmp_path: Path) -> None:
    """The rows of the published measurements have the hash that the file tells."""
    from neuralpower.dataset import read_dataset
    from neuralpower.models.rows import fingerprint

    assert main(["import", form, str(public_data / source), "-o", str(tmp_path / "d.parquet")]) == 0
    assert packaged(name) is not None
    assert store.load(name).sha256_ == fingerprint(read_dataset(tmp_path / "d.parquet"))
