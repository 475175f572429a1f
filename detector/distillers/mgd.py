"""MGD: the teacher's maps generated from the student's with places masked (Yang et al., ECCV 2022, arXiv 2205.01529,
eq. 2 to 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    masked: float = Field(0.65, ge=0, lt=1, description="share of the places whose student features are hidden")


class Distiller(nn.Module):
    """Mean squared difference of what two 3x3 convs make of the masked student maps, summed over levels.

    The paper sums over the elements and multiplies by 2e-5, which ties the weight to widths and image size: the mean
    does not. One mask an image and level, for all its channels.
    """

    def __init__(self, channels: tuple[int, ...], options: Options) -> None:
        super().__init__()
        self.masked = options.masked
        self.generation = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, count, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(count, count, 3, padding=1))
            for count in channels
        )  # fmt: skip

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        levels = []
        for generate, student, teacher in zip(self.generation, students, teachers, strict=True):
            batch, _, height, width = student.shape
            seen = torch.rand(batch, 1, height, width, generator=generator) >= self.masked
            generated = generate(student * seen.to(student.device, student.dtype))
            levels.append(functional.mse_loss(generated.float(), teacher))
        return torch.stack(levels).sum()
