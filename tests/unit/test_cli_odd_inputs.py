"""Whatever a command is given, it ends with a status and one line that names it: never with a traceback."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.worlds.fake_daemon import JOURNAL_STREAM, STREAM, T0_NS, engine, epoch, inference, ticks

from neuralpower.cli import main
from neuralpower.dataset import dataset_of, row, write_dataset
from neuralpower.errors import Failure
from neuralpower.features.layers import Layer
from neuralpower.files import why_not_written
from neuralpower.models import store
from neuralpower.models.six import SixModels
from neuralpower.recordings.writer import Writer
from neuralpower.subscriber.messages import Message, Records, Ticks
from neuralpower_wire import Kind, ReadingState, Record

NAN = float("nan")


def conv(at: int) -> Layer:
    return Layer(f"c{at}", "conv", 1, 3 + at, 8, 8, 4, 8, 8, 3, 3, 1, 1, 1, 1, precision="FP16")


def rows(count: int, kind: str = "conv", runtime_s: float = 1e-4, power_w: float = 5.0) -> list[dict[str, object]]:
    """Layers of eight networks, measured."""
    layers = [conv(at) if kind == "conv" else Layer(f"o{at}", kind) for at in range(count)]
    return [
        row(layer, network=f"n{at % 8}", position=at, origin="network", runtime_s=runtime_s * (1 + at), power_w=power_w)
        for at, layer in enumerate(layers)
    ]


def datasets(folder: Path) -> None:
    """Datasets that hold nothing to fit, and Parquet files that are none."""
    sparse = {
        "zero-rows": rows(0),
        "one-row": rows(1),
        "nothing-measured": rows(20, runtime_s=NAN, power_w=NAN),
        "others-alone": rows(20, "other"),
        "unclassified-alone": rows(20, "unclassified"),
        "negative": rows(20, runtime_s=-1.0, power_w=-1.0),
    }
    for name, listed in sparse.items():
        write_dataset(dataset_of(listed, {}).table, folder / f"{name}.parquet", {})
    for name, value in (("huge", 1e300), ("infinite", float("inf")), ("tiny", 1e-300)):
        write_dataset(dataset_of(rows(20, runtime_s=value, power_w=NAN), {}).table, folder / f"{name}.parquet", {})
    write_dataset(dataset_of(rows(20), {}).table, folder / "odd-provenance.parquet", {"networks": 5, "notes": 3})
    pq.write_table(pa.table({}), folder / "no-columns.parquet")
    pq.write_table(pa.table({"a": [1]}), folder / "foreign.parquet")


def recordings(folder: Path) -> None:
    """Recordings that hold too little, and folders that are damaged."""
    described = Record(Kind.EPOCH, 1, {**epoch().to_dict(), "stream": STREAM})
    mark = Record(Kind.MARK, T0_NS, {"name": "m", "text": "x"})
    unread = ticks(0, 500)
    unread["readings"]["state"] = ReadingState.MISSING
    all_ticks = Ticks(STREAM, ticks(0, 500), epoch())
    held: dict[str, list[Message]] = {
        "empty-recording": [],
        "no-epoch-known": [Ticks(STREAM, ticks(0, 500), epoch())],
        "no-journal-but-epoch": [all_ticks, Records(JOURNAL_STREAM, 0, [described])],
        "no-ticks": [Records(JOURNAL_STREAM, 0, [described, engine(), inference(7)])],
        "one-tick": [Ticks(STREAM, ticks(0, 1), epoch()), Records(JOURNAL_STREAM, 0, [described])],
        "no-inferences": [all_ticks, Records(JOURNAL_STREAM, 0, [described, engine()])],
        "no-engine": [all_ticks, Records(JOURNAL_STREAM, 0, [described, inference(7)])],
        "one-inference": [all_ticks, Records(JOURNAL_STREAM, 0, [described, engine(), inference(7)])],
        "mark-alone": [Records(JOURNAL_STREAM, 0, [mark])],
        "no-reading": [
            Ticks(STREAM, unread, epoch()),
            Records(JOURNAL_STREAM, 0, [described, engine(), inference(7)]),
        ],
    }
    broken = ("no-document", "document-is-a-folder", "ticks-is-a-file", "segment-is-a-folder", "segments-cut")
    for name, messages in {**held, **dict.fromkeys(broken, held["one-inference"])}.items():
        writer = Writer(folder / name, "ipc:///run/neuralpower")
        for message in messages:
            writer.keep(message)
        writer.finish()
    (folder / "no-document" / "recording.json").unlink()
    (folder / "document-is-a-folder" / "recording.json").unlink()
    (folder / "document-is-a-folder" / "recording.json").mkdir()
    for path in [*(folder / "ticks-is-a-file" / "ticks").rglob("*.parquet")]:
        path.unlink()
        shutil.rmtree(path.parent)
    (folder / "ticks-is-a-file" / "ticks").rmdir()
    (folder / "ticks-is-a-file" / "ticks").write_text("x")
    for path in [*(folder / "segment-is-a-folder").rglob("*.parquet")]:
        path.unlink()
        path.mkdir()
    for path in (folder / "segments-cut").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:60])


def others(folder: Path) -> None:
    """Things of which no command can make anything."""
    contents = {
        "empty": b"",
        "text.txt": b"hello\nworld\n",
        "table.csv": b"a,b\n1,2\n",
        "binary": bytes(range(256)) * 4,
        "par1": b"PAR1PAR1",
        "page.html": b"<html></html>",
        "empty.json": b"{}",
        "list.json": b"[]",
        "null.json": b"null",
        "cut.json": b'{"format": "neuralpower-models", ',
        "latin.json": '{"a": "é"}'.encode("latin-1"),
        "deep.json": b"[" * 100_000,
        "bom.json": b"\xef\xbb\xbf{}",
        "layers.json": b'{"Layers": [1, null]}',
        "words.onnx": b"not onnx",
        "words.onnxtxt": b"not onnx",
        "words.textproto": b"not onnx",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "closed").write_text("{}")
    (folder / "closed").chmod(0)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all of them."""
    folder = tmp_path_factory.mktemp("things")
    datasets(folder)
    recordings(folder)
    others(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of forty convolutions."""
    path = tmp_path_factory.mktemp("model") / "model.json"
    store.save(SixModels(folds=2).fit(dataset_of(rows(40), {})), path)
    return path


@pytest.fixture(scope="module")
def network() -> Path:
    """A network that is sound."""
    import onnx

    return Path(onnx.__file__).parent / "backend/test/data/light/light_bvlc_alexnet.onnx"


def given(things: Path) -> Iterator[str]:
    """Everything there, and paths at which nothing is."""
    yield from sorted(str(path) for path in things.iterdir())
    yield from (str(things / "missing"), str(things / "missing" / "x"), str(things / "text.txt" / "x"))
    yield from ("", "x" * 300, os.fsdecode(b"\xff.parquet"))


COMMANDS = [
    "info THING",
    "info THING --json",
    "attribute THING",
    "attribute THING --method window-mean --json",
    "dataset THING -o OUT.parquet",
    "report THING -o OUT.html",
    "report MODEL THING -o OUT.html",
    "export THING --perfetto OUT.pftrace",
    "export THING --csv OUT",
    "fit THING -o OUT.json",
    "evaluate MODEL THING",
    "evaluate THING THING",
    "predict MODEL THING",
    "predict THING NETWORK",
    "rank MODEL THING",
    "rank THING NETWORK",
    "rank MODEL NETWORK --accuracy THING",
    "features THING",
    "features NETWORK THING",
    "import edgeprofiler THING -o OUT.parquet",
    "import trtexec THING -o OUT.parquet",
    "import neurstrucenergy THING -o OUT.parquet",
    "import tegrastats THING -o OUT.parquet",
    "import table THING -o OUT.parquet",
    "import networks THING -o OUT.parquet",
    "import measured THING -o OUT.parquet",
]
UNKNOWN = re.compile(r"\b(nan|NaN|None)\b")
"""What nobody knows is a dash to people and null to machines."""
FITTED = ("odd-provenance.parquet", "negative.parquet")
"""Of these something can be fitted, which takes time and is tested elsewhere."""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_input_ends_in_a_traceback(
    command: str,
    things: Path,
    model: Path,
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each command with each thing: it works, or it says in one line, with status 1 or 2, what it cannot use."""
    monkeypatch.chdir(tmp_path)
    refused = 0
    for thing in given(things):
        if command.startswith("fit") and Path(thing).name in FITTED:
            continue
        names = {"THING": thing, "MODEL": str(model), "NETWORK": str(network)}
        words = [names.get(word, word.replace("OUT", str(tmp_path / "out"))) for word in command.split()]
        with warnings.catch_warnings(record=True) as warned:  # each would be a line of its own
            warnings.simplefilter("always")
            status = main(words)
        assert not warned, (thing, [str(each.message) for each in warned])
        printed = capsys.readouterr()
        said = [line for line in printed.err.splitlines() if not line.endswith("...")]
        assert status in (0, 1, 2), (thing, status)
        assert not UNKNOWN.search(printed.out), (thing, printed.out)
        assert status == 0 or (len(said) == 1 and said[0].startswith("neuralpower: ")), (thing, said)
        refused += status != 0
    assert refused > 20


@pytest.mark.parametrize("command", ["fit THING -o OUT.json", "evaluate MODEL THING"])
def test_a_path_that_cannot_be_opened_is_bad_input(
    command: str, things: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing, below a file, a loop of links, too long, a folder: status 2, and the line says which."""
    for name, says in {"missing": "no such file", "text.txt/x": "Not a directory", "loop": "Too many levels",
                       "x" * 300: "too long", "folder": "a folder", "empty": "an empty file"}.items():  # fmt: skip
        names = {"THING": str(things / name), "MODEL": str(model), "OUT.json": str(tmp_path / "o.json")}
        assert main([names.get(word, word) for word in command.split()]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
        assert says in line and name in line


def test_a_model_that_is_something_else_is_told_what_it_is(
    things: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Model and dataset the wrong way round is the usual mistake."""
    for name, says in {"one-row.parquet": "a Parquet file, as datasets are", "text.txt": "no JSON",
                       "empty": "an empty file"}.items():  # fmt: skip
        assert main(["predict", str(things / name), str(network)]) == 2
        assert says in capsys.readouterr().err


def test_the_recording_without_anything_to_attribute_is_named(
    things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several recordings the line says which; what their descriptions tell is said before any is worked on."""
    for names, says in (
        (["no-inferences"], f"{things / 'no-inferences'}: the recording holds no inference"),
        (["no-inferences", "no-ticks"], f"{things / 'no-ticks'}: holds no ticks"),
    ):
        assert main(["dataset", *(str(things / name) for name in names), "-o", str(tmp_path / "d")]) == 2
        assert says in capsys.readouterr().err.splitlines()[-1]


def test_nothing_to_compare_is_said(things: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Models held against no measured layer of theirs give no empty tables."""
    assert main(["evaluate", str(model), str(things / "zero-rows.parquet")]) == 2
    assert "no measured layer of a type" in capsys.readouterr().err


def test_sizes_that_nothing_has_are_refused(things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond any layer squares overflow or vanish, and with them every fit; what is infinite was not measured."""
    for name, says in {"huge": "runtime_s is 1e+300 for layer c0 of n0", "tiny": "runtime_s is 1e-300",
                       "infinite": "no layer type has"}.items():  # fmt: skip
        assert main(["fit", str(things / f"{name}.parquet"), "-o", str(tmp_path / "m.json")]) == 2
        assert says in capsys.readouterr().err


# ---- Outputs -----------------------------------------------------------------------------------

WRITERS = [
    "dataset THING -o OUT",
    "fit THING -o OUT",
    "import neurstrucenergy THING -o OUT",
    "report THING -o OUT",
    "export THING --perfetto OUT",
    "attribute THING --plot OUT",
    "rank THING NETWORK --plot OUT",
]


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    command: str, things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, a place in no folder, a pipe: status 2 and one line, before the inputs are even looked at."""
    os.mkfifo(tmp_path / "pipe.svg")
    for out, says in {
        str(tmp_path): "a folder; name a file in it",
        str(tmp_path / "none" / "x.svg"): "make it first",
        str(things / "text.txt" / "x.svg"): "make it first",
        str(tmp_path / "pipe.svg"): "which a file would replace",
    }.items():
        names = {"THING": str(things / "missing"), "NETWORK": "missing.onnx", "OUT": out}
        assert main([names.get(word, word) for word in command.split()]) == 2
        error = capsys.readouterr().err
        assert says in error and out in error and error.count("\n") == 1
    assert (tmp_path / "pipe.svg").is_fifo()


def test_writers_themselves_replace_no_device(tmp_path: Path, model: Path) -> None:
    """Also from Python: a pipe stays a pipe, and the models and datasets are a Failure."""
    os.mkfifo(tmp_path / "pipe")
    made = dataset_of(rows(12), {})
    with pytest.raises(Failure, match="cannot write the dataset: a device, a pipe"):
        write_dataset(made.table, tmp_path / "pipe", {})
    with pytest.raises(Failure, match="cannot write the models"):
        store.save(store.load(model), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo() and why_not_written(tmp_path / "new") == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_said(
    things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Permission denied, as status 2."""
    assert main(["fit", str(things / "closed"), "-o", str(tmp_path / "m.json")]) == 2
    assert "Permission denied" in capsys.readouterr().err
    tmp_path.chmod(0o500)
    assert "nothing may be written" in why_not_written(tmp_path / "x")


@pytest.mark.parametrize("option", ["--batch", "--input-shape", "--input-shape x=1x3"])
def test_a_number_of_thousands_of_digits_is_one_line(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python itself refuses to read one, in its own words."""
    name, _, start = option.partition(" ")
    command = ["rank", "m.json"] if name == "--batch" else ["features"]
    assert main([*command, "net.onnx", name, f"{start}x{'1' * 5000}" if start else "1" * 5000]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith(f"neuralpower: {name} ") and "limit" not in told
