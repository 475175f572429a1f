"""The page at the end of a training: every section, self-contained, also when there is little to show."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from detector.checkpoint import load_checkpoint
from detector.data.annotations import Annotations
from detector.data.formats import load_split
from detector.data.sample import write_sample_data
from detector.evaluation import Assessment, Evaluation, SplitDetections, assess, evaluate
from search_spaces.errors import UserError
from search_spaces.text import format_structure, resolve_structure
from tests.detector.detection_scenes import random_detections, random_truth
from tests.detector.test_lettering import no_fonts  # noqa: F401
from tests.tinynas.results.page import Page
from tinynas.cli import main
from tinynas.results.training import RunFolder, Subject, finished_run, write_training_report
from tinynas.results.training.charts import MOST_CURVES
from tinynas.results.training.view import duration

SECTIONS = ("Summary", "Losses", "AP on val", "Learning rate", "Classes", "Precision and recall", "Confusion matrix",
            "Predictions against truth", "What the network was shown", "Next", "Settings and provenance")  # fmt: skip
QUICK = ["--epochs", "2", "--batch-size", "4", "--image-size", "64", "--device", "cpu", "--set", "workers=0"]
QUICK += ["--set", "eval.every_epochs=1", "--set", "amp=off"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(folder, images_train=8, images_val=14, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("run") / "a & <b>"
    assert main(["train", "Ns", "--data", str(data), "--out", str(folder), *QUICK]) == 0
    return folder


def page_of(folder: Path) -> tuple[str, Page]:
    html = (folder / "report.html").read_text(encoding="utf-8")
    return html, Page(html)


def subject(folder: Path, data: Path, found: SplitDetections | None = None) -> Subject:
    """The trained run's, with other detections: by default the truth itself."""
    checkpoint = load_checkpoint(folder / "best.pt")
    truth, _ = load_split(data, "val", checkpoint.class_names)
    if found is None:
        boxes = [truth.boxes_of(index) for index in range(len(truth))]
        found = SplitDetections.pack([(one.boxes_xyxy, np.ones(len(one.labels)), one.labels) for one in boxes])
    assessment = assess(Evaluation(found, evaluate(found, truth)), truth)
    return Subject(
        checkpoint=folder / "best.pt", structure=checkpoint.structure, data=str(data), split="val", assessment=assessment,
        run=RunFolder.read(folder),
    )  # fmt: skip


def test_every_section_is_there_and_nothing_is_loaded(trained: Path, data: Path) -> None:
    html, page = page_of(trained)
    for title in SECTIONS:
        assert f">{title}</h2>" in html, title
    for tag, name, value in page.attributes:
        assert not (name in ("src", "href") and not value.startswith("data:")), (tag, name)
    assert "default-src 'none'" in html
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "url(" not in html
    assert "a & <b> on val" in page.text
    assert f"2 epochs on {data}" in page.text
    assert f"tinynas export '{trained / 'best.pt'}'" in page.text
    assert "8 images," in page.text
    assert "14 images," in page.text
    assert sum(name == "src" for _, name, _ in page.attributes) == 2 * 10 + 1


def test_charts_hold_the_runs_numbers(trained: Path) -> None:
    charts = json.loads(page_of(trained)[1].scripts[0])
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == charts["losses"]["x"] == [1, 2]
    losses = {one["name"]: one["values"] for one in charts["losses"]["series"]}
    assert losses["giou"] == [row["giou"] for row in rows]
    assert [one["name"] for one in charts["ap"]["series"]] == ["AP", "AP50"]
    assert charts["rate"]["series"][0]["values"] == [row["learning_rate"] for row in rows]
    assert len(charts["pr"]["x"]) == 101


def test_the_files_beside_the_page(trained: Path) -> None:
    names = {path.name for path in (trained / "evaluation").iterdir()}
    assert {"classes.csv", "confusion.csv", "confusion.json", "confusion.png", "pr_curves.png"} < names
    assert sum(name.endswith(".jpg") for name in names) == 10
    assert len((trained / "per_class.csv").read_text().splitlines()) == 1 + 2 * 3


def test_truth_as_detections_shows_no_error(trained: Path, data: Path, tmp_path: Path) -> None:
    write_training_report(subject(trained, data), tmp_path)
    html, page = page_of(tmp_path)
    assert "No image has a missed or a false box." in page.text
    assert re.search(r"AP at IoU 0.50 to 0.95, epoch \d of 2 1.000", page.text)
    rows = re.search(r'<table class="confusion">(.*?)</table>', html, re.S)
    assert rows is not None
    counts = [cell for cell in re.findall(r"<td[^>]*>([\d,]*)</td>", rows[1]) if cell]
    truth, _ = load_split(data, "val")
    assert counts == [str(n) for n in truth.counts().values()]
    assert not list((tmp_path / "evaluation").glob("worst-*"))


