"""A training on several data sets: stopped and resumed, by several processes, with a teacher, and fine-tuned from."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint, save_checkpoint
from detector.data.annotations import joined
from detector.data.formats import load_split
from detector.data.loader import collate
from detector.overfit.images import load_few
from detector.overfit.training import overfit_run, settings
from detector.training.distillation.unlabelled import _annotations
from detector.training.loop import fit
from detector.training.settings.config import build_config
from detector.training.start import load_splits, new_run, resumed_run
from search_spaces.saying import silent
from search_spaces.structure import Structure
from search_spaces.text import format_structure
from tests.detector.data.several_sets import rooms_and_pets, write_list, write_set
from tests.detector.training.test_resume import _assert_same_run, _stop_before_step
from tests.detector.training.test_training import _config, _run
from tinynas.cli import main
from tinynas.results.training.sampling import read_sampling

SETTINGS: dict[str, Any] = {
    "epochs": 4, "batch_size": 3, "accumulate": 2, "checkpoint_minutes": 0,
    "sampling": {"smoothing": 0.3, "class_aware": 0.5},
    "augment": {"mosaic": 0.5, "mixup": 0.5, "scale": [0.5, 1.5]}, "multi_scale": [64, 96],
    "eval": {"every_epochs": 2, "score_threshold": 1e-3},
}  # fmt: skip


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets: the third has six pictures, so that draws are weighted."""
    root = tmp_path_factory.mktemp("sets")
    rooms_and_pets(root)
    boxes = [(i, ("plate", "chair")[i % 2]) for i in range(6)]
    write_set(root / "tables", ("plate", "chair"), {"train": boxes, "val": boxes[:2]}, images=6)
    text = (root / "general.yaml").read_text().removeprefix("label_space: 1\n")
    return write_list(root, text.replace("  pets:", "  tables: {path: tables}\n  pets:"), "three.yaml")


