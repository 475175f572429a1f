"""family.yaml read back, the order of the chain, and chains that are trained, stopped and taken up."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from detector.checkpoint import load_checkpoint
from detector.data.sample import write_sample_data
from detector.training.step import Stepper
from search_spaces.errors import UserError
from search_spaces.structure import Structure
from search_spaces.text import format_structure
from tests.detector.tiny_structures import tiny_res
from tinynas.chain import claim
from tinynas.cli import main
from tinynas.family.links import links_of
from tinynas.family.members import Member, read_family

SETTINGS = ("schedule.no_aug_max_share=0.5", "batch_size=4", "workers=0", "checkpoint_minutes=0", "amp=off")
QUICK = [
    "--epochs",
    "2",
    "--set",
    "distill.weight=0.4",
    "--seed",
    "3",
    *(word for setting in SETTINGS for word in ("--set", setting)),
]


def structure(width: int) -> Structure:
    rows = [(8, 8, 8, 2), (8, width, 8, 2), (width, 16, 8, 2), (16, 16, 8, 1), (16, 16, 8, 2)]
    return tiny_res(rows, (64, 64))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members, smallest first, as a search writes them."""
    folder = tmp_path_factory.mktemp("family")
    rows = []
    for name, width, teacher in (("1ms", 8, "2ms"), ("2ms", 16, None)):
        (folder / f"structure-{name}.txt").write_text(format_structure(structure(width)))
        rows.append({
            "name": name, "structure": f"structure-{name}.txt", "score": 1.0, "params": 1000 * width, "conv_macs": 1,
            "latency_ms": {"t4": width / 8}, "measured_ms": {"t4": 1.1} if teacher else {}, "teacher": teacher,
        })  # fmt: skip
    path = folder / "family.yaml"
    path.write_text(yaml.safe_dump({"family": rows, "latency": {}}))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(folder, images_train=8, images_val=4, size=(64, 64))
    return folder


def member(name: str, teacher: str | None) -> Member:
    return Member(name=name, structure=Path(name), params=1, latency_ms={}, measured_ms={}, teacher=teacher)


def test_the_largest_comes_first_and_each_teaches_the_next(family: Path) -> None:
    members = read_family(family)
    assert [(one.name, one.teacher) for one in members] == [("2ms", None), ("1ms", "2ms")]
    assert members[1].latency_ms == {"t4": 1.0}
    assert members[1].measured_ms == {"t4": 1.1}

    def chain(**how: bool) -> list[tuple[str, str | None]]:
        three = [member("c", None), member("b", "c"), member("a", "b")]
        return [(link.name, link.teacher) for link in links_of(three, **{"by_itself": False, "alone": False, **how})]

    assert chain() == [("c", None), ("b", "c"), ("a", "b")]
    assert chain(by_itself=True) == [("c", None), ("c-by-itself", "c"), ("b", "c-by-itself"), ("a", "b")]
    assert chain(alone=True) == [("c", None), ("b", None), ("a", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("family: [", "not YAML"),
        ("a: 1", "holds no family"),
        ("family: [{structure: s.txt}]", "expected name, structure"),
        ("family: [{name: a/b, structure: structure-1ms.txt}]", "expected name, structure"),
        ("family: [{name: a, structure: none.txt}]", "none.txt"),
        ("family: [{name: a, structure: structure-1ms.txt}, {name: a, structure: structure-1ms.txt}]", "one name"),
        ("family: [{name: a, structure: structure-1ms.txt, teacher: b}]", "a is taught by b, which is no member"),
    ],
)
def test_files_that_are_no_family(family: Path, content: str, message: str) -> None:
    path = family.with_name("other.yaml")
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_family(path)


def call(family: Path, data: Path, out: Path, *more: str) -> int:
    return main(["family", "train", str(family), "--data", str(data), "--out", str(out), *QUICK, *more])


