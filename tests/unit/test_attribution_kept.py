"""Results that are kept beside a recording: used where they are of just this, and of nothing else."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_attribution_recording import small

from neuralpower import attribution as room
from neuralpower.attribution import Attribution, kept
from neuralpower.attribution.results import Baselines, EngineAttribution, LayerPower, Unprofiled, WholeInference
from neuralpower.cli import main
from neuralpower.features.layers import Layer
from neuralpower.recordings.files import layout
from neuralpower.recordings.recording import Recording
from neuralpower_align.layer_power import Balance, Level

NAN = float("nan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small().write(tmp_path / "run")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of results that were made, rather than read."""
    found: list[str] = []
    real = kept.attribute

    def attribute(recording: Recording, method: str, **more: object) -> Attribution:
        found.append(method)
        return real(recording, "window-mean", rail=more.get("rail"))  # type: ignore[arg-type]  # the quick method stands for both

    monkeypatch.setattr(kept, "attribute", attribute)
    return found


def attributed(folder: Path, method: str = "window-mean", **more: object) -> tuple[Attribution, list[str]]:
    said: list[str] = []
    return room.attributed(Recording(folder), method, say=said.append, **more), said  # type: ignore[arg-type]


def the_file(folder: Path) -> Path:
    (path,) = (folder / "attribution").iterdir()
    return path


def same(one: Attribution, other: Attribution) -> bool:
    """Also where both are NaN."""
    return repr(one) == repr(other)


def test_a_result_is_made_once(folder: Path, made: list[str]) -> None:
    """The second command reads what the first one kept, to the last bit; other options have a result of their own."""
    first, _ = attributed(folder)
    second, said = attributed(folder)
    assert same(first, second) and made == ["window-mean"] and not said
    attributed(folder, "least-squares")
    attributed(folder, "window-mean", group_error=0.1)
    attributed(folder, "window-mean")
    assert len(made) == 3 and len(list((folder / "attribution").iterdir())) == 3


def test_every_field_comes_back(tmp_path: Path) -> None:
    """Whatever a result may hold: nothing, NaN, copies without geometry, covariances."""
    whole = WholeInference(3, 0.1, NAN, 2.0, 0.1)
    layers = (
        LayerPower("a", "conv", 0, 1, 3, 1, 1e-4, NAN, 1 / 3, 0.1, Layer("a", "other", note="x"), True),
        LayerPower("b", "fc", 1, 1, 3, 1, 0.0, 0.0, NAN, NAN, None, False, "for no reason"),
    )
    engine = EngineAttribution(
        "h", "n", "least-squares", layers, 3, 0.1, NAN, 2.0, 0.3, True, launch=Level(1.0, NAN), unit_power_w=(1.0, NAN),
        unprofiled=Unprofiled(whole, whole), whole=whole, unit_covariance_w2=((1.0, 0.1), (0.1, 2.0)),
    )  # fmt: skip
    silent = EngineAttribution("w", "m", "least-squares", layers, 3, 0.1, 1.0, 2.0, 0.3, True, withheld="it moved")
    found = Attribution(
        "least-squares", {"h": engine, "w": silent}, 1e-4, 0.0, None, 1e-6, 4.0, 0.1, Balance(3.0, 1.0, 1.0, 1.0), "b", True,
        ("note",), ("VDD_IN",), Baselines(Level(1.0, 2.0)), None,
    )  # fmt: skip
    path = tmp_path / "x" / "r.json"
    kept._write(path, {"files": {}}, found)
    assert same(kept._read(path, {"files": {}}), found)
    assert math.isnan(kept._read(path, {"files": {}}).engines["w"].gap_power_w)


@pytest.mark.parametrize("harm", ["a bit", "cut", "empty", "other JSON", "a list", "a number", "not UTF-8", "a folder"])
def test_a_damaged_result_is_made_anew(folder: Path, made: list[str], harm: str) -> None:
    """One line says so, and the next command has it whole again."""
    first, _ = attributed(folder)
    path = the_file(folder)
    whole = path.read_bytes()
    at = whole.index(b'"inferences":') + 14
    new = {
        "a bit": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "cut": whole[:-20], "empty": b"", "other JSON": b"{}\n{}",
        "a list": b"[1]\n[2]", "a number": b"7", "not UTF-8": b"\xff\xfe\n" + whole,
    }  # fmt: skip
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    else:
        path.write_bytes(new[harm])
    second, said = attributed(folder)
    assert same(first, second) and len(made) == 2 and len(said) == 1 and str(path) in said[0]
    if harm != "a folder":
        assert attributed(folder)[1] == [] and len(made) == 2


