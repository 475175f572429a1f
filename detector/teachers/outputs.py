"""An exported model as teacher: its scores and boxes of every prior, before suppression."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from detector.deploy import Model, load_model, run_in_batches
from detector.teachers import ClassAgreement, check_class_names
from search_spaces.errors import UserError


class OutputTeacher:
    """Called with images (B, 3, H, W) float, RGB 0..255 -> boxes (B, A, 4) in pixels of these images and scores (B, A, C)
    of the data's classes, 0 for those that it does not know.

    The last batch's answer is kept, for the losses that ask after each other. seconds: what its runs took so far.
    """

    def __init__(self, model: Model, class_names: Sequence[str], source: str) -> None:
        self.image_size, self.iou_threshold, self.name = model.card.image_size, model.card.iou_threshold, source
        self.seconds, self.timed = 0.0, False
        self._model = model
        own = {name.casefold(): column for column, name in enumerate(model.card.class_names)}
        self._columns = [own.get(name.casefold(), -1) for name in class_names]
        self.known = torch.tensor([label for label, column in enumerate(self._columns) if column >= 0])
        self._last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    def __deepcopy__(self, _: dict[int, object]) -> OutputTeacher:
        """Itself, as `Teacher`."""
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self._last is not None and self._last[0] is images:
            return self._last[1]
        started = time.perf_counter()
        stretched = images.detach().float()
        if tuple(images.shape[-2:]) != self.image_size:
            stretched = functional.interpolate(
                stretched, self.image_size, mode="bilinear", align_corners=False, antialias=True
            )
        parts = zip(*run_in_batches(self._model, stretched.cpu().contiguous().numpy()))
        boxes, scores = (torch.from_numpy(np.concatenate(arrays).astype(np.float32, copy=False)) for arrays in parts)
        height, width = images.shape[-2:]
        scale = torch.tensor([width / self.image_size[1], height / self.image_size[0]] * 2)
        known = torch.zeros(*scores.shape[:2], len(self._columns))
        known[..., self.known] = scores[..., [column for column in self._columns if column >= 0]]
        answer = (boxes * scale).to(images.device), known.to(images.device)
        self._last = images, answer
        self.seconds += time.perf_counter() - started
        return answer


def load(path: Path, class_names: Sequence[str], agreement: ClassAgreement) -> OutputTeacher:
    """The teacher in an exported model. Raises UserError for one with NMS inside, and for other classes."""
    model = load_model(path)
    if model.card.output != "raw":
        raise UserError(
            f"--teacher {path}: NMS is inside it, so it gives no scores to learn from; expected an export with --raw: "
            f"tinynas export best.pt --raw -o raw{path.suffix}"
        )
    check_class_names(model.card.class_names, class_names, agreement, str(path))
    return OutputTeacher(model, class_names, str(path))
