"""`search --rank-by-training` as a whole: what it writes, that a killed one ends the same, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from detector.checkpoint import load_checkpoint
from detector.data import formats
from search_spaces.text import read_structure
from tests.tinynas.ranking.tiny_search import TRAINED, make_data, make_space, rank, search_words, short_rungs
from tests.tinynas.results.page import Page
from tinynas.cli import main

KILLED = """
import os, signal, sys
import pytest
from detector.training.step import Stepper
from tests.tinynas.ranking.tiny_search import rank, short_rungs
from pathlib import Path
short_rungs(pytest.MonkeyPatch())
real, left = Stepper.run, int(sys.argv[4])
def run(stepper, batch):
    global left
    if stepper.step >= 0 and ".search" in str(stepper.bad_steps.folder):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(stepper, batch)
Stepper.run = run
rank(*map(Path, sys.argv[1:4]))
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "sample")


@pytest.fixture(scope="module")
def whole(space: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second stage from beginning to end; the splits that were read are in `splits.json`."""
    out, read, real = tmp_path_factory.mktemp("whole"), [], formats.read_split  # type: ignore[var-annotated]
    with pytest.MonkeyPatch.context() as patch:
        short_rungs(patch)
        patch.setattr(
            formats, "read_split", lambda where, split, *more: (read.append(split), real(where, split, *more))[1]
        )
        assert rank(space, data, out) == 0
    (out / "splits.json").write_text(json.dumps(sorted(set(read))))
    return out


def ranking_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "search.json").read_text())["ranking"]
    return found


def test_the_best_by_training_is_the_result(whole: Path) -> None:
    ranking = ranking_of(whole)
    assert [(rung["candidates"], rung["epochs"], rung["steps"]) for rung in ranking["rungs"]] == [(4, 2, 6), (2, 4, 12)]
    rows = {row["name"]: row for row in ranking["candidates"]}
    assert list(rows) == ["tiny-1", "tiny-2", "tiny-3", "tiny-4"]
    finals = {name: row["rungs"][-1]["ap"] for name, row in rows.items() if len(row["rungs"]) == 2}
    assert finals[ranking["choice"]] == max(finals.values())
    assert "tiny-1" in finals
    origins = {name: row["origin"] for name, row in rows.items()}
    assert origins["tiny-1"] is None
    for name, row in rows.items():
        found = read_structure(whole / "candidates" / f"{name}.txt").search
        assert found is not None
        assert found.get("origin") == origins[name]
        assert row["title"] == (name if origins[name] is None else f"{name} ({origins[name]})")
    for row in rows.values():
        for rung, planned in zip(row["rungs"], ranking["rungs"], strict=False):
            assert rung["curve"][-1] == [planned["steps"], rung["ap"]]
    assert sorted(row["rank_by_ap"] for row in rows.values()) == [1, 2, 3, 4]
    chosen = read_structure(whole / "structure.txt")
    assert chosen.backbone == read_structure(whole / "candidates" / f"{ranking['choice']}.txt").backbone
    assert (whole / "structure-by-score.txt").exists() == (ranking["choice"] != "tiny-1")
    assert chosen.search is not None
    noted = chosen.search["ranked_by_training"]
    assert noted["val_ap"] == pytest.approx(finals[ranking["choice"]], abs=1e-5)
    assert noted["val_ap_of_the_scores_choice"] == pytest.approx(finals["tiny-1"], abs=1e-5)
    assert noted["epochs"] == [2, 4]
    assert load_checkpoint(whole / "ranked.pt").structure.backbone == chosen.backbone
    assert not (whole / ".search").exists()


def test_the_test_split_is_never_read(whole: Path) -> None:
    assert json.loads((whole / "splits.json").read_text()) == ["train", "val"]


def test_the_page_shows_curves_ranks_and_what_was_won(whole: Path) -> None:
    ranking, page = ranking_of(whole), Page((whole / "report.html").read_text())
    assert f"Training chose {ranking['choice']}" in page.text
    assert "4 candidates of one latency trained on" in page.text
    chart = json.loads(next(text for text in page.scripts if text.strip().startswith("{")))["ranking"]
    assert chart["ends"] == [6]
    for line, row in zip(chart["lines"], ranking["candidates"], strict=True):
        assert (line["name"], line["by_score"], line["by_ap"]) == (row["name"], row["rank_by_score"], row["rank_by_ap"])
        steps = [steps for steps, _ in line["points"]]
        assert steps == sorted(steps)
        assert steps[-1] == (18 if len(row["rungs"]) == 2 else 6)
        assert line["points"][-1][1] == pytest.approx(100 * row["rungs"][-1]["ap"])
    assert next(kind for line in chart["lines"] if (kind := line["kind"]) != "other") in ("first", "choice")


def without_times(out: Path) -> str:
    return re.sub(r'"(training_|planned_)?seconds": [\d.e-]+', "", json.dumps(ranking_of(out)))


def test_killed_and_resumed_is_the_same(
    space: Path,
    data: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in the middle of the second rung's first training: 4 x 6 steps, then 5 of 12."""
    moved = tmp_path / "data"
    shutil.copytree(data, moved)
    out = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, str(space), str(moved), str(out), str(4 * 6 + 5)]
    ended = subprocess.run(words, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    state = out / ".search" / "ranking"
    assert (state / "tiny-4" / "rung-1.json").is_file()
    assert not (state / "tiny-1" / "rung-2.json").exists()
    assert (state / "tiny-1" / "rung-2" / "last.pt").is_file()
    assert (out / "structure.txt").is_file()  # the score's choice, until training has spoken
    short_rungs(monkeypatch)
    assert rank(space, moved, out) == 2
    assert "holds an unfinished search; go on with it (--resume)" in capsys.readouterr().err
    assert rank(space, moved, out, "--resume", "--hours", "2") == 2
    assert "ranking.hours: 1.0 then, 2.0 now" in capsys.readouterr().err
    (other := next((moved / "val").glob("*.jpg"), None) or next(moved.rglob("*val*/*.jpg"))).unlink()
    assert other is not None
    drop(moved, other.name)
    assert rank(space, moved, out, "--resume") == 2
    assert "not the data that the trainings in" in capsys.readouterr().err
    shutil.rmtree(moved)
    shutil.copytree(data, moved)
    assert rank(space, moved, out, "--resume") == 0
    assert without_times(out).replace(str(moved), str(data)) == without_times(whole)
    for name in ("structure.txt", *(f"candidates/tiny-{number}.txt" for number in range(1, 5))):
        assert (out / name).read_text().replace("data: data", "data: sample") == (whole / name).read_text()


def drop(folder: Path, picture: str) -> None:
    """Take a picture out of the validation split's COCO file."""
    path = next(folder.rglob("*val*.json"))
    content = json.loads(path.read_text())
    gone = next(image["id"] for image in content["images"] if image["file_name"].endswith(picture))
    content["images"] = [image for image in content["images"] if image["id"] != gone]
    content["annotations"] = [box for box in content["annotations"] if box["image_id"] != gone]
    path.write_text(json.dumps(content))


REFUSED = {
    "hours alone": (["--hours", "1"], "--hours is for --rank-by-training"),
    "data alone": (["--data", "d"], "--data is for --rank-by-training"),
    "no time": (["--rank-by-training", "--data", "DATA", "--hours", "0"], "expected a time above zero"),
    "no data": (["--rank-by-training", "--data", "none"], "no such folder or file"),
    "exact": (["--rank-by-training", "--data", "DATA", "--solver", "exact"], "leave --solver exact out"),
    "backbone": (["--rank-by-training", "--data", "DATA", "--backbone-only"], "leave --backbone-only out"),
    "setting": (["--rank-by-training", "--data", "DATA", "--set", "epochs=3"], "--rank-by-training decides epochs itself"),
    "no setting": (["--rank-by-training", "--data", "DATA", "--set", "epoch=3"], "unknown training setting epoch"),
    "spaces": (["--rank-by-training", "--data", "DATA", "--space", "mob,mob"], "different values with commas"),
    "sizes": (["--rank-by-training", "--data", "DATA", "--image-size", "64,"], "different values with commas"),
    "other classes": (
        ["--rank-by-training", "--data", "DATA", "--num-classes", "4", "--hours", "0.0001", *TRAINED], "too short for",
    ),
    "too short": (["--rank-by-training", "--data", "DATA", "--hours", "0.0001", *TRAINED], "too short for 2 candidates"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(
    name: str,
    space: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    more, message = REFUSED[name]
    words = [str(data) if word == "DATA" else word for word in more]
    with monkeypatch.context() as patch:
        if "etting" in name:  # is looked at before anything is searched
            patch.setattr("tinynas.search.several.build_plans", None)
        assert main([*search_words(space, tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert ("note: the search prices heads of" in error) is (name == "other classes")
    assert not (tmp_path / "out").exists()


def test_a_family_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--budget", "3ms,4ms", "--device", "t4", "--space", "res", "--out", str(tmp_path / "out")]
    assert main([*words, "--rank-by-training", "--data", str(data)]) == 2
    assert "chooses one network, and there are 2 budgets" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_too_few_pictures_are_refused(space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = make_data(tmp_path / "few", train=12, val=3)
    assert rank(space, few, tmp_path / "out") == 2
    assert "3 pictures in the validation split, expected 4 at least" in capsys.readouterr().err
    whole = make_data(tmp_path / "whole", train=3, val=0)
    assert rank(space, whole, tmp_path / "out") == 2
    assert "there is no 'val' split" in capsys.readouterr().err
    assert rank(space, whole, tmp_path / "out", "--split", "0.3") == 2
    assert "pictures in the training split, expected 8 at least" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_spaces_in_which_the_budget_cannot_be_met_are_left_out_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from search_spaces.errors import UserError
    from tinynas.search.options import SearchOptions
    from tinynas.search.several import build_plans

    said: list[str] = []
    asked = {"budget": "2ms", "device": "t4"}
    found = build_plans(SearchOptions(**asked, image_size="320,384"), said.append)
    assert [(plan.space.name, plan.image_size[0]) for plan in found][:2] == [("res", 320), ("res", 384)]
    names = {plan.space.name for plan in found}
    assert len(said) == 2 * 3 - len(found)
    assert all("no candidates from space" in line for line in said)
    for missing in {"csp", "mob", "res"} - names:
        with pytest.raises(UserError, match=r"budget|table"):
            build_plans(SearchOptions(**asked, space=f"res,{missing}", image_size="320"), said.append)


def test_a_list_of_data_sets_is_data_too(space: Path, data: Path, tmp_path: Path) -> None:
    from tinynas.commands._ranking import RankingOptions, ranking_of
    from tinynas.ranking.preparation import load_data
    from tinynas.search.options import SearchOptions

    other = make_data(tmp_path / "other", train=10, val=5)
    listed = tmp_path / "general.yaml"
    listed.write_text(f"label_space: 1\nsets:\n  one: {{path: {data}}}\n  two: {{path: {other}}}\n")
    training = RankingOptions(data=listed, hours=None, candidates=None, split=None, settings=())
    _, request = ranking_of(SearchOptions(max_macs="14M", space=str(space)), training, measure=False)
    assert request.data == listed
    assert load_data(listed, lambda line: None).images == (12 + 10, 6 + 5)
    assert load_data(listed, lambda line: None).mark != load_data(data, lambda line: None).mark
