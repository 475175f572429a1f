"""The align module: a student's maps brought to the channels, the size and the scale of a teacher's (report, 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPS = 1e-5


class Alignment(nn.Module):
    """A 1x1 conv per level from the student's channels to the teacher's, then the teacher's size, then both normalised.

    Normalised is each channel, over the images and places of the batch part that is at hand, without learned scale or
    shift: so what is compared does not depend on how large either side's values are.
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        """Channels level by level, as many levels on both sides."""
        super().__init__()
        pairs = zip(student_channels, teacher_channels, strict=True)
        self.projections = nn.ModuleList(nn.Conv2d(student, teacher, 1) for student, teacher in pairs)

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (B, C, H, W) of any type, the teachers' detached -> both sides fp32, normalised, shaped as the teachers'."""
        projected = [
            _resized(projection(student), teacher)
            for projection, student, teacher in zip(self.projections, students, teachers, strict=True)
        ]
        return [normalised(maps) for maps in projected], [normalised(maps.detach()) for maps in teachers]


def normalised(maps_BCHW: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 in every channel, fp32; zeros where a channel is the same everywhere."""
    maps = maps_BCHW.float()
    with torch.autocast(maps.device.type, enabled=False):
        if maps.numel() == maps.shape[1]:  # one place of one image: nothing to compare it with
            return maps - maps
        return functional.batch_norm(maps, None, None, training=True, eps=NORM_EPS)


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return functional.interpolate(maps.float(), like.shape[-2:], mode="bilinear", align_corners=False)
