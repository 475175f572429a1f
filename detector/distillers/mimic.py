"""Mimicking: the maps themselves (Li et al., CVPR 2017; FitNets, arXiv 1412.6550, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Distiller(nn.Module):
    """Mean squared difference, summed over levels."""

    def __init__(self, channels: tuple[int, ...], options: Options) -> None:
        super().__init__()

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        pairs = zip(students, teachers, strict=True)
        return torch.stack([functional.mse_loss(student, teacher) for student, teacher in pairs]).sum()
