"""What every assigner keeps to."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from detector import assigners
from tests.detector.scenes import Scene, random_scene

pytestmark = pytest.mark.parametrize("name", assigners.names())


def run(name: str, scene: Scene) -> assigners.Assignment:
    return assigners.build(name)(scene.priors, scene.boxes, scene.logits, scene.targets)


def test_shapes_types_and_ranges(name: str) -> None:
    scene = random_scene(0, 3, 6, 4)
    scene.boxes.requires_grad_()
    scene.logits.requires_grad_()
    result = run(name, scene)
    shape = (3, len(scene.priors))
    assert result.matched.shape == result.labels.shape == result.iou.shape == result.negatives_mask.shape == shape
    assert result.boxes.shape == (*shape, 4)
    assert result.matched.dtype == result.labels.dtype == torch.int64
    assert result.iou.dtype == result.boxes.dtype == torch.float32
    assert result.negatives_mask.dtype == torch.bool
    assert not result.iou.requires_grad
    positive = result.positives_mask
    assert positive.any()
    assert ((result.matched >= -1) & (result.matched < 6)).all()
    assert ((result.iou >= 0) & (result.iou <= 1)).all()
    assert not (positive & result.negatives_mask).any()
    assert (result.labels[~positive] == -1).all()
    assert (result.iou[~positive] == 0).all()


def test_padding_and_ignored_boxes_are_never_positive(name: str) -> None:
    scene = random_scene(1, 8, 10, 3)
    result = run(name, scene)
    wanted = scene.targets.valid & ~scene.targets.ignore
    index = result.matched.clamp(min=0)
    assert wanted.gather(1, index)[result.positives_mask].all()


def test_background_in_an_ignored_box_is_no_negative(name: str) -> None:
    scene = random_scene(2, 4, 6, 3)
    everywhere = dataclasses.replace(
        scene.targets, boxes_xyxy=scene.targets.boxes_xyxy.clone(), ignore=scene.targets.ignore.clone()
    )
    everywhere.boxes_xyxy[:, 0] = torch.tensor([-1.0, -1.0, 97.0, 97.0])
    everywhere.ignore[:, 0], everywhere.valid[:, 0] = True, True
    result = run(name, dataclasses.replace(scene, targets=everywhere))
    assert result.positives_mask.any()
    assert not result.negatives_mask.any()


@pytest.mark.parametrize("num_boxes", [0, 5])
def test_images_without_boxes_are_all_negative(name: str, num_boxes: int) -> None:
    scene = random_scene(3, 2, num_boxes, 3)
    empty = dataclasses.replace(scene.targets, valid=torch.zeros(2, num_boxes, dtype=torch.bool))
    result = run(name, dataclasses.replace(scene, targets=empty))
    assert not result.positives_mask.any()
    assert result.negatives_mask.all()


def test_padding_may_hold_anything_and_an_image_does_not_see_its_neighbours(name: str) -> None:
    scene = random_scene(4, 3, 6, 3)
    result = run(name, scene)
    targets = scene.targets
    boxes = torch.where(targets.valid[..., None], targets.boxes_xyxy, torch.tensor([0.0, 0.0, 96.0, 96.0]))
    labels = torch.where(targets.valid, targets.labels, -1)
    padded = dataclasses.replace(scene, targets=dataclasses.replace(targets, boxes_xyxy=boxes, labels=labels))
    assert torch.equal(run(name, padded).matched, result.matched)
    for image in range(3):
        some = slice(image, image + 1)
        alone = Scene(
            scene.priors,
            scene.boxes[some],
            scene.logits[some],
            type(targets)(targets.boxes_xyxy[some], targets.labels[some], targets.valid[some], targets.ignore[some]),
        )
        assert torch.equal(run(name, alone).matched[0], result.matched[image])


def test_same_input_same_assignment(name: str) -> None:
    first, second = (run(name, random_scene(5, 3, 6, 3)) for _ in range(2))
    for field in dataclasses.fields(first):
        assert torch.equal(getattr(first, field.name), getattr(second, field.name))


def test_half_precision_predictions_under_autocast(name: str) -> None:
    scene = random_scene(6, 2, 5, 3)
    half = dataclasses.replace(scene, boxes=scene.boxes.bfloat16(), logits=scene.logits.bfloat16())
    same = dataclasses.replace(scene, boxes=half.boxes.float(), logits=half.logits.float())
    with torch.autocast("cpu", torch.bfloat16):
        result = run(name, half)
    assert result.iou.dtype == torch.float32
    assert torch.equal(result.matched, run(name, same).matched)
