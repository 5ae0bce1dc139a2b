"""Tables of one's own, whole networks, and measurements in CUDA graphs: what suffices, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuralpower.cli import main
from neuralpower.dataset import read_dataset
from neuralpower.dataset_networks import whole_networks
from neuralpower.errors import InputError
from neuralpower.importers import measured, networks, table

ENGINES = Path(__file__).parents[1] / "fixtures" / "engines"
WHOLE = """layer,kind,batch,in_c,in_h,in_w,out_c,kernel,stride,pad,groups,precision,runtime_ms,power_w
c,conv,2,3,32,30,8,3,2,1,1,fp16,0.5,8
d,Conv2d,1,8,16,16,8,3,1,1,8,half,0.25,
p,maxpool,1,8,16,16,,2,,,,,0.1,6
f,Linear,4,64,,,10,,,,,FP32,0.2,7
o,other,1,8,16,16,8,,,,,,0.01,
"""


def save(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_table_becomes_layers(tmp_path: Path) -> None:
    """Every kind with what it needs; outputs follow from the window, a pooling's stride from its kernel, energy from power and runtime."""
    imported = table.read(save(tmp_path, WHOLE))
    c, d, p, f, o = imported.dataset.layers()
    assert (c.kind, c.batch, c.out_h, c.out_w, c.stride_w, c.pad_h, c.precision) == ("conv", 2, 16, 15, 2, 1, "FP16")
    assert d.depthwise and d.precision == "FP16" and d.out_h == 16
    assert (p.kind, p.out_c, p.out_h, p.stride_h) == ("pool", 8, 8, 2)
    assert (f.kind, f.batch, f.in_c, f.out_c, f.macs()) == ("fc", 4, 64, 10, 2560)
    assert o.kind == "other" and not imported.skipped
    assert imported.dataset["energy_j"][0] == pytest.approx(4e-3) and np.isnan(imported.dataset["power_w"][1])


def test_parquet_is_told_by_its_content(tmp_path: Path) -> None:
    """Under the name of a CSV file; empty cells are not told."""
    cells = {
        "kind": ["fc", "fc"],
        "in_c": [3, 4],
        "out_c": [5, None],
        "runtime_us": [1.5, 2.5],
        "energy_uj": [3.0, 1.0],
    }
    pq.write_table(pa.table(cells), tmp_path / "t.csv")
    imported = table.read(tmp_path / "t.csv")
    assert imported.dataset["runtime_s"].tolist() == [pytest.approx(1.5e-6)]
    assert imported.dataset["power_w"].tolist() == [pytest.approx(2.0)]
    assert imported.skipped == [f"{tmp_path / 't.csv'}: column out_c: 1 row(s) of kind fc lack it: left out"]


@pytest.mark.parametrize(
    ("column", "cell", "name", "value"),
    [
        ("runtime_s", "2", "runtime_s", 2.0), ("runtime_ms", "2", "runtime_s", 2e-3), ("runtime_us", "2", "runtime_s", 2e-6),
        ("runtime_ns", "2", "runtime_s", 2e-9), ("power_mw", "2", "power_w", 2e-3), ("power_uw", "2", "power_w", 2e-6),
        ("Runtime (ms)", "2", "runtime_s", 2e-3), ("runtime [µs]", "2", "runtime_s", 2e-6), ("Power SE (mW)", "2", "power_se_w", 2e-3),
        ("energy_mj", "2", "energy_j", 2e-3), ("ENERGY_MJ", "2", "energy_j", 2e-3), ("Energy_J", "2", "energy_j", 2.0), ("power_se_mw", "2", "power_se_w", 2e-3),
    ],
)  # fmt: skip
def test_units_stand_in_the_name(tmp_path: Path, column: str, cell: str, name: str, value: float) -> None:
    path = save(tmp_path, f"kind,in_c,out_c,runtime_se_s,{column}\nfc,3,4,1,{cell}\n")
    if "_se_" in name:
        path = save(tmp_path, f"kind,in_c,out_c,runtime_s,{column}\nfc,3,4,1,{cell}\n")
    assert table.read(path).dataset[name].tolist() == [pytest.approx(value)]


