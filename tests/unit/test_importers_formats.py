"""Importers: published files by their own rules, and what broken ones say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpower.cli import main
from neuralpower.dataset import read_dataset
from neuralpower.errors import InputError
from neuralpower.importers import edgeprofiler, neurstrucenergy, trtexec
from neuralpower.importers.window_mean import window_mean

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"


def test_window_mean_includes_both_ends() -> None:
    """Samples on either edge count, an empty window is nan, and missing samples count for nothing."""
    times, watts = [10, 20, 30, 40], [1.0, np.nan, 3.0, 8.0]
    means = window_mean(times, watts, [10, 11, 20, 30, 41, 40], [30, 29, 20, 40, 50, 10])
    np.testing.assert_array_equal(means, [2.0, np.nan, np.nan, 5.5, np.nan, np.nan])
    assert np.isnan(window_mean([], [], [0], [9])).all()
    with pytest.raises(ValueError, match="descend"):
        window_mean([2, 1], [1.0, 1.0], [0], [9])


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 100)), min_size=1), st.integers(0, 50), st.integers(0, 20))
def test_window_mean_is_the_mean_of_what_lies_inside(samples: list[tuple[int, float]], begin: int, width: int) -> None:
    """For any samples and window the result is the plain mean."""
    samples.sort(key=lambda sample: sample[0])
    inside = [watts for time, watts in samples if begin <= time <= begin + width]
    (mean,) = window_mean([s[0] for s in samples], [s[1] for s in samples], [begin], [begin + width])
    if inside:
        assert mean == pytest.approx(np.mean(inside), abs=1e-9)
    else:
        assert np.isnan(mean)


@pytest.mark.parametrize("case", ["simple", "multiple_layers"])
def test_raw_edgeprofiler_gives_its_expected_powers(public_data: Path, case: str) -> None:
    """The mean power and run time of every layer are those of the project's own expected file, idle included and not."""
    folder = public_data / "edgeprofiler" / "raw" / case
    imported = edgeprofiler.read(folder).dataset
    expected = json.loads((folder / "expected_metrics_by_cycle.json").read_text())
    assert imported["layer"].tolist() == [line["layer_name"] for line in expected]
    including = [line["layer_power_including_idle_power_micro_watt"] * 1e-6 for line in expected]
    excluding = [line["layer_power_excluding_idle_power_micro_watt"] * 1e-6 for line in expected]
    np.testing.assert_allclose(imported["power_w"], including, rtol=1e-12)
    np.testing.assert_allclose(imported["power_w"] - imported.provenance["idle_power_w"][case], excluding, rtol=1e-12)
    np.testing.assert_allclose(imported["runtime_s"], [line["layer_run_time"] * 1e-3 for line in expected])
    assert set(imported["method"]) == {"window-mean"}


def test_a_folder_of_recordings_is_read_whole(public_data: Path) -> None:
    """The raw folder holds two recordings and one idle power for both."""
    imported = edgeprofiler.read(public_data / "edgeprofiler" / "raw")
    assert imported.dataset.provenance["idle_power_w"] == {"multiple_layers": 5.0, "simple": 5.0}
    assert len(imported.dataset) == 3 and len(imported.read) == 2


def test_preprocessed_edgeprofiler_averages_over_cycles(public_data: Path) -> None:
    """Run times average over all cycles, powers over those that have one; the rest is skipped by name."""
    imported = edgeprofiler.read(public_data / "edgeprofiler" / "preprocessed" / "model1")
    rows = {name: i for i, name in enumerate(imported.dataset["layer"])}
    assert set(rows) == {"conv_relu_layer", "maxpool_layer", "reformatlayer"}
    conv = imported.dataset.take(np.array([rows["conv_relu_layer"]]))
    assert conv["power_w"][0] == pytest.approx(8.5e-6) and conv["runtime_s"][0] == pytest.approx(8e-5)
    assert conv["count"][0] == 4 and conv["power_se_w"][0] == pytest.approx(0.5e-6)
    assert imported.dataset["kind"][rows["reformatlayer"]] == "reformat"
    assert any("dense_layer: no measurement" in line for line in imported.skipped)


