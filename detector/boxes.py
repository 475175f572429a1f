"""Overlap of boxes. A box is `x1, y1, x2, y2` in pixels; every result is fp32, under autocast too."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST_AREA = 1e-9  # px^2: keeps 0 / 0 out of the overlap of two empty boxes, far below any real area


def area(boxes: Tensor) -> Tensor:
    """Area (...,) in px^2 of boxes (..., 4); an inverted box has none."""
    sides = (boxes[..., 2:].float() - boxes[..., :2].float()).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _intersection_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Areas (...,) shared by, and covered by, fp32 boxes that broadcast against each other (..., 4)."""
    width = torch.minimum(first[..., 2], second[..., 2]) - torch.maximum(first[..., 0], second[..., 0])
    height = torch.minimum(first[..., 3], second[..., 3]) - torch.maximum(first[..., 1], second[..., 1])
    intersection = width.clamp(min=0) * height.clamp(min=0)
    return intersection, area(first) + area(second) - intersection


def aligned_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (...,) of boxes (..., 4) taken pair by pair; the shapes may broadcast."""
    intersection, union = _intersection_and_union(first.float(), second.float())
    return intersection / union.clamp(min=_SMALLEST_AREA)


def aligned_giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (...,) in [-1, 1] of boxes (..., 4) taken pair by pair.

    IoU minus the share of the smallest enclosing box that neither box covers (Rezatofighi et al., CVPR 2019, alg. 1).
    """
    first, second = first.float(), second.float()
    intersection, union = _intersection_and_union(first, second)
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    enclosing = area(torch.cat((low, high), dim=-1)).clamp(min=_SMALLEST_AREA)
    return intersection / union.clamp(min=_SMALLEST_AREA) - (enclosing - union) / enclosing
