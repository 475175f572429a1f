"""Distillation from outputs alone: scores and boxes of an exported model, at the same places or as pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.assigners import Targets
from detector.criterion import DetectionCriterion
from detector.distillers import DistillConfig
from detector.losses import LossConfig
from detector.losses.giou import giou_loss
from detector.losses.quality_focal import quality_focal_loss
from detector.network import RawOutput
from detector.postprocess import postprocess
from detector.priors import decode_distances, expected_distances
from detector.teachers.outputs import OutputTeacher
from detector.training.distillation.taught import Taught
from detector.training.step.terms import LossTerm
from search_spaces.saying import Say

LEAST_SCORE = 0.05
"""Boxes that the teacher scores lower do not count in the box loss."""
MOST_LABELS = 300
"""Pseudo-labels of an image."""


def output_terms(
    teacher: OutputTeacher, student_hw: tuple[int, int], one_size: bool, config: DistillConfig, loss: LossConfig,
    fingerprint: str, say: Say,
) -> Mapping[str, LossTerm]:  # fmt: skip
    """`soft_scores` and `soft_boxes` where teacher and student see images of one size, so that their priors are the same;
    else `pseudo`: the teacher's boxes above `distill.threshold` as labels. one_size: no multi-scale training."""
    if teacher.image_size == student_hw and one_size:
        say("  scores and boxes at the same places: soft_scores, soft_boxes")
        return {
            "soft_scores": SoftScores(teacher, config, loss, fingerprint, say),
            "soft_boxes": SoftBoxes(teacher, config, loss, fingerprint, say),
        }
    say(f"  another image size, so other places: boxes that score above {config.threshold:g} as pseudo-labels")
    return {"pseudo": PseudoLabels(teacher, config, loss, fingerprint, say)}


class _FromOutputs(Taught):
    def __init__(
        self, teacher: OutputTeacher, config: DistillConfig, loss: LossConfig, fingerprint: str, say: Say,
        *, tells: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(config, teacher if tells else None, fingerprint, say)
        self._teacher, self._loss = (teacher,), loss

    def forward(self, images: Tensor, raw: RawOutput, targets: Targets) -> Tensor:
        if self.weight == 0:
            return raw.cls_logits.new_zeros((), dtype=torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            return self.weight * self._between(images, raw)

    def _between(self, images: Tensor, raw: RawOutput) -> Tensor:
        raise NotImplementedError


class SoftScores(_FromOutputs):
    """Quality focal loss towards the teacher's scores of the classes that it knows, over the sum of its top scores."""

    def _between(self, images: Tensor, raw: RawOutput) -> Tensor:
        teacher = self._teacher[0]
        _, scores_BAC = teacher(images)
        known = teacher.known.to(scores_BAC.device)
        loss = quality_focal_loss(raw.cls_logits[..., known], scores_BAC[..., known], self._loss.beta).sum()
        return self._loss.cls_weight * loss / scores_BAC.amax(-1).sum().clamp(min=1)


class SoftBoxes(_FromOutputs):
    """GIoU loss towards the teacher's boxes, weighted by its top score at each place."""

    def __init__(
        self, teacher: OutputTeacher, config: DistillConfig, loss: LossConfig, fingerprint: str, say: Say
    ) -> None:
        super().__init__(teacher, config, loss, fingerprint, say, tells=False)

    def _between(self, images: Tensor, raw: RawOutput) -> Tensor:
        boxes_BA4, scores_BAC = self._teacher[0](images)
        top_BA = scores_BAC.amax(-1)
        image, prior = (top_BA > LEAST_SCORE).nonzero(as_tuple=True)
        found_N4 = decode_distances(expected_distances(raw.reg_logits[image, prior]), raw.priors[prior])
        weight_N = top_BA[image, prior]
        loss = (giou_loss(found_N4, boxes_BA4[image, prior]) * weight_N).sum()
        return self._loss.giou_weight * loss / weight_N.sum().clamp(min=1)


class PseudoLabels(_FromOutputs):
    """The detector's own loss with the teacher's boxes, after suppression, as labels."""

    def __init__(
        self, teacher: OutputTeacher, config: DistillConfig, loss: LossConfig, fingerprint: str, say: Say
    ) -> None:
        super().__init__(teacher, config, loss, fingerprint, say)
        self._criterion = DetectionCriterion(loss)

    def _between(self, images: Tensor, raw: RawOutput) -> Tensor:
        teacher = self._teacher[0]
        boxes_BA4, scores_BAC = teacher(images)
        known = teacher.known.to(scores_BAC.device)  # of other classes it says nothing, not that there is none
        labels = pseudo_labels(boxes_BA4, scores_BAC[..., known], self._config.threshold, teacher.iou_threshold)
        total: Tensor = self._criterion(raw.cls_logits[..., known], raw.reg_logits, raw.priors, labels)["total"]
        return total


@dataclass(frozen=True, slots=True)
class Labels:
    """Boxes of a batch, padded, as `detector.assigners.Targets` has them."""

    boxes_xyxy: Tensor
    labels: Tensor
    valid: Tensor
    ignore: Tensor


def pseudo_labels(boxes_BA4: Tensor, scores_BAC: Tensor, threshold: float, iou_threshold: float) -> Labels:
    """The boxes that score above `threshold`, greedily suppressed, image by image."""
    found = [
        postprocess(boxes, scores, threshold, iou_threshold, MOST_LABELS) for boxes, scores in zip(boxes_BA4, scores_BAC)
    ]  # fmt: skip
    most = max(1, *(len(labels) for *_, labels in found))
    batch, device = len(found), boxes_BA4.device
    boxes_BG4 = torch.zeros(batch, most, 4, device=device)
    labels_BG = torch.zeros(batch, most, dtype=torch.int64, device=device)
    valid_BG = torch.zeros(batch, most, dtype=torch.bool, device=device)
    for row, (boxes, _, labels) in enumerate(found):
        boxes_BG4[row, : len(labels)], labels_BG[row, : len(labels)] = boxes, labels
        valid_BG[row, : len(labels)] = True
    return Labels(boxes_BG4, labels_BG, valid_BG, torch.zeros_like(valid_BG))
