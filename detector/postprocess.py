"""`detector.suppression` for tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.suppression import greedy


def postprocess(
    boxes_A4: Tensor,
    scores_AC: Tensor,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.7,
    max_detections: int = 500,
) -> tuple[Tensor, Tensor, Tensor]:
    """`suppression.suppress` of one image's boxes (A, 4) and scores (A, C): boxes (N, 4), scores (N,), labels (N,) int64.

    On the inputs' device, fp32. Candidates are chosen and sorted there; only they are copied to the CPU.
    """
    scores_AC = scores_AC.detach().float()
    prior, label = (scores_AC > score_threshold).nonzero(as_tuple=True)
    score = scores_AC[prior, label]
    best_first = torch.argsort(score, descending=True, stable=True)
    prior, label, score = prior[best_first], label[best_first], score[best_first]
    boxes = boxes_A4.detach().float()[prior]
    keep = greedy(boxes.cpu().numpy(), label.cpu().numpy(), iou_threshold, max_detections)
    index = torch.from_numpy(keep).to(boxes.device)
    return boxes[index], score[index], label[index]
