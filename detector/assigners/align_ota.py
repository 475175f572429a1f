"""AlignOTA: each box takes the priors whose classification and regression both already suit it best.

Source: DAMO-YOLO report, section 2.3, equation 2. Weights, candidates and dynamic k are those of the released detector.

All boxes of a batch are matched at once. The dense work is on (B, G, A) pairs; classes are summed once per prior and
corrected at the true class, so that (B, G, A, C) never exists. Pairs are ranked by one int64 key each,

    not central (1 bit) | cost's fp32 bits (31) | index of the prior, later of the box (31)

which is the published "cost + 1e8 for a prior not in both" without its rounding (fp32 near 1e8 has steps of 8), and
breaks ties by the lower index on every device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detector.assigners import Assignment, Targets
from detector.boxes import aligned_iou, pairwise_iou

_INDEX_BITS = 31
_INDEX_MASK = 2**_INDEX_BITS - 1
_NO_KEY = 2**63 - 1
_MAX_PAIRS = 2**23  # of (box, prior) handled at once: about 0.5 GB of temporaries


class Options(BaseModel):
    """Settings of AlignOTA; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    center_radius: float = Field(2.5, gt=0, description="half side of a box's central square, in strides of the prior")
    top_k: int = Field(10, ge=1, description="predictions whose IoUs, summed, give a box's number of priors")
    cls_weight: float = Field(1.0, ge=0, description="weight of the classification cost")
    iou_weight: float = Field(3.0, ge=0, description="weight of -ln(IoU)")