def test_a_result_of_something_else_is_not_taken(
    folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other contents of the same size, of another estimator, of other options under its name: made anew without a word."""
    attributed(folder)
    document = layout.read_document(folder)
    layout.write_document(folder, replace(document, address=document.address[:-1] + "s"))
    assert attributed(folder)[1] == [] and len(made) == 2
    head, _, rest = the_file(folder).read_bytes().partition(b"\n")
    changed = json.loads(head)
    changed["made_from"]["options"]["rail"] = "CPU"
    the_file(folder).write_bytes(json.dumps(changed).encode() + b"\n" + rest)
    assert attributed(folder)[1] == [] and len(made) == 3
    monkeypatch.setattr(kept, "_estimator", lambda: {"neuralpower": "0"})
    assert attributed(folder)[1] == [] and len(made) == 4


def test_a_segment_that_changed_is_noticed(folder: Path) -> None:
    """Each file counts by its content: one byte more or less, or another one in its place."""
    one = kept._made_from(Recording(folder), {})
    (segment,) = (folder / "journal").rglob("*.parquet")
    data = segment.read_bytes()
    segment.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    other = kept._made_from(Recording(folder), {})
    assert one != other and one["files"].keys() == other["files"].keys()
    assert any(name.startswith("ticks/") for name in one["files"])


def test_where_nothing_can_be_kept_the_result_is_told(folder: Path, made: list[str]) -> None:
    """One line, and no error."""
    (folder / "attribution").write_text("a file where the folder would be")
    _, said = attributed(folder)
    assert len(said) == 1 and "cannot be kept" in said[0]
    assert len(attributed(folder)[1]) == 1 and len(made) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_cannot_be_read_keeps_nothing(
    folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A recorder has replaced it meanwhile, or it belongs to another: the result is told, not kept."""
    real = kept._checksum

    def checksum(path: Path) -> str:
        if path.name == layout.DOCUMENT and (when == "before" or made):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path)

    monkeypatch.setattr(kept, "_checksum", checksum)
    _, said = attributed(folder)
    assert made == ["window-mean"] and not (folder / "attribution").exists()
    assert len(said) <= 1 and all("cannot be kept" in line for line in said)


def test_two_at_once_in_one_process(folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a file of its own until it is whole: neither takes the other's away."""
    real, inside = os.replace, []

    def replace(path: Path, target: Path) -> None:
        if not inside:
            inside.append(path)
            assert attributed(folder)[1] == []  # the other one, while ours is written
        real(path, target)

    monkeypatch.setattr(os, "replace", replace)
    assert attributed(folder)[1] == []
    assert len(made) == 2 and attributed(folder)[1] == [] and len(made) == 2
    assert the_file(folder).suffix == ".json"


@pytest.mark.parametrize("harm", ["a link", "a link to nothing", "a link to itself"])
def test_a_link_is_replaced_and_not_followed(folder: Path, made: list[str], tmp_path: Path, harm: str) -> None:
    """What it names stays as it is, and nothing is made there."""
    attributed(folder)
    path = the_file(folder)
    other = tmp_path / "precious"
    if harm == "a link":
        other.write_text("precious")
    path.unlink()
    path.symlink_to(path.name if harm == "a link to itself" else other)
    assert len(attributed(folder)[1]) <= 1 and len(made) == 2
    assert not path.is_symlink() and attributed(folder)[1] == [] and len(made) == 2
    assert other.read_text() == "precious" if harm == "a link" else not other.exists()


def test_what_grew_meanwhile_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder at work: what the result was made of is not known."""
    real = kept.attribute

    def attribute(*args: object, **more: object) -> Attribution:
        found = real(*args, **more)  # type: ignore[arg-type]
        with (folder / layout.DOCUMENT).open("a") as file:
            file.write(" ")
        return found

    monkeypatch.setattr(kept, "attribute", attribute)
    attributed(folder)
    assert not (folder / "attribution").exists()


def test_commands_share_it(folder: Path, made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`attribute`, `dataset` and `report` make it once."""
    method = ["--method", "window-mean"]
    assert main(["attribute", str(folder), *method]) == 0
    assert main(["dataset", str(folder), "-o", str(tmp_path / "l.parquet"), *method]) == 0
    assert main(["report", str(folder), "-o", str(tmp_path / "r.html"), *method]) == 0
    assert made == ["window-mean"]
    assert "attributing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["attribute", "RUN", "--engine", "nett"], "no engine 'nett' in this recording; there are net, same"),
        (["attribute", "RUN", "--rail", "VDD_OUT"], "no rail 'VDD_OUT'"),
        (["attribute", "RUN", "--method", "least"], "no method 'least'"),
        (["attribute", "RUN", "--plot", "OUT/plot.bmp"], ".svg, .png or .pdf"),
        (["attribute", "RUN", "--plot", "OUT/no/plot.svg"], "there is no folder"),
        (["dataset", "RUN", "-o", "OUT/l.parquet", "--method", "least"], "no method 'least'"),
        (["report", "RUN", "-o", "OUT/r.html", "--method", "least"], "no method 'least'"),
        (["report", "RUN", "-o", "OUT/r.html", "--truth", "OUT/none.json"], "cannot be read"),
    ],
)
def test_what_is_asked_for_is_checked_before_work(
    folder: Path, made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    """A typo is told at once: nothing was attributed by then."""
    names = {"RUN": str(folder), "OUT": str(tmp_path)}
    arguments = [os.path.join(*(names.get(part, part) for part in word.split("/"))) for word in words]
    assert main(arguments) == 2
    assert says in capsys.readouterr().err and not made


def test_another_estimator_is_told_by_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that changed, or a compiled part, makes another estimator; what a run leaves beside them does not."""
    (tmp_path / "align").mkdir()
    source, compiled = tmp_path / "align" / "__init__.py", tmp_path / "align" / "_part.abi3.so"
    source.write_text("")
    compiled.write_bytes(b"one")
    monkeypatch.setattr(kept.neuralpower_align, "__file__", str(source))

    def told() -> str:
        return kept._estimator.__wrapped__()["sources"]

    first = told()
    (tmp_path / "align" / "notes.txt").write_text("anything")
    assert told() == first
    compiled.write_bytes(b"other")
    second = told()
    source.write_text("x = 1\n")
    assert len({first, second, told()}) == 3
