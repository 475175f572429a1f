"""AlignOTA against a slow reference that follows the published text box by box, in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector import assigners
from detector.assigners import align_ota
from detector.priors import priors
from search_spaces.errors import UserError
from tests.detector.scenes import Scene, SceneTargets, random_scene


def reference_iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def reference_cost(logits: list[float], label: int, iou: float) -> float:
    cost = -3 * math.log(iou + 1e-7)
    for index, logit in enumerate(logits):
        target = iou if index == label else 0.0
        p = 1 / (1 + math.exp(-logit))
        cost += (target - p) ** 2 * -(target * math.log(p) + (1 - target) * math.log(1 - p))
    return cost


def reference_match(scene: Scene, image: int) -> tuple[list[int], list[bool]]:
    """Per prior: the index of its box or -1, and whether it counts as a negative."""
    points, predicted = scene.priors.tolist(), scene.boxes[image].tolist()
    logits, truth = scene.logits[image].tolist(), scene.targets.boxes_xyxy[image].tolist()
    claims: dict[int, list[tuple[float, int]]] = {}
    in_ignored = [False] * len(points)
    for box_index, (x1, y1, x2, y2) in enumerate(truth):
        inside = [x1 < x < x2 and y1 < y < y2 for x, y, _ in points]
        if not scene.targets.valid[image, box_index]:
            continue
        if scene.targets.ignore[image, box_index]:
            in_ignored = [a or b for a, b in zip(in_ignored, inside)]
            continue
        middle = ((x1 + x2) / 2, (y1 + y2) / 2)
        central = [max(abs(x - middle[0]), abs(y - middle[1])) < 2.5 * stride for x, y, stride in points]
        candidates = [i for i in range(len(points)) if inside[i] or central[i]]
        ious = {i: reference_iou(predicted[i], truth[box_index]) for i in candidates}
        k = max(1, int(sum(sorted(ious.values(), reverse=True)[:10])))
        label = int(scene.targets.labels[image, box_index])
        cost = {
            i: reference_cost(logits[i], label, ious[i]) + (0 if inside[i] and central[i] else 1e8) for i in candidates
        }
        for i in sorted(candidates, key=cost.__getitem__)[:k]:
            claims.setdefault(i, []).append((cost[i], box_index))
    matched = [min(claims[i])[1] if i in claims else -1 for i in range(len(points))]
    return matched, [m < 0 and not skip for m, skip in zip(matched, in_ignored)]


def run(scene: Scene) -> assigners.Assignment:
    return assigners.build("align_ota")(scene.priors, scene.boxes, scene.logits, scene.targets)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 3), num_boxes=st.integers(0, 7), classes=st.integers(1, 5))
def test_equals_the_slow_reference(seed: int, batch: int, num_boxes: int, classes: int) -> None:
    scene = random_scene(seed, batch, num_boxes, classes)
    result = run(scene)
    for image in range(batch):
        matched, negative = reference_match(scene, image)
        assert result.matched[image].tolist() == matched
        assert result.negatives_mask[image].tolist() == negative
        for prior, box in enumerate(matched):
            if box >= 0:
                truth = scene.targets.boxes_xyxy[image, box]
                assert torch.equal(result.boxes[image, prior], truth)
                assert result.labels[image, prior] == scene.targets.labels[image, box]
                expected = reference_iou(scene.boxes[image, prior].tolist(), truth.tolist())
                assert result.iou[image, prior].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_chunks_over_the_batch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_scene(3, 5, 6, 3)
    whole = run(scene)
    monkeypatch.setattr(align_ota, "_MAX_PAIRS", 2 * 6 * len(scene.priors))
    chunked = run(scene)
    assert torch.equal(whole.matched, chunked.matched)
    assert torch.equal(whole.negatives_mask, chunked.negatives_mask)


def one_image(boxes: list[list[float]], predicted: torch.Tensor, points: torch.Tensor) -> Scene:
    count = len(boxes)
    targets = SceneTargets(
        boxes_xyxy=torch.tensor(boxes)[None],
        labels=torch.zeros(1, count, dtype=torch.int64),
        valid=torch.ones(1, count, dtype=torch.bool),
        ignore=torch.zeros(1, count, dtype=torch.bool),
    )
    return Scene(points, predicted[None], torch.zeros(1, len(points), 2), targets)


def test_ties_go_to_the_lower_prior_and_the_lower_box() -> None:
    points = priors((128, 128))
    box = [20.0, 20.0, 60.0, 60.0]
    predicted = torch.tensor([20.0, 20.0, 60.0, 40.0]).expand(len(points), 4)  # IoU 1/2 everywhere: k = 5
    result = run(one_image([box, box], predicted, points))
    x, y, stride = points.unbind(-1)
    central = (x > 20) & (x < 60) & (y > 20) & (y < 60)
    central &= ((x - 40).abs() < 2.5 * stride) & ((y - 40).abs() < 2.5 * stride)
    assert result.matched[0].nonzero().flatten().numel() == len(points) - 5
    assert (result.matched[0] == 0).nonzero().flatten().tolist() == central.nonzero().flatten()[:5].tolist()


def test_perfect_predictions_give_ten_priors() -> None:
    points = priors((128, 128))
    box = [10.0, 10.0, 110.0, 110.0]
    assert (run(one_image([box], torch.tensor(box).expand(len(points), 4), points)).matched == 0).sum() == 10


def test_a_box_outside_the_image_stays_unmatched_and_a_tiny_one_is_matched() -> None:
    points = priors((64, 64))
    scene = one_image([[300.0, 300, 320, 320], [12.5, 12.5, 13.0, 13.0]], torch.zeros(len(points), 4), points)
    assert sorted(set(run(scene).matched[0].tolist())) == [-1, 1]


def test_broken_predictions_still_give_an_assignment() -> None:
    scene = random_scene(1, 2, 4, 3)
    scene.boxes[0] = float("nan")
    scene.logits[1] = float("inf")
    result = run(scene)
    assert result.matched.max() < 4
    assert (result.matched >= -1).all()


def test_a_cost_of_nan_ranks_last_and_minus_zero_ties_with_zero() -> None:
    minus_nan = torch.tensor([-1], dtype=torch.int32).view(torch.float32)
    cost = torch.cat((minus_nan, torch.tensor([math.nan, 2.0, 0.0, -0.0, -0.0, 1e9])))[None, None]
    every = torch.ones_like(cost, dtype=torch.bool)
    iou = torch.full_like(cost, 0.5)  # 7 x 0.5: k = 3
    assert align_ota._match(cost, iou, every, every, 10)[0].tolist() == [-1, -1, -1, 0, 0, 0, -1]
    iou[...] = 0.29  # k = 2
    assert align_ota._match(cost, iou, every, every, 10)[0].tolist() == [-1, -1, -1, 0, 0, -1, -1]


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean align_ota"):
        assigners.build("alignota")
    with pytest.raises(UserError, match="did you mean center_radius"):
        assigners.build("align_ota", {"centre_radius": 2})
    with pytest.raises(UserError, match="top_k = 0"):
        assigners.build("align_ota", {"top_k": 0})
