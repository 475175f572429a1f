"""The losses and the criterion against a slow reference in plain Python."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector import assigners
from detector.criterion import DetectionCriterion
from detector.losses import LossConfig
from detector.losses.distribution_focal import distribution_focal_loss
from detector.losses.giou import giou_loss
from detector.losses.quality_focal import quality_focal_loss
from detector.priors import decode_distances, expected_distances, priors
from search_spaces.errors import UserError
from tests.detector.scenes import SceneTargets, random_targets

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, SceneTargets]
REG_MAX = 7


def random_inputs(seed: int, batch: int, num_boxes: int, num_classes: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    points = priors((96, 96))
    cls_logits = torch.randn(batch, len(points), num_classes, generator=generator) - 1
    reg_logits = torch.randn(batch, len(points), 4 * (REG_MAX + 1), generator=generator) * 2
    targets = random_targets(generator, batch, num_boxes, num_classes)
    return cls_logits.requires_grad_(), reg_logits.requires_grad_(), points, targets


def reference_qfl(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return (target - p) ** 2 * -(target * math.log(p) + (1 - target) * math.log(1 - p))


def reference_dfl(logits: list[float], target: float) -> float:
    target = min(max(target, 0.0), REG_MAX - 0.1)
    total = sum(math.exp(v) for v in logits)
    low = int(target)
    log_p = [v - math.log(total) for v in logits]
    return -((low + 1 - target) * log_p[low] + (target - low) * log_p[low + 1])


def reference_giou_loss(a: list[float], b: list[float]) -> float:
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    enclosing = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return 1 - (shared / union - (enclosing - union) / enclosing)


def reference_distances(reg_logits: torch.Tensor) -> torch.Tensor:
    """The expectation of each side's bins 0, 1, ..., REG_MAX under its softmax, one number after the other."""
    rows = []
    for row in reg_logits.double().reshape(-1, REG_MAX + 1).tolist():
        weights = [math.exp(logit) for logit in row]
        rows.append(sum(place * weight for place, weight in enumerate(weights)) / sum(weights))
    return torch.tensor(rows, dtype=torch.float32).reshape(*reg_logits.shape[:-1], 4)


def reference_losses(inputs: Inputs) -> dict[str, float]:
    cls_logits, reg_logits, points, targets = inputs
    cls_logits, reg_logits = cls_logits.detach(), reg_logits.detach()
    boxes = decode_distances(reference_distances(reg_logits), points)
    result = assigners.build("align_ota")(points, boxes, cls_logits, targets)
    cls = dfl = giou = weights = 0.0
    positives = 0
    for image in range(len(cls_logits)):
        for prior, (x, y, stride) in enumerate(points.tolist()):
            logits = cls_logits[image, prior].tolist()
            box_index = int(result.matched[image, prior])
            if box_index < 0:
                if result.negatives_mask[image, prior]:
                    cls += sum(reference_qfl(v, 0.0) for v in logits)
                continue
            positives += 1
            label = int(targets.labels[image, box_index])
            iou = float(result.quality[image, prior])
            cls += sum(reference_qfl(v, iou if c == label else 0.0) for c, v in enumerate(logits))
            weight = 1 / (1 + math.exp(-max(logits)))
            weights += weight
            x1, y1, x2, y2 = truth = targets.boxes_xyxy[image, box_index].tolist()
            sides = reg_logits[image, prior].view(4, REG_MAX + 1).tolist()
            distances = [(x - x1) / stride, (y - y1) / stride, (x2 - x) / stride, (y2 - y) / stride]
            dfl += weight * sum(reference_dfl(s, d) for s, d in zip(sides, distances)) / 4
            giou += weight * reference_giou_loss(boxes[image, prior].tolist(), truth)
    divisor = max(weights, 1.0)
    parts = {"cls": cls / max(positives, 1), "dfl": 0.25 * dfl / divisor, "giou": 2 * giou / divisor}
    return {**parts, "total": sum(parts.values()), "num_positives": positives}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 3), num_boxes=st.integers(0, 6), classes=st.integers(1, 4))
