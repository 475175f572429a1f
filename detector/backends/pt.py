"""Checkpoints (`best.pt`), run by torch in deploy form; on the GPU if there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from detector.backends import Floats, Run
from detector.checkpoint import Checkpoint, load_checkpoint
from detector.model_card import ModelCard, check_preprocessing
from detector.training.presets import postprocess_defaults


def load(path: Path) -> tuple[ModelCard, Run]:
    """Raises UserError when the file is no checkpoint of this project."""
    checkpoint = load_checkpoint(path)
    check_preprocessing(checkpoint.preprocessing, str(path))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = checkpoint.network().deploy().to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(images: Floats) -> tuple[npt.NDArray[np.generic], ...]:
        with torch.inference_mode():
            tensor = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            boxes, scores = network(tensor)
        return boxes.cpu().numpy(), scores.cpu().numpy()

    return card_of(checkpoint), run


def card_of(checkpoint: Checkpoint) -> ModelCard:
    """The card of a checkpoint: raw outputs, any batch, the published thresholds of its family."""
    score, iou = postprocess_defaults(checkpoint.structure)
    height, width = checkpoint.structure.image_size
    names = checkpoint.class_names
    return ModelCard(
        class_names=names, category_ids=checkpoint.category_ids or tuple(range(len(names))),
        image_size=(height, width), output="raw", batch=None,
        score_threshold=score, iou_threshold=iou, max_detections=500, preprocessing=dict(checkpoint.preprocessing),
    )  # fmt: skip
