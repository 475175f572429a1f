"""Checkpoints (`best.pt`), run by torch in deploy form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detector.deploy import Input, Model, Outputs
from detector.model_card import ModelCard, check_preprocessing

if TYPE_CHECKING:
    from detector.checkpoint import Checkpoint
    from detector.network import Network

SUFFIXES = (".pt",)
RUNTIME = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchModel(Model):
    """checkpoint: what was loaded; network: in deploy form, images (B, 3, H, W) RGB 0..255 -> boxes (B, A, 4) and scores
    (B, A, C)."""

    checkpoint: Checkpoint
    network: Network


def load(path: Path, device: str | None = None, threads: int | None = None) -> TorchModel:
    """device: auto (a GPU if there is one), cpu, cuda, cuda:N. threads: of this whole process.

    Raises UserError when the file is no checkpoint of this project.
    """
    import torch

    from detector.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    check_preprocessing(checkpoint.preprocessing, str(path))
    if threads is not None:
        torch.set_num_threads(threads)
    return model_of(checkpoint, device)


def model_of(checkpoint: Checkpoint, device: str | None = None) -> TorchModel:
    """A checkpoint that is loaded already. Raises UserError for a device that is not there."""
    import torch

    from detector.devices import choose_device
    from detector.evaluation.settings import counted_of

    place = choose_device(device or "auto")
    network = checkpoint.network().deploy().to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(images: Input) -> Outputs:
        with torch.inference_mode():
            tensor = torch.from_numpy(images).to(place, memory_format=torch.channels_last)
            boxes, scores = network(tensor)
        return boxes.cpu().numpy(), scores.cpu().numpy()

    return TorchModel(
        card=card_of(checkpoint), run=run, counted_detections=counted_of(checkpoint),
        checkpoint=checkpoint, network=network,
    )  # fmt: skip


def card_of(checkpoint: Checkpoint) -> ModelCard:
    """The card of a checkpoint: raw outputs, any batch, the thresholds of its own evaluations."""
    from detector.evaluation.settings import selection_of
    from search_spaces.text import format_structure
    from search_spaces.version import tool_version

    names = checkpoint.class_names
    return ModelCard(
        class_names=names, category_ids=checkpoint.category_ids or tuple(range(len(names))),
        image_size=checkpoint.structure.image_size, output="raw", batch=None, **selection_of(checkpoint),
        preprocessing=dict(checkpoint.preprocessing), structure=format_structure(checkpoint.structure),
        tool_version=tool_version(),
    )  # fmt: skip
