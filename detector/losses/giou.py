"""Generalised IoU as a loss (Rezatofighi et al., CVPR 2019)."""

from __future__ import annotations

from torch import Tensor

from detector.boxes import aligned_giou


def giou_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """1 - GIoU (...,), in [0, 2], of boxes (..., 4) taken pair by pair; fp32."""
    return 1 - aligned_giou(predicted, truth)