@pytest.mark.parametrize("column", ["runtime", "runtime_msec", "power", "energy_wh", "power_se"])
def test_a_measured_column_without_a_unit_is_asked_for_one(tmp_path: Path, column: str) -> None:
    """Not called one of no use: what is wrong with it is its name. The same of a name that is mapped to."""
    path = save(tmp_path, f"kind,in_c,out_c,{column},energy_j\nfc,3,4,1,1\n")
    stem = column.rpartition("_")[0] if column.count("_") and not column.endswith("se") else column
    (told,) = table.read(path).skipped
    assert f"column {column}: its name must end in its unit: {stem}_" in told and "no use" not in told
    (told,) = table.read(save(tmp_path, "kind,in_c,out_c,power_mode,energy_j\nfc,3,4,MAXN,1\n")).skipped
    assert "of no use here: power_mode" in told
    path = save(tmp_path, f"kind,in_c,out_c,{column},energy_j\nfc,3,4,1,1\n")
    (told,) = table.read(save(tmp_path, "kind,in_c,out_c,energy_MJ,runtime_s\nfc,3,4,1,1\n")).skipped
    assert "column energy_MJ: its name must end in its unit: energy_j, energy_mj" in told  # a million is no thousandth
    with pytest.raises(InputError, match="--map in_c=runtime: its name must end in its unit: runtime_s, runtime_ms"):
        table.read(path, {"in_c": "runtime"})


@pytest.mark.parametrize("energy", ["0.9", "7", "1200", "0"])
def test_an_energy_of_something_else_is_not_taken(tmp_path: Path, energy: str) -> None:
    """0.5 ms at 7 W are 3.5 mJ; up to a factor of two is believed. What the three tell of is then not known, so none is taken."""
    text = "kind,in_c,out_c,runtime_ms,power_w,energy_mj\nfc,3,4,0.5,7,{}\nfc,3,4,0.5,7,\n"
    assert len(table.read(save(tmp_path, text.format(6.9))).dataset) == 2
    imported = table.read(save(tmp_path, text.format(energy)))
    believed = energy in ("7",)
    assert len(imported.dataset) == 1 + believed
    assert believed or "column energy_mj: 1 row(s) hold one that is not runtime times power" in imported.skipped[0]


