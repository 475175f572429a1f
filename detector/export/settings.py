"""What an export is asked for, and whether its format can do it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from detector.checkpoint import Checkpoint
from detector.deploy import writable
from detector.deploy.torch import card_of
from detector.model_card import ModelCard
from search_spaces.errors import UserError
from search_spaces.files import check_new_file


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """image_size: height, width; None: the checkpoint's. batch: images per call, None: free. output: `raw` or `nms`.

    Thresholds: None for those of the checkpoint's own evaluations; class_thresholds: by name, what is worth showing.
    half: weights stored in fp16. input: `picture` takes 8-bit pictures of `picture_size` (height, width; None: any), in the
    order `channels`, and resizes inside. golden: a picture to check the file with, None: a drawn one. nms: where it is
    inside, the operator of ONNX or TensorRT's plug-in. free_size: tensors of any height and width in multiples of 32.
    """

    output: Literal["raw", "nms"] = "nms"
    image_size: tuple[int, int] | None = None
    batch: int | None = 1
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    half: bool = False
    input: Literal["tensor", "picture"] = "tensor"
    picture_size: tuple[int, int] | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    class_thresholds: Mapping[str, float] | None = None
    golden: Path | None = None
    nms: Literal["onnx", "tensorrt"] = "onnx"
    free_size: bool = False


def claimed_files(path: Path, format_name: str, *, overwrite: bool) -> list[Path]:
    """The files that an export to `path` consists of.

    Raises UserError for a format that is not written, a suffix that does not fit it, a file that is there already (unless
    `overwrite`) and a folder that cannot be written.
    """
    suffixes = writable(format_name).SUFFIXES
    if not path.name.endswith(suffixes[0]):
        raise UserError(f"{path}: expected a file name that ends in {suffixes[0]}, as {format_name} models do")
    stem = path.name.removesuffix(suffixes[0])
    files = [path.with_name(stem + suffix) for suffix in suffixes]
    for file in files:
        check_new_file(file, overwrite=overwrite)
    return files


def check_runtime(format_name: str) -> None:
    """Raise UserError where the package is not installed that the format's files are written and verified with."""
    module = writable(format_name).RUNTIME
    if module not in sys.modules and find_spec(module) is None:
        raise UserError(f"--format {format_name} needs the package {module}; pip install {module}")


def asked_card(checkpoint: Checkpoint, settings: ExportSettings, format_name: str) -> ModelCard:
    """The card of the export. Raises UserError for what the format cannot do."""
    plugin = writable(format_name)
    for asked, value, option in (
        ("OUTPUTS", settings.output, "--raw is needed: NMS inside"), ("INPUTS", settings.input, "--preprocess"),
        ("PRECISIONS", "half" if settings.half else "fp32", "--half"),
    ):  # fmt: skip
        if value not in getattr(plugin, asked):
            raise UserError(f"{option} is not for --format {format_name}; {plugin.REASONS[value]}")
    if settings.batch != 1 and not plugin.BATCHES:
        raise UserError(
            f"--batch {settings.batch or 'dynamic'} is not for --format {format_name}, which runs one image at a time"
        )
    if settings.nms not in getattr(plugin, "NMS", ("onnx",)):
        raise UserError(f"--nms {settings.nms} is not for --format {format_name}; expected --format onnx or tensorrt")
    if settings.nms == "tensorrt" and settings.output == "raw":
        raise UserError("--raw leaves NMS out, --nms tensorrt says which is inside; say one of them")
    if settings.free_size and not getattr(plugin, "FREE_SIZE", False):
        raise UserError(f"--dynamic-size is not for --format {format_name}; expected --format onnx or openvino")
    if settings.free_size and settings.input == "picture":
        raise UserError("--preprocess resizes to one size, --dynamic-size leaves it free; say one of them")
    card = card_of(checkpoint)
    score, iou = settings.score_threshold, settings.iou_threshold
    return replace(
        card, output=settings.output, batch=settings.batch,
        image_size=settings.image_size or card.image_size,
        score_threshold=card.score_threshold if score is None else score,
        iou_threshold=card.iou_threshold if iou is None else iou,
        max_detections=settings.max_detections or card.max_detections,
        input=settings.input, picture_size=settings.picture_size, channels=settings.channels,
        precision="half" if settings.half else "fp32",
        class_thresholds=_by_label(settings.class_thresholds, card), nms=settings.nms, free_size=settings.free_size,
    )  # fmt: skip


def _by_label(thresholds: Mapping[str, float] | None, card: ModelCard) -> tuple[float, ...] | None:
    if thresholds is None:
        return None
    unknown = next((name for name in thresholds if name not in card.class_names), None)
    if unknown is not None:
        raise UserError(
            f"class thresholds: no class is named {unknown!r}; the model knows {', '.join(card.class_names)}"
        )
    missing = next((name for name in card.class_names if name not in thresholds), None)
    if missing is not None:
        raise UserError(
            f"class thresholds: {missing!r} has none; expected one for each of {len(card.class_names)} classes"
        )
    return tuple(float(thresholds[name]) for name in card.class_names)
