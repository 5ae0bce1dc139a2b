"""The dataset: what is written is read, and what is no whole dataset is one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpower import dataset
from neuralpower.dataset import (
    COLUMNS,
    LATER,
    METADATA_KEY,
    Dataset,
    concat,
    dataset_of,
    read_dataset,
    row,
    write_dataset,
)
from neuralpower.errors import Failure, InputError
from neuralpower.features.layers import Layer
from neuralpower.show.dataset import with_power

CONV = Layer("c", "conv", 1, 3, 8, 8, 4, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, "FP16", "CaskConvolution", "a note")
FC = Layer("f", "fc", 1, 256, 1, 1, 10, 1, 1)
OTHER = Layer("r", "other", note="reformat")


def sample() -> Dataset:
    rows = [
        row(CONV, network="a", position=0, origin="network", runtime_s=1e-3, power_w=5.0, count=7, simulated=True),
        row(OTHER, network="a", position=1, origin="network", runtime_s=2e-6),
        row(FC, network="b", position=0, origin="sweep", runtime_s=2e-3, device="somewhere"),
    ]
    return dataset_of(rows, {"seed": 3, "recordings": ["x"]})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Layers, measurements, types and provenance survive the file; what was not measured is nan."""
    wrote = sample()
    write_dataset(wrote.table, tmp_path / "d.parquet", wrote.provenance)
    read = read_dataset(tmp_path / "d.parquet")
    assert read.layers() == [CONV, OTHER, FC]
    assert read.provenance == {"seed": 3, "recordings": ["x"]}
    assert list(read.table) == list(COLUMNS)
    for name, column in wrote.table.items():
        assert read[name].dtype == column.dtype
        np.testing.assert_array_equal(read[name], column)
    assert np.isnan(read["power_w"][1]) and read["count"].tolist() == [7, 0, 0]
    assert pq.read_metadata(tmp_path / "d.parquet").row_group(0).column(0).compression == "ZSTD"
    assert [file.name for file in tmp_path.iterdir()] == ["d.parquet"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats(), st.integers(0, 2**62), st.booleans())
    )
)
def test_any_measurement_survives(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, float, int, bool]]
) -> None:
    """Any text, float, count and flag, and any number of rows, none included."""
    made = dataset_of(
        [row(CONV, network=n, origin="import", power_w=p, count=c, simulated=s) for n, p, c, s in values], {}
    )
    path = tmp_path_factory.mktemp("dataset") / "d.parquet"
    write_dataset(made.table, path, {})
    read = read_dataset(path)
    assert len(read) == len(values)
    for column in COLUMNS:
        np.testing.assert_array_equal(read[column], made[column])


def test_rows_are_chosen_by_value() -> None:
    """where() takes equal values, any of several, and all conditions together."""
    made = sample()
    assert made.where(kind="conv").layers() == [CONV]
    assert made.where(kind=("conv", "fc")).layers() == [CONV, FC]
    assert len(made.where(network="a", origin="sweep")) == 0
    assert made.where(network="a").provenance == made.provenance
    assert made.take(np.array([2, 0])).layers() == [FC, CONV]


def test_simulated_rows_mark_the_dataset() -> None:
    """One simulated row makes the dataset simulated."""
    assert sample().simulated and not sample().where(network="b").simulated


def test_datasets_are_joined_in_order() -> None:
    """concat() keeps all rows, and every part's provenance."""
    joined = concat([sample(), sample().where(kind="fc")])
    assert joined.layers() == [CONV, OTHER, FC, FC]
    assert [part["seed"] for part in joined.provenance["parts"]] == [3, 3]
    with pytest.raises(ValueError, match="nothing"):
        concat([])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_truncated_file_is_one_line(tmp_path: Path, share: float) -> None:
    """A file that was cut off anywhere is named as truncated."""
    path = tmp_path / "d.parquet"
    write_dataset(sample().table, path, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"^\S+: truncated Parquet file[^\n]*$"):
        read_dataset(path)