def test_a_split_without_a_class_and_without_detections_says_so(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "squares"
    shutil.copytree(data, other)
    path = next((other / "annotations").glob("*val*.json"))
    content = json.loads(path.read_text())
    disc = next(one["id"] for one in content["categories"] if one["name"] == "disc")
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] != disc]
    path.write_text(json.dumps(content))
    nothing = SplitDetections.pack([((), (), ())] * 14)
    write_training_report(subject(trained, other, nothing), tmp_path)
    html, page = page_of(tmp_path)
    assert "No box of disc in val: no AP, and no part in the means." in page.text
    assert "Nothing was detected in val" in page.text
    assert "disc 0 0 \u2013 \u2013 \u2013 \u2013 \u2013" in page.text
    out = tmp_path / "run"
    assert main(["train", "Ns", "--data", str(other), "--out", str(out), *QUICK, "--epochs", "1"]) == 0
    assert "No box of disc in val" in page_of(out)[1].text
    said = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in said
    assert "evaluating best.pt" not in said  # the last evaluation's detections are at hand
    assert "Confusion matrix" in html


def test_warnings_about_the_training(trained: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows[0]["ap"], rows[1]["ap"], rows[1]["skipped"] = 0.5, 0.3, 4
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_training_report(subject(run, data), tmp_path)
    text = page_of(tmp_path)[1].text
    assert "AP fell from 0.500 in epoch 1 to 0.300 in epoch 2" in text
    assert "4 training steps were skipped" in text


def test_resumed_and_interrupted_runs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from detector.training import loop

    run, validate = tmp_path / "run", loop.evaluate_together
    calls: list[int] = []

    def stopping(of: loop.Run) -> object:
        calls.append(of.progress.epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(of)

    monkeypatch.setattr(loop, "evaluate_together", stopping)
    (run / "evaluation").mkdir(parents=True)
    for name in ("report.html", "evaluation/worst-1-x.jpg"):
        (run / name).write_text("an earlier run's")
    assert main(["train", "Ns", "--data", str(data), "--out", str(run), "--overwrite", *QUICK]) == 130
    assert not (run / "report.html").exists()
    assert not (run / "evaluation").exists()
    assert "--resume" in capsys.readouterr().out
    assert main(["train", "--resume", str(run)]) == 0
    assert "report: " in capsys.readouterr().out
    assert "2 epochs on" in page_of(run)[1].text
    (run / "report.html").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "report.html").is_file()
    assert calls == [1, 2, 2]


@pytest.mark.parametrize("error", [RuntimeError("no such font\nat all"), UserError("x.jpg: cannot be read")])
def test_a_report_that_fails_leaves_the_training_done(
    error: Exception, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> Path:
        raise error

    run = tmp_path / "a run"
    expected = isinstance(error, UserError)
    with monkeypatch.context() as patch:
        patch.setattr(finished_run, "write_training_report", failing)
        assert main(["train", "Ns", "--data", str(data), "--out", str(run), *QUICK, "--epochs", "1"]) == 0
    said, wrong = capsys.readouterr()
    assert "Traceback" not in said + wrong
    (line,) = [line for line in said.splitlines() if line.startswith("warning: no report (")]
    assert str(error).splitlines()[0] in line
    assert "the training is done and best.pt is not affected" in line
    assert "done: best AP" in said
    kept = run / "report-error.txt"
    assert kept.is_file() != expected
    assert expected or (f"traceback in {kept})" in line and "RuntimeError: no such font" in kept.read_text())
    assert not (run / "report.html").exists()
    if expected:
        return
    assert main(shlex.split(line.partition("to make it again: tinynas ")[2])) == 0
    assert "training report" in page_of(run)[1].text
    (run / "report.html").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "report.html").is_file()
    assert not kept.exists()


def test_evaluating_best_once_more_gives_the_runs_own_evaluation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Evaluation] = []

    def watched(evaluation: Evaluation, annotations: Annotations) -> Assessment:
        seen.append(evaluation)
        return assess(evaluation, annotations)

    run = tmp_path / "run"
    monkeypatch.setattr(finished_run, "assess", watched)
    chosen = ["eval.score_threshold=0.001", "eval.iou_threshold=0.3", "eval.max_detections=3"]
    settings = [word for one in chosen for word in ("--set", one)]
    command = ["train", "Ns", "--data", str(data), "--out", str(run), *QUICK, "--epochs", "1", *settings]
    assert main(command) == 0
    (run / "report.html").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    first, again = seen
    assert "evaluating best.pt for the report" in capsys.readouterr().out
    assert np.diff(first.detections.offsets).tolist() == [3] * 14
    for name in ("boxes_xyxy", "scores", "labels", "offsets"):
        np.testing.assert_array_equal(getattr(again.detections, name), getattr(first.detections, name))
    assert main(["eval", str(run / "best.pt"), "--data", str(data), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["ar_100"] == first.metrics.ar_100
    assert numbers["ap"] == pytest.approx(first.metrics.ap)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("metrics.jsonl", '{"epoch": 1}\n{"epo', "metrics.jsonl:2: expected an epoch's numbers as JSON"),
        ("config.yaml", "epochs: [1", "config.yaml: expected settings as YAML"),
    ],
)
def test_broken_files_of_a_run(
    name: str, content: str, expected: str, trained: Path, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / name).write_text(content)
    assert main(["eval", str(run / "best.pt"), "--data", str(data), "--report", str(tmp_path / "r")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_eval_writes_the_same_report(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    command = ["eval", str(trained / "best.pt"), "--data", str(data), "--report", str(out), "--score-threshold", "0.2"]
    assert main(command) == 0
    assert f"wrote {out / 'report.html'}" in capsys.readouterr().out
    assert "score at least 0.20" in page_of(out)[1].text
    assert (out / "evaluation" / "classes.csv").read_text() == (trained / "evaluation" / "classes.csv").read_text()
    assert main(command) == 2
    assert "report.html: exists already; choose another --report or" in capsys.readouterr().err
    assert main([*command[:4], "--score-threshold", "0.2"]) == 2
    assert "--score-threshold does nothing without --report" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--split", "train", "--json"]) == 0
    classes = json.loads(capsys.readouterr().out)["classes"]
    assert set(classes["disc"]) == {
        "ap", "ap50", "images", "boxes", "precision", "recall", "f1", "score_threshold",
    }  # fmt: skip
    moved = tmp_path / "alone.pt"
    shutil.copy(trained / "best.pt", moved)
    assert main(["eval", str(moved), "--data", str(data), "--report", str(tmp_path / "r2")]) == 0
    _, page = page_of(tmp_path / "r2")
    assert "evaluation report" in page.text
    assert "Losses" not in page.text


@pytest.mark.usefixtures("no_fonts")
def test_many_classes_and_names_that_try_to_break_out(tmp_path: Path) -> None:
    evil = "</script><script>alert('x')</script>{{ 7 * 7 }}"
    truth = random_truth(0, images=6, num_classes=40)
    named = {name: getattr(truth, name) for name in Annotations.__dataclass_fields__}
    truth = Annotations(**{**named, "class_names": (evil, "猫", *truth.class_names[2:])})
    found = random_detections(truth, 0)
    assessment = assess(Evaluation(found, evaluate(found, truth)), truth)
    images = tmp_path / "images"
    images.mkdir()
    from detector.drawing import write_picture

    paths = tuple(images / f"{number}.png" for number in range(6))
    for path in paths:
        write_picture(np.full((400, 400, 3), 200, dtype=np.uint8), path)
    truth = Annotations(**{**named, "class_names": truth.class_names, "image_paths": paths})
    assessment = assess(Evaluation(found, evaluate(found, truth)), truth)
    structure = resolve_structure("Ns").with_classes(40)
    assert "num_classes: 40" in format_structure(structure)
    about = Subject(checkpoint=Path("x.pt"), structure=structure, data=evil, split="val", assessment=assessment)
    write_training_report(about, tmp_path)
    html, page = page_of(tmp_path)
    assert len(page.scripts) == 2
    assert "alert('x')</script>" not in html
    assert "{{ 7 * 7 }}" in page.text
    assert "in pictures and curves, class 1: 猫." in page.text
    charts = json.loads(page.scripts[0])
    assert len(charts["pr"]["series"]) == MOST_CURVES + 1
    assert f"The {MOST_CURVES} classes with the lowest AP50" in page.text
    assert '<table class="confusion">' not in html
    assert "all counts are in evaluation/confusion.csv" in page.text


@pytest.mark.parametrize(("seconds", "text"), [(45.2, "45 s"), (725, "12 min 5 s"), (12_000, "3 h 20 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
