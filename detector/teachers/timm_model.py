"""A timm model as teacher, by its name (`pip install timm`); its weights come from timm's own cache or download."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from detector.teachers import Teacher, prepared
from search_spaces.errors import UserError


class _Normalised(nn.Module):
    """A features-only model behind its own input scale. mean, std: per RGB channel, of pixels 0..1, as timm has them."""

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.model((images - self.mean) / self.std))


def load(name: str) -> Teacher:
    """The model's feature maps, all of its levels. Raises UserError when timm, the model or its weights are not there."""
    if Path(name).is_file():
        raise UserError(
            f"--teacher {name}: not a file that a teacher can be read from; expected a checkpoint (.pt), an ONNX file "
            "(.onnx), a timm model's name or MODULE:FUNCTION"
        )
    try:
        import timm
    except ImportError:
        hint = "no such file; " if Path(name).suffix else ""
        raise UserError(
            f"--teacher {name}: {hint}taken as the name of a timm model, and timm is not installed; pip install timm, or "
            "name a checkpoint (.pt), an ONNX file or MODULE:FUNCTION"
        ) from None
    try:
        model = timm.create_model(name, pretrained=True, features_only=True)
    except Exception as error:  # unknown names, no features, no network: each of another type
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(
            f"--teacher {name}: timm cannot make its features ({reason}); expected a name of timm.list_models("
            "pretrained=True) whose weights are in timm's cache or can be downloaded"
        ) from None
    settings = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    mean, std = settings.get("mean", (0.485, 0.456, 0.406)), settings.get("std", (0.229, 0.224, 0.225))
    return Teacher(name=name, module=prepared(_Normalised(model, mean, std)), channels=(), strides=())
