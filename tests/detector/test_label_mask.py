"""What a data set does not label is neither learnt nor punished in its images, and not counted in evaluations."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from detector.criterion import DetectionCriterion
from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.origins import Origins, Source
from detector.data.regions import NOWHERE
from detector.evaluation import SplitDetections, assess, scored
from detector.losses import LossConfig
from detector.priors import priors
from tests.detector.scenes import SceneTargets

SIZE = 64
POINTS = priors((SIZE, SIZE))
LABELLED = torch.tensor([[True, False, True], [True, True, False]])


@dataclasses.dataclass(frozen=True)
class Placed:
    boxes_xyxy: Tensor
    labels: Tensor
    valid: Tensor
    ignore: Tensor
    regions: Tensor


def one_box(label: int, regions: Tensor) -> Placed:
    """A box of 40 px in one image."""
    return Placed(
        boxes_xyxy=torch.tensor([[[12.0, 12.0, 52.0, 52.0]]]), labels=torch.tensor([[label]]),
        valid=torch.tensor([[True]]), ignore=torch.tensor([[False]]), regions=regions,
    )  # fmt: skip


def everywhere(first: int, second: int = NOWHERE) -> Tensor:
    return torch.tensor([[[[first]], [[second]]]], dtype=torch.uint8).expand(1, 2, 8, 8)


def raw(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cls = torch.randn(1, len(POINTS), 3, generator=generator) - 1
    reg = torch.randn(1, len(POINTS), 4 * 8, generator=generator)
    return cls.requires_grad_(), reg.requires_grad_()


def gradient(targets: Placed, labelled: Tensor | None = LABELLED, seed: int = 0) -> Tensor:
    """Of the whole loss, by prior and class (A, C)."""
    cls, reg = raw(seed)
    DetectionCriterion(labelled=labelled)(cls, reg, POINTS, targets)["total"].backward()
    assert cls.grad is not None
    return cls.grad[0]


@pytest.mark.parametrize(("number", "told"), [(0, [0, 2]), (1, [0, 1])])
def test_only_what_the_images_set_labels_has_a_gradient(number: int, told: list[int]) -> None:
    found = gradient(one_box(0, everywhere(number)))
    moved = (found != 0).all(dim=0)
    assert [label for label in range(3) if moved[label]] == told
    assert (found[:, [label for label in range(3) if label not in told]] == 0).all()


def test_where_nothing_is_shown_everything_is_background() -> None:
    assert (gradient(one_box(0, everywhere(NOWHERE))) != 0).all()


def test_pictures_laid_over_each_other_tell_what_both_tell() -> None:
    found = gradient(one_box(0, everywhere(0, 1)))
    assert (found[:, 0] != 0).all()
    assert (found[:, 1] == 0).all()
    assert (found[:, 2] == 0).all()


def test_tiles_side_by_side_tell_each_for_itself() -> None:
    regions = torch.full((1, 2, 8, 8), NOWHERE, dtype=torch.uint8)
    regions[0, 0, :, :4], regions[0, 0, :, 4:] = 0, 1
    found = gradient(one_box(0, regions))
    left = POINTS[:, 0] < SIZE / 2
    assert (found[left, 1] == 0).all()
    assert (found[~left, 1] != 0).all()
    assert (found[left, 2] != 0).all()
    assert (found[~left, 2] == 0).all()


def test_a_stretched_batch_finds_its_places() -> None:
    """Multi-scale training stretches the image, not its map."""
    large = priors((96, 96))
    regions = torch.full((1, 2, 8, 8), NOWHERE, dtype=torch.uint8)
    regions[0, 0, :4], regions[0, 0, 4:] = 0, 1
    cls = torch.zeros(1, len(large), 3, requires_grad=True)
    targets = one_box(0, regions)
    DetectionCriterion(labelled=LABELLED)(cls, torch.zeros(1, len(large), 32), large, targets)["total"].backward()
    assert cls.grad is not None
    above = large[:, 1] < 48
    assert (cls.grad[0, above, 1] == 0).all()
    assert (cls.grad[0, ~above, 1] != 0).all()


def test_a_box_teaches_its_class_where_the_place_does_not_tell_of_it() -> None:
    """Mixup: a box of class 1 from set 1, under a picture of set 0, which has no class 1."""
    found = gradient(one_box(1, everywhere(1, 0)))
    assert (found[:, 1] < 0).any()  # pushed up at its own priors
    assert not (found[:, 1] > 0).any() or (found[:, 1] > 0).sum() <= (found[:, 1] < 0).sum()
    assert (found[:, 1] == 0).sum() > len(POINTS) / 2


def test_scores_that_nobody_can_judge_play_no_part_in_the_assignment() -> None:
    cls, reg = raw()
    sure = cls.detach().clone()
    sure[..., 1] = 6.0  # a thing of class 1 everywhere, which set 0 does not label
    criterion, targets = DetectionCriterion(labelled=LABELLED), one_box(0, everywhere(0))
    quiet = cls.detach().clone()
    quiet[..., 1] = -6.0
    found = [criterion(logits, reg, POINTS, targets) for logits in (sure, quiet)]
    for name in ("cls", "dfl", "giou", "num_positives"):
        assert found[0][name].item() == found[1][name].item()
    plain = DetectionCriterion()
    assert float(plain(sure, reg, POINTS, targets)["cls"]) > 2 * float(found[0]["cls"])


def test_sets_that_label_everything_change_nothing() -> None:
    cls, reg = raw()
    targets = one_box(2, everywhere(0, 1))
    masked = DetectionCriterion(labelled=torch.ones(2, 3, dtype=torch.bool))(cls, reg, POINTS, targets)
    plain = DetectionCriterion()(cls, reg, POINTS, targets)
    assert {name: value.item() for name, value in masked.items()} == {
        name: value.item() for name, value in plain.items()
    }


@pytest.mark.parametrize("assigner", ["align_ota", "atss", "sim_ota", "task_aligned"])
def test_every_assigner_learns_from_several_sets(assigner: str) -> None:
    cls, reg = raw()
    criterion = DetectionCriterion(LossConfig(assigner=assigner), LABELLED)
    losses = criterion(cls, reg, POINTS, one_box(1, everywhere(1, 0)))
    losses["total"].backward()
    assert cls.grad is not None
    learnt_AC = cls.grad[0] != 0
    assert learnt_AC[:, 0].all()  # both sets label class 0
    assert int(learnt_AC[:, 1].sum()) == int(losses["num_positives"]) > 0  # its own box alone tells of class 1
    assert not learnt_AC[:, 2].any()


def test_what_is_labelled_is_no_weight() -> None:
    """It follows from the data: a checkpoint does not bring it, nor need it."""
    assert DetectionCriterion(labelled=LABELLED).state_dict() == {}


def test_targets_of_one_set_need_no_regions() -> None:
    cls, reg = raw()
    given = one_box(0, everywhere(0))
    targets = SceneTargets(given.boxes_xyxy, given.labels, given.valid, given.ignore)
    assert DetectionCriterion()(cls, reg, POINTS, targets) == DetectionCriterion()(cls, reg, POINTS, given)


def two_sets() -> Annotations:
    """Set `a` labels x and y, set `b` labels y and z; a box of y in an image of each, and one of z in b's."""
    boxes = np.array([[0, 0, 40, 40], [0, 0, 40, 40], [50, 50, 90, 90]], dtype=np.float64)
    raw_boxes = RawBoxes(
        image=np.array([0, 1, 1]), boxes_xyxy=boxes, labels=np.array([1, 1, 2]), ignore=np.zeros(3, dtype=bool)
    )
    paths = [Path("a.jpg"), Path("b.jpg")]
    sources = (Source("a", {"x": "x", "Y": "y"}), Source("b", {"y": "y", "z": "z"}))
    origins = Origins(sources, np.array([0, 1], dtype=np.int32))
    sizes = np.full((2, 2), 100, dtype=np.int32)
    return pack("t", ("x", "y", "z"), paths, sizes, raw_boxes, origins=origins)[0]


