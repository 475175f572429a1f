"""What an evaluation counts as a detection, as training settings (`eval.*`) and per checkpoint. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from detector.evaluation.detections import MAX_DETECTIONS
from search_spaces.structure import Structure

if TYPE_CHECKING:
    from detector.checkpoint import Checkpoint

Share = Annotated[float, Field(ge=0, le=1)]


class EvalConfig(BaseModel):
    """Evaluation during and after training. None: the published values of the model's family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_epochs: int = Field(
        10, ge=1, description="epochs from one evaluation to the next; the last one always has one"
    )
    batch_size: int | None = Field(None, ge=1, description="None: the training batch size")
    score_threshold: Share | None = Field(None, description="lowest score of a detection")
    iou_threshold: Share | None = Field(None, description="IoU threshold of NMS, between boxes of one class")
    max_detections: int = Field(500, ge=1, description="largest number of boxes per image after NMS")
    counted_detections: int = Field(
        100, ge=1, description="detections per image and class that the metrics count (COCO's maxDets)"
    )


class Selection(TypedDict):
    """Which boxes of an image an evaluation counts as detections: least score, IoU of the suppression, at most."""

    score_threshold: float
    iou_threshold: float
    max_detections: int


def selection_of(checkpoint: Checkpoint) -> Selection:
    """As the training that made the checkpoint was set (`eval.*`); what was not set, as published for its family."""
    chosen = EvalConfig.model_construct(**checkpoint.config.get("eval", {}))  # of another version: what is known counts
    score, iou = postprocess_defaults(checkpoint.structure)
    return Selection(
        score_threshold=score if chosen.score_threshold is None else chosen.score_threshold,
        iou_threshold=iou if chosen.iou_threshold is None else chosen.iou_threshold,
        max_detections=detections_for(chosen.max_detections, chosen.counted_detections),
    )


def counted_of(checkpoint: Checkpoint) -> int:
    """How many detections of an image and class the training's metrics count."""
    return EvalConfig.model_construct(**checkpoint.config.get("eval", {})).counted_detections


def detections_for(most: int, counted: int) -> int:
    """How many detections of an image to keep so that metrics can count `counted` of a class: `most`, and more only where
    more than COCO's 100 are to count."""
    return max(most, counted) if counted > MAX_DETECTIONS else most


def postprocess_defaults(structure: Structure) -> tuple[float, float]:
    """Score threshold and NMS IoU threshold for evaluation, as published for the model's family."""
    return (0.03, 0.65) if structure.backbone.space == "mob" else (0.05, 0.7)
