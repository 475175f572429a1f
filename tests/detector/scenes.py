"""Random batches of targets and of raw head outputs for tests."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.priors import decode_distances, priors


@dataclass(frozen=True)
class SceneTargets:
    boxes_xyxy: Tensor
    labels: Tensor
    valid: Tensor
    ignore: Tensor


@dataclass(frozen=True)
class Scene:
    """What an assigner is given: predictions of all priors of 96 x 96 px images, a third of them close to a target."""

    priors: Tensor
    boxes: Tensor
    logits: Tensor
    targets: SceneTargets


def random_targets(
    generator: torch.Generator, batch: int, num_boxes: int, num_classes: int, side: int = 96
) -> SceneTargets:
    """Boxes of 2 px to half the image, a few beyond the border, a fifth padding, a fifth ignored."""
    center = torch.rand(batch, num_boxes, 2, generator=generator) * side
    half = 1 + torch.rand(batch, num_boxes, 2, generator=generator).square() * side / 4
    return SceneTargets(
        boxes_xyxy=torch.cat((center - half, center + half), dim=-1),
        labels=torch.randint(0, num_classes, (batch, num_boxes), generator=generator),
        valid=torch.rand(batch, num_boxes, generator=generator) > 0.2,
        ignore=torch.rand(batch, num_boxes, generator=generator) < 0.2,
    )


def random_scene(seed: int, batch: int, num_boxes: int, num_classes: int) -> Scene:
    generator = torch.Generator().manual_seed(seed)
    points = priors((96, 96))
    targets = random_targets(generator, batch, num_boxes, num_classes)
    distances = torch.rand(batch, len(points), 4, generator=generator) * 4
    boxes = decode_distances(distances, points)
    if num_boxes:
        pick = torch.randint(0, num_boxes, (batch, len(points)), generator=generator)
        near = targets.boxes_xyxy.gather(1, pick[..., None].expand(-1, -1, 4))
        near = near + torch.rand(near.shape, generator=generator)
        boxes = torch.where(torch.rand(batch, len(points), 1, generator=generator) < 0.3, near, boxes)
    logits = torch.randn(batch, len(points), num_classes, generator=generator) * 2 - 1
    return Scene(points, boxes, logits, targets)
