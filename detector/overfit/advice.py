"""Why a detector did not learn a few images by heart: what can be seen from the boxes and from how training went."""

from __future__ import annotations

import numpy as np
import torch

from detector.data.annotations import Annotations
from detector.evaluation import SplitDetections, evaluate
from detector.overfit.images import FINEST_STRIDE_PX, narrow_boxes
from detector.overfit.training import GOAL_AP50, OverfitResult
from detector.postprocess import postprocess
from search_spaces.errors import listed

FELL = 0.5
"""A loss that ends below this share of its highest value has fallen."""
LEARNT = 0.5
"""AP50 below which a fallen loss is suspicious."""
RISING = 0.05
"""A gain in AP50 over the last quarter of the evaluations, or the last three, that calls for more steps."""


def best_possible_ap50(annotations: Annotations, iou_threshold: float, max_detections: int) -> float:
    """AP50 of detections that are the annotated boxes themselves, after suppression: what no training can exceed."""
    found = []
    for index in range(len(annotations)):
        boxes, labels, ignore = annotations.boxes_of(index)
        scores = torch.nn.functional.one_hot(
            torch.from_numpy(labels[~ignore].astype(np.int64)), annotations.num_classes
        )
        kept = postprocess(torch.from_numpy(boxes[~ignore]), scores.float(), 0.5, iou_threshold, max_detections)
        found.append((kept[0].numpy(), kept[1].numpy(), kept[2].numpy()))
    return evaluate(SplitDetections.pack(found), annotations).ap50


def advice(
    result: OverfitResult,
    annotations: Annotations,
    image_size: tuple[int, int],
    iou_threshold: float,
    max_detections: int,
) -> list[str]:
    """What to look at, one line each, the likeliest first; at least one."""
    last, count = result.last, len(result.readings)
    before = result.readings[-1 - min(max(3, count // 4), count - 1)]
    ap50 = last.metrics.ap50
    rise = ap50 - before.metrics.ap50
    fell = last.loss < FELL * result.highest_loss
    lines = []
    if not fell:
        lines.append(
            f"the loss hardly fell (highest {result.highest_loss:.3g}, last {last.loss:.3g}): if more --steps and "
            "another --set optimizer.learning_rate_per_image=... change nothing, boxes or classes differ from one step "
            "to the next, or what should learn is frozen"
        )
    if fell and ap50 < LEARNT and rise <= RISING:
        lines.append(
            f"the loss fell (highest {result.highest_loss:.3g}, last {last.loss:.3g}) but AP50 is {ap50:.3f}: what is "
            "learnt is not what is evaluated; compare the boxes of truth and prediction in the picture"
        )
    if rise > RISING:
        lines.append(
            f"AP50 was still rising ({before.metrics.ap50:.3f} at step {before.step}, {ap50:.3f} at step {last.step}): "
            f"give it --steps {2 * last.step}"
        )
    counts = annotations.counts()
    lost = [name for name, count in counts.items() if count and not last.metrics.class_ap50[name] > 0]
    if lost and len(lost) < sum(count > 0 for count in counts.values()):
        named = listed([f"{name} ({counts[name]} boxes)" for name in lost], 8)
        lines.append(f"AP50 is 0 for {named}: are these boxes right, and large enough to see? more --steps?")
    lines += _limits(annotations, image_size, iou_threshold, max_detections)
    return lines or [
        f"AP50 stays at {ap50:.3f}: look in the picture for boxes that are missing or drawn twice; `tinynas data check` "
        "looks through the annotations"
    ]


def _limits(
    annotations: Annotations, image_size: tuple[int, int], iou_threshold: float, max_detections: int
) -> list[str]:
    """What the boxes themselves stand in the way of."""
    lines = []
    narrow, boxes = int(narrow_boxes(annotations, image_size).sum()), int((~annotations.ignore).sum())
    if narrow:
        height, width = image_size
        lines.append(
            f"{narrow} of {boxes} boxes have a side under {FINEST_STRIDE_PX} px at {height}x{width}, the finest stride: "
            f"try --image-size {2 * height}x{2 * width}"
        )
    ceiling = best_possible_ap50(annotations, iou_threshold, max_detections)
    if ceiling <= GOAL_AP50:
        lines.append(
            f"the annotated boxes themselves reach AP50 {ceiling:.3f}: some overlap so much (IoU above {iou_threshold}) "
            f"that suppression drops them, or there are over {min(max_detections, 100)} on an image; are boxes drawn "
            "twice? else choose other images with --seed"
        )
    return lines