def test_names_of_others_are_mapped(tmp_path: Path) -> None:
    """Semicolons with decimal commas, other names with units and signs in them, columns of no use."""
    text = "op;cin;cout;latency (us);a=b;who\nlinear;3;4;1,5;250;me\n"
    given = {"op": "kind", "cin": "in_c", "cout": "out_c", "latency (us)": "runtime_us", "a=b": "power_mw"}
    imported = table.read(save(tmp_path, text), given)
    assert imported.dataset["runtime_s"].tolist() == [pytest.approx(1.5e-6)]
    assert imported.dataset["power_w"].tolist() == [0.25] and "of no use here: who" in imported.skipped[0]
    words = [word for theirs, ours in given.items() for word in ("--map", f"{theirs}={ours}")]
    assert main(["import", "table", str(tmp_path / "t.csv"), *words, "-o", str(tmp_path / "d.parquet")]) == 0
    assert len(read_dataset(tmp_path / "d.parquet")) == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("c,conv,1,3,8,8,,3,1,1,1,,1,1", "column out_c: 1 row(s) of kind conv lack it"),
        ("c,conv,1,3,8,8,4,,1,1,1,,1,1", "column kernel: 1 row(s) of kind conv lack it"),
        ("c,lstm,1,3,8,8,4,3,1,1,1,,1,1", "column kind: 1 row(s) hold 'lstm'"),
        ("c,,1,3,8,8,4,3,1,1,1,,1,1", "column kind: 1 row(s) do not say it"),
        ("c,conv,1,3,8,8,4,3,1,1,1,,,", "have none of the three"),
        ("c,conv,1,3,8,8,4,3,1,1,1,,-1,-2", "column runtime_ms: 1 row(s) hold one that is negative"),
        ("c,conv,1,3,8,8,4,3,1,1,1,,nan,4500", "column power_w: 1 row(s) hold one that is above 3000"),
        ("c,conv,1,3,8,8,4,3,1,1,2,,1,1", "row 7: 2 groups do not divide its channels"),
        ("c,conv,1,3,8,8,4,30,1,0,1,,1,1", "row 7: a conv layer with an impossible out_h"),
        ("c,conv,1,3,8,8,4,3,0,0,1,,1,1", "impossible out_h, out_w, stride_h"),
    ],
)  # fmt: skip
def test_what_a_row_lacks_is_said_by_column(tmp_path: Path, row: str, says: str) -> None:
    """The other rows are read; alone, the row is refused for the same reason."""
    imported = table.read(save(tmp_path, f"{WHOLE}{row}\n"))
    assert len(imported.dataset) == 5 and any(says in line for line in imported.skipped)
    with pytest.raises(InputError) as caught:
        table.read(save(tmp_path, f"{WHOLE.splitlines()[0]}\n{row}\n"))
    assert says.replace("row 7", "row 2") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an empty file"),
        ("\n", "no header"),
        ("# a remark\n", "no header"),
        ("kind", "its first line names the columns: line 1 has no end"),
        ("# a remark\nkind,in_c\nfc\n", "line 3 has 1 cells, the header 2"),
        ("a,b\n1,2\n", "no known column in a, b"),
        ("kind,kind\nfc,fc\n", "two columns are called 'kind'"),
        ("kind,runtime_ms,runtime_us\nfc,1,2\n", "two columns for runtime_s"),
        ("kind,in_c\nfc\n", "line 2 has 1 cells, the header 2"),
        ("kind,in_c,out_c,runtime_s\nfc,x,3,1\n", "row 2: in_c is 'x'"),
        ("kind,in_c,out_c,runtime_s\nfc,3.5,3,1\n", "in_c is '3.5'"),
        ("kind,in_c,out_c,runtime_s\nfc,3,3,fast\n", "runtime_s is 'fast', not a number"),
        ("kind,In_C,out_c,Runtime_ms\nfc,3,3,fast\n", "row 2: Runtime_ms is 'fast', not a number"),
        ("kind,In_C,out_c,runtime_ms\nfc,x,3,1\n", "row 2: In_C is 'x'"),
        ("kind,in_c,out_c,Runtime_ms\nfc,3,3,-1\n", "column Runtime_ms: 1 row(s) hold one that is negative"),
        ('kind,in_c\n"fc,3\n', "breaks at line 2"),
        ("kind,in_c,out_c,runtime_s\n", "it has none"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        table.read(save(tmp_path, text))
    assert says in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nkind;in_c;out_c;runtime_ms\nfc;3;4;1,5\n",
        "kind|in_c|out_c|runtime_ms\nfc|3|4|1.5\n",
        "\n# measured twice\nkind,in_c,out_c,runtime_ms\nfc,3,4,1.5\n",
        "kind,in_c,out_c,runtime_ms\rfc,3,4,1.5\r",
    ],
)
def test_what_programs_put_around_a_table_is_no_part_of_it(tmp_path: Path, text: str) -> None:
    """Excel's line on what divides the columns, bars, remarks above the header, lines that end in a return alone."""
    imported = table.read(save(tmp_path, text))
    assert imported.dataset["runtime_s"].tolist() == [pytest.approx(1.5e-3)] and not imported.skipped


def test_columns_of_other_types_cost_no_table(tmp_path: Path) -> None:
    """Times finer than Python's in a column of no use, and texts kept as bytes."""
    cells = {"kind": pa.array([b"fc"]), "in_c": [3.0], "out_c": [4], "runtime_ms": [1.5], "when": pa.array([1], pa.timestamp("ns"))}  # fmt: skip
    pq.write_table(pa.table(cells), tmp_path / "t.parquet")
    (layer,) = table.read(tmp_path / "t.parquet").dataset.layers()
    assert (layer.kind, layer.in_c, layer.out_c) == ("fc", 3, 4)


def test_a_last_row_without_its_end_is_left_out(tmp_path: Path) -> None:
    imported = table.read(save(tmp_path, f"{WHOLE}f,fc,1,3,,,4,,,,,,0.1,1"))
    assert len(imported.dataset) == 5 and "line 7 has no end" in imported.skipped[0]


def test_a_simulated_row_stays_one(tmp_path: Path) -> None:
    """Also through a table that was made of a dataset."""
    assert table.read(save(tmp_path, "kind,in_c,out_c,runtime_s,simulated\nfc,3,4,1,True\n")).dataset.simulated


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("x", "write THEIRS=OURS"),
        ("none=kind", "no such column; there are"),
        ("layer=colour", "no such column of ours"),
    ],
)
def test_a_wrong_mapping_is_one_line(tmp_path: Path, given: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "table", str(save(tmp_path, WHOLE)), "--map", given]) == 2
    assert says in capsys.readouterr().err
    assert main(["import", "trtexec", str(tmp_path), "--map", "a=b"]) == 2
    assert "has columns of its own" in capsys.readouterr().err