@pytest.fixture(scope="module")
def whole(tiny: Structure, general: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "r"
    fit(_run(tiny, general, folder, **SETTINGS))
    return folder


@pytest.mark.parametrize("steps", [6, 10])  # in the second epoch, and in the third
def test_a_run_stopped_in_an_epoch_goes_on_to_the_bit(
    tiny: Structure, general: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    with monkeypatch.context() as patch:
        _stop_before_step(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            fit(_run(tiny, general, tmp_path / "r", **SETTINGS))
    again = resumed_run(tmp_path / "r", None, None, silent)
    assert (again.progress.epoch, again.progress.part.batches) == (steps // 4, 2)
    fit(again)
    _assert_same_run(whole, tmp_path / "r")


def test_what_a_run_says_and_leaves_of_its_sets(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert {"ap@rooms", "ap@tables", "ap@pets"} <= rows[1].keys()
    table = list(csv.reader((whole / "label_space.csv").read_text().splitlines()))
    assert ["rooms", "Sofa", "couch", "1", "1"] in table
    sampled = read_sampling(whole)
    assert sampled["images"].names == ("rooms", "tables", "pets")
    assert sampled["images"].counts[:, 0].tolist() == [2, 6, 2]
    assert sampled["images"].counts[:, 1].sum() == pytest.approx(10, abs=0.02)
    assert sampled["images"].counts[1, 1] < 6 < 2 * sampled["images"].counts[0, 1] + 6
    assert sampled["images"].counts[:, 2].sum() == 10
    best = load_checkpoint(whole / "best.pt")
    assert best.class_aliases == {"couch": ("Sofa",), "mouse (animal)": ("Mouse",)}


def test_the_mask_reaches_the_step(tiny: Structure, general: Path, tmp_path: Path) -> None:
    """Of a class that no picture of a step tells of, the step says nothing."""
    masked = _run(tiny, general, tmp_path / "a", **SETTINGS)
    punished = _run(tiny, general, tmp_path / "b", **SETTINGS, loss={"unlabelled_as_background": True})
    cat = masked.train_set.annotations.class_names.index("cat")
    gradients = []
    for run in (masked, punished):
        module = run.stepper.module.train()
        module.zero_grad()
        run.train_set.set_epoch(3, strong=False)
        batch = collate([run.train_set[index] for index in (0, 1)])
        module(batch.images, batch)["total"].backward()
        biases = [p.grad[cat] for name, p in run.stepper.network.named_parameters() if name.endswith("cls.conv.bias")]
        gradients.append(torch.stack(biases).abs().sum())
    assert gradients[0] == 0
    assert gradients[1] > 0


def test_eval_verify_and_the_report_tell_the_sets_apart(
    general: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(whole / "best.pt"), "--data", str(general)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["sets"][name]["images"] for name in ("rooms", "tables", "pets")] == [2, 6, 2]
    assert main([*arguments, "--report", str(tmp_path / "report")]) == 0
    assert "on its own images" in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "What is drawn, and what there is" in page
    assert 'aria-label="Data sets"' in page
    assert (tmp_path / "report/evaluation/sets.csv").read_text().startswith("name,images,boxes,classes,ap")
    assert main(["verify", str(whole / "best.pt"), "--data", str(general), "--min-ap", "0", "--seconds", "0.1"]) == 0
    assert "AP on val, 10 images" in capsys.readouterr().out


def test_a_downstream_set_takes_its_classes_by_any_of_their_names(
    tiny: Structure, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = ("SOFA", "mouse", "lamp", "cat")
    own = write_set(
        tmp_path / "own",
        classes,
        {"train": [(i, name) for i, name in enumerate(classes)], "val": [(0, "cat")]},
        images=4,
    )
    structure = tmp_path / "s.txt"
    structure.write_text(format_structure(tiny))
    fixed = [text for key in ("epochs=1", "batch_size=2", "workers=0", "amp=off") for text in ("--set", key)]
    command = [
        "train",
        str(structure),
        "--data",
        str(own),
        "--weights",
        str(whole / "best.pt"),
        "--out",
        str(tmp_path / "r"),
    ]
    assert main([*command, "--device", "cpu", *fixed]) == 0
    said = capsys.readouterr().out
    assert "classes that it knows by another name (1): SOFA (couch)" in said
    assert "classes that it does not know (1), fresh: lamp" in said
    run = new_run(tiny, load_splits(own, silent), _config(epochs=1), tmp_path / "again", silent, whole / "best.pt")
    general_model = load_checkpoint(whole / "best.pt")
    names = general_model.class_names
    key = next(key for key in general_model.weights if key.startswith("head.") and key.endswith("cls.conv.weight"))
    rows = run.stepper.network.state_dict()[key]
    for label, name in enumerate(("couch", "mouse", None, "cat")):
        if name is not None:
            torch.testing.assert_close(rows[label], general_model.best_weights[key][names.index(name)], rtol=0, atol=0)


def test_aliases_survive_a_checkpoint_and_old_ones_have_none(whole: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(whole / "best.pt")
    save_checkpoint(checkpoint, tmp_path / "copy.pt")
    assert load_checkpoint(tmp_path / "copy.pt").class_aliases == checkpoint.class_aliases
    content = torch.load(whole / "best.pt", weights_only=True)
    del content["class_aliases"]
    torch.save(content, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").class_aliases == {}


def test_overfit_shows_each_image_once_an_epoch(tiny: Structure, general: Path, tmp_path: Path) -> None:
    few = load_few(general, 6, 0, (64, 64), silent)
    run = overfit_run(tiny, few, str(general), build_config(settings(6, 10)), tmp_path, silent)
    assert len({int(number) for number in few.origins.of_image}) == 3
    assert run.train_set.expected_draws is None


def test_unlabelled_pictures_of_a_teacher_that_knows_some_classes(general: Path) -> None:
    """They are a data set of their own, which tells of what the teacher knows."""
    train = load_split(general, "train")[0]
    text = json.dumps({
        "classes": ["cat"],
        "pictures": [{"path": "p.jpg", "size_hw": [64, 64], "threshold": 0.4, "boxes": [[1, 1, 9, 9, 0, 0.9]]}],
    })  # fmt: skip
    both = joined([train, _annotations(text, train)])
    assert both.origins is not None
    assert both.origins.sources[-1].name == "unlabelled"
    labelled = both.origins.labelled(train.class_names)
    assert labelled[-1].sum() == 1
    assert both.origins.of_image[-1] == 3
