"""SimOTA: each box takes its cheapest priors, as many as its best predictions overlap it.

Source: Ge et al., YOLOX: Exceeding YOLO Series in 2021 (arXiv 2107.08430), section 2.1, equation 1, with the weight 3,
the radius 2.5 and the 10 predictions of its first release. This detector has no objectness output: the score of a
class, which is YOLOX's product of objectness and class probability, is used as it is.
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
    """Settings of SimOTA; the defaults are the published ones."""


@torch.no_grad()
def assign(priors_A3: Tensor, boxes_BA4: Tensor, logits_BAC: Tensor, targets: Targets, options: Options) -> Assignment:
    """Match priors (A, 3) to `targets`, given predicted boxes (B, A, 4) in pixels and class logits (B, A, C).

    Candidates, k and conflicts are those of `align_ota`; the classification cost is the cross-entropy with the box's
    class (one-hot) summed over classes: sum of softplus(z), less the true class's z.
    """
    priors_A3, predicted_BA4, logits_BAC = priors_A3.float(), boxes_BA4.float(), logits_BAC.float()
    background_BA = class_sum(F.softplus, logits_BAC)

    def claim(rows: Rows) -> Claims:
        pairs, central = pairs_around(rows, priors_A3, options.center_radius)
        iou = pairs.iou(predicted_BA4).double()
        cost = options.cls_weight * (pairs.of_prior(background_BA) - pairs.true_class(logits_BAC))
        cost -= options.iou_weight * (iou + 1e-8).log()
        return dynamic_k_claims(pairs, cost, iou, central, options.top_k)

    return assign_by(claim, priors_A3, predicted_BA4, targets)
