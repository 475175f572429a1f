"""Checkpoint -> model file: traced once to ONNX, NMS added, written by a format's plug-in, verified, put in place."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

from detector.checkpoint import Checkpoint
from detector.deploy import get_format
from detector.deploy._export import suppression, tracing, verification
from detector.deploy._export.source import Source
from detector.deploy._export.stand_in import stand_in
from detector.deploy._export.verification import Differences, Verifier
from detector.deploy.torch import card_of
from detector.model_card import ModelCard
from search_spaces.errors import UserError
from search_spaces.files import check_folder


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """image_size: height, width; None: the checkpoint's. batch: images per call, None: free.

    output: `raw` or `nms`. Thresholds: None for those of the checkpoint's own evaluations. half: weights stored in fp16.
    """

    output: Literal["raw", "nms"] = "nms"
    image_size: tuple[int, int] | None = None
    batch: int | None = 1
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    half: bool = False


@dataclass(frozen=True, slots=True)
class ExportReport:
    """files: what was written. network: the exported boxes and scores against torch. detections: NMS inside against
    `detector.suppression` (None for a raw export)."""

    files: tuple[Path, ...]
    network: Differences
    detections: Differences | None
    seconds: float


def output_files(path: Path, format_name: str) -> list[Path]:
    """The files that an export to `path` consists of.

    Raises UserError for a format that is not written, and when the suffix does not fit it.
    """
    plugin = get_format(format_name)
    if not hasattr(plugin, "write"):
        raise UserError(f"{format_name} is what exports are made from; choose another --format")
    suffixes = plugin.SUFFIXES
    if path.suffix != suffixes[0]:
        raise UserError(f"{path}: expected a file name that ends in {suffixes[0]}, as {format_name} models do")
    return [path.with_suffix(suffix) for suffix in suffixes]


def export_checkpoint(
    checkpoint: Checkpoint, path: Path, format_name: str, settings: ExportSettings, *, overwrite: bool = False
) -> ExportReport:
    """Write `checkpoint` as a model file and return how far it is from torch.

    The files appear under their names only after the exported model has given torch's boxes and scores on two inputs.
    Raises UserError for an unknown format, an existing file (unless `overwrite`) or a failed verification.
    """
    start = time.perf_counter()
    files = output_files(path, format_name)
    existing = next((file for file in files if file.exists()), None)
    if existing is not None and not overwrite:
        raise UserError(f"{existing}: exists already; choose another -o or say --overwrite")
    check_folder(path.parent, "choose another -o")
    plugin = get_format(format_name)
    card = _card(checkpoint, settings)
    network = checkpoint.network()
    deployed = network.deploy()
    raw = Source(replace(card, output="raw"), deployed, tracing.trace(deployed, card), settings.half)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        target = scratch / path.name
        verifier = verification.Verifier(network, card, settings.half)
        plugin.write(raw, target)
        differences = verifier.check_raw(target)
        found = _suppressed(raw, plugin, verifier, target) if card.output == "nms" else None
        for file in files:
            (scratch / file.name).replace(file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ExportReport(tuple(files), differences, found, time.perf_counter() - start)


def _suppressed(raw: Source, plugin: ModuleType, verifier: Verifier, target: Path) -> Differences:
    """Write the model with NMS; first NMS alone behind known boxes, so that there is much to compare in any case."""
    known = stand_in(raw.onnx, verifier.card)
    plugin.write(replace(raw, card=known.card, onnx=suppression.with_suppression(known.model, known.card)), target)
    differences = verifier.check_stand_in(target, known)
    whole = suppression.with_suppression(raw.onnx, verifier.card)
    plugin.write(replace(raw, card=verifier.card, onnx=whole), target)
    verifier.check_detections(target)
    return differences


def _card(checkpoint: Checkpoint, settings: ExportSettings) -> ModelCard:
    card = card_of(checkpoint)
    score, iou = settings.score_threshold, settings.iou_threshold
    return replace(
        card, output=settings.output, batch=settings.batch, image_size=settings.image_size or card.image_size,
        score_threshold=card.score_threshold if score is None else score,
        iou_threshold=card.iou_threshold if iou is None else iou,
        max_detections=settings.max_detections or card.max_detections,
    )  # fmt: skip
