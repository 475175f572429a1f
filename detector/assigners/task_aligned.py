"""Task-aligned assignment: each box takes the priors whose score and overlap are best together.

Source: Feng et al., TOOD: Task-aligned One-stage Object Detection (ICCV 2021), section 3.2: alignment t = s^alpha u^beta
(equation 3) of the true class's score s and the IoU u, alpha 1, beta 6, the m = 13 best of each box. As in its released
code, only priors inside the box count and a prior claimed twice goes to the box of larger IoU; here the 13 are chosen
among the priors inside, so that a small box does not lose its own to priors outside. The release's first epochs with
ATSS are a matter of training, not of this file.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detector.assigners import Assignment, Targets
from detector.assigners._matching import Claims, Rows, ascending, assign_by, descending, inside, pairs_where


class Options(BaseModel):
    """Settings of the task-aligned assignment; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(13, ge=1, description="priors of a box, at most")
    alpha: float = Field(1.0, ge=0, description="exponent of the score")
    beta: float = Field(6.0, ge=0, description="exponent of the IoU")


@torch.no_grad()
def assign(priors_A3: Tensor, boxes_BA4: Tensor, logits_BAC: Tensor, targets: Targets, options: Options) -> Assignment:
    """Match priors (A, 3) to `targets`, given predicted boxes (B, A, 4) in pixels and class logits (B, A, C).

    Candidates are the priors strictly inside a box whose predicted box overlaps it. `quality` of the result holds the
    paper's normalised alignment, which is the score to learn: t scaled such that a box's best prior has the largest IoU
    of its priors. Everything is in logarithms: u^6 underflows fp32 below an IoU of 1e-7, and ranks here all the same.
    """
    priors_A3, predicted_BA4, logits_BAC = priors_A3.float(), boxes_BA4.float(), logits_BAC.float()

    def claim(rows: Rows) -> Claims:
        pairs = pairs_where(inside(priors_A3, rows.boxes), rows)
        iou = pairs.iou(predicted_BA4).double()
        cost = -_log_alignment(pairs.true_class(logits_BAC), iou, options)
        key = ascending(cost.nan_to_num(torch.inf))
        return Claims(pairs, (pairs.rank(key) < options.top_k) & cost.isfinite(), descending(iou))

    assignment = assign_by(claim, priors_A3, predicted_BA4, targets)
    num_boxes = targets.boxes_xyxy.shape[1]
    return dataclasses.replace(assignment, quality=_score_to_learn(assignment, logits_BAC, num_boxes, options))


def _log_alignment(logit: Tensor, iou: Tensor, options: Options) -> Tensor:
    """ln t (equation 3); -inf without overlap, whatever beta."""
    log_t = options.alpha * F.logsigmoid(logit) + options.beta * iou.log()
    return torch.where(iou > 0, log_t, -torch.inf)


def _score_to_learn(assignment: Assignment, logits_BAC: Tensor, num_boxes: int, options: Options) -> Tensor:
    """t / (its maximum over the box's priors) x (their largest IoU), (B, A); 0 for background."""
    positive = assignment.positives_mask
    if num_boxes == 0:
        return assignment.quality
    logit = logits_BAC.gather(-1, assignment.labels.clamp(min=0)[..., None]).squeeze(-1)
    log_t = _log_alignment(logit, assignment.quality, options).masked_fill(~positive, -torch.inf)
    index = assignment.matched.clamp(min=0)
    best = log_t.new_full((len(log_t), num_boxes), -torch.inf).scatter_reduce(1, index, log_t, reduce="amax")
    largest = log_t.new_zeros(len(log_t), num_boxes).scatter_reduce(1, index, assignment.quality, reduce="amax")
    score = (log_t - best.gather(1, index)).exp() * largest.gather(1, index)
    return score.masked_fill(~positive, 0.0)