def test_features_agree_with_edgeprofilers_where_those_are_right(public_data: Path) -> None:
    """Sizes and strides agree; its padding counts both sides, and its pooling kernel is the input's height: a fault."""
    folder = public_data / "edgeprofiler" / "preprocessed" / "model1"
    theirs = json.loads((folder / "expected_features.json").read_text())
    layers = edgeprofiler._preprocessed(folder).layers
    conv, pool, dense = (next(x for x in layers if x.kind == kind) for kind in ("conv", "pool", "fc"))
    expected = theirs["convolutional"]
    assert [conv.batch, conv.in_c, conv.in_h, conv.in_w] == [expected["batch_size"], *_sizes(expected, "input_size")]
    assert [conv.out_c, conv.out_h, conv.out_w] == _sizes(expected, "output_size")
    assert [conv.kernel_h, conv.kernel_w] == _sizes(expected, "kernel")
    assert [2 * conv.pad_h, 2 * conv.pad_w] == _sizes(expected, "padding")
    assert [conv.stride_h, conv.stride_w] == _sizes(expected, "stride")
    expected = theirs["pooling"]
    assert [pool.in_c, pool.in_h, pool.in_w] == _sizes(expected, "input_size")
    assert [pool.stride_h, pool.stride_w] == _sizes(expected, "stride")
    assert _sizes(expected, "kernel") == [pool.in_h, pool.in_w]
    assert [pool.kernel_h, pool.kernel_w] == [3, 3]
    assert [dense.in_c, dense.out_c] == [theirs["dense"]["input_size"], theirs["dense"]["output_size"]]


def test_desktop_edgeprofiler_has_runtimes_only(public_data: Path) -> None:
    """All layers of three networks, 100 runs each, with means and errors and no power."""
    imported = edgeprofiler.read(public_data / "edgeprofiler" / "desktop")
    made = imported.dataset
    assert {name: len(made.where(network=name)) for name in ("alexnet", "mobilenet_v2", "resnet18")} == {
        "alexnet": 17,
        "mobilenet_v2": 59,
        "resnet18": 29,
    }
    assert set(made["count"]) == {100} and np.isnan(made["power_w"]).all() and not imported.skipped
    file = public_data / "edgeprofiler" / "desktop" / "alexnet" / "trt_layer_latency.json"
    first = np.array(next(iter(json.loads(file.read_text()).values())))
    assert made["runtime_s"][0] == pytest.approx(first.mean() * 1e-3)
    assert made["runtime_se_s"][0] == pytest.approx(first.std(ddof=1) / 10 * 1e-3)


def test_trtexec_pairs_are_joined(public_data: Path) -> None:
    """Both pairs of the folder; either file of a pair names it; times are means over the profile's count."""
    folder = public_data / "edgeprofiler" / "trtexec"
    imported = trtexec.read(folder)
    assert len(imported.dataset) == 14 + 26 and not imported.skipped
    for name in ("alexnet_fp16.graph.json", "alexnet_fp16.profile.json"):
        one = trtexec.read(folder / "alexnet" / name).dataset
        assert len(one) == 14 and set(one["count"]) == {14590}
        assert one["runtime_s"][0] == pytest.approx(0.00926341e-3)


def test_neurstrucenergy_has_999_layers(public_data: Path) -> None:
    """999 convolutions, 991 distinct; repeats share a network; runtime and energy are per inference."""
    imported = neurstrucenergy.read(public_data / "neurstrucenergy" / "conv2d.txt")
    made = imported.dataset
    assert len(made) == 999 and len(set(made["network"])) == 991
    assert set(made["kind"]) == {"conv"}
    assert made["runtime_s"][0] == pytest.approx(4.007 / 2513)
    assert made["power_w"][0] == pytest.approx(5.14334673367)
    assert made["energy_j"][0] == pytest.approx(0.007970932794670352)
    first = made.layers()[0]
    assert (first.in_c, first.in_h, first.out_c, first.kernel_h, first.pad_h, first.groups) == (131, 9, 270, 3, 1, 1)


HEADER = "data mean_power time forward_num energy silence_energy all_energy\n"
GOOD = "1.0,3.0,8.0,8.0,1.0,4.0,8.0,8.0,3.0,4.0,3.0,3.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0 5.0 4.0 1000 0.01 0.01 0.02\n"


def test_neurstrucenergy_skips_rows_without_a_layer(tmp_path: Path) -> None:
    """A row whose data is 0 is counted, not read."""
    file = tmp_path / "conv2d.txt"
    file.write_text(HEADER + GOOD + "0 0 0 0 0 0 0\n" + GOOD)
    imported = neurstrucenergy.read(file)
    assert len(imported.dataset) == 2 and imported.skipped == [f"{file}: 1 row(s) without a layer"]


@pytest.mark.parametrize("bad", ["1,2 3\n", GOOD.replace("1000", "0"), GOOD.replace("1.0,4.0,", "1.0,5.0,", 1)])
def test_neurstrucenergy_names_the_broken_line(tmp_path: Path, bad: str) -> None:
    """A short row, a loop without inferences and a row that contradicts itself are named by their line."""
    file = tmp_path / "conv2d.txt"
    file.write_text(HEADER + GOOD + bad)
    with pytest.raises(InputError, match="line 3 is not a measured convolution"):
        neurstrucenergy.read(file)


