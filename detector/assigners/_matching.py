"""What the assigners share: candidate pairs of a box and a prior, their ranking, and the winner of each prior.

Pairs are flat lists over a whole batch, so that the work grows with the candidates, not with boxes x priors (x classes).
Ranking goes by integer keys: what costs the same goes to the prior, then to the box, of lower index, on every device.
Costs are computed in fp64 and ranked in fp32: a CPU's exp and log differ in the last bit between the bulk of an array and
its end, so that equal pairs would not cost the same otherwise, and an image's matches would depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detector.assigners import Assignment, Targets
from detector.boxes import aligned_iou

KEY_BITS = 32
_FLOAT_BITS = 0x7FFFFFFF
_BOX_BITS = 31
_NO_CLAIM = 2**63 - 1
_MAX_ENTRIES = 2**23  # of dense (box, prior) masks or fp64 (prior, class) terms at once: about 0.2 GB of temporaries


class DynamicKOptions(BaseModel):
    """Settings of the assigners that give a box as many priors as its best predictions' IoUs add up to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    center_radius: float = Field(2.5, gt=0, description="half side of a box's central square, in strides of the prior")
    top_k: int = Field(10, ge=1, description="predictions whose IoUs, summed, give a box's number of priors")
    cls_weight: float = Field(1.0, ge=0, description="weight of the classification cost")
    iou_weight: float = Field(3.0, ge=0, description="weight of -ln(IoU)")


@dataclass(frozen=True, slots=True)
class Rows:
    """R boxes of a batch, by image, then index: neither padding nor ignored."""

    image: Tensor
    """(R,) int64 image of each box."""
    index: Tensor
    """(R,) int64 place of each box in its image."""
    boxes: Tensor
    """(R, 4) fp32, in pixels."""
    labels: Tensor
    """(R,) int64."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """N pairs of a row and a prior, sorted by row, then prior."""

    rows: Rows
    row: Tensor
    """(N,) int64 place in `rows`."""
    prior: Tensor
    """(N,) int64."""

    def iou(self, predicted_BA4: Tensor) -> Tensor:
        """IoU (N,) of the row's box with the box that the prior predicts; 0 where that is not finite."""
        predicted_N4 = _at(predicted_BA4, self.rows.image[self.row], self.prior)
        return aligned_iou(self.rows.boxes[self.row], predicted_N4).nan_to_num(0.0, 0.0)

    def true_class(self, logits_BAC: Tensor) -> Tensor:
        """The prior's logit (N,) of the row's class, fp64."""
        num_priors, num_classes = logits_BAC.shape[1:]
        cell_N = self.rows.image[self.row] * num_priors + self.prior
        return logits_BAC.reshape(-1)[cell_N * num_classes + self.rows.labels[self.row]].double()

    def of_prior(self, values_BA: Tensor) -> Tensor:
        """What `values_BA` says of the pair's prior, (N,)."""
        return _at(values_BA, self.rows.image[self.row], self.prior)

    def rank(self, key_N: Tensor) -> Tensor:
        """Place (N,) of each pair among those of its row in ascending order of `key_N` (int64, 0 <= key < 2^32).

        Equal keys rank by prior.
        """
        order = torch.argsort((self.row << KEY_BITS) | key_N, stable=True)
        first_R = torch.searchsorted(self.row, torch.arange(len(self.rows.image), device=key_N.device))
        place_N = torch.arange(len(order), device=key_N.device) - first_R[self.row]
        return torch.empty_like(place_N).scatter_(0, order, place_N)


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of boxes on priors: of the pairs (N) that are `taken` (N,), the lowest key (N,), 0 <= key < 2^32, wins a prior,
    then the lower box.

    The others are left where they are, to lose: a GPU would have to be waited for to leave them out.
    """

    pairs: Pairs
    taken: Tensor
    key: Tensor

    def values(self) -> Tensor:
        """(N,) int64: what wins is the least; the box's index is in its lower bits."""
        box = self.pairs.rows.index[self.pairs.row]
        return torch.where(self.taken, (self.key << _BOX_BITS) | box, _NO_CLAIM)


