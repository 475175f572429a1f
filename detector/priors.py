"""Priors: the points of the feature maps from which the head measures its four distances, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.errors import UserError


def priors(
    image_hw: tuple[int, int], strides: Sequence[int] = (8, 16, 32), device: torch.device | str | None = None
) -> Tensor:
    """Every prior of an image as fp32 rows `x, y, stride` (A, 3) in input pixels.

    x = column x stride and y = row x stride, without a half-cell offset: the published head decodes so. The order is
    that of the head's outputs: level by level in the order of `strides`, row by row within a level.

    Raises UserError if a side of the image is not a multiple of a stride.
    """
    height, width = image_hw
    levels = []
    for stride in strides:
        if height % stride or width % stride:
            raise UserError(
                f"image size {height}x{width}: both sides must be multiples of {stride}; "
                f"the nearest below is {height - height % stride}x{width - width % stride}"
            )
        rows = torch.arange(height // stride, dtype=torch.float32, device=device) * stride
        columns = torch.arange(width // stride, dtype=torch.float32, device=device) * stride
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        levels.append(torch.stack((x, y, torch.full_like(x, stride)), dim=-1).reshape(-1, 3))
    return torch.cat(levels)


def by_side(reg_logits: Tensor) -> Tensor:
    """Logits (..., 4, reg_max + 1) of each side's bins, from (..., 4 x (reg_max + 1)): left, top, right, bottom."""
    return reg_logits.reshape(*reg_logits.shape[:-1], 4, reg_logits.shape[-1] // 4)


def expected_distances(reg_logits: Tensor, bins: Tensor | None = None) -> Tensor:
    """Distances (..., 4) in units of stride: per side, the expectation of the softmax over its bins; fp32.

    `reg_logits` as for `by_side`; bins: 0, 1, ..., reg_max (fp32), made here where there are none. Multiplied and summed:
    OpenVINO miscompiles softmax @ vector.
    """
    probabilities = by_side(reg_logits.float()).softmax(dim=-1)
    if bins is None:
        bins = torch.arange(probabilities.shape[-1], dtype=torch.float32, device=probabilities.device)
    return (probabilities * bins).sum(dim=-1)


def decode_distances(distances: Tensor, priors_A3: Tensor) -> Tensor:
    """Boxes `x1, y1, x2, y2` (..., A, 4) in pixels from left, top, right, bottom distances in units of stride.

    `distances` is (..., A, 4), `priors_A3` (A, 3) as from `priors` (or one row per distance row). fp32.
    """
    offsets = distances.float() * priors_A3[..., 2:3]
    points = priors_A3[..., :2]
    return torch.cat((points - offsets[..., :2], points + offsets[..., 2:]), dim=-1)


def encode_distances(boxes: Tensor, priors_A3: Tensor) -> Tensor:
    """The inverse of `decode_distances`: left, top, right, bottom in units of stride, negative for a prior outside."""
    points = priors_A3[..., :2]
    boxes = boxes.float()
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1) / priors_A3[..., 2:3]