def detections() -> SplitDetections:
    """All three boxes, less sure than a z in a's image and an x in b's, which nobody can judge, and a false y in a's."""
    box, far, other = [0, 0, 40, 40], [50, 50, 90, 90], [60, 0, 90, 30]
    return SplitDetections.pack([
        ([box, other, far], [0.7, 0.9, 0.8], [1, 2, 1]),
        ([box, far, other], [0.7, 0.7, 0.9], [1, 2, 0]),
    ])  # fmt: skip


def test_what_a_set_does_not_label_is_not_counted() -> None:
    annotations = two_sets()
    evaluation = scored(detections(), annotations)
    assert len(evaluation.detections.labels) == 4
    assert evaluation.metrics.class_ap["z"] == pytest.approx(1.0)
    plain = scored(detections(), dataclasses.replace(annotations, origins=None))
    assert plain.metrics.class_ap["z"] == pytest.approx(0.5, abs=0.01)
    assert math.isnan(evaluation.metrics.class_ap["x"])
    confusion = assess(evaluation, annotations, 0.1).confusion
    assert confusion[3].tolist() == [0, 1, 0, 0]  # the false y alone


def test_each_data_set_has_its_own_metrics() -> None:
    evaluation = scored(detections(), two_sets())
    assert list(evaluation.sets) == ["a", "b"]
    assert evaluation.sets["b"].ap == pytest.approx(1.0)
    assert evaluation.sets["a"].ap == pytest.approx(0.5, abs=0.01)  # a false y comes before the right one
    assert evaluation.metrics.class_ap["y"] == pytest.approx(2 / 3, abs=0.01)
    rows = assess(evaluation, two_sets()).sets
    assert [(row.name, row.images, row.boxes, row.classes) for row in rows] == [("a", 1, 1, 1), ("b", 1, 2, 2)]
