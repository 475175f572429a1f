"""The detector's training loss: assignment, then quality focal, distribution focal and GIoU loss (report, eq. 1)."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from detector import assigners
from detector.assigners import Assignment, Targets
from detector.data.regions import NOWHERE
from detector.losses import LossConfig
from detector.losses.distribution_focal import distribution_focal_loss
from detector.losses.giou import giou_loss
from detector.losses.quality_focal import quality_focal_loss
from detector.priors import by_side, decode_distances, encode_distances, expected_distances

__all__ = ["DetectionCriterion", "LossConfig"]

_UNSEEN = -1e4
"""A logit of no score and no loss."""


class PlacedTargets(Targets, Protocol):
    """Targets of images of several data sets."""

    @property
    def regions(self) -> Tensor:
        """(B, L, h, w) uint8: the data sets seen at each place of the images, see `detector.data.regions`."""


class DetectionCriterion(nn.Module):
    """The detector's losses from the head's raw outputs. Without parameters; everything is fp32, under autocast too.

    The divisors (number of positives; sum of their top scores) are averaged over the processes of a distributed run
    and at least 1, so that the averaged gradient is that of one big batch. A prior that lies in a crowd or difficult
    box and is not positive has no classification loss: what is there is unlabelled, not background.

    Where the images come from several data sets, a class counts at a prior when every data set that is seen there labels it
    (one of a mosaic's tiles; two pictures where mixup lays one over the other), or when it is the class of the prior's own
    box. Other classes are neither learnt nor punished there, and play no part in the assignment.

    On a GPU the host waits twice here, for the number of what is chosen: crowd and difficult boxes, positives. The assigner
    waits besides (docs/gpu.md).
    """

    labelled: Tensor | None

    def __init__(self, config: LossConfig | None = None, labelled: Tensor | None = None) -> None:
        """labelled: (S, C) bool, the classes that each data set labels; targets then have `regions`. None: all are.

        Raises UserError for an unknown assigner or assigner option.
        """
        super().__init__()
        # one row more, for what is no picture: nothing is there, of any class
        rows = None if labelled is None else torch.cat([labelled, torch.ones_like(labelled[:1])])
        self.register_buffer("labelled", rows, persistent=False)
        self.config = config or LossConfig()
        self.assign = assigners.build(self.config.assigner, self.config.assigner_options)

    def forward(
        self, cls_logits_BAC: Tensor, reg_logits: Tensor, priors_A3: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        """Scalars: `total`, its weighted parts `cls`, `dfl`, `giou`, and the count `num_positives` of this process.

        Shapes: class logits (B, A, C), regression logits (B, A, 4 x (reg_max + 1)), priors (A, 3) as from
        `detector.priors.priors`. Images without boxes only add negatives; a batch without positives has box losses of
        zero that are still connected to the graph.
        """
        with torch.autocast(device_type=cls_logits_BAC.device.type, enabled=False):
            cls_logits_BAC = cls_logits_BAC.float()
            told_BAC = None if self.labelled is None else _told(priors_A3, cast(PlacedTargets, targets), self.labelled)
            seen_BAC = _seen(cls_logits_BAC.detach(), told_BAC, targets)
            assignment = self._assign(seen_BAC, reg_logits.detach(), priors_A3, targets)
            positive_BA = assignment.positives_mask
            num_positives = positive_BA.sum()
            top_score_BA = seen_BAC.amax(dim=-1).sigmoid()
            weight_sum = (top_score_BA * positive_BA).sum()
            divisors = _average_over_processes(torch.stack((num_positives.float(), weight_sum)))

            counted_BA = positive_BA | (assignment.negatives_mask & ~_ignored(priors_A3, targets))
            cls = self._classification_loss(cls_logits_BAC, assignment, counted_BA, told_BAC) / divisors[0]
            image, prior = positive_BA.nonzero(as_tuple=True)
            dfl, giou = _box_losses(
                reg_logits[image, prior], priors_A3[prior], assignment.boxes[image, prior], top_score_BA[image, prior]
            )
            losses = {
                "cls": self.config.cls_weight * cls,
                "dfl": self.config.dfl_weight * dfl / divisors[1],
                "giou": self.config.giou_weight * giou / divisors[1],
            }
            total = losses["cls"] + losses["dfl"] + losses["giou"]
            return {"total": total, **losses, "num_positives": num_positives}

    @torch.no_grad()
    def _assign(self, cls_logits_BAC: Tensor, reg_logits: Tensor, priors_A3: Tensor, targets: Targets) -> Assignment:
        boxes_BA4 = decode_distances(expected_distances(reg_logits), priors_A3)
        return self.assign(priors_A3, boxes_BA4, cls_logits_BAC, targets)

    def _classification_loss(
        self, cls_logits_BAC: Tensor, assignment: Assignment, counted_BA: Tensor, told_BAC: Tensor | None
    ) -> Tensor:
        """Quality focal loss summed over the classes that count at a prior and over the priors that count (positive, or
        negative not ignored)."""
        positive_BA = assignment.positives_mask
        target_BAC = torch.zeros_like(cls_logits_BAC)
        quality = assignment.quality * positive_BA
        own_BA1 = assignment.labels.clamp(min=0)[..., None]
        target_BAC.scatter_(-1, own_BA1, quality[..., None])
        loss_BAC = quality_focal_loss(cls_logits_BAC, target_BAC, self.config.beta)
        if told_BAC is not None:
            own_BAC = torch.zeros_like(told_BAC).scatter_(-1, own_BA1, positive_BA[..., None])
            loss_BAC = loss_BAC * (told_BAC | own_BAC)
        return (loss_BAC.sum(dim=-1) * counted_BA).sum()


def _told(priors_A3: Tensor, targets: PlacedTargets, labelled: Tensor) -> Tensor:
    """(B, A, C) bool: the data sets that are seen at the prior all label the class. labelled: (S + 1, C)."""
    regions = targets.regions
    x, y, stride = priors_A3.float().unbind(dim=-1)
    rows, columns = regions.shape[2:]
    row_A, column_A = (y / (y + stride).max() * rows).long(), (x / (x + stride).max() * columns).long()
    number_BLA = regions.flatten(2)[:, :, row_A * columns + column_A].long()
    number_BLA = number_BLA.masked_fill(number_BLA == NOWHERE, len(labelled) - 1)
    told_BAC = labelled[number_BLA[:, 0]]
    for layer in range(1, number_BLA.shape[1]):
        told_BAC = told_BAC & labelled[number_BLA[:, layer]]
    return told_BAC


def _seen(logits_BAC: Tensor, told_BAC: Tensor | None, targets: Targets) -> Tensor:
    """The logits as assignment and weights see them: of classes that nobody tells of, at a prior in an image without such
    boxes, there is nothing to see."""
    if told_BAC is None:
        return logits_BAC
    there_BC = torch.zeros(len(logits_BAC), logits_BAC.shape[-1], dtype=torch.int32, device=logits_BAC.device)
    there_BC.scatter_add_(1, targets.labels.long(), targets.valid.int())
    return logits_BAC.masked_fill(~(told_BAC | (there_BC > 0)[:, None]), _UNSEEN)


def _ignored(priors_A3: Tensor, targets: Targets) -> Tensor:
    """(B, A) bool: the prior lies in a crowd or difficult box, its border included.

    Assigners leave the border out, as for boxes to learn; but a crowd that reaches the image's left or top edge covers
    the priors on that edge too.
    """
    image, box = (targets.valid.bool() & targets.ignore.bool()).nonzero(as_tuple=True)
    left, top, right, bottom = targets.boxes_xyxy[image, box].float()[..., None].unbind(dim=1)
    x, y, _ = priors_A3.float().unbind(dim=-1)
    covered_RA = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    times_BA = torch.zeros(len(targets.valid), len(priors_A3), dtype=torch.int32, device=priors_A3.device)
    return times_BA.index_add_(0, image, covered_RA.int()) > 0


def _box_losses(reg_logits: Tensor, priors_N3: Tensor, boxes_N4: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums over N positives of the distribution focal loss (mean of the four sides) and of the GIoU loss.

    `reg_logits` (N, 4 x (reg_max + 1)); a zero connected to it if N is 0.
    """
    logits = reg_logits.float()
    dfl_N = distribution_focal_loss(by_side(logits), encode_distances(boxes_N4, priors_N3)).mean(dim=-1)
    giou_N = giou_loss(decode_distances(expected_distances(logits), priors_N3), boxes_N4)
    return (dfl_N * weight_N).sum(), (giou_N * weight_N).sum()


@torch.no_grad()
def _average_over_processes(values: Tensor) -> Tensor:
    """The sums over the processes of a distributed run, at least 1 each, divided by the number of processes.

    The sums are bounded, not the means: so that the divisors of few positives are those of one big batch too.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return values.clamp(min=1)
    total = values.clone()
    distributed.all_reduce(total)
    return total.clamp(min=1) / distributed.get_world_size()
