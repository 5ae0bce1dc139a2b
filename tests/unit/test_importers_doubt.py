"""What imports do not believe: names as keys, halves of lines, numbers that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralpower.cli import main
from neuralpower.dataset import Dataset, dataset_of, read_dataset, row
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.importers import edgeprofiler, tegrastats, trtexec
from neuralpower.importers.imported import MeasuredLayer, NetworkJoin
from neuralpower.show.dataset import print_doubts


def conv(name: str, **more: Any) -> dict[str, Any]:
    """A convolution as engine information has it."""
    tensors = {"Inputs": [{"Name": "x", "Dimensions": [1, 3, 32, 32], "Format/Datatype": "Half"}],
               "Outputs": [{"Name": "y", "Dimensions": [1, 16, 32, 32], "Format/Datatype": "Half"}]}  # fmt: skip
    window = {
        "Kernel": [3, 3],
        "Stride": [1, 1],
        "PrePadding": [1, 1],
        "PostPadding": [1, 1],
        "OutMaps": 16,
        "Groups": 1,
    }
    return {"Name": name, "LayerType": "CaskConvolution", **tensors, **window, **more}


def pair(folder: Path, names: list[str], times: list[tuple[str, Any]], stem: str = "net") -> Path:
    """A pair of trtexec's files: layers of these names, and times in ms."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.graph.json").write_text(json.dumps({"Layers": [conv(name) for name in names]}))
    entries = [{"count": 10}, *({"name": name, "averageMs": ms} for name, ms in times)]
    (folder / f"{stem}.profile.json").write_text(json.dumps(entries))
    return folder / f"{stem}.graph.json"


def raw(folder: Path, log: str, cycles: list[Any] | None = None, names: tuple[str, ...] = ("a",)) -> Path:
    """A raw recording of EdgeProfiler's: one window from 0.5 to 1.5 s after midnight."""
    (folder / "trt_profiling").mkdir(parents=True)
    (folder / "trt_profiling" / "trt_engine_info.json").write_text(
        json.dumps({"Layers": [conv(name) for name in names]})
    )
    latency = {name: cycles or [[1000.0, "20250101-00:00:01.50"]] for name in names}
    (folder / "trt_profiling" / "trt_layer_latency.json").write_text(json.dumps(latency))
    (folder / "net_power_log.log").write_text(log)
    return folder


# ---- Names -------------------------------------------------------------------------------------


def test_layers_of_one_name_have_their_own_times(tmp_path: Path) -> None:
    """In the order in which they run."""
    made = trtexec.read(pair(tmp_path, ["a", "b", "b"], [("a", 0.3), ("b", 0.1), ("b", 0.2)])).dataset
    np.testing.assert_allclose(made["runtime_s"], [3e-4, 1e-4, 2e-4])
    assert made["position"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("times", [1, 3])
def test_where_nothing_tells_which_is_whose_none_is_taken(tmp_path: Path, times: int) -> None:
    """Two layers of a name with one measurement, or three: neither has one, and the others keep theirs."""
    imported = trtexec.read(pair(tmp_path, ["a", "b", "b"], [("a", 0.3), *[("b", 0.1)] * times]))
    assert imported.dataset["layer"].tolist() == ["a"]
    assert (
        imported.skipped
        == [f"net: b: 2 layers and {times} measurements of this name, and nothing tells which is whose"] * 2
    )


def test_edgeprofiler_lists_of_one_name_are_taken_apart(tmp_path: Path) -> None:
    """Its recorder keeps both layers' runtimes in one list, in turn; a list of another length tells nothing."""
    folder = tmp_path / "net" / "trt_profiling"
    folder.mkdir(parents=True)
    (folder / "trt_engine_info.json").write_text(json.dumps({"Layers": [conv(name) for name in "abb"]}))
    latency = {"a": [3.0, 3.0, 3.0], "b": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]}
    (folder / "trt_layer_latency.json").write_text(json.dumps(latency))
    made = edgeprofiler.read(tmp_path).dataset
    np.testing.assert_allclose(made["runtime_s"], [3e-3, 1e-3, 2e-3])
    (folder / "trt_layer_latency.json").write_text(json.dumps({**latency, "b": latency["b"][:5]}))
    assert edgeprofiler.read(tmp_path).dataset["layer"].tolist() == ["a"]


