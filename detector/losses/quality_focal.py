"""Quality focal loss: classification and localisation quality in one score (Li et al., GFL, NeurIPS 2020, eq. 5)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def quality_focal_loss(logits: Tensor, targets: Tensor, beta: float = 2.0) -> Tensor:
    """|target - sigmoid(logit)|^beta x BCE(logit, target), element by element, fp32.

    `targets` has the shape of `logits`: the IoU of the matched box at its class, 0 elsewhere.
    """
    logits, targets = logits.float(), targets.float()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return cross_entropy * (targets - logits.sigmoid()).abs().pow(beta)