def test_an_output_that_no_window_makes_is_not_taken(tmp_path: Path) -> None:
    """8x8 stay 8x8 under 3x3 with padding; one more or less is a matter of rounding. Who tells no padding may have had any."""
    text = (
        "kind,in_c,in_h,in_w,out_c,kernel,pad,out_h,out_w,runtime_ms\nconv,4,8,8,4,3,1,9,8,1\nconv,4,8,8,4,3,1,99,8,1\n"
    )
    imported = table.read(save(tmp_path, text))
    assert len(imported.dataset) == 1
    assert imported.skipped == [f"{tmp_path / 't.csv'}: row 3: its window does not make out_h of its input: left out"]
    text = "kind,in_c,in_h,in_w,out_c,kernel,stride,out_h,out_w,runtime_ms\nconv,3,224,224,64,7,2,112,112,1\n"
    assert len(table.read(save(tmp_path, text)).dataset) == 1


def test_networks_that_cannot_be_are_told_apart_from_those_that_lack_something(tmp_path: Path) -> None:
    text = "network,batch,Runtime (ms)\na,1,\nb,1,0\nc,1,1e9\nd,0,1\ne,2,1\n"
    imported = networks.read(save(tmp_path, text))
    assert [entry["network"] for entry in imported.dataset.provenance["networks"]] == ["e"]
    told = "\n".join(imported.skipped)
    for says in (
        "1 network(s) lack it",
        "2 network(s) have none that can be",
        "1 row(s) hold one that is above 3600",
        "column batch: 1 row(s) hold 0",
    ):
        assert says in told


def test_whole_networks_stand_beside_their_layers(tmp_path: Path) -> None:
    """Runtime and energy in the provenance, the layers of a named file unmeasured in the rows; one network at two batches is two."""
    (tmp_path / "net.json").write_bytes((ENGINES / "trt10.json").read_bytes())
    text = "network,batch,runtime_ms,power_w,energy_mj,file\nn,2,4,10,,net.json\nn,2,8,,50,net.json\nm,1,1,,,\nx,1,-3,5,,\ny,2,5,5,,none.onnx\n"
    imported = networks.read(save(tmp_path, text))
    first, second = whole_networks(imported.dataset)
    assert (first.runtime_s, first.energy_j, second.energy_j) == (4e-3, 0.04, 0.05) and first.unprofiled
    assert first.engine != second.engine and set(imported.dataset["engine"]) == {first.engine, second.engine}
    assert np.isnan(imported.dataset["runtime_s"]).all() and not imported.dataset.implausible
    told = "\n".join(imported.skipped)
    assert (
        "1 network(s) have a runtime alone" in told
        and "1 network(s) have none that can be" in told
        and "No such file" in told
    )
    assert [entry["network"] for entry in imported.dataset.provenance["networks"]] == ["n", "n", "m", "y"]
    with pytest.raises(InputError, match="no column network"):
        networks.read(save(tmp_path, "runtime_ms\n1\n"))


