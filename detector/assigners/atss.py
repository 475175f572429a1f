"""ATSS: each box takes the nearest priors whose anchors overlap it unusually well; predictions play no part.

Source: Zhang et al., Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample
Selection (CVPR 2020), algorithm 1: k = 9 candidates per level, one square anchor of 8 strides per prior.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detector.assigners import Assignment, Targets
from detector.assigners._matching import Claims, Pairs, Rows, ascending, assign_by, central, descending, inside
from detector.boxes import aligned_iou


class Options(BaseModel):
    """Settings of ATSS; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(9, ge=1, description="candidates of a box on each level")
    anchor_scale: float = Field(8.0, gt=0, description="side of a prior's anchor, in strides")
    center_radius: float = Field(
        0.0, ge=0, description="priors within so many strides of a box's centre, in x and y, count as inside it"
    )


@torch.no_grad()
def assign(priors_A3: Tensor, boxes_BA4: Tensor, logits_BAC: Tensor, targets: Targets, options: Options) -> Assignment:
    """Match priors (A, 3) to `targets`. The predicted boxes (B, A, 4) only give the result's `quality`; logits are unused.

    A box's candidates are the `top_k` priors of each level that are nearest to its centre. It claims those strictly
    inside it whose anchors' IoU with it is at least the candidates' mean plus their standard deviation (of a sample, as
    in the released code). A prior claimed twice goes to the box of larger anchor IoU. As published, a box that lies
    between the priors is never learnt; with `center_radius` above 0.5 it has some, whose anchors count like others.
    """
    priors_A3 = priors_A3.float()
    half = priors_A3[:, 2:] * (options.anchor_scale / 2)
    anchors_A4 = torch.cat((priors_A3[:, :2] - half, priors_A3[:, :2] + half), dim=-1)
    level_sizes = torch.unique_consecutive(priors_A3[:, 2], return_counts=True)[1].tolist()

    def claim(rows: Rows) -> Claims:
        prior_RK = _nearest(priors_A3, rows.boxes, level_sizes, options.top_k)
        iou_RK = aligned_iou(rows.boxes[:, None], anchors_A4[prior_RK])
        nearest_RK3 = priors_A3[prior_RK]
        inside_RK = inside(nearest_RK3, rows.boxes) | central(nearest_RK3, rows.boxes, options.center_radius)
        row, column = (inside_RK & _unusual(iou_RK)).nonzero(as_tuple=True)
        pairs = Pairs(rows, row, prior_RK[row, column])
        return Claims(pairs, torch.ones_like(row, dtype=torch.bool), descending(iou_RK[row, column]))

    return assign_by(claim, priors_A3, boxes_BA4.float(), targets)


def _nearest(priors_A3: Tensor, boxes_R4: Tensor, level_sizes: list[int], top_k: int) -> Tensor:
    """(R, K) indices of the `top_k` priors of each level (all, if there are fewer) nearest to the boxes' centres."""
    center_R2 = (boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2
    found, first = [], 0
    for size in level_sizes:
        x, y, _ = priors_A3[first : first + size].unbind(dim=-1)
        squared = (x - center_R2[:, :1]).square_().add_((y - center_R2[:, 1:]).square_())
        key = (ascending(squared) << 31) | torch.arange(size, device=squared.device)
        found.append(first + key.topk(min(top_k, size), dim=-1, largest=False).indices)
        first += size
    return torch.cat(found, dim=-1)


def _unusual(iou_RK: Tensor) -> Tensor:
    """(R, K) bool: IoU >= mean + standard deviation of the row.

    Differences from the row's first are compared, so that a row of equal values passes whatever the rounding.
    """
    difference = iou_RK - iou_RK[:, :1]
    deviation = difference.std(dim=-1, keepdim=True, correction=min(1, iou_RK.shape[1] - 1))
    return difference >= difference.mean(dim=-1, keepdim=True) + deviation
