"""Teachers: networks whose feature maps a student learns. They are run, never trained, and belong to no checkpoint.

A kind of teacher is a file here. `checkpoint.py`: a detector of this project, in deploy form. The others teach a
backbone alone (`tinynas pretrain`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.errors import UserError, listed

MOST_NAMED = 8
MULTIPLE_OF = 32
ClassAgreement = Literal["same", "shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """`module(images)`: images (B, 3, H, W) float, RGB 0..255 -> one map (B, C, H / stride, W / stride) per level.

    channels, strides: level by level, finest first. class_names: None for a network that is no detector. image_size:
    height, width that it was trained at, None where it is not known.
    """

    name: str
    module: nn.Module
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    class_names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None

    def __deepcopy__(self, _: dict[int, object]) -> Teacher:
        """Itself: probing steps run on copies of what they probe, and a teacher does not change."""
        return self

    @torch.no_grad()
    def maps(self, images: Tensor, size_hw: tuple[int, int] | None = None) -> list[Tensor]:
        """Detached feature maps of images (B, 3, H, W), stretched to `size_hw` first where it is another size."""
        images = images.to(torch.float32, memory_format=torch.channels_last)
        if size_hw is not None and size_hw != tuple(images.shape[-2:]):
            smaller = size_hw[0] < images.shape[-2] or size_hw[1] < images.shape[-1]
            images = functional.interpolate(
                images, size_hw, mode="bilinear", align_corners=False, antialias=smaller
            )  # fmt: skip
        maps: list[Tensor] = self.module(images)
        return maps


def prepared(module: nn.Module) -> nn.Module:
    """The module as a teacher runs: in evaluation mode, without gradients, and in the layout that is quick everywhere."""
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module.eval().requires_grad_(False)


def teacher_size(
    images_hw: tuple[int, int], student_hw: tuple[int, int], teacher_hw: tuple[int, int] | None
) -> tuple[int, int]:
    """Height, width at which a teacher sees images of `images_hw`: in the proportion of its own size to the student's.

    So multi-scale training scales both. Multiples of 32; `images_hw` where the teacher has no size of its own.
    """
    if teacher_hw is None or teacher_hw == student_hw:
        return images_hw
    height, width = (
        max(MULTIPLE_OF, MULTIPLE_OF * round(side * own / students / MULTIPLE_OF))
        for side, own, students in zip(images_hw, teacher_hw, student_hw, strict=True)
    )
    return height, width


def check_classes(
    teacher: Teacher, class_names: Sequence[str], agreement: ClassAgreement, source: str
) -> tuple[str, ...]:
    """As `check_class_names`, of a teacher."""
    return check_class_names(teacher.class_names or (), class_names, agreement, source)


def check_class_names(
    teacher: Sequence[str], class_names: Sequence[str], agreement: ClassAgreement, source: str
) -> tuple[str, ...]:
    """The classes (of the data) that a teacher with these classes knows by name, whatever the case and the order.

    Raises UserError that names the differing ones: under `same` for any, in any case when none is shared.
    """
    known = {name.casefold(): name for name in teacher}
    wanted = {name.casefold(): name for name in class_names}
    shared = tuple(name for key, name in wanted.items() if key in known)
    lacking = [name for key, name in wanted.items() if key not in known]
    foreign = [name for key, name in known.items() if key not in wanted]
    if (lacking or foreign) and not shared:
        raise UserError(
            f"{source}: the teacher knows none of the data's classes ({listed(list(class_names), MOST_NAMED)}; its own: "
            f"{listed(list(known.values()), MOST_NAMED)}); expected a teacher of the same subject; its backbone alone can "
            f"teach: tinynas pretrain STRUCTURE --teacher {quote(source)} --images DIR"
        )
    if agreement == "same" and (lacking or foreign):
        parts = [
            f"{what}: {listed(names, MOST_NAMED)}"
            for what, names in (("the teacher lacks", lacking), ("it knows besides", foreign))
            if names
        ]
        raise UserError(
            f"{source}: the teacher's classes are not the data's ({'; '.join(parts)}); expected the same names; "
            "--teacher-classes shared distils the features all the same"
        )
    return shared
