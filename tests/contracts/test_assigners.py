"""What every assigner keeps to."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from detector import assigners
from detector.assigners import _matching
from detector.criterion import DetectionCriterion
from detector.losses import LossConfig
from detector.priors import priors
from search_spaces.errors import UserError
from tests.detector.assigners.hard_scenes import KINDS, hard_scene
from tests.detector.scenes import Scene, SceneTargets, random_scene, random_targets

pytestmark = pytest.mark.parametrize("name", assigners.names())


def run(name: str, scene: Scene) -> assigners.Assignment:
    return assigners.build(name)(scene.priors, scene.boxes, scene.logits, scene.targets)


def test_shapes_types_and_ranges(name: str) -> None:
    scene = random_scene(0, 3, 6, 4)
    scene.boxes.requires_grad_()
    scene.logits.requires_grad_()
    result = run(name, scene)
    shape = (3, len(scene.priors))
    assert result.matched.shape == result.labels.shape == result.quality.shape == result.negatives_mask.shape == shape
    assert result.boxes.shape == (*shape, 4)
    assert result.matched.dtype == result.labels.dtype == torch.int64
    assert result.quality.dtype == result.boxes.dtype == torch.float32
    assert result.negatives_mask.dtype == torch.bool
    assert not result.quality.requires_grad
    positive = result.positives_mask
    assert positive.any()
    assert ((result.matched >= -1) & (result.matched < 6)).all()
    assert ((result.quality >= 0) & (result.quality <= 1)).all()
    assert not (positive & result.negatives_mask).any()
    assert (result.labels[~positive] == -1).all()
    assert (result.quality[~positive] == 0).all()


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
    assert result.quality.dtype == torch.float32
    assert torch.equal(result.matched, run(name, same).matched)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_extremes_do_not_overflow(name: str, dtype: torch.dtype) -> None:
    """Logits at the ends of fp16, boxes with and without overlap: as from the same values in fp32, and finite."""
    scene = random_scene(7, 2, 5, 3)
    extreme = torch.tensor([-65504.0, 65504.0, 0.0, 12.0])
    logits = extreme[torch.arange(scene.logits.numel()) % 4].view_as(scene.logits).to(dtype)
    logits = torch.where(logits.isfinite(), logits, 65280.0)
    boxes = scene.boxes.to(dtype)
    boxes[:, ::3] = 0  # no area: IoU 0, whose logarithm is wanted
    half = dataclasses.replace(scene, boxes=boxes, logits=logits)
    result = run(name, half)
    same = run(name, dataclasses.replace(scene, boxes=boxes.float(), logits=logits.float()))
    assert torch.equal(result.matched, same.matched)
    assert result.positives_mask.any()
    assert result.quality.isfinite().all()
    assert ((result.quality >= 0) & (result.quality <= 1)).all()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_broken_predictions_still_give_an_assignment(name: str, broken: float) -> None:
    scene = random_scene(1, 3, 6, 3)
    scene.boxes[0] = broken
    scene.logits[1] = broken
    result = run(name, scene)
    assert ((result.matched >= -1) & (result.matched < 6)).all()
    assert torch.equal(result.matched[2], run(name, random_scene(1, 3, 6, 3)).matched[2])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_hard_scenes_do_not_depend_on_chunks(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = hard_scene(2, kind, 3, 8, 3, equal_predictions=False)
    whole = run(name, scene)
    monkeypatch.setattr(_matching, "_MAX_ENTRIES", 2 * len(scene.priors))
    chunked = run(name, scene)
    for field in dataclasses.fields(whole):
        assert torch.equal(getattr(whole, field.name), getattr(chunked, field.name))


def test_equal_boxes_tie_to_the_first(name: str) -> None:
    scene = hard_scene(3, "on_the_grid", 1, 6, 2, equal_predictions=True)
    targets = scene.targets
    box = torch.tensor([16.0, 16.0, 80.0, 80.0])
    same = SceneTargets(
        box.expand_as(targets.boxes_xyxy).clone(),
        torch.zeros_like(targets.labels),
        torch.ones_like(targets.valid),
        torch.zeros_like(targets.ignore),
    )
    result = run(name, dataclasses.replace(scene, boxes=box.expand_as(scene.boxes).clone(), targets=same))
    assert sorted(set(result.matched.flatten().tolist())) == [-1, 0]


def test_boxes_far_outside_the_image_learn_nothing(name: str) -> None:
    points = priors((64, 64))
    boxes = torch.tensor([[[300.0, 300, 320, 320], [-190.0, -190, -150, -150], [10.0, 200.0, 60.0, 300.0]]])
    flags = torch.ones(1, 3, dtype=torch.bool)
    targets = SceneTargets(boxes, torch.zeros(1, 3, dtype=torch.int64), flags, ~flags)
    scene = Scene(points, torch.zeros(1, len(points), 4), torch.zeros(1, len(points), 2), targets)
    assert not run(name, scene).positives_mask.any()


def losses_of(
    name: str, batch: int, num_boxes: int, *, empty: bool
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """The criterion's losses of random outputs, and these outputs with their gradients."""
    generator = torch.Generator().manual_seed(0)
    points = priors((96, 96))
    cls_logits = torch.randn(batch, len(points), 3, generator=generator).requires_grad_()
    reg_logits = torch.randn(batch, len(points), 4 * 8, generator=generator).requires_grad_()
    targets = random_targets(generator, batch, num_boxes, 3)
    if empty:
        targets = dataclasses.replace(targets, valid=torch.zeros(batch, num_boxes, dtype=torch.bool))
    losses = DetectionCriterion(LossConfig(assigner=name))(cls_logits, reg_logits, points, targets)
    losses["total"].backward()
    return losses, cls_logits, reg_logits


@pytest.mark.parametrize(("batch", "num_boxes"), [(2, 0), (2, 5), (0, 0), (0, 5)])
def test_without_boxes_or_images_the_losses_are_zeros_with_gradients(name: str, batch: int, num_boxes: int) -> None:
    losses, cls_logits, reg_logits = losses_of(name, batch, num_boxes, empty=True)
    assert losses["num_positives"] == 0
    assert losses["dfl"] == losses["giou"] == 0
    assert reg_logits.grad is not None
    assert (reg_logits.grad == 0).all()
    assert cls_logits.grad is not None
    assert cls_logits.grad.isfinite().all()
    negatives = cls_logits.detach().sigmoid().square() * torch.nn.functional.softplus(cls_logits.detach())
    assert losses["cls"].item() == pytest.approx(negatives.sum().item(), rel=1e-5)  # the divisor is 1


def test_divisors_are_averaged_over_processes_and_at_least_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, *_ = losses_of(name, 3, 6, empty=False)
    assert alone["num_positives"] > 2
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.mul_(4))  # the other one has 3 x as much
    together, *_ = losses_of(name, 3, 6, empty=False)
    for part in ("cls", "dfl", "giou"):
        assert together[part].item() == pytest.approx(alone[part].item() / 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.zero_())
    least, *_ = losses_of(name, 3, 6, empty=False)
    # 1 for both processes together: a half for each
    assert least["cls"].item() == pytest.approx(2 * alone["cls"].item() * alone["num_positives"].item(), rel=1e-5)


def test_one_prior_is_enough_and_none_is_refused(name: str) -> None:
    assigners.build(name, {"top_k": 1})
    with pytest.raises(UserError, match=f"assigner {name}: top_k: 0 found; expected a number of at least 1"):
        assigners.build(name, {"top_k": 0})
