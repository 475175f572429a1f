"""Checkpoint -> model file: traced once to ONNX, NMS added, written by a format's plug-in, verified, put in place.

A format is a file of this folder: `SUFFIXES` (the main file's first) and `write(model, card, path, half)`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from search_spaces.errors import UserError
from search_spaces.files import check_folder
from search_spaces.plugins import load_plugin, plugin_names

if TYPE_CHECKING:
    from detector.checkpoint import Checkpoint
    from detector.export._verification import Differences, Verifier


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """image_size: height, width; None: the checkpoint's. batch: images per call, None: free.

    output: `raw` or `nms`. Thresholds: None for the published ones of the model's family. half: weights stored in fp16.
    """

    output: Literal["raw", "nms"] = "nms"
    image_size: tuple[int, int] | None = None
    batch: int | None = 1
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int = 500
    half: bool = False


@dataclass(frozen=True, slots=True)
class ExportReport:
    """files: what was written. network: the exported boxes and scores against torch. detections: NMS inside against
    `detector.postprocess` (None for a raw export)."""

    files: tuple[Path, ...]
    network: Differences
    detections: Differences | None
    seconds: float


def format_names() -> list[str]:
    """The formats that can be written."""
    return plugin_names("detector.export")


def main_suffix(format_name: str) -> str:
    """What a format's main file ends in. Raises UserError for an unknown format."""
    return str(load_plugin("detector.export", format_name).SUFFIXES[0])


def output_files(path: Path, format_name: str) -> list[Path]:
    """The files that an export to `path` consists of. Raises UserError when the suffix does not fit the format."""
    suffixes = load_plugin("detector.export", format_name).SUFFIXES
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
    from detector.export._tracing import trace
    from detector.export._verification import Verifier

    start = time.perf_counter()
    plugin = load_plugin("detector.export", format_name)
    files = output_files(path, format_name)
    existing = next((file for file in files if file.exists()), None)
    if existing is not None and not overwrite:
        raise UserError(f"{existing}: exists already; choose another -o or say --overwrite")
    check_folder(path.parent, "choose another -o")
    card = _card(checkpoint, settings)
    network = checkpoint.network()
    raw = trace(network.deploy(), card)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        target = scratch / path.name
        verifier = Verifier(network, card, settings.half)
        plugin.write(raw, replace(card, output="raw"), target, settings.half)
        differences = verifier.check_raw(target)
        suppression = None
        if card.output == "nms":
            suppression = _suppressed(raw, plugin, verifier, target, settings.half)
        for file in files:
            (scratch / file.name).replace(file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ExportReport(tuple(files), differences, suppression, time.perf_counter() - start)


def _suppressed(raw: Any, plugin: Any, verifier: Verifier, target: Path, half: bool) -> Differences:
    """Write the model with NMS; first NMS alone behind known boxes, so that there is much to compare in any case."""
    from detector.export._stand_in import stand_in
    from detector.export._suppression import with_suppression

    known = stand_in(raw, verifier.card)
    plugin.write(with_suppression(known.model, known.card), known.card, target, half)
    differences = verifier.check_stand_in(target, known)
    plugin.write(with_suppression(raw, verifier.card), verifier.card, target, half)
    verifier.check_detections(target)
    return differences


def _card(checkpoint: Checkpoint, settings: ExportSettings) -> Any:
    from detector.backends.pt import card_of

    card = card_of(checkpoint)
    score, iou = settings.score_threshold, settings.iou_threshold
    return replace(
        card, output=settings.output, batch=settings.batch, image_size=settings.image_size or card.image_size,
        score_threshold=card.score_threshold if score is None else score,
        iou_threshold=card.iou_threshold if iou is None else iou, max_detections=settings.max_detections,
    )  # fmt: skip