def test_networks_of_one_name_are_two(tmp_path: Path) -> None:
    """By folder, by the rest of the file's name, by neither where the names differ anyway; the engines' hashes differ too."""
    for folder, ms in (("fp16", 0.1), ("fp32", 0.3)):
        pair(tmp_path / "byfolder" / folder, ["a", folder], [("a", ms), (folder, ms)], "net.onnx.engine")
        pair(tmp_path / "byfile", ["a", folder], [("a", ms), (folder, ms)], f"net.{folder}")
        pair(tmp_path / "apart", ["a"], [("a", ms)], folder)
    for place, names in {
        "byfolder": ["fp16/net", "fp32/net"],
        "byfile": ["net.fp16", "net.fp32"],
        "apart": ["fp16", "fp32"],
    }.items():
        made = trtexec.read(tmp_path / place).dataset
        assert list(dict.fromkeys(made["network"].tolist())) == names
    assert len(set(trtexec.read(tmp_path / "byfolder").dataset["engine"].tolist())) == 2
    assert len(set(trtexec.read(tmp_path).dataset["network"].tolist())) == 6


@pytest.mark.parametrize("depth", ["", "results", "desktop/torch_onnx_trt/results"])
def test_published_desktop_folders_are_networks(tmp_path: Path, depth: str) -> None:
    """Networks are called after their folders, however deep they lie, and whether named together or alone."""
    for name in ("neta", "netb"):
        folder = tmp_path / depth / name / "trt_profiling"
        folder.mkdir(parents=True)
        (folder / "trt_engine_info.json").write_text(json.dumps({"Layers": [conv("a")]}))
        (folder / "trt_layer_latency.json").write_text(json.dumps({"a": [[0.1, 0.11], [0.12]]}))
    made = edgeprofiler.read(tmp_path).dataset
    assert made["network"].tolist() == ["neta", "netb"] and made["count"].tolist() == [3, 3]
    assert edgeprofiler.read(tmp_path / depth / "neta" / "trt_profiling").dataset["network"].tolist() == ["neta"]


def test_one_broken_network_costs_no_other(tmp_path: Path) -> None:
    """It is named among what was skipped; alone it is refused."""
    pair(tmp_path / "good", ["a"], [("a", 0.1)])
    broken = pair(tmp_path / "bad", ["a"], [("a", 0.1)])
    broken.write_text("{")
    imported = trtexec.read(tmp_path)
    assert len(imported.dataset) == 1 and any(str(broken) in line for line in imported.skipped)
    with pytest.raises(InputError, match="broken JSON"):
        trtexec.read(tmp_path / "bad")


def test_the_files_of_a_pair_are_told_by_their_content(tmp_path: Path) -> None:
    """Graph under the profile's name and the other way round."""
    graph = pair(tmp_path, ["a"], [("a", 0.1)])
    profile = graph.with_name("net.profile.json")
    one, other = graph.read_text(), profile.read_text()
    graph.write_text(other)
    profile.write_text(one)
    assert trtexec.read(graph).dataset["runtime_s"].tolist() == [pytest.approx(1e-4)]


@pytest.mark.parametrize(
    ("layers", "times", "name"),
    [("layers.json", "profile.json", "vgg"), ("a_layer_info.json", "a_times.json", "a"), ("x.json", "y.json", "x")],
)
def test_a_pair_of_other_names_is_told_by_its_content(tmp_path: Path, layers: str, times: str, name: str) -> None:
    """The only two files of a folder that list layers and their times, from the folder and from either of them."""
    graph = pair(tmp_path / "vgg", ["a"], [("a", 0.1)])
    (tmp_path / "vgg" / "notes.json").write_text('{"count": 3}')
    graph.with_name("net.profile.json").rename(tmp_path / "vgg" / times)
    graph = graph.rename(tmp_path / "vgg" / layers)
    for path in (tmp_path, graph, graph.with_name(times)):
        found = trtexec.read(path).dataset
        assert found["runtime_s"].tolist() == [pytest.approx(1e-4)] and found["network"].tolist() == [name]
    with pytest.raises(InputError, match="nothing beside it makes a pair with it"):
        trtexec.read(tmp_path / "vgg" / "notes.json")


