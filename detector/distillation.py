"""A teacher and what compares a student with it, as one module: the teacher is run in it, the rest of it learns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detector import distillers
from detector.distillers._alignment import Alignment
from detector.teachers import Teacher, teacher_size
from search_spaces.errors import UserError


class FeatureDistillation(nn.Module):
    """Align module and distiller (report, section 2.4), with the teacher beside them.

    The teacher is no submodule: its weights are neither trained nor saved nor exchanged between processes. `seconds`:
    what its forward passes took so far; on a GPU it is only counted while `timed`, as that waits for the device.
    """

    def __init__(
        self,
        teacher: Teacher,
        student_channels: Sequence[int],
        student_hw: tuple[int, int],
        distiller: str = "cwd",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """student_channels: of the maps to compare, level by level; student_hw: the student's image size.

        Raises UserError for an unknown distiller or option.
        """
        super().__init__()
        self.align = Alignment(student_channels, teacher.channels)
        self.distiller = distillers.build(distiller, teacher.channels, options)
        self._teacher = (teacher,)
        self._student_hw = student_hw
        self.timed, self.seconds = False, 0.0
        self._checked = False

    @property
    def teacher(self) -> Teacher:
        return self._teacher[0]

    def forward(self, images: Tensor, students: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """The distillation loss, a scalar in fp32.

        images (B, 3, H, W) float, RGB 0..255; students: their maps, level by level; generator: on the CPU. Autocast is
        as the caller has it for the teacher and the 1x1 convs, off in what compares.
        """
        started = self._clock(images)
        height, width = images.shape[-2:]
        teachers = self.teacher.maps(images, teacher_size((height, width), self._student_hw, self.teacher.image_size))
        self.seconds += self._clock(images) - started
        if not self._checked:
            self._check(teachers)
        aligned, wanted = self.align(students, teachers)
        with torch.autocast(images.device.type, enabled=False):
            loss: Tensor = self.distiller(aligned, wanted, generator)
        return loss.float()

    def _check(self, maps: Sequence[Tensor]) -> None:
        """Once: a teacher whose maps say nothing is refused."""
        self._checked = True
        for stride, level in zip(self.teacher.strides, maps):
            if not bool(level.isfinite().all()):
                found = "are not finite (fp16 overflows: use amp=bf16 or off; else the file is damaged)"
            elif level.numel() > level.shape[1] and not bool((level.float().std(dim=(0, 2, 3)) > 0).any()):
                found = "are the same at every place of every image (an untrained or damaged network)"
            else:
                continue
            raise UserError(
                f"{self.teacher.name}: as teacher, its maps at stride {stride} {found}; expected a trained one"
            )

    def _clock(self, images: Tensor) -> float:
        if images.device.type == "cuda":
            if not self.timed:
                return 0.0
            torch.cuda.synchronize(images.device)
        return time.perf_counter()
