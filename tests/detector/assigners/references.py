"""The assigners' published texts followed box by box in plain Python.

Costs are computed in double precision and compared in single, as published.
"""

from __future__ import annotations

import math
import statistics
import struct
from collections.abc import Callable

import torch

from detector.assigners import Assignment
from tests.detector.scenes import Scene

Match = Callable[[Scene, int], list[int]]
"""`(scene, image)` -> per prior, the index of its box or -1."""

Cost = Callable[[list[float], int, float], float]
"""`(logits, label, iou)` of a box and a prior -> cost."""


def iou_of(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def single(value: float) -> float:
    """Rounded to single precision."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def boxes_to_learn(scene: Scene, image: int) -> list[int]:
    wanted = scene.targets.valid[image] & ~scene.targets.ignore[image]
    return wanted.nonzero().flatten().tolist()


def priors_inside(scene: Scene, box: list[float]) -> list[bool]:
    return [box[0] < x < box[2] and box[1] < y < box[3] for x, y, _ in scene.priors.tolist()]


def ota_match(scene: Scene, image: int, cost_of: Cost) -> list[int]:
    """AlignOTA's and SimOTA's procedure: candidates, central ones first, dynamic k, the cheaper box wins."""
    points, predicted = scene.priors.tolist(), scene.boxes[image].tolist()
    logits, truth = scene.logits[image].tolist(), scene.targets.boxes_xyxy[image].tolist()
    claims: dict[int, list[tuple[bool, float, int]]] = {}
    for index in boxes_to_learn(scene, image):
        box, label = truth[index], int(scene.targets.labels[image, index])
        inside = priors_inside(scene, box)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        central = [max(abs(x - middle[0]), abs(y - middle[1])) < 2.5 * stride for x, y, stride in points]
        candidates = [i for i in range(len(points)) if inside[i] or central[i]]
        ious = {i: iou_of(predicted[i], box) for i in candidates}
        best = torch.tensor((sorted(ious.values(), reverse=True) + [0.0] * 10)[:10])
        k = max(1, int(best.sum()))
        cost = {i: (not (inside[i] and central[i]), single(cost_of(logits[i], label, ious[i]))) for i in candidates}
        for i in sorted(candidates, key=cost.__getitem__)[:k]:
            claims.setdefault(i, []).append((*cost[i], index))
    return [min(claims[i])[2] if i in claims else -1 for i in range(len(points))]


def align_ota_cost(logits: list[float], label: int, iou: float) -> float:
    terms = [-3 * math.log(iou + 1e-7)]
    for index, logit in enumerate(logits):
        target, p = iou if index == label else 0.0, sigmoid(logit)
        terms.append((target - p) ** 2 * -(target * math.log(p) + (1 - target) * math.log(1 - p)))
    return math.fsum(terms)  # exact, so that the order of classes does not decide ties


def sim_ota_cost(logits: list[float], label: int, iou: float) -> float:
    terms = [math.log(sigmoid(logit) if index == label else 1 - sigmoid(logit)) for index, logit in enumerate(logits)]
    return -math.fsum([3 * math.log(iou + 1e-8), *terms])


def align_ota_match(scene: Scene, image: int) -> list[int]:
    return ota_match(scene, image, align_ota_cost)


def sim_ota_match(scene: Scene, image: int) -> list[int]:
    return ota_match(scene, image, sim_ota_cost)


def alignment(scene: Scene, image: int, prior: int, index: int) -> float:
    """TOOD's t = s x u^6."""
    score = sigmoid(scene.logits[image, prior, int(scene.targets.labels[image, index])].item())
    return score * predicted_iou(scene, image, prior, index) ** 6


def predicted_iou(scene: Scene, image: int, prior: int, index: int) -> float:
    return iou_of(scene.boxes[image, prior].tolist(), scene.targets.boxes_xyxy[image, index].tolist())


def task_aligned_match(scene: Scene, image: int) -> list[int]:
    claims: dict[int, list[tuple[float, int]]] = {}
    for index in boxes_to_learn(scene, image):
        inside = priors_inside(scene, scene.targets.boxes_xyxy[image, index].tolist())
        t = {i: alignment(scene, image, i, index) for i, is_inside in enumerate(inside) if is_inside}
        for i in sorted((i for i in t if t[i] > 0), key=lambda i: -t[i])[:13]:
            claims.setdefault(i, []).append((-single(predicted_iou(scene, image, i, index)), index))
    return [min(claims[i])[1] if i in claims else -1 for i in range(len(scene.priors))]


def task_aligned_scores(scene: Scene, image: int, matched: list[int]) -> list[float]:
    """Per prior, t over the largest t of its box's priors, times the largest IoU of these."""
    scores = [0.0] * len(matched)
    for index in set(matched) - {-1}:
        members = [i for i, box in enumerate(matched) if box == index]
        t = [alignment(scene, image, i, index) for i in members]
        largest = max(predicted_iou(scene, image, i, index) for i in members)
        for i, value in zip(members, t):
            scores[i] = value / max(t) * largest
    return scores


def atss_match(scene: Scene, image: int, center_radius: float = 0.0) -> list[int]:
    points = scene.priors.tolist()
    claims: dict[int, list[tuple[float, int]]] = {}
    for index in boxes_to_learn(scene, image):
        box = scene.targets.boxes_xyxy[image, index].tolist()
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        candidates = []
        for stride in (8, 16, 32):
            level = [i for i, point in enumerate(points) if point[2] == stride]
            candidates += sorted(level, key=lambda i: (points[i][0] - x) ** 2 + (points[i][1] - y) ** 2)[:9]
        anchors = {i: [points[i][0], points[i][1]] * 2 for i in candidates}
        ious = {
            i: iou_of([c + side * 4 * points[i][2] for c, side in zip(anchor, (-1, -1, 1, 1))], box)
            for i, anchor in anchors.items()
        }
        threshold = statistics.mean(ious.values()) + statistics.stdev(ious.values())
        inside = priors_inside(scene, box)
        for i, iou in ious.items():
            reach = center_radius * points[i][2]
            central = abs(points[i][0] - x) < reach and abs(points[i][1] - y) < reach
            if (inside[i] or central) and iou >= threshold:
                claims.setdefault(i, []).append((-single(iou), index))
    return [min(claims[i])[1] if i in claims else -1 for i in range(len(points))]


def in_ignored(scene: Scene, image: int) -> list[bool]:
    """Per prior: inside a box that is to be ignored."""
    boxes = scene.targets.boxes_xyxy[image][scene.targets.valid[image] & scene.targets.ignore[image]].tolist()
    return [any(column) for column in zip([False] * len(scene.priors), *(priors_inside(scene, box) for box in boxes))]


def assert_equals(result: Assignment, scene: Scene, match: Match) -> None:
    """Everything but the score to learn is as `match` has it."""
    for image in range(len(scene.boxes)):
        matched = match(scene, image)
        assert result.matched[image].tolist() == matched
        negative = [box < 0 and not skip for box, skip in zip(matched, in_ignored(scene, image))]
        assert result.negatives_mask[image].tolist() == negative
        for prior, box in enumerate(matched):
            if box >= 0:
                assert torch.equal(result.boxes[image, prior], scene.targets.boxes_xyxy[image, box])
                assert result.labels[image, prior] == scene.targets.labels[image, box]


def expected_scores(scene: Scene, image: int, matched: list[int]) -> list[float]:
    """Per prior, the IoU of what it predicts with its box."""
    return [0.0 if box < 0 else predicted_iou(scene, image, prior, box) for prior, box in enumerate(matched)]