def test_of_several_pairs_the_words_of_their_names_tell(tmp_path: Path) -> None:
    """Which times are of which layers; files whose names do not tell are in no pair."""
    for stem, ms in (("net1.0", 0.1), ("net1.1", 0.2)):
        graph = pair(tmp_path, ["a"], [("a", ms)], stem)
        graph.with_name(f"{stem}.profile.json").rename(tmp_path / f"profile_{stem}.json")
        graph.rename(tmp_path / f"{stem}_layers.json")
    pair(tmp_path / "else", ["a"], [("a", 9)]).rename(tmp_path / "third.json")
    found = trtexec.read(tmp_path).dataset
    assert dict(zip(found["network"], found["runtime_s"], strict=True)) == {
        "net1_0": pytest.approx(1e-4), "net1_1": pytest.approx(2e-4),
    }  # fmt: skip


def test_a_count_that_nothing_runs_is_one_line(tmp_path: Path) -> None:
    """Found by `make fuzz`."""
    graph = pair(tmp_path, ["a"], [])
    graph.with_name("net.profile.json").write_text(f'[{{"count": {"9" * 30}}}, {{"name": "a", "averageMs": 2.0}}]')
    with pytest.raises(InputError, match="a count of inferences that nothing runs"):
        trtexec.read(graph)


def test_a_mean_is_the_sum_by_the_number_where_it_is_not_told(tmp_path: Path) -> None:
    graph = pair(tmp_path, ["a"], [])
    graph.with_name("net.profile.json").write_text('[{"count": 10}, {"name": "a", "timeMs": 2.0}]')
    assert trtexec.read(graph).dataset["runtime_s"].tolist() == [pytest.approx(2e-4)]


