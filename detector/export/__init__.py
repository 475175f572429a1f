"""Checkpoint -> model file: written by a format's plug-in, verified, put in place.

Formats that are made from ONNX share one trace; NMS and pre-processing are ONNX ops round it.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from detector.agreement import Differences
from detector.checkpoint import Checkpoint
from detector.data.image import read_image
from detector.deploy import Floats, writable
from detector.deploy._source import Source
from detector.export import plugin_suppression, preprocessing, suppression, tracing, verification
from detector.export.settings import ExportSettings, asked_card, check_runtime, claimed_files
from detector.export.stand_in import stand_in
from detector.export.verification import Verifier
from detector.model_card import ModelCard
from detector.priors import priors

__all__ = ["ExportReport", "ExportSettings", "claimed_files", "export_checkpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """files: what was written. network: the exported boxes and scores against torch. detections: NMS inside against
    `detector.suppression` (None for a raw export). golden: from the encoded golden picture to boxes, against torch."""

    files: tuple[Path, ...]
    network: Differences
    detections: Differences | None
    golden: Differences
    seconds: float


def export_checkpoint(
    checkpoint: Checkpoint, path: Path, format_name: str, settings: ExportSettings, *, overwrite: bool = False
) -> ExportReport:
    """Write `checkpoint` as a model file and return how far it is from torch.

    The files appear under their names only after the exported model has given torch's boxes and scores on two inputs and
    in its golden picture (of NMS that only TensorRT could run, what comes before it). Raises UserError for an unknown
    format, an option that it has not, an existing file (unless `overwrite`) or a failed verification.
    """
    start = time.perf_counter()
    files = claimed_files(path, format_name, overwrite=overwrite)
    plugin = writable(format_name)
    card = asked_card(checkpoint, settings, format_name)
    check_runtime(format_name)
    golden = None if settings.golden is None else read_image(settings.golden)
    network = checkpoint.network()
    deployed = network.deploy()
    trace = functools.cache(lambda: tracing.trace(deployed, card))
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        target = scratch / path.name
        verifier = verification.Verifier(network, card, trace if plugin.FROM_ONNX else None)
        final = replace(card, golden=verifier.golden(golden))
        raw = Source(replace(final, output="raw", input="tensor"), deployed, trace)
        plugin.write(raw, target)
        differences = verifier.check_raw(target)
        found = None
        if card.output == "nms" and card.nms == "onnx":
            found = _suppressed(replace(raw, card=replace(final, input="tensor")), plugin, verifier, target)
        seen = _finished(replace(raw, card=final), plugin, verifier, target)
        for file in files:
            (scratch / file.name).replace(file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ExportReport(
        files=tuple(files), network=differences, detections=found, golden=seen, seconds=time.perf_counter() - start
    )


def _suppressed(tensors: Source, plugin: ModuleType, verifier: Verifier, target: Path) -> Differences:
    """Decoding and NMS alone behind known logits, so that there is much to compare in any case, then behind the network."""
    points = _priors(tensors)
    known = stand_in(suppression.undecoded(tensors.onnx()), tensors.card, points)
    alone = replace(
        tensors, card=known.card, onnx=lambda: suppression.with_suppression(known.model, known.card, points)
    )
    plugin.write(alone, target)
    differences = verifier.check_stand_in(target, known)
    plugin.write(replace(tensors, onnx=lambda: _whole(tensors, tensors.card)), target)
    verifier.check_detections(target)
    return differences


def _finished(asked: Source, plugin: ModuleType, verifier: Verifier, target: Path) -> Differences:
    """Write the file as asked for and find its golden picture's boxes; where nothing but TensorRT could run it, those of
    the same file before NMS."""

    def write(form: ModelCard) -> None:
        plugin.write(replace(asked, card=form, onnx=lambda: _whole(asked, form)), target)

    card = asked.card
    runs = card.nms == "onnx" or plugin.RUNTIME == "tensorrt"
    tried = card if runs else replace(card, output="raw")
    if card.input == "picture" or card.nms == "tensorrt":
        write(tried)
    seen = verifier.check_golden(target)
    if not runs:
        write(card)
    return seen


def _priors(source: Source) -> Floats:
    return priors(source.card.image_size, source.network.detect.strides).numpy()


def _whole(raw: Source, card: ModelCard) -> Any:
    """The raw ONNX model with all that the card has inside."""
    model = raw.onnx()
    by_plugin = card.output == "nms" and card.nms == "tensorrt"
    if card.output == "nms" and not by_plugin:
        model = suppression.with_suppression(suppression.undecoded(model), card, _priors(raw))
    if card.input == "picture":
        # before the plug-in, so that it is the last node: stretching changes no overlap
        model = preprocessing.with_preprocessing(model, replace(card, output="raw") if by_plugin else card)
    return plugin_suppression.with_plugin(model, card) if by_plugin else model