def class_sum(term: Callable[[Tensor], Tensor], logits_BAC: Tensor) -> Tensor:
    """Sum over classes (B, A) of `term` of each logit; `term` may write to its argument.

    fp64 on a CPU, fp32 elsewhere: many GPUs compute fp64 at 1/32 of the speed and less.
    """
    dtype = torch.float64 if logits_BAC.device.type == "cpu" else torch.float32
    step = max(1, _MAX_ENTRIES // max(1, logits_BAC[:1].numel()))
    parts = [logits_BAC[start : start + step] for start in range(0, max(1, len(logits_BAC)), step)]
    return torch.cat([term(part.to(dtype, copy=True)).sum(dim=-1) for part in parts])


def _at(values: Tensor, image_N: Tensor, prior_N: Tensor) -> Tensor:
    return values.flatten(0, 1)[image_N * values.shape[1] + prior_N]


def ascending(values: Tensor) -> Tensor:
    """Keys of 31 bits that rank values, rounded to fp32, as they are: negative ones as 0, -0 as 0, NaN last."""
    # Floats of one sign rank as their bits do; the mask takes the sign of -0 and of NaN.
    return values.float().clamp(min=0).view(torch.int32).long() & _FLOAT_BITS


def descending(values: Tensor) -> Tensor:
    """Keys of 31 bits that rank values >= 0, rounded to fp32, from the largest down."""
    return _FLOAT_BITS - ascending(values)


def inside(priors_A3: Tensor, boxes_R4: Tensor) -> Tensor:
    """(R, A) bool: the prior lies inside the box, borders out. Priors may be each box's own, (R, A, 3)."""
    x, y, _ = priors_A3.unbind(dim=-1)
    left, top, right, bottom = boxes_R4[..., None].unbind(dim=1)
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def central(priors_A3: Tensor, boxes_R4: Tensor, radius: float) -> Tensor:
    """(R, A) bool: the prior is less than `radius` of its strides from the box's centre, in x and in y; as `inside`."""
    x, y, stride = priors_A3.unbind(dim=-1)
    left, top, right, bottom = boxes_R4[..., None].unbind(dim=1)
    reach = radius * stride
    return ((x - (left + right) / 2).abs_() < reach) & ((y - (top + bottom) / 2).abs_() < reach)


def pairs_where(mask_RA: Tensor, rows: Rows) -> Pairs:
    """The pairs that `mask_RA` holds for."""
    row, prior = mask_RA.nonzero(as_tuple=True)
    return Pairs(rows, row, prior)


def pairs_around(rows: Rows, priors_A3: Tensor, center_radius: float) -> tuple[Pairs, Tensor]:
    """Pairs of a prior inside the box or inside its central square, and whether it is inside both (N,).

    The square reaches `center_radius` strides of the prior from the box's centre, borders out.
    """
    inside_RA = inside(priors_A3, rows.boxes)
    central_RA = central(priors_A3, rows.boxes, center_radius)
    pairs = pairs_where(inside_RA | central_RA, rows)
    return pairs, (inside_RA & central_RA)[pairs.row, pairs.prior]


def dynamic_k_claims(pairs: Pairs, cost_N: Tensor, iou_N: Tensor, central_N: Tensor, top_k: int) -> Claims:
    """Each box claims its k cheapest pairs, central ones first; k = sum of its `top_k` best IoUs, at least 1.

    "Central first" is the published penalty (1e5 or 1e8) for the others, without its rounding: fp32 near 1e8 has
    steps of 8.
    """
    best = pairs.rank(descending(iou_N))
    # One column more, for all that are not among the best: choosing them first would be another wait for a GPU.
    table = torch.zeros(len(pairs.rows.image), top_k + 1, device=iou_N.device)
    table[pairs.row, best.clamp(max=top_k)] = iou_N.float()
    k_R = table[:, :top_k].contiguous().sum(dim=-1).int().clamp(min=1)
    key_N = ((~central_N).long() << (KEY_BITS - 1)) | ascending(cost_N)
    return Claims(pairs, pairs.rank(key_N) < k_R[pairs.row], key_N)


@torch.no_grad()
def assign_by(
    claim: Callable[[Rows], Claims], priors_A3: Tensor, predicted_BA4: Tensor, targets: Targets
) -> Assignment:
    """Let the boxes of a batch claim priors, some thousand boxes at a time, and give each prior its best claim."""
    truth_BG4, labels_BG = targets.boxes_xyxy.float(), targets.labels.long()
    batch, num_priors = len(predicted_BA4), len(priors_A3)
    device = predicted_BA4.device
    valid_BG, ignore_BG = targets.valid.bool(), targets.ignore.bool()
    winner = torch.full((batch * num_priors,), _NO_CLAIM, dtype=torch.int64, device=device)
    step = max(1, _MAX_ENTRIES // max(1, num_priors))
    for image, index in _chunks(valid_BG & ~ignore_BG, step):
        found = claim(Rows(image, index, truth_BG4[image, index], labels_BG[image, index]))
        cell = found.pairs.rows.image[found.pairs.row] * num_priors + found.pairs.prior
        winner.scatter_reduce_(0, cell, found.values(), reduce="amin")
    matched_BA = torch.where(winner == _NO_CLAIM, -1, winner & (2**_BOX_BITS - 1)).view(batch, num_priors)

    ignored_BA = torch.zeros(batch, num_priors, dtype=torch.int32, device=device)
    for image, index in _chunks(valid_BG & ignore_BG, step):
        ignored_BA.index_add_(0, image, inside(priors_A3, truth_BG4[image, index]).int())
    return _assignment(matched_BA, ignored_BA > 0, predicted_BA4, truth_BG4, labels_BG)


def _chunks(mask_BG: Tensor, step: int) -> list[tuple[Tensor, Tensor]]:
    """Image and index of the boxes that `mask_BG` holds for, at most `step` at a time."""
    image, index = mask_BG.nonzero(as_tuple=True)
    return [(image[start : start + step], index[start : start + step]) for start in range(0, len(image), step)]


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
        labels = labels_BG.gather(1, index).masked_fill(~positive, -1)
    return Assignment(
        matched=matched_BA,
        labels=labels,
        quality=aligned_iou(predicted_BA4, boxes).masked_fill(~positive, 0.0),
        boxes=boxes,
        negatives_mask=~positive & ~ignored_BA,
    )