# ---- Numbers that cannot be --------------------------------------------------------------------


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), -1.0, 1e12, 0])
def test_times_that_cannot_be_are_left_out_and_named(
    tmp_path: Path, ms: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never written; where nothing else is there, nothing is written at all."""
    graph = pair(tmp_path, ["a", "b"], [("a", ms), ("b", 0.2)])
    imported = trtexec.read(graph)
    assert imported.dataset["layer"].tolist() == ["b"] and any("net: a: " in line for line in imported.skipped)
    graph = pair(tmp_path, ["a"], [("a", ms)])
    assert main(["import", "trtexec", str(graph), "-o", str(tmp_path / "d.parquet")]) == 2
    assert "no measured layer to write" in capsys.readouterr().err and not (tmp_path / "d.parquet").exists()


def test_powers_that_cannot_be_are_left_out_and_counted() -> None:
    """Kilowatts, negative and infinite ones do not enter the mean; a runtime of 0 among others is a step of the timer."""
    join = NetworkJoin("n", "window-mean")
    join.add([Layer("a", "other")], [("a", MeasuredLayer([1e-3, 0.0], [5.0, 7.0, 45000.0, -1.0, float("inf")]))])
    assert join.rows[0]["power_w"] == 6.0 and join.rows[0]["runtime_s"] == 5e-4
    assert [line.partition("powers ")[2] for line in join.skipped] == [
        "above 3000, more than is believed: left out",
        "negative: left out",
        "not a finite number: left out",
    ]


def test_a_dataset_says_which_rows_cannot_be() -> None:
    """Also one that was written elsewhere; nan is what was not measured and is no fault."""
    layer = Layer("c", "conv", 1, 3, 8, 8, 4, 8, 8, 3, 3, 1, 1, 1, 1)
    measured = [(1e-3, 5.0), (-1e-3, 4500.0), (np.inf, -2.0), (0.0, np.nan), (np.nan, np.nan), (1e-3, -1.0)]
    made = dataset_of([row(layer, network="n", origin="import", runtime_s=t, power_w=p) for t, p in measured], {})
    assert made.implausible == {
        "power_w negative": 2, "runtime_s negative": 1, "runtime_s not finite": 1, "power_w above 3000": 1,
        "runtime_s 0 of a modelled layer": 1,
    }  # fmt: skip
    assert made.take(np.array([0, 4])).implausible == {}


def test_the_command_counts_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from neuralpower.dataset import write_dataset

    layer = Layer("c", "conv", 1, 3, 8, 8, 4, 8, 8, 3, 3, 1, 1, 1, 1)
    made: Dataset = dataset_of([row(layer, network="n", origin="import", runtime_s=1e-3, power_w=-5.0)], {})
    write_dataset(made.table, tmp_path / "d.parquet", {})
    assert main(["info", str(tmp_path / "d.parquet")]) == 0
    assert "1: power_w negative" in capsys.readouterr().out


def test_a_name_of_more_than_one_engine_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of two engines under one name are two networks; one engine twice is one."""
    layer = Layer("o", "other")
    engines = [("net", "a"), ("net", "b"), ("net", "b"), ("other", "c"), ("unknown", ""), ("unknown", "")]
    print_doubts(dataset_of([row(layer, network=n, origin="network", engine=e) for n, e in engines], {}))
    assert capsys.readouterr().out == "names of more than one engine, told apart by the column engine: net (2)\n"


# ---- Power logs --------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["20250101-00:00:01.40,50", "20250101-00:00:01.40,5000.0,12", "2025", "20250101-00:00:01.40,5000.0,1200.0"])  # fmt: skip
def test_a_last_line_without_its_end_is_left_out(tmp_path: Path, cut: str) -> None:
    """Wherever it was cut: half a number is a number."""
    whole = "20250101-00:00:01.00,5000.0,1100.0\n20250101-00:00:01.20,5000.0,1200.0\n"
    imported = edgeprofiler.read(raw(tmp_path / "net", whole + cut))
    assert imported.dataset["power_w"][0] == pytest.approx(5.75)
    assert any("line 3 has no end" in line for line in imported.skipped)


def test_samples_that_cannot_be_are_counted(tmp_path: Path) -> None:
    log = "20250101-00:00:01.00,5000,1100\n20250101-00:00:01.10,5000,-9\n20250101-00:00:01.20,5000,nan\n20250101-00:00:01.30,5000,900000\n"
    imported = edgeprofiler.read(raw(tmp_path / "net", log))
    assert imported.dataset["power_w"][0] == pytest.approx(5.5)
    assert sum("1 samples with a power that is" in line for line in imported.skipped) == 3


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("20250102-00:00:01.00,5000,1100\n", "no sample within the windows of 1 of 1 layers: these have runtimes only"),
        ("time,mV,mA\n", "no sample of power in it: runtimes only"),
        (
            "20250101-00:00:01.00,5,1.1\n",
            "1 samples with a power that is below 0.1 W, which no running board draws: are its columns mV and mA?",
        ),
    ],
)
def test_a_log_that_gives_no_power_says_why(tmp_path: Path, log: str, says: str) -> None:
    """Of another time, without samples, in other units: runtimes are read, and that they are all is said."""
    imported = edgeprofiler.read(raw(tmp_path / "net", log))
    assert np.isnan(imported.dataset["power_w"]).all() and imported.dataset["runtime_s"].tolist() == [1.0]
    assert any(says in line for line in imported.skipped)