def test_equals_the_slow_reference(seed: int, batch: int, num_boxes: int, classes: int) -> None:
    inputs = random_inputs(seed, batch, num_boxes, classes)
    found = {name: loss.item() for name, loss in DetectionCriterion()(*inputs).items()}
    assert found == pytest.approx(reference_losses(inputs), rel=1e-4, abs=1e-6)


def test_expected_distances_equal_the_slow_reference() -> None:
    logits = random_inputs(7, 2, 3, 2)[1].detach()
    torch.testing.assert_close(expected_distances(logits), reference_distances(logits), rtol=1e-5, atol=1e-5)
    certain = torch.full((1, 4, REG_MAX + 1), -50.0)
    certain[0, torch.arange(4), torch.tensor([0, 1, 5, REG_MAX])] = 50.0
    assert expected_distances(certain.flatten(1))[0].tolist() == pytest.approx([0.0, 1.0, 5.0, REG_MAX], abs=1e-6)


def test_element_losses_equal_the_slow_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(40, generator=generator) * 4, torch.rand(40, generator=generator)
    expected = [reference_qfl(v, t) for v, t in zip(logits.tolist(), target.tolist())]
    assert quality_focal_loss(logits, target).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)

    bins = torch.randn(6, REG_MAX + 1, generator=generator)
    distances = torch.tensor([-1.0, 0.0, 0.3, 3.0, REG_MAX - 0.1, 50.0])
    expected = [reference_dfl(row, t) for row, t in zip(bins.tolist(), distances.tolist())]
    assert distribution_focal_loss(bins, distances).tolist() == pytest.approx(expected, rel=1e-4)

    first, second = (torch.rand(20, 4, generator=generator).cumsum(-1) * 30 for _ in range(2))
    expected = [reference_giou_loss(a, b) for a, b in zip(first.tolist(), second.tolist())]
    assert giou_loss(first, second).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("num_boxes", [0, 4])
def test_an_empty_batch_has_box_losses_of_zero_with_gradients(num_boxes: int) -> None:
    cls_logits, reg_logits, points, targets = random_inputs(0, 2, num_boxes, 3)
    targets = dataclasses.replace(targets, valid=torch.zeros(2, num_boxes, dtype=torch.bool))
    losses = DetectionCriterion()(cls_logits, reg_logits, points, targets)
    assert losses["num_positives"] == 0
    assert losses["dfl"] == losses["giou"] == 0
    losses["total"].backward()
    assert cls_logits.grad is not None
    assert cls_logits.grad.abs().sum() > 0
    assert reg_logits.grad is not None
    assert (reg_logits.grad == 0).all()


def test_gradients_are_finite_and_reach_positives_only_in_regression() -> None:
    cls_logits, reg_logits, points, targets = random_inputs(1, 3, 6, 3)
    losses = DetectionCriterion()(cls_logits, reg_logits, points, targets)
    losses["total"].backward()
    assert cls_logits.grad is not None
    assert reg_logits.grad is not None
    assert cls_logits.grad.isfinite().all()
    assert reg_logits.grad.isfinite().all()
    assert (reg_logits.grad.abs().sum(-1) > 0).sum() == losses["num_positives"] > 0


def test_box_losses_send_no_gradient_to_the_scores_that_weight_them() -> None:
    cls_logits, reg_logits, points, targets = random_inputs(1, 3, 6, 3)
    losses = DetectionCriterion()(cls_logits, reg_logits, points, targets)
    (gradient,) = torch.autograd.grad(losses["dfl"] + losses["giou"], [cls_logits], allow_unused=True)
    assert gradient is None


