"""Exported models as teachers: scores and boxes at the same places, pseudo-labels elsewhere, pictures without labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from detector.checkpoint import load_checkpoint
from detector.criterion import DetectionCriterion
from detector.data.image import read_image
from detector.deploy import load_model
from detector.distillers import DistillConfig
from detector.export import ExportSettings, export_checkpoint
from detector.losses import LossConfig
from detector.network import Network, RawOutput
from detector.priors import decode_distances, expected_distances
from detector.teachers.outputs import OutputTeacher, load
from detector.training.distillation.outputs import PseudoLabels, SoftBoxes, SoftScores, pseudo_labels
from detector.training.loop import fit
from detector.training.settings.config import TrainConfig
from detector.training.start import load_splits, new_run, resumed_run
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.structure import Structure
from tests.detector.training.test_distillation import rows, said
from tests.detector.training.test_resume import _assert_same_run, _stop_before_step
from tests.detector.training.test_training import _run

NAMES = ("disc", "square", "triangle")


@pytest.fixture(scope="module")
def checkpoint(tiny: Structure, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "t"
    fit(_run(tiny, sample, folder, epochs=1))
    content = torch.load(folder / "best.pt", weights_only=True)
    for key, value in content["weights"].items():
        if key.endswith(".cls.conv.bias"):
            value += 4  # scores of a network that has learnt more, from 0.01 to some 0.3
    torch.save(content, folder / "best.pt")
    return folder / "best.pt"


@pytest.fixture(scope="module")
def raw_export(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "teacher.onnx"
    export_checkpoint(load_checkpoint(checkpoint), path, "onnx", ExportSettings(output="raw", batch=2))
    return path


def images_of(count: int, size: tuple[int, int] = (64, 64)) -> Tensor:
    return 255 * torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))


def test_it_gives_the_networks_boxes_and_scores(checkpoint: Path, raw_export: Path) -> None:
    """A batch that is no multiple of the export's, classes in the data's order, boxes in the images' own pixels."""
    network = load_checkpoint(checkpoint).network().deploy()
    images = images_of(3)
    teacher = load(raw_export, ("Triangle", "cat", "disc"), "shared")
    boxes, scores = teacher(images)
    with torch.no_grad():
        wanted_boxes, wanted_scores = network(images)
    torch.testing.assert_close(boxes, wanted_boxes, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(scores[..., [0, 2]], wanted_scores[..., [2, 0]], rtol=1e-3, atol=1e-5)
    assert not scores[..., 1].any()
    assert teacher.known.tolist() == [0, 2]
    small = torch.nn.functional.interpolate(images, (32, 64), mode="bilinear")
    again, _ = teacher(small)
    stretched = torch.nn.functional.interpolate(small, (64, 64), mode="bilinear", align_corners=False, antialias=True)
    with torch.no_grad():
        expected, _ = network(stretched)
    torch.testing.assert_close(again, expected * torch.tensor([1.0, 0.5, 1.0, 0.5]), rtol=1e-3, atol=1e-2)


class Known(OutputTeacher):
    """A teacher whose answer is given."""

    def __init__(self, boxes: Tensor, scores: Tensor, known: Sequence[int]) -> None:
        self.answer, self.known, self.iou_threshold = (boxes, scores), torch.tensor(list(known)), 0.6
        self.seconds, self.timed = 0.0, False

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.answer


def case(tiny: Structure) -> tuple[RawOutput, Known, Tensor, Tensor]:
    torch.manual_seed(0)
    network = Network(tiny.with_classes(3)).eval()
    with torch.no_grad():
        raw = network.forward_raw(images_of(2))
    generator = torch.Generator().manual_seed(1)
    corners = 30 * torch.rand(2, len(raw.priors), 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(corners.shape, generator=generator)], -1)
    scores = torch.rand(2, len(raw.priors), 3, generator=generator) ** 6
    scores[..., 1] = 0
    return raw, Known(boxes, scores, [0, 2]), boxes, scores


