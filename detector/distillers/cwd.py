"""CWD: every channel's map as a distribution over its places (Shu et al., ICCV 2021, arXiv 2011.13256, eq. 3 and 4).

With maps normalised by channel, each channel's standard deviation has acted as its own temperature (report, 2.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, gt=0, description="further divisor of the normalised maps, in both softmaxes")


class Distiller(nn.Module):
    """KL divergence of the student's distributions from the teacher's x temperature^2, mean over images and channels,
    summed over levels."""

    def __init__(self, channels: tuple[int, ...], options: Options) -> None:
        super().__init__()
        self.temperature = options.temperature

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        levels = [self._level(student, teacher) for student, teacher in zip(students, teachers, strict=True)]
        return torch.stack(levels).sum()

    def _level(self, student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
        student, teacher = (
            functional.log_softmax(maps.flatten(2) / self.temperature, dim=2) for maps in (student_BCHW, teacher_BCHW)
        )
        divergence_BC = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(2)
        return divergence_BC.mean() * self.temperature**2