@torch.no_grad()
def assign(priors_A3: Tensor, boxes_BA4: Tensor, logits_BAC: Tensor, targets: Targets, options: Options) -> Assignment:
    """Match priors (A, 3) to `targets`, given predicted boxes (B, A, 4) in pixels and class logits (B, A, C).

    A box may only take its candidates: priors strictly inside it or inside the square of `center_radius` strides
    around its centre. It takes its k cheapest, central ones (in both) before the others. A box without candidates (its
    centre far outside the image) stays unmatched, and so does one that loses all its claims to cheaper boxes.
    """
    truth_BG4 = targets.boxes_xyxy.float()
    batch, num_boxes = truth_BG4.shape[:2]
    num_priors = len(priors_A3)
    predicted_BA4 = boxes_BA4.float()
    matched_BA = torch.full((batch, num_priors), -1, dtype=torch.int64, device=predicted_BA4.device)
    ignored_BA = torch.zeros_like(matched_BA, dtype=torch.bool)
    if num_boxes == 0 or num_priors == 0 or batch == 0:
        return _assignment(matched_BA, ignored_BA, predicted_BA4, truth_BG4, targets.labels)
    valid_BG, ignore_BG = targets.valid.bool(), targets.ignore.bool()
    labels_BG = targets.labels.long().clamp(min=0)
    step = max(1, _MAX_PAIRS // (num_boxes * num_priors))
    for start in range(0, batch, step):
        some = slice(start, start + step)
        inside, in_square = _geometry(priors_A3, truth_BG4[some], options.center_radius)
        wanted = (valid_BG[some] & ~ignore_BG[some])[..., None]
        ignored_BA[some] = (inside & (valid_BG[some] & ignore_BG[some])[..., None]).any(dim=1)
        iou = pairwise_iou(truth_BG4[some], predicted_BA4[some])
        cost = options.cls_weight * _classification_cost(logits_BAC[some].float(), labels_BG[some], iou)
        cost -= options.iou_weight * torch.log(iou + 1e-7)
        matched_BA[some] = _match(cost, iou, (inside | in_square) & wanted, inside & in_square, options.top_k)
    return _assignment(matched_BA, ignored_BA, predicted_BA4, truth_BG4, targets.labels)


def _geometry(priors_A3: Tensor, truth_BG4: Tensor, center_radius: float) -> tuple[Tensor, Tensor]:
    """Two (B, G, A) masks: the prior lies inside the box; inside the square around its centre. Borders are out."""
    x, y, stride = priors_A3.float().unbind(dim=-1)
    left, top, right, bottom = truth_BG4[..., None].unbind(dim=2)
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    reach = center_radius * stride
    in_square = ((x - (left + right) / 2).abs() < reach) & ((y - (top + bottom) / 2).abs() < reach)
    return inside, in_square


def _classification_cost(logits_BAC: Tensor, labels_BG: Tensor, iou_BGA: Tensor) -> Tensor:
    """(target - p)^2 x BCE(p, target) summed over classes (B, G, A); target = IoU at the box's class, 0 elsewhere.

    Equation 2's C_cls. With logit z: p = sigmoid(z), BCE(p, t) = softplus(z) - t z.
    """
    background_BA = (logits_BAC.sigmoid().square() * F.softplus(logits_BAC)).sum(dim=-1)
    index = labels_BG[..., None].expand_as(iou_BGA)
    logit_BGA = logits_BAC.transpose(1, 2).gather(1, index)
    score_BGA = logit_BGA.sigmoid()
    zero_bce = F.softplus(logit_BGA)
    correction = (iou_BGA - score_BGA).square() * (zero_bce - iou_BGA * logit_BGA) - score_BGA.square() * zero_bce
    return background_BA[:, None] + correction


def _match(cost_BGA: Tensor, iou_BGA: Tensor, candidate_BGA: Tensor, central_BGA: Tensor, top_k: int) -> Tensor:
    """Index (B, A) of the box that each prior learns, -1 for none: dynamic k per box, then the cheapest claim."""
    num_boxes, num_priors = cost_BGA.shape[1:]
    device = cost_BGA.device
    count = min(top_k, num_priors)
    best_ious = iou_BGA.masked_fill(~candidate_BGA, 0.0).topk(count, dim=-1).values
    dynamic_k_BG = best_ious.sum(dim=-1).int().clamp(min=1)

    # Floats of one sign rank as their bits do. The clamp mends -3 ln(1 + 1e-7) < 0, the mask the sign of -0 and NaN.
    key = cost_BGA.clamp(min=0).view(torch.int32).long() & 0x7FFFFFFF
    key = ((key | ((~central_BGA).long() << 31)) << _INDEX_BITS) | torch.arange(num_priors, device=device)
    key.masked_fill_(~candidate_BGA, _NO_KEY)
    cheapest = key.topk(count, dim=-1, largest=False, sorted=True)
    rank = torch.arange(count, device=device)
    taken = (rank < dynamic_k_BG[..., None]) & (cheapest.values != _NO_KEY)

    box = torch.arange(num_boxes, device=device)[:, None]
    claim = ((cheapest.values >> _INDEX_BITS << _INDEX_BITS) | box).masked_fill(~taken, _NO_KEY)
    winner = torch.full((len(key), num_priors), _NO_KEY, dtype=torch.int64, device=device)
    winner.scatter_reduce_(1, cheapest.indices.flatten(1), claim.flatten(1), reduce="amin")
    return torch.where(winner == _NO_KEY, -1, winner & _INDEX_MASK)


def _assignment(
    matched_BA: Tensor, ignored_BA: Tensor, predicted_BA4: Tensor, truth_BG4: Tensor, labels_BG: Tensor
) -> Assignment:
    """Look up what each prior's box says."""
    positive = matched_BA >= 0
    if truth_BG4.shape[1] == 0:
        boxes, labels = torch.zeros_like(predicted_BA4), torch.full_like(matched_BA, -1)
    else:
        index = matched_BA.clamp(min=0)
        boxes = truth_BG4.gather(1, index[..., None].expand(-1, -1, 4)) * positive[..., None]
        labels = labels_BG.long().gather(1, index).masked_fill(~positive, -1)
    return Assignment(
        matched=matched_BA,
        labels=labels,
        iou=aligned_iou(predicted_BA4, boxes).masked_fill(~positive, 0.0),
        boxes=boxes,
        negatives_mask=~positive & ~ignored_BA,
    )