def test_soft_scores_against_a_loop(tiny: Structure) -> None:
    raw, teacher, _, scores = case(tiny)
    term = SoftScores(teacher, DistillConfig(weight=2.0), LossConfig(cls_weight=3.0), "", silent)
    expected, tops = 0.0, 0.0
    for image in range(2):
        for prior in range(len(raw.priors)):
            tops += float(scores[image, prior].max())
            for label in (0, 2):
                t, p = float(scores[image, prior, label]), float(raw.cls_logits[image, prior, label].sigmoid())
                expected += abs(t - p) ** 2 * -(t * np.log(p) + (1 - t) * np.log(1 - p))
    found = term(images_of(2), raw, None)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(2 * 3 * expected / max(tops, 1), rel=1e-4)


def test_soft_boxes_against_a_loop(tiny: Structure) -> None:
    raw, teacher, boxes, scores = case(tiny)
    term = SoftBoxes(teacher, DistillConfig(weight=2.0), LossConfig(giou_weight=3.0), "", silent)
    own = decode_distances(expected_distances(raw.reg_logits), raw.priors)
    total, weights = 0.0, 0.0
    for image in range(2):
        for prior in range(len(raw.priors)):
            weight = float(scores[image, prior].max())
            if weight > 0.05:
                total += weight * (1 - giou(own[image, prior].tolist(), boxes[image, prior].tolist()))
                weights += weight
    found = term(images_of(2), raw, None)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(2 * 3 * total / max(weights, 1), rel=1e-3)