def test_a_damaged_footer_is_one_line(tmp_path: Path) -> None:
    """Bytes changed in the middle are an InputError of one line, not a crash."""
    path = tmp_path / "d.parquet"
    write_dataset(sample().table, path, {})
    content = bytearray(path.read_bytes())
    content[-200:-8] = b"\xff" * 192
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_dataset(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_dataset_is_one_line(tmp_path: Path) -> None:
    """A missing file, a folder, text, a foreign Parquet, another schema, a missing column, a wrong type, a bad kind."""
    path = tmp_path / "d.parquet"
    with pytest.raises(InputError, match="no such file"):
        read_dataset(path)
    with pytest.raises(InputError, match="a folder"):
        read_dataset(tmp_path)
    path.write_text("hello")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_dataset(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="not a neuralpower dataset"):
        read_dataset(path)
    write_dataset(sample().table, path, {})
    whole = pq.read_table(path)
    changed = [
        (whole.replace_schema_metadata({METADATA_KEY: b'{"schema": 99}'}), "dataset schema 99"),
        (whole.drop_columns(["power_w"]), "lacks the columns power_w"),
        (_with(whole, "count", pa.array([1.0, 2.0, 3.0])), "column count holds double"),
        (_with(whole, "count", pa.array([1, None, 3])), "empty cells"),
        (_with(whole, "kind", pa.array(["conv", "x", "fc"])), "kind 'x'"),
        (_with(whole, "in_c", pa.array([0, 0, 0])), "in_c"),
    ]
    for table, line in changed:
        pq.write_table(table, path)
        with pytest.raises(InputError, match=line):
            read_dataset(path)


def test_more_rows_than_are_read_are_refused_by_the_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are made: a few bytes of Parquet stand for any number of rows. A pipe is not waited for."""
    write_dataset(sample().table, tmp_path / "d.parquet", {})
    monkeypatch.setattr(dataset, "MOST_ROWS", 2)
    with pytest.raises(InputError, match="3 rows, at most 2 are read"):
        read_dataset(tmp_path / "d.parquet")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe or a socket"):
        read_dataset(tmp_path / "pipe")
    (tmp_path / "lfs").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="not a Parquet file, but a pointer of Git LFS"):
        read_dataset(tmp_path / "lfs")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """A file that cannot be written is a Failure; a table that is no dataset is refused before anything is touched."""
    with pytest.raises(Failure, match="cannot write the dataset"):
        write_dataset(sample().table, tmp_path / "none" / "d.parquet", {})
    path = tmp_path / "d.parquet"
    write_dataset(sample().table, path, {"first": True})
    uneven = {**sample().table, "count": np.zeros(2, dtype=np.int64)}
    for table in (uneven, {"layer": ["x"]}):
        with pytest.raises(ValueError, match="columns"):
            write_dataset(table, path, {})
    assert read_dataset(path).provenance == {"first": True}


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """What has no column of reasons was withheld nothing; a table without it is written with an empty one."""
    path = tmp_path / "d.parquet"
    write_dataset({name: column for name, column in sample().table.items() if name not in LATER}, path, {"old": True})
    assert pq.read_table(path).column("withheld").to_pylist() == [""] * 3
    pq.write_table(pq.read_table(path).drop_columns(list(LATER)), path)
    read = read_dataset(path)
    assert list(read.table) == list(COLUMNS) and read["withheld"].tolist() == [""] * 3 and read.withheld == {}
    assert read.provenance == {"old": True} and read.layers() == [CONV, OTHER, FC]


def test_reasons_are_counted(tmp_path: Path) -> None:
    """Rows whose power is withheld say why, also behind the file; the reason of most rows is the first."""
    reasons = ["locked", "unseen", "locked", ""]
    rows = [row(CONV, network="a", origin="network", runtime_s=1e-3, withheld=reason) for reason in reasons]
    write_dataset(dataset_of(rows, {}).table, tmp_path / "d.parquet", {})
    read = read_dataset(tmp_path / "d.parquet")
    assert list(read.withheld.items()) == [("locked", 2), ("unseen", 1)] and read["withheld"].tolist() == reasons
    assert with_power(read) == "with power 0/4, 3 withheld: locked (2); unseen (1)"
    assert with_power(read.take(np.array([0, 2]))) == "with power 0/2, 2 withheld: locked"
    assert with_power(read.take(np.array([3]))) == "with power 0/1"
    table = {**read.table, "withheld": [f"reason {number}" for number in range(4)]}
    assert with_power(dataset_of([{name: table[name][at] for name in COLUMNS} for at in range(4)], {})).endswith(
        "4 withheld: reason 0 (1); reason 1 (1); reason 2 (1); and others"
    )


def test_rows_refuse_unknown_columns() -> None:
    """A mistyped column or origin is an error, not a lost measurement."""
    with pytest.raises(ValueError, match="runtime_ms"):
        row(CONV, network="a", origin="import", runtime_ms=1.0)
    with pytest.raises(ValueError, match="elsewhere"):
        row(CONV, network="a", origin="elsewhere")


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize("name", [b"runtime_s", b"power_w", b"network"])
def test_names_of_columns_that_are_no_text_are_told(tmp_path: Path, name: bytes) -> None:
    """Arrow raises another kind of error for them."""
    path = tmp_path / "d.parquet"
    write_dataset(sample().table, path, {})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(name, b"\x80" + name[1:]))
    with pytest.raises(InputError, match="cannot be read as Parquet") as raised:
        read_dataset(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
