"""AlignOTA: each box takes the priors whose classification and regression both already suit it best.

Source: DAMO-YOLO report, section 2.3, equation 2. Weights, candidates and dynamic k are those of the released detector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detector.assigners import Assignment, Targets
from detector.assigners._matching import (
    Claims,
    DynamicKOptions,
    Rows,
    assign_by,
    class_sum,
    dynamic_k_claims,
    pairs_around,
)


class Options(DynamicKOptions):
    """Settings of AlignOTA; the defaults are the published ones."""


@torch.no_grad()
def assign(priors_A3: Tensor, boxes_BA4: Tensor, logits_BAC: Tensor, targets: Targets, options: Options) -> Assignment:
    """Match priors (A, 3) to `targets`, given predicted boxes (B, A, 4) in pixels and class logits (B, A, C).

    A box may only take its candidates: priors strictly inside it or inside the square of `center_radius` strides
    around its centre. It takes its k cheapest, central ones (in both) before the others. A box without candidates (its
    centre far outside the image) stays unmatched, and so does one that loses all its claims to cheaper boxes.

    The classification cost is (target - p)^2 x BCE(p, target) summed over classes, target = IoU at the box's class and
    0 elsewhere. With logit z: p = sigmoid(z), BCE(p, t) = softplus(z) - t z. It is summed over classes once per prior
    as if there were no object, and corrected at the true class.
    """
    priors_A3, predicted_BA4, logits_BAC = priors_A3.float(), boxes_BA4.float(), logits_BAC.float()
    background_BA = class_sum(lambda z: F.softplus(z).mul_(z.sigmoid_().square_()), logits_BAC)

    def claim(rows: Rows) -> Claims:
        pairs, central = pairs_around(rows, priors_A3, options.center_radius)
        iou, logit = pairs.iou(predicted_BA4).double(), pairs.true_class(logits_BAC)
        score, zero_bce = logit.sigmoid(), F.softplus(logit)
        correction = (iou - score).square() * (zero_bce - iou * logit) - score.square() * zero_bce
        cost = options.cls_weight * (pairs.of_prior(background_BA) + correction)
        cost -= options.iou_weight * (iou + 1e-7).log()
        return dynamic_k_claims(pairs, cost, iou, central, options.top_k)

    return assign_by(claim, priors_A3, predicted_BA4, targets)
