"""Any image network as teacher of a backbone: found by what its name looks like.

| name | what |
| --- | --- |
| `FILE.pt` | a checkpoint of this project: its backbone's taps |
| `FILE.onnx` | an ONNX model, the outputs that are named |
| `MODULE:FUNCTION` | what a Python function returns |
| anything else | a timm model of that name, with its pre-trained weights |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from detector.teachers import Teacher, onnx_model
from detector.teachers.onnx_model import OnnxInput
from search_spaces.errors import UserError
from search_spaces.structure import TAP_STRIDES

PROBE_SIDE = 256


def backbone_teacher(name: str, onnx: OnnxInput | None = None) -> Teacher:
    """The teacher called `name`, on the CPU, with one map for each of the strides 8, 16 and 32.

    Raises UserError when there is no such teacher, and when it has no map for a stride.
    """
    suffix = Path(name).suffix.lower()
    onnx = onnx or OnnxInput()
    if onnx != OnnxInput() and suffix != ".onnx":
        raise UserError(f"--teacher {name}: outputs, mean and std are options of an ONNX teacher; leave them out")
    if suffix == ".pt":
        from detector.teachers.checkpoint import TAPS, load

        return load(Path(name), TAPS)
    if suffix == ".onnx":
        teacher = onnx_model.load(Path(name), onnx)
    elif ":" in name:
        from detector.teachers import python_factory

        teacher = python_factory.load(name)
    else:
        from detector.teachers import timm_model

        teacher = timm_model.load(name)
    return at_taps(_measured(teacher))


def at_taps(teacher: Teacher) -> Teacher:
    """The teacher with its maps at strides 8, 16 and 32 alone: of several at one stride the last, which saw most.

    Raises UserError when one of the strides is missing.
    """
    chosen = []
    for stride in TAP_STRIDES:
        at = [level for level, found in enumerate(teacher.strides) if found == stride]
        if not at:
            strides = ", ".join(map(str, teacher.strides))
            raise UserError(
                f"--teacher {teacher.name}: has maps at strides {strides}, none at {stride}; expected one at each of "
                f"{', '.join(map(str, TAP_STRIDES))}"
            )
        chosen.append(at[-1])
    return replace(
        teacher,
        module=_Levels(teacher.module, chosen),
        channels=tuple(teacher.channels[level] for level in chosen),
        strides=TAP_STRIDES,
    )


class _Levels(torch.nn.Module):
    def __init__(self, module: torch.nn.Module, levels: Sequence[int]) -> None:
        super().__init__()
        self.module, self._levels = module, tuple(levels)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = self.module(images)
        return [maps[level] for level in self._levels]


def _measured(teacher: Teacher) -> Teacher:
    """Channels and strides as a blank image shows them; maps that are no (B, C, H, W) are refused."""
    height, width = teacher.image_size or (PROBE_SIDE, PROBE_SIDE)
    maps = teacher.maps(torch.zeros(1, 3, height, width))
    if not maps or any(not isinstance(level, torch.Tensor) or level.ndim != 4 for level in maps):
        raise UserError(
            f"--teacher {teacher.name}: does not give feature maps; expected a list of tensors (batch, channels, height, "
            "width), finest first"
        )
    return replace(
        teacher,
        channels=tuple(level.shape[1] for level in maps),
        strides=tuple(round(height / level.shape[2]) for level in maps),
    )