def recording(folder: Path) -> Path:
    """A raw recording of the trt10 engine: two layers measured in two cycles, one of them with power."""
    (folder / "trt_profiling").mkdir(parents=True)
    shutil.copy(ENGINES / "trt10.json", folder / "trt_profiling" / "trt_engine_info.json")
    cycles = [[100.0, "20240229-23:59:59.950000"], [200.0, "20240301-00:00:00.15"]]
    latency = {"/conv1/Conv + /relu1/Relu": cycles, "/maxpool/MaxPool": [[0.5, "20240301-00:00:00.160"]], "gone": []}
    (folder / "trt_profiling" / "trt_layer_latency.json").write_text(json.dumps(latency))
    log = (
        "20240301-00:00:00.000000,5000,1000\n20240229-23:59:59.900000,5000,600\n\n20240301-00:00:00.10,5000.0,1200.0\n"
    )
    (folder / "net_power_log.log").write_text(log)
    return folder


def test_raw_recordings_cross_midnight(tmp_path: Path) -> None:
    """Samples are put in order, windows cross a month's end, and a layer without samples keeps its runtime."""
    imported = edgeprofiler.read(recording(tmp_path / "net"))
    made = imported.dataset
    assert made["power_w"][0] == pytest.approx((3.0 + (5.0 + 6.0) / 2) / 2)
    assert made["runtime_s"][0] == pytest.approx(0.15) and made["energy_j"][0] == pytest.approx(4.25 * 0.15)
    assert np.isnan(made["power_w"][1]) and made["count"].tolist() == [2, 1]
    assert "net: gone: measured, but not a layer of the engine" in imported.skipped
    assert imported.dataset.provenance["idle_power_w"] == {}


def _second_log(folder: Path) -> None:
    shutil.copy(folder / "net_power_log.log", folder / "old_power_log.log")


def _break_log(folder: Path) -> None:
    (folder / "net_power_log.log").write_text("yesterday,5000,1000\n")


def _break_latency(folder: Path) -> None:
    (folder / "trt_profiling" / "trt_layer_latency.json").write_text('{"a": [3]}')


def _names_only(folder: Path) -> None:
    shutil.copy(ENGINES / "names_only.json", folder / "trt_profiling" / "trt_engine_info.json")


def _no_engine(folder: Path) -> None:
    (folder / "trt_profiling" / "trt_engine_info.json").unlink()


def _break_idle(folder: Path) -> None:
    (folder / "idling_power.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (_second_log, "2 files"),
        (_break_log, "line 1 is neither time,mV,mA"),
        (_break_latency, "not a list of [ms, stamp]"),
        (_names_only, "DETAILED"),
        (_no_engine, "No such file"),
        (_break_idle, "avg_idle_power"),
    ],
)
def test_a_damaged_recording_is_one_line(tmp_path: Path, damage: Callable[[Path], None], line: str) -> None:
    """Whatever is wrong with a recording, the line names the file and the fault."""
    folder = recording(tmp_path / "net")
    damage(folder)
    with pytest.raises(InputError) as caught:
        edgeprofiler.read(folder)
    assert line in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_profile_without_its_pair_is_one_line(tmp_path: Path) -> None:
    """trtexec's importer names the missing file, and the option that writes it; a broken profile is named too."""
    graph = Path(shutil.copy(ENGINES / "trt10.json", tmp_path / "net.graph.json"))
    with pytest.raises(InputError, match="--exportProfile"):
        trtexec.read(graph)
    (tmp_path / "net.profile.json").write_text('[{"name": "x"}]')
    with pytest.raises(InputError, match="not a trtexec profile"):
        trtexec.read(graph)
    with pytest.raises(InputError, match="no such file or folder"):
        trtexec.read(tmp_path / "net.json")


def test_the_command_writes_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """import -o writes what it read and says what was skipped; without -o it says that nothing was written."""
    folder, file = recording(tmp_path / "net"), tmp_path / "d.parquet"
    assert main(["import", "edgeprofiler", str(folder), "-o", str(file)]) == 0
    told = capsys.readouterr().out
    assert f"wrote {file}: 2 layers" in told and "skipped net: gone" in told
    assert len(read_dataset(file)) == 2
    assert main(["import", "edgeprofiler", str(folder)]) == 0
    assert "nothing written" in capsys.readouterr().out
    assert main(["import", "edgeprofiler", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["written"] is None and [layer["power_w"] for layer in document["layers"]] == [4.25, None]


@pytest.mark.parametrize(
    ("format", "status"), [("edgeprofiler", 2), ("trtexec", 2), ("neurstrucenergy", 2), ("odd", 2)]
)
def test_the_command_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, status: int
) -> None:
    """A path that is not there, or a format that is unknown, is exit status 2 and one line on stderr."""
    assert main(["import", format, str(tmp_path / "none")]) == status
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("neuralpower: ") and captured.err.count("\n") == 1


def _sizes(features: dict[str, int], name: str) -> list[int]:
    return [value for key, value in features.items() if key.startswith(f"{name}_")]
