"""From decoded predictions to detections: score threshold, non-maximum suppression per class, the best few."""

from __future__ import annotations

import functools
import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 256
_SMALLEST_AREA = 1e-9  # px^2, as in detector.boxes


def postprocess(
    boxes_A4: Tensor,
    scores_AC: Tensor,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.7,
    max_detections: int = 500,
) -> tuple[Tensor, Tensor, Tensor]:
    """Detections of one image: boxes (N, 4) in pixels, scores (N,), labels (N,) int64, best first, N <= max_detections.

    Every (prior, class) pair above `score_threshold` is a candidate, without a limit; a candidate goes if its IoU with
    a better one of its class that stays is above `iou_threshold`. Equal scores rank by prior, then class. The defaults
    are the published ones (mob models: 0.03 and 0.65). On the inputs' device, fp32.

    All classes are taken together in order of score, comparing within a class only, since that may stop as soon as
    `max_detections` stay: what is left could neither be kept nor suppress what is.
    """
    scores_AC = scores_AC.detach().float()
    prior, label = (scores_AC > score_threshold).nonzero(as_tuple=True)
    score = scores_AC[prior, label]
    best_first = torch.argsort(score, descending=True, stable=True)
    prior, label, score = prior[best_first], label[best_first], score[best_first]
    boxes = boxes_A4.detach().float()[prior]
    keep = _greedy(boxes.cpu().numpy(), label.cpu().numpy(), iou_threshold, max_detections)
    index = torch.from_numpy(keep).to(boxes.device)
    return boxes[index], score[index], label[index]


def nms(boxes_N4: Tensor, scores_N: Tensor, iou_threshold: float) -> Tensor:
    """Indices (int64, best first) of the boxes that non-maximum suppression keeps, all taken as one class.

    torchvision's where it is installed, else the same in numpy; equal scores rank by index in both.
    """
    boxes_N4, scores_N = boxes_N4.detach().float(), scores_N.detach().float()
    if _has_torchvision():
        from torchvision.ops import nms as torchvision_nms

        kept: Tensor = torchvision_nms(boxes_N4, scores_N, iou_threshold)
        return kept
    order = torch.argsort(scores_N, descending=True, stable=True)
    one_class = np.zeros(len(order), dtype=np.int64)
    keep = _greedy(boxes_N4[order].cpu().numpy(), one_class, iou_threshold, len(order))
    return order[torch.from_numpy(keep).to(order.device)]


@functools.cache
def _has_torchvision() -> bool:
    return importlib.util.find_spec("torchvision") is not None


def _greedy(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], iou_threshold: float, limit: int
) -> NDArray[np.int64]:
    """Positions (at most `limit`, ascending) kept of boxes (N, 4) that are sorted best first.

    Block by block: first what the boxes kept so far suppress, then what is left within the block.
    """
    kept: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    for start in range(0, len(boxes), _BLOCK):
        if len(kept) >= limit:
            break
        block = np.arange(start, min(start + _BLOCK, len(boxes)))
        block = block[~_overlaps(boxes, labels, kept, block, iou_threshold).any(axis=0)]
        alive = np.ones(len(block), dtype=bool)
        within = np.triu(_overlaps(boxes, labels, block, block, iou_threshold), k=1)
        for row in np.flatnonzero(within.any(axis=1)):
            if alive[row]:
                alive &= ~within[row]
        kept = np.concatenate((kept, block[alive]))
    return kept[:limit]


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    width, height = np.maximum(boxes[2:] - boxes[:2], 0)
    product: NDArray[np.float32] = width * height
    return product


def _overlaps(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Whether box `first[i]` and box `second[j]` share their class and have an IoU above the threshold, (I, J)."""
    a = np.ascontiguousarray(boxes[first].T)[:, :, None]
    b = np.ascontiguousarray(boxes[second].T)[:, None, :]
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(a) + _areas(b) - shared
    iou = shared / np.maximum(union, np.float32(_SMALLEST_AREA))
    above: NDArray[np.bool_] = (iou > iou_threshold) & (labels[first][:, None] == labels[second][None, :])
    return above
