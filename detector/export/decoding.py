"""What a model's last ops compute, in numpy: to know what an exported file must give."""

from __future__ import annotations

import numpy as np

from detector.deploy import Floats


def decoded(logits: Floats, sides: Floats, priors_A3: Floats) -> tuple[Floats, Floats]:
    """Boxes (..., A, 4) xyxy in pixels and scores (..., A, C) of class logits (..., A, C), logits of each side's bins
    (..., A, 4, reg_max + 1) and the priors' x, y, stride; as `detector.priors` and the sigmoid."""
    shares = np.exp(sides - sides.max(-1, keepdims=True))
    bins = np.arange(sides.shape[-1], dtype=np.float32)
    offsets = (shares * bins).sum(-1) / shares.sum(-1) * priors_A3[:, 2:]
    points = priors_A3[:, :2]
    boxes = np.concatenate([points - offsets[..., :2], points + offsets[..., 2:]], axis=-1)
    with np.errstate(over="ignore"):  # of a logit far below zero, whose score is zero
        scores = 1 / (1 + np.exp(-logits))
    return boxes.astype(np.float32), scores.astype(np.float32)