def test_a_chain_stopped_and_taken_up_equals_one_that_was_not(
    family: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(family, data, tmp_path / "whole", "--by-itself") == 0
    said = capsys.readouterr().out
    assert "member 3 of 3: 1ms, taught by 2ms-by-itself" in said
    rows = list(csv.DictReader((tmp_path / "whole" / "family.csv").open()))
    assert [(row["name"], row["teacher"]) for row in rows] == [
        ("2ms", ""), ("2ms-by-itself", "2ms"), ("1ms", "2ms-by-itself"),
    ]  # fmt: skip
    assert [row["predicted ms (t4)"] for row in rows] == ["2.0", "2.0", "1.0"]
    assert [row["measured ms (t4)"] for row in rows] == ["", "", "1.1"]
    for row in rows:
        trained = load_checkpoint(tmp_path / "whole" / row["name"] / "best.pt")
        assert float(row["AP"]) == pytest.approx(trained.metrics["ap"])
        assert trained.config["distill"]["teacher"] == (
            str(tmp_path / "whole" / row["teacher"] / "best.pt") if row["teacher"] else None
        )
    page = (tmp_path / "whole" / "report.html").read_text()
    assert 'href="2ms-by-itself/report.html"' in page
    assert ">predicted ms<" in page
    assert "Latency at the size of the search, on t4;" in page
    run, left = Stepper.run, 5  # the first member has four steps

    def stopping(stepper: Stepper, batch: Any) -> dict[str, float]:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return run(stepper, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "run", stopping)
        assert call(family, data, tmp_path / "again", "--by-itself") == 130
    assert "the same command with --resume" in capsys.readouterr().out
    assert not (tmp_path / "again" / "1ms").exists()
    assert call(family, data, tmp_path / "again", "--by-itself") == 2
    assert "pass --resume to go on" in capsys.readouterr().err
    assert call(family, data, tmp_path / "again", "--resume") == 2
    assert "its chain began with members" in capsys.readouterr().err
    torch.rand(3)
    assert call(family, data, tmp_path / "again", "--by-itself", "--resume") == 0
    for row in rows:
        whole, again = (load_checkpoint(tmp_path / name / row["name"] / "last.pt") for name in ("whole", "again"))
        assert all(torch.equal(again.weights[key], value) for key, value in whole.weights.items()), row["name"]


def test_refusals(
    family: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(family, data, tmp_path / "r", "--by-itself", "--alone") == 2
    assert "drop one" in capsys.readouterr().err
    assert call(family, data, tmp_path / "r", "--alone", "--set", "distill.weight=3") == 2
    assert "--alone leaves teachers out, so settings of distill do nothing" in capsys.readouterr().err
    assert call(family, data, tmp_path / "r", "--resume", "--overwrite") == 2
    assert "--resume goes on with what is there, --overwrite replaces it" in capsys.readouterr().err
    assert call(family, data, tmp_path / "r", "--resume") == 2
    assert "--resume expects the --out of a chain that was stopped" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert call(family, data, tmp_path / "r") == 2
    assert "runs as one process" in capsys.readouterr().err


def test_overwrite_takes_what_the_earlier_chain_left(tmp_path: Path) -> None:
    def chain(*names: str) -> dict[str, Any]:
        return {"members": [{"name": name} for name in names], "data": "d"}

    claim(tmp_path, chain("2ms", "2ms-by-itself"), resume=False, overwrite=False)
    for name in ("2ms", "2ms-by-itself", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    claim(tmp_path, chain("2ms"), resume=False, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain.yaml", "mine"]
    (tmp_path / "chain.yaml").write_text("members: [{name: ../x}, {}]")
    claim(tmp_path, chain("2ms"), resume=False, overwrite=True)
    assert (tmp_path / "mine").is_dir()


def test_a_chain_that_never_began_stands_in_nobodys_way(
    family: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error is refused before a training begins; then the right command does, with --resume or without."""
    assert call(family, data, tmp_path, "--preset", "smal") == 2
    assert "unknown preset 'smal'" in capsys.readouterr().err
    for resume in (True, False):
        claim(tmp_path, {"members": [{"name": "2ms"}], "data": f"{resume}"}, resume=resume, overwrite=False)
        assert yaml.safe_load((tmp_path / "chain.yaml").read_text())["data"] == f"{resume}"


def test_an_earlier_chain_that_names_the_folder_above_takes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "chain"
    folder.mkdir()
    (tmp_path / "config.yaml").touch()
    (folder / "chain.yaml").write_text("members: [{name: ..}]")
    claim(folder, {"members": [{"name": "2ms"}], "data": "d"}, resume=False, overwrite=True)
    assert (tmp_path / "config.yaml").is_file()


def test_overwrite_trains_anew(family: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier chain finished does not count, not even when the new one is stopped before it comes to it."""
    old = tmp_path / "r" / "1ms"
    old.mkdir(parents=True)
    (old / "config.yaml").write_text("epochs: 1")
    (old / "metrics.jsonl").write_text('{"epoch": 1}\n')

    def stopped(stepper: Stepper, batch: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stepper, "run", stopped)
    assert call(family, data, tmp_path / "r", "--overwrite") == 130
    assert not old.exists()
    assert (tmp_path / "r" / "2ms").is_dir()
