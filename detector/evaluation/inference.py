"""Running a network over a split: detections, boxes in original pixels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from detector.data.geometry import clip_boxes
from detector.data.loader import Batch
from detector.evaluation.detections import SplitDetections
from detector.network import Network
from detector.postprocess import postprocess


@torch.no_grad()
def detect_all(
    network: Network,
    batches: Iterable[Batch],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int = 500,
) -> SplitDetections:
    """Detections of every image, in the batches' order."""
    device = next(network.parameters()).device
    found = []
    for batch in batches:
        images = batch.images.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        boxes_BA4, scores_BAC = network(images)
        size_hw = (images.shape[-2], images.shape[-1])
        for boxes_A4, scores_AC, scale_xy in zip(boxes_BA4, scores_BAC, batch.scale_xy.cpu().numpy()):
            boxes, scores, labels = postprocess(boxes_A4, scores_AC, score_threshold, iou_threshold, max_detections)
            inside = clip_boxes(boxes.cpu().numpy(), size_hw) / np.tile(scale_xy, 2)
            found.append((inside, scores.cpu().numpy(), labels.cpu().numpy()))
    return SplitDetections.pack(found)
