"""Running a network over a split: detections, boxes in original pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import torch

from detector.checkpoint import Checkpoint
from detector.data.loader import Batch
from detector.evaluation import MAX_DETECTIONS, Detections
from detector.network import Network
from detector.postprocess import postprocess
from detector.training.config import EvalConfig
from detector.training.presets import postprocess_defaults


class Selection(TypedDict):
    """Which boxes of an image an evaluation counts as detections: least score, IoU of the suppression, at most."""

    score_threshold: float
    iou_threshold: float
    max_detections: int


def selection_of(checkpoint: Checkpoint) -> Selection:
    """As the training that made the checkpoint was set (`eval.*`); what was not set, as published for its family."""
    chosen = EvalConfig.model_construct(**checkpoint.config.get("eval", {}))  # of another version: what is known counts
    score, iou = postprocess_defaults(checkpoint.structure)
    return Selection(
        score_threshold=score if chosen.score_threshold is None else chosen.score_threshold,
        iou_threshold=iou if chosen.iou_threshold is None else chosen.iou_threshold,
        max_detections=detections_for(chosen.max_detections, chosen.counted_detections),
    )


def detections_for(most: int, counted: int) -> int:
    """How many detections of an image to keep so that metrics can count `counted` of a class: `most`, and more only where
    more than COCO's 100 are to count."""
    return max(most, counted) if counted > MAX_DETECTIONS else most


def counted_of(checkpoint: Checkpoint) -> int:
    """How many detections of an image and class the training's metrics count."""
    return EvalConfig.model_construct(**checkpoint.config.get("eval", {})).counted_detections


@torch.no_grad()
def detect_all(
    network: Network,
    batches: Iterable[Batch],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int = 500,
) -> Detections:
    """Detections of every image, in the batches' order, boxes in pixels of the original images."""
    device = next(network.parameters()).device
    found = []
    for batch in batches:
        images = batch.images.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        boxes_BA4, scores_BAC = network(images)
        for boxes_A4, scores_AC, scale_xy in zip(boxes_BA4, scores_BAC, batch.scale_xy.to(device)):
            boxes, scores, labels = postprocess(boxes_A4, scores_AC, score_threshold, iou_threshold, max_detections)
            boxes = clip_boxes(boxes, images.shape[-2], images.shape[-1]) / scale_xy.repeat(2)
            found.append((boxes.cpu().numpy(), scores.cpu().numpy(), labels.cpu().numpy()))
    return Detections.pack(found)


def clip_boxes(boxes_N4: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Boxes (N, 4) xyxy cut to an image of that size, same unit."""
    limits = torch.tensor([width, height, width, height], dtype=boxes_N4.dtype, device=boxes_N4.device)
    return torch.minimum(boxes_N4.clamp(min=0), limits)
