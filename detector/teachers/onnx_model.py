"""An ONNX model as teacher: the outputs that are named, run by onnxruntime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.teachers import Teacher, prepared
from search_spaces.errors import UserError
from search_spaces.files import check_file

_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """What an ONNX teacher needs besides its file: `outputs` in any order; mean, std of its input, per RGB channel, on
    the scale 0..255."""

    outputs: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


class _Session(nn.Module):
    """size_hw: of a model of one size, None for any; batch: of a model of one batch, None for any."""

    def __init__(self, session: Any, wanted: OnnxInput, size_hw: tuple[int, int] | None, batch: int | None) -> None:
        super().__init__()
        self._session, self._outputs, self._size_hw, self._batch = session, list(wanted.outputs), size_hw, batch
        self._mean, self._std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (wanted.mean, wanted.std))

    def forward(self, images: Tensor) -> list[Tensor]:
        pixels = (images.detach().float().cpu() - self._mean) / self._std
        if self._size_hw is not None and self._size_hw != tuple(pixels.shape[-2:]):
            pixels = functional.interpolate(pixels, self._size_hw, mode="bilinear", align_corners=False, antialias=True)
        size = self._batch or len(pixels)
        name = self._session.get_inputs()[0].name
        runs = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            filled = torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
            outputs = self._session.run(self._outputs, {name: np.ascontiguousarray(filled.numpy())})
            runs.append([output[: len(part)] for output in outputs])
        return [torch.from_numpy(np.concatenate(level)).float().to(images.device) for level in zip(*runs)]


def load(path: Path, wanted: OnnxInput) -> Teacher:
    """Raises UserError when the file cannot be run, takes no RGB images, or has no output of a name."""
    import onnxruntime

    check_file(path, "an ONNX model for --teacher")
    if len(wanted.mean) != 3 or len(wanted.std) != 3 or any(value <= 0 for value in wanted.std):
        raise UserError(f"--teacher {path}: expected three numbers for mean and std, those of std above 0")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception types share no base
        reason = str(error).strip().splitlines()[0][:120]
        raise UserError(f"--teacher {path}: not an ONNX model that onnxruntime can run ({reason})") from None
    known = {output.name: output for output in session.get_outputs()}
    maps = [name for name, output in known.items() if len(output.shape) == _DIMENSIONS]
    missing = [name for name in wanted.outputs if name not in known]
    if missing or not wanted.outputs:
        found = f"no output {missing[0]!r}" if missing else "which of its outputs are features is not said"
        raise UserError(
            f"--teacher {path}: {found}; expected --teacher-outputs with names of its feature maps "
            f"({', '.join(maps) or 'it has none: add them to the graph as outputs'})"
        )
    shape = session.get_inputs()[0].shape
    if len(shape) != _DIMENSIONS or (shape[1] not in (3, None) and not isinstance(shape[1], str)):
        raise UserError(f"--teacher {path}: its input is {shape}; expected images (batch, 3, height, width)")
    batch, _, height, width = (side if isinstance(side, int) else None for side in shape)
    size_hw = None if height is None or width is None else (height, width)
    return Teacher(
        name=str(path), module=prepared(_Session(session, wanted, size_hw, batch)), channels=(), strides=(),
        image_size=size_hw,
    )  # fmt: skip