@pytest.mark.parametrize("microwatts", ["-5", "NaN", "Infinity", "1e16"])
def test_an_idle_power_that_cannot_be_is_left_out_and_named(tmp_path: Path, microwatts: str) -> None:
    """The layers keep what was measured; true and false are no numbers."""
    folder = raw(tmp_path / "net", "20250101-00:00:01.00,5000,1000\n")
    (folder / "idling_power.json").write_text(f'{{"avg_idle_power": {microwatts}}}')
    imported = edgeprofiler.read(folder)
    assert imported.dataset.provenance["idle_power_w"] == {} and imported.dataset["power_w"].tolist() == [5.0]
    assert any("an idle power that is" in line and "avg_idle_power is in µW" in line for line in imported.skipped)
    (folder / "idling_power.json").write_text('{"avg_idle_power": true}')
    with pytest.raises(InputError, match="no number avg_idle_power"):
        edgeprofiler.read(folder)


def test_a_runtime_that_is_no_number_costs_no_other(tmp_path: Path) -> None:
    """Of a layer's cycles those that cannot be are left out and counted, and the file is not called broken."""
    cycles = [
        [float("nan"), "20250101-00:00:01.50"],
        [float("inf"), "20250101-00:00:01.50"],
        [1000.0, "20250101-00:00:01.50"],
    ]
    imported = edgeprofiler.read(raw(tmp_path / "net", "20250101-00:00:01.00,5000,1000\n", cycles))
    assert imported.dataset["runtime_s"].tolist() == [1.0] and imported.dataset["power_w"].tolist() == [5.0]
    assert "net: a: 2 of 3 runtimes not a finite number: left out" in imported.skipped


def test_a_log_with_nothing_in_it_leaves_the_runtimes(tmp_path: Path) -> None:
    imported = edgeprofiler.read(raw(tmp_path / "net", ""))
    assert imported.dataset["runtime_s"].tolist() == [1.0] and "no sample of power in it" in imported.skipped[0]


def test_a_log_may_have_names_and_whole_seconds(tmp_path: Path) -> None:
    """A first line without a number, returns, and stamps without a fraction."""
    log = "time,mV,mA\r\n20250101-00:00:01,5000,1100\r\n20250101-00:00:01.200,5000,1200\r\n"
    imported = edgeprofiler.read(raw(tmp_path / "net", log))
    assert imported.dataset["power_w"][0] == pytest.approx(5.75) and not imported.skipped


LINES = {
    "RAM 1409/3964MB (lfb 28x4MB) SWAP 0/1982MB IRAM 0/252kB(lfb 252kB) CPU [22%@518,off] APE 25 PLL@28.5C CPU@32C thermal@31.25C "
    "POM_5V_IN 2532/2500 POM_5V_GPU 0/0 POM_5V_CPU 320/320": 2.532,
    "RAM 1/7851MB CPU [0%@345] BCPU@39C VDD_SYS_GPU 152/152 VDD_SYS_SOC 687/687 VDD_4V0_WIFI 0/0 VDD_IN 4567/4600 VDD_SYS_CPU 0/0 VDD_SYS_DDR 1/1": 4.567,
    "RAM 1/15692MB CPU [1%@1190] AUX@35C GPU 100/100 CPU 311/311 SOC 933/933 CV 0/0 VDDRQ 155/155 SYS5V 1478/1478": 2.977,
    "RAM 1/31022MB CPU [0%@729] tj@47C VDD_GPU_SOC 2780mW/2780mW VDD_CPU_CV 397mW/397mW VIN_SYS_5V0 2519mW/2519mW NC 0mW/0mW VDDQ_VDD2_1V8AO 300mW/300mW": 5.696,
    "RAM 3024/7620MB VDD_IN 4567mW/4600mW VDD_CPU_GPU_CV 900mW/900mW VDD_SOC 1300mW/1300mW": 4.567,
    "RAM 1/125000MB VDD_GPU 3000mW/3000mW VDD_CPU_SOC_MSS 5000mW/5000mW VIN_SYS_5V0 4000mW/4000mW VIN 20000mW/19000mW": 20.0,
}
"""A line of each board, and the power of the board by the daemon's rule."""


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("stamp", ["01-01-2025 00:00:01 ", "2025-01-01T00:00:01.250 ", "[2025-01-01 00:00:01] "])
def test_every_generation_of_tegrastats_line_is_read(tmp_path: Path, line: str, stamp: str) -> None:
    """In place of EdgeProfiler's own log; the first number, not the average; the total as the board has it."""
    log = f"{line}\n{stamp}{line}\n"
    imported = edgeprofiler.read(raw(tmp_path / "net", log))
    assert imported.dataset["power_w"][0] == pytest.approx(LINES[line])
    assert any("1 lines without a time" in skipped for skipped in imported.skipped)
    assert tegrastats.read(tmp_path).dataset["power_w"].tolist() == imported.dataset["power_w"].tolist()


