"""The detector's training loss: assignment, then quality focal, distribution focal and GIoU loss (report, eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector import assigners
from detector.assigners import Assignment, Targets
from detector.losses import LossConfig
from detector.losses.distribution_focal import distribution_focal_loss
from detector.losses.giou import giou_loss
from detector.losses.quality_focal import quality_focal_loss
from detector.priors import by_side, decode_distances, encode_distances, expected_distances

__all__ = ["DetectionCriterion", "LossConfig"]


class DetectionCriterion(nn.Module):
    """The detector's losses from the head's raw outputs. Without parameters; everything is fp32, under autocast too.

    The divisors (number of positives; sum of their top scores) are averaged over the processes of a distributed run
    and at least 1, so that the averaged gradient is that of one big batch. A prior that lies in a crowd or difficult
    box and is not positive has no classification loss: what is there is unlabelled, not background.

    On a GPU the host waits twice here, for the number of what is chosen: crowd and difficult boxes, positives. The assigner
    waits besides (docs/gpu.md).
    """

    def __init__(self, config: LossConfig | None = None) -> None:
        """Raises UserError for an unknown assigner or assigner option."""
        super().__init__()
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
            assignment = self._assign(cls_logits_BAC.detach(), reg_logits.detach(), priors_A3, targets)
            positive_BA = assignment.positives_mask
            num_positives = positive_BA.sum()
            top_score_BA = cls_logits_BAC.detach().amax(dim=-1).sigmoid()
            weight_sum = (top_score_BA * positive_BA).sum()
            divisors = _average_over_processes(torch.stack((num_positives.float(), weight_sum)))

            counted_BA = positive_BA | (assignment.negatives_mask & ~_ignored(priors_A3, targets))
            cls = self._classification_loss(cls_logits_BAC, assignment, counted_BA) / divisors[0]
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

    def _classification_loss(self, cls_logits_BAC: Tensor, assignment: Assignment, counted_BA: Tensor) -> Tensor:
        """Quality focal loss summed over classes and over the priors that count (positive, or negative not ignored)."""
        positive_BA = assignment.positives_mask
        target_BAC = torch.zeros_like(cls_logits_BAC)
        quality = assignment.quality * positive_BA
        target_BAC.scatter_(-1, assignment.labels.clamp(min=0)[..., None], quality[..., None])
        loss_BA = quality_focal_loss(cls_logits_BAC, target_BAC, self.config.beta).sum(dim=-1)
        return (loss_BA * counted_BA).sum()


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