def test_ignored_priors_send_no_gradient() -> None:
    cls_logits, reg_logits, points, targets = random_inputs(2, 1, 1, 3)
    everywhere = SceneTargets(
        torch.tensor([[[-1.0, -1.0, 97.0, 97.0]]]), targets.labels, targets.valid | True, targets.ignore | True
    )
    losses = DetectionCriterion()(cls_logits, reg_logits, points, everywhere)
    assert losses["total"] == 0


def test_a_crowd_covers_the_priors_on_its_border() -> None:
    cls_logits, reg_logits, points, targets = random_inputs(2, 1, 1, 3)
    crowd = SceneTargets(
        torch.tensor([[[16.0, 24.0, 48.0, 56.0]]]), targets.labels, targets.valid | True, targets.ignore | True
    )
    DetectionCriterion()(cls_logits, reg_logits, points, crowd)["cls"].backward()
    x, y, _ = points.unbind(-1)
    inside = (x >= 16) & (x <= 48) & (y >= 24) & (y <= 56)
    assert cls_logits.grad is not None
    assert torch.equal(cls_logits.grad[0].abs().sum(-1) == 0, inside)
    assert {(16, 24), (48, 56), (16, 56), (48, 24)} <= {tuple(point) for point in points[inside][:, :2].tolist()}


def test_autocast_gives_fp32_and_the_same_values() -> None:
    cls_logits, reg_logits, points, targets = random_inputs(3, 2, 5, 3)
    half = (cls_logits.detach().bfloat16().requires_grad_(), reg_logits.detach().bfloat16().requires_grad_())
    criterion = DetectionCriterion()
    with torch.autocast("cpu", torch.bfloat16):
        losses = criterion(*half, points, targets)
    expected = criterion(half[0].float(), half[1].float(), points, targets)
    for name in ("total", "cls", "dfl", "giou"):
        assert losses[name].dtype == torch.float32
        assert losses[name].isfinite()
        assert torch.equal(losses[name], expected[name])
    losses["total"].backward()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in half)


def test_divisors_are_averaged_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(4, 2, 6, 3)
    criterion = DetectionCriterion()
    alone = criterion(*inputs)

    def all_reduce(values: torch.Tensor) -> None:
        values.mul_(4)  # as if the other process had three times as much

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    together = criterion(*inputs)
    for name in ("cls", "dfl", "giou"):
        assert together[name].item() == pytest.approx(alone[name].item() / 2)
    nothing = (*inputs[:3], dataclasses.replace(inputs[3], valid=inputs[3].valid & False))
    empty = criterion(*nothing)["cls"].item()  # two processes without a positive: 1 in all, a half for each
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    assert empty == pytest.approx(2 * criterion(*nothing)["cls"].item())


def test_weights_scale_their_parts_and_the_module_copies() -> None:
    inputs = random_inputs(5, 2, 6, 3)
    plain = DetectionCriterion()(*inputs)
    config = LossConfig(cls_weight=3, dfl_weight=0.5, giou_weight=0, assigner_options={"top_k": 10})
    criterion = pickle.loads(pickle.dumps(copy.deepcopy(DetectionCriterion(config))))
    scaled = criterion(*inputs)
    assert scaled["cls"].item() == pytest.approx(3 * plain["cls"].item())
    assert scaled["dfl"].item() == pytest.approx(2 * plain["dfl"].item())
    assert scaled["giou"] == 0


@pytest.mark.parametrize(
    ("name", "least"), [("beta", 1.0), ("cls_weight", 0.0), ("dfl_weight", 0.0), ("giou_weight", 0.0)]
)
def test_settings_have_their_limits(name: str, least: float) -> None:
    assert getattr(LossConfig(**{name: least}), name) == least  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="greater than or equal"):
        LossConfig(**{name: least - 0.01})  # type: ignore[arg-type]


def test_an_unknown_assigner_is_refused_when_the_criterion_is_built() -> None:
    with pytest.raises(UserError, match="known: align_ota"):
        DetectionCriterion(LossConfig(assigner="hungarian"))
