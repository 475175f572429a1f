"""The user's pictures as quantisation needs them: some of train to calibrate on, some of val to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.data.formats import load_split
from detector.data.image import resize_stretch
from search_spaces.errors import UserError


@dataclass(frozen=True, slots=True)
class Pictures:
    """train: to calibrate on. val: to judge by."""

    train: Annotations
    val: Annotations


def drawn_pictures(data: Path, split: str, class_names: Sequence[str], number: int, seed: int) -> Annotations:
    """At most `number` pictures of a split, with their boxes, drawn without repetition, in the split's order.

    Raises UserError when the split has other classes than the model, is missing or has no pictures.
    """
    annotations, _ = load_split(data, split, class_names, of_model=True)
    if not len(annotations):
        raise UserError(f"{data}: no pictures in {split}; quantisation needs some to calibrate on and to judge by")
    if len(annotations) <= number:
        return annotations
    chosen = np.random.default_rng(seed).choice(len(annotations), number, replace=False)
    return annotations.subset(np.sort(chosen).tolist())


def model_inputs(annotations: Annotations, image_size: tuple[int, int]) -> list[npt.NDArray[np.float32]]:
    """Every picture as a model's input (1, 3, H, W) float32, RGB 0..255, stretched as in training and prediction."""
    found = []
    for index in range(len(annotations)):
        stretched, _ = resize_stretch(annotations.picture(index), np.zeros((0, 4), dtype=np.float32), image_size)
        found.append(np.ascontiguousarray(stretched.transpose(2, 0, 1)[None], dtype=np.float32))
    return found