def test_a_file_of_many_networks_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each batch, and also where it cannot be read: a table of a thousand rows may name one file."""
    (tmp_path / "net.json").write_bytes((ENGINES / "trt10.json").read_bytes())
    read = []
    load = networks.load_network
    monkeypatch.setattr(
        networks, "load_network", lambda path, batch: read.append((path.name, batch)) or load(path, batch)
    )
    rows = "".join(f"n{at},2,4,{file}\n" for at, file in enumerate(["net.json", "none.json"] * 3))
    imported = networks.read(save(tmp_path, f"network,batch,runtime_ms,file\n{rows}"))
    assert read == [("net.json", 2), ("none.json", 2)]
    assert len(imported.dataset) == 3 * 8 and sum("without its layers" in line for line in imported.skipped) == 3


def test_whole_networks_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those without layers too; what is not known is a dash. Written, they are in the provenance."""
    path = save(tmp_path, "network,runtime_ms,power_w\nfirst,4,10\nsecond,5,\n")
    assert main(["import", "networks", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["first", "4", "10", "40"] in lines and ["second", "5", "-", "-"] in lines
    assert main(["import", "networks", str(path), "-o", str(tmp_path / "d.parquet")]) == 0
    assert [each["network"] for each in read_dataset(tmp_path / "d.parquet").provenance["networks"]] == [
        "first",
        "second",
    ]


SINGLE: dict[str, Any] = {"kind": "conv", "dtype": "fp16", "n": 2, "ci": 3, "h": 9, "w": 8, "co": 4, "k": [3, 1], "s": 1, "p": [1, 0],
                          "g": 1, "relu": True, "ms": 0.5, "watts": 100.0, "watts_sd": 2.0, "readings": 4, "repeats": 7}  # fmt: skip
POOL = {"kind": "pool", "dtype": "fp16", "n": 1, "ci": 4, "h": 54, "w": 54, "k": 3, "s": 2, "p": 0, "pool": "max"}


def graphs(folder: Path, layers: list[Any], entries: list[Any]) -> Path:
    (folder / "m.json").write_text(json.dumps({"device": "a GPU", "layers": layers, "networks": entries}))
    return folder / "m.json"


def test_layers_in_cuda_graphs_are_rows(tmp_path: Path) -> None:
    """Sizes, means and errors; what cannot be is left out by its entry."""
    wrong = [
        {**SINGLE, "ms": -1},
        {**SINGLE, "watts": 45000},
        {**SINGLE, "s": 0},
        {**SINGLE, "ci": "x"},
        {"kind": "conv"},
        5,
    ]
    imported = measured.read(graphs(tmp_path, [SINGLE, *wrong], []))
    (layer,) = imported.dataset.layers()
    assert (layer.batch, layer.out_h, layer.out_w, layer.kernel_w, layer.pad_w, layer.precision) == (
        2,
        9,
        8,
        1,
        0,
        "FP16",
    )
    row = {name: imported.dataset[name][0] for name in ("runtime_s", "power_w", "power_se_w", "energy_j", "device")}
    assert row == {"runtime_s": 5e-4, "power_w": 100.0, "power_se_w": 1.0, "energy_j": 0.05, "device": "a GPU"}
    assert [line.partition("entry ")[2][0] for line in imported.skipped] == list("123456")


def test_a_simulated_document_stays_simulated(tmp_path: Path) -> None:
    """All its rows say so; without the word none does."""
    path = graphs(tmp_path, [SINGLE], [{"name": "n", "batch": 1, "ms": 2.0, "watts": 50.0, "layers": [POOL]}])
    assert not measured.read(path).dataset.simulated
    path.write_text(json.dumps({**json.loads(path.read_text()), "simulated": True}))
    assert measured.read(path).dataset["simulated"].tolist() == [True, True]


def test_networks_in_cuda_graphs_are_whole(tmp_path: Path) -> None:
    """Every operation is a row without a measurement; the next one tells whether a pooling rounded up."""
    add = {"kind": "add", "dtype": "fp16", "inputs": [[1, 4, 27, 27]] * 2, "output": [1, 4, 27, 27]}
    entry = {"name": "n", "batch": 1, "ms": 2.0, "watts": 50.0, "watts_sd": 1.0, "readings": 4, "layers": [POOL, add]}
    imported = measured.read(graphs(tmp_path, [SINGLE], [entry, {**entry, "ms": "x"}, {**entry, "batch": 8}]))
    first, second = whole_networks(imported.dataset)
    assert (first.network, first.runtime_s, first.energy_j, first.energy_se_j) == ("n batch 1", 2e-3, 0.1, 1e-3)
    assert second.network == "n batch 8" and len(imported.skipped) == 1
    rows = imported.dataset.where(network="n batch 1")
    pool, other = rows.layers()
    assert (
        pool.out_h == 27 and other.kind == "other" and other.note == "elementwise" and np.isnan(rows["runtime_s"]).all()
    )
    floor = measured.read(graphs(tmp_path, [{**POOL, "ms": 1, "watts": 90}], [])).dataset.layers()[0]
    assert floor.out_h == 26


def test_published_graph_measurements_are_read_whole(public_data: Path) -> None:
    """646 layers and 18 networks of an H200, none left out."""
    file = public_data / "h200" / "measured.json"
    if not file.is_file():
        pytest.skip("no measurements of an H200 in the folder of published measurements")
    imported = measured.read(file)
    singles = imported.dataset.where(method="graph-replay")
    assert len(singles) == 646 and len(whole_networks(imported.dataset)) == 18 and not imported.skipped
    document = json.loads(file.read_text())
    assert singles["runtime_s"][5] == pytest.approx(document["layers"][5]["ms"] * 1e-3)
    assert len(imported.dataset) == 646 + sum(len(each["layers"]) for each in document["networks"])