def test_a_log_alone_tells_its_rails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And that there is no layer in it, so that no dataset is written."""
    (tmp_path / "t.log").write_text(
        "RAM 1/2MB VDD_IN 4000mW/1mW VDD_SOC 1000mW/1mW\nRAM 1/2MB VDD_IN 6000mW/1mW VDD_SOC 3000mW/1mW\n"
    )
    assert main(["import", "tegrastats", str(tmp_path / "t.log")]) == 0
    told = capsys.readouterr().out
    assert (
        "VDD_IN draws 5 W in the mean" in told and "VDD_SOC: 2 W, from 1 to 3" in told and "no layers in a log" in told
    )
    assert main(["import", "tegrastats", str(tmp_path / "t.log"), "-o", str(tmp_path / "d.parquet")]) == 2
    assert "no layers in a log" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("RAM 1/2MB CPU [1%@1]\n", "no line has a rail"),
        ("VDD_IN 4567mW/4567mW", "line 1 has no end and may be cut"),
        ("VDD_SOC 1mW/1mW\n", "the board's total is not told by the rails VDD_SOC"),
        ("VDD_IN 9000000mW/1mW\n", "above 500 W"),
        ("VDD_IN -5/1\n", "below 0.1"),
        ("VDD_IN 0/0\n", "below 0.1"),
        (f"VDD_IN {'1' * 5000}mW/1mW\n", "above 500 W"),
    ],
)
def test_a_log_of_no_use_says_why(tmp_path: Path, log: str, says: str) -> None:
    (tmp_path / "t.log").write_text(log)
    with pytest.raises(InputError, match=says):
        tegrastats.read(tmp_path / "t.log")


def test_a_line_with_a_rail_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    """Whichever rail it is, and however long its number: its range would be no number."""
    (tmp_path / "t.log").write_text(f"VDD_IN 4000/1 VDD_SOC 9/1\nVDD_IN 6000/1 VDD_SOC {'1' * 5000}/1\n")
    imported = tegrastats.read(tmp_path / "t.log")
    assert (
        imported.dataset.provenance["mean_power_w"] == 4.0
        and "VDD_SOC: 0.009 W, from 0.009 to 0.009" in imported.read[2]
    )
    assert "1 lines with a power below 0.1 or above 500 W" in imported.skipped[0]


def test_totals_are_the_daemons() -> None:
    """Client and daemon sum the same rails for the same board."""
    from neuralpowerd.sources.boards import boards

    assert {total.rails for board in boards() for total in board.totals} == set(tegrastats.TOTALS)


def test_written_rows_survive(tmp_path: Path) -> None:
    """Names of bytes that are no UTF-8, and with halves of letters, are written and read."""
    folder = Path(str(tmp_path)) / "n\udcfft"
    graph = pair(folder, ["a"], [("a", 0.1)])
    graph.write_text(graph.read_text().replace('"Name": "a"', '"Name": "a\\ud800"'))
    (folder / "net.profile.json").write_text('[{"count": 1}, {"name": "a\\ud800", "averageMs": 0.1}]')
    assert main(["import", "trtexec", str(folder), "-o", str(tmp_path / "d.parquet")]) == 0
    assert read_dataset(tmp_path / "d.parquet")["layer"].tolist() == ["a\ufffd"]
