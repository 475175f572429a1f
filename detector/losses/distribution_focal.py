"""Distribution focal loss: a side's distance as a distribution over bins (Li et al., GFL, NeurIPS 2020, equation 6)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distribution_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy shared by the two bins around the target, by nearness; (...,), fp32.

    `logits` (..., reg_max + 1) per bin; `targets` (...,) distances in units of stride, clipped here to
    [0, reg_max - 0.1], so that there is a bin on both sides.
    """
    reg_max = logits.shape[-1] - 1
    clipped = targets.float().clamp(min=0, max=reg_max - 0.1)
    low = clipped.floor().long()
    high_share = clipped - low
    log_probabilities = F.log_softmax(logits.float(), dim=-1)
    low_term = log_probabilities.gather(-1, low[..., None]).squeeze(-1)
    high_term = log_probabilities.gather(-1, low[..., None] + 1).squeeze(-1)
    return -(low_term * (1 - high_share) + high_term * high_share)