def giou(a: list[float], b: list[float]) -> float:
    def area(box: list[float]) -> float:
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    inner = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    outer = area([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
    union = area(a) + area(b) - inner
    return inner / union - (outer - union) / outer


def test_pseudo_labels_are_the_boxes_after_suppression(tiny: Structure) -> None:
    raw, teacher, boxes, scores = case(tiny)
    labels = pseudo_labels(boxes, scores, 0.7, 0.6)
    for image in range(2):
        kept = labels.boxes_xyxy[image][labels.valid[image]]
        above = boxes[image][(scores[image] > 0.7).any(-1)]
        assert 0 < len(kept) <= (scores[image] > 0.7).sum()
        assert all((above == box).all(-1).any() for box in kept)
    term = PseudoLabels(teacher, DistillConfig(weight=2.0, threshold=0.7), LossConfig(), "", silent)
    own = pseudo_labels(boxes, scores[..., [0, 2]], 0.7, 0.6)
    expected = DetectionCriterion(LossConfig())(raw.cls_logits[..., [0, 2]], raw.reg_logits, raw.priors, own)["total"]
    assert float(term(images_of(2), raw, None)) == pytest.approx(2 * float(expected))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"soft_scores", "soft_boxes"}),
        ({"image_size": [96, 96]}, {"pseudo"}),
        ({"multi_scale": [32, 64]}, {"pseudo"}),
    ],
)
def test_a_run_taught_by_an_export(
    tiny: Structure, sample: Path, raw_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any], names: set[str],
) -> None:  # fmt: skip
    changes = {
        **changes,
        "epochs": 2,
        "checkpoint_minutes": 0,
        "distill": {"teacher": str(raw_export), "threshold": 0.01},
    }
    changes["schedule"] = {"no_aug_epochs": 1, "no_aug_max_share": 0.5}
    fit(_run(tiny, sample, tmp_path / "whole", **changes))
    first, last = rows(tmp_path / "whole")
    assert names == {name for name in ("soft_scores", "soft_boxes", "pseudo") if name in first}
    for name in names:
        assert first[name] > 0
        assert last[name] == 0
    with monkeypatch.context() as patch:
        _stop_before_step(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            fit(_run(tiny, sample, tmp_path / "stopped", **changes))
    fit(resumed_run(tmp_path / "stopped", None, None, silent))
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")


# ---- pictures without annotations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("exported", [False, True])
def test_unlabelled_pictures_are_labelled_once(
    tiny: Structure, sample: Path, checkpoint: Path, raw_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    exported: bool,
) -> None:  # fmt: skip
    folder = tmp_path / "more"
    shutil.copytree(next(path for path in sample.rglob("*val*") if path.is_dir()), folder)
    teacher = raw_export if exported else checkpoint
    middle = np.median(np.concatenate([scores_of(checkpoint, path) for path in folder.iterdir()]))
    distill = {"teacher": str(teacher), "unlabelled": [str(folder)], "threshold": float(middle)}
    changes = {"epochs": 2, "checkpoint_minutes": 0, "distill": distill}
    run = _run(tiny, sample, tmp_path / "whole", **changes)
    train = run.train_set.annotations
    kept = json.loads((tmp_path / "whole" / "pseudo_labels.json").read_text())
    assert kept["classes"] == list(train.class_names)
    assert train.origins is None
    labelled = kept["pictures"]
    assert len(labelled) == len(list(folder.iterdir()))
    added = train.subset(range(len(train) - len(labelled), len(train)))
    assert [str(path) for path in added.image_paths] == [row["path"] for row in labelled]
    assert 0 < (~added.ignore).sum() < len(added.ignore)
    for index, row in enumerate(labelled):
        boxes = added.boxes_of(index)
        assert len(boxes.labels) == len(row["boxes"])
        for ignored, box in zip(boxes.ignore, row["boxes"]):
            assert bool(ignored) == (box[5] < distill["threshold"])
            assert box[5] > 0.25 * distill["threshold"]
    fit(run)
    with monkeypatch.context() as patch:
        _stop_before_step(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            fit(_run(tiny, sample, tmp_path / "stopped", **changes))
    fit(resumed_run(tmp_path / "stopped", None, None, silent))
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    first = Path(labelled[0]["path"])
    first.write_bytes(cv2.imencode(first.suffix, np.zeros((5, 9, 3), np.uint8))[1].tobytes())
    with pytest.raises(UserError, match=f"{first.name}: another size than .* 1 of the run's {len(labelled)} pictures"):
        resumed_run(tmp_path / "stopped", None, None, silent)


def test_the_data_sets_own_pictures_are_not_labelled_again(
    tiny: Structure, sample: Path, checkpoint: Path, tmp_path: Path
) -> None:
    own = next(path for path in sample.rglob("*val*") if path.is_dir())
    (tmp_path / "more").mkdir()
    shutil.copy(next(own.iterdir()), tmp_path / "more" / "other.png")
    distill = {"teacher": str(checkpoint), "unlabelled": [str(own), str(tmp_path / "more")], "threshold": 1.0}
    told: list[str] = []
    splits = load_splits(sample, silent)
    config = TrainConfig(distill=distill)
    run = new_run(tiny, splits, config, tmp_path / "r", told.append)
    assert len(run.train_set.annotations) == len(splits.train) + 1
    assert f"{len(splits.val)} validation images of the data set itself are left out" in "".join(told)
    assert "the teacher finds nothing sure in these images" in "".join(told)
    config = TrainConfig(distill={**distill, "unlabelled": [str(own)]})
    with pytest.raises(UserError, match="all these images are the data set's own"):
        new_run(tiny, splits, config, tmp_path / "r2", silent)


def scores_of(checkpoint: Path, path: Path) -> np.ndarray:
    from detector.detector import Detector

    (found,) = Detector.load(checkpoint).with_thresholds(score=1e-4).detect([read_image(path)])
    return found.scores


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_refusals(
    tiny_file: Path,
    sample: Path,
    checkpoint: Path,
    raw_export: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train: tuple[object, ...] = ("train", tiny_file, "--data", sample, "--out", tmp_path / "r", "--epochs", 1)
    whole = tmp_path / "nms.onnx"
    export_checkpoint(load_checkpoint(checkpoint), whole, "onnx", ExportSettings())
    assert "NMS is inside it" in said(capsys, *train, "--teacher", whole)
    assert "somebody has to label these pictures" in said(capsys, *train, "--unlabelled", tmp_path)
    (tmp_path / "empty").mkdir()
    empty = said(capsys, *train, "--teacher", raw_export, "--unlabelled", tmp_path / "empty")
    assert "no pictures in this folder" in empty
    assert "--teacher-classes does nothing without --teacher" in said(capsys, *train, "--teacher-classes", "shared")
    assert "distill.weight=2: does nothing without a teacher" in said(capsys, *train, "--set", "distill.weight=2")
    features = said(capsys, *train, "--teacher", raw_export, "--set", "distill.distiller=mgd")
    assert "an export has no features" in features
    assert "leave out unlabelled" in said(capsys, "train", "--resume", tmp_path, "--unlabelled", tmp_path)
    with pytest.raises(UserError, match="the teacher lacks: cat; it knows besides: triangle"):
        load(raw_export, ("disc", "square", "cat"), "same")
    assert load_model(raw_export).card.output == "raw"
