"""What a pre-training step runs: the student's maps, the teacher's, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detector.distillation import FeatureDistillation
from detector.network import Network
from detector.teachers import Teacher
from detector.teachers.checkpoint import NECK, TAPS


class PretrainingModule(nn.Module):
    """`forward(images, generator)`: images (B, 3, H, W) float, RGB 0..255 -> the loss.

    The backbone's taps learn the teacher's maps of their strides; with `neck`, the neck's outputs learn the same ones.
    `compared`: align modules and distiller, thrown away in the end.
    """

    def __init__(
        self, network: Network, teacher: Teacher, distiller: str, options: Mapping[str, Any], *, neck: bool
    ) -> None:
        """Raises UserError for an unknown distiller or option."""
        super().__init__()
        self.network = network
        self._names = (*TAPS, *NECK) if neck else TAPS
        if neck:
            teacher = replace(
                teacher, module=_Twice(teacher.module), channels=teacher.channels * 2, strides=teacher.strides * 2
            )
        # a teacher sees the crops as they are: it has no size of its own here
        teacher = replace(teacher, image_size=None)
        channels = network.feature_channels(self._names)
        self.compared = FeatureDistillation(teacher, channels, network.structure.image_size, distiller, options)

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        loss: Tensor = self.compared(images, self.network.features(images, self._names), generator)
        return loss


class _Twice(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.module(images)
        return [*maps, *maps]
