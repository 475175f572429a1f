"""`tinynas data`: what it prints, writes and answers to mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.data.formats import detect
from detector.data.sample import write_sample_data
from tests.detector.data.flawed import write_flawed
from tests.detector.data.several_sets import rooms_and_pets
from tests.detector.data.tool_exports import EXPORTS
from tinynas.cli import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_of_sound_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample_data(here / "d", 6, 6, (64, 64))
    assert main(["data", "check", "d", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "problems: 0, notes: " in printed
    assert "triangle" in printed
    written = {path.name for path in (here / "d-check").iterdir()}
    assert {"report.json", "box-sizes.png"} <= written
    assert main(["data", "check", "d", "--workers", "1"]) == 0
    assert (here / "d-check-2" / "report.json").is_file()


def test_check_of_flawed_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_flawed(here / "d")
    assert main(["data", "check", "d/data.yaml", "--out", "found", "--workers", "1"]) == 1
    printed = capsys.readouterr().out
    assert "problem: the same image in two splits: 1" in printed
    assert "train: d/labels/train/b.txt:1: the box" in printed
    assert {path.name for path in (here / "found").iterdir()} == {"report.json", "box-sizes.png", "worst.jpg"}


def test_check_as_json_without_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_flawed(here / "d")
    assert main(["data", "check", "d", "--json", "--no-pictures", "--workers", "1"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "yolo"
    assert found["splits"]["train"]["per_class"]["dog"] == 3
    assert {"kind", "split", "where", "reason"} == set(found["problems"][0])
    assert found["files"] == []
    assert [path.name for path in here.iterdir()] == ["d"]


def test_convert(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample_data(here / "d", 2, 1, (64, 64), format="voc")
    assert main(["data", "convert", "d", "y", "--to", "yolo"]) == 0
    printed = capsys.readouterr().out
    assert "wrote y: voc -> yolo" in printed
    assert "not kept: pose, truncated" in printed
    assert detect(here / "y") == "yolo"
    assert main(["data", "convert", "d", "y", "--to", "coco"]) == 2
    assert "y: already exists and is not empty; choose another OUT" in capsys.readouterr().err
    assert detect(here / "y") == "yolo"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data", "check", "nowhere"], "nowhere: no such folder or file"),
        (["data", "check", "."], "the folder is empty"),
        (["data", "chekc", "."], "no such command 'chekc'. Did you mean 'check'?"),
        (["data", "convert", "nowhere", "out", "--to", "voc"], "nowhere: no such folder or file"),
        (["data", "convert", "nowhere", "out", "--to", "cocoo"], "'cocoo' is not one of"),
        (["data", "convert", "nowhere", "out"], "missing option '--to'"),
    ],
)
def test_one_line_and_nothing_left(
    arguments: list[str], expected: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not list(here.iterdir())


def test_an_existing_report_is_kept_unless_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample_data(here / "d", 1, 1, (64, 64))
    (here / "out").mkdir()
    (here / "out" / "report.json").write_text("mine")
    assert main(["data", "check", "d", "--out", "out"]) == 2
    assert "report.json: exists already" in capsys.readouterr().err
    assert (here / "out" / "report.json").read_text() == "mine"
    main(["data", "check", "d", "--out", "out", "--overwrite", "--workers", "1"])
    assert (here / "out" / "report.json").read_text() != "mine"


def test_ctrl_c_says_so_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detector.data.check.check_data", interrupted)
    write_sample_data(here / "d", 1, 1, (64, 64))
    assert main(["data", "check", "d"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
    assert [path.name for path in here.iterdir()] == ["d"]


def test_split_merge_and_slice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EXPORTS["labelImg YOLO"][2](here / "[heap]")
    assert main(["data", "split", "[heap]", "--val", "0.5", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "[heap]: 4 groups" in printed
    assert "wrote [heap]/tinynas-splits; next: tinynas train Ns --data [heap]" in printed
    assert main(["data", "split", "[heap]"]) == 2
    assert "exists already; say --overwrite" in capsys.readouterr().err
    EXPORTS["LabelMe, splits"][2](here / "b")
    assert main(["data", "merge", "[heap]", "b", "--out", "both"]) == 0
    assert "wrote both: 2 data sets -> coco" in capsys.readouterr().out
    assert main(["data", "merge", "b", "--out", "one"]) == 2
    assert "one data set; expected two or more" in capsys.readouterr().err
    assert main(["data", "slice", "both", "tiles", "--size", "48", "--to", "voc"]) == 0
    printed = capsys.readouterr().out
    assert "train: 4 pictures in " in printed
    assert "wrote tiles: tiles of 48 px -> voc" in printed
    assert detect(here / "tiles") == "voc"


def test_merge_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms_and_pets(here)
    assert main(["data", "merge-labels", "rooms", "pets", "-o", "mine.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "rooms: 3 classes, 3 boxes in its training split (rooms)" in printed
    assert "couch = Sofa" in printed
    assert "wrote mine.yaml: 7 classes become 4; look it over" in printed
    assert main(["data", "check", "mine.yaml", "--workers", "1", "--no-pictures"]) == 0
    before = (here / "mine.yaml").read_text()
    for arguments, expected in (
        (["rooms", "pets", "-o", "mine.yaml"], "mine.yaml: exists already; choose another -o or say --overwrite"),
        (["rooms", "-o", "new.yaml"], "rooms: one data set; expected two or more"),
        (["rooms", "pets", "-o", "new.txt"], "-o new.txt: expected a name that ends in .yaml"),
        (["rooms", "./rooms", "-o", "new.yaml"], "rooms: the same data set as rooms; name it once"),
    ):
        assert main(["data", "merge-labels", *arguments]) == 2
        assert expected in capsys.readouterr().err
    assert (here / "mine.yaml").read_text() == before
    assert not list(here.glob("new.*"))
    assert main(["data", "merge-labels", "rooms", "pets", "-o", "not/there/yet.yaml"]) == 0
    assert (here / "not" / "there" / "yet.yaml").is_file()


def test_names_that_would_be_markup_are_printed_as_they_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EXPORTS["labelImg YOLO"][2](here / "d")
    (here / "d/classes.txt").write_text("[red]cat[/]\n:smile: [/foo]\n")
    assert main(["data", "check", "d", "--no-pictures", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "[red]cat[/]" in printed
    assert ":smile: [/foo]" in printed
