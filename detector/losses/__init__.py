"""Losses, one per file, element by element: weighting and normalising is the criterion's business.

The settings live here, so that a configuration can be read without importing torch.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class LossConfig(BaseModel):
    """Settings of the detection loss; the defaults are the published ones (report, equation 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cls_weight: float = Field(1.0, ge=0, description="weight of the quality focal loss")
    dfl_weight: float = Field(0.25, ge=0, description="weight of the distribution focal loss")
    giou_weight: float = Field(2.0, ge=0, description="weight of 1 - GIoU")
    beta: float = Field(2.0, ge=1, description="exponent of the quality focal loss")
    unlabelled_as_background: bool = Field(
        False, description="several data sets: classes that an image's set does not label are background in it"
    )
    assigner: str = Field("align_ota", description="name of a file in detector/assigners")
    assigner_options: dict[str, Any] = Field(default_factory=dict, description="options of that assigner")
