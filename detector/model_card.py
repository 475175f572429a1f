"""What a model file says about itself, so that the file alone is enough to predict with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field
from typing import Any, Literal

from detector.golden import Golden
from search_spaces.errors import UserError

FORMAT_VERSION = 3
VERSION_KEY = "tinynas_model"
SUPPORTED_INPUT: Mapping[str, str | float] = {"channels": "rgb", "low": 0.0, "high": 255.0, "resize": "stretch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """class_names, category_ids: by label; the ids are those of the data trained on. image_size: height, width that the
    network sees; free_size: that is what `predict` gives it, and other multiples of 32 are as good. batch: images per call,
    None where it is free.

    output: `raw` gives every box and score (thresholds are defaults, free to change), `nms` gives detections (they are
    built in), by the operator of ONNX or by TensorRT's plug-in (`nms`). preprocessing: how a picture becomes the input.
    structure: the text of the structure file. tool_version: of the tinynas that wrote the file.

    input: `tensor` is (N, 3, H, W) float32 made as `preprocessing` says; `picture` is (N, H, W, 3) uint8 with that made
    inside and boxes in the picture's pixels. Pictures have the size `picture_size` (height, width), None: any, and the order
    `channels` (tensors are always rgb). class_thresholds: by label, what is worth showing where nothing else is asked for.
    precision: of weights and arithmetic, fp32, half (fp16 weights), fp16 or int8. golden: None in checkpoints. notes: what
    else made the file (layers kept in higher precision, calibration).
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_size: tuple[int, int]
    output: Literal["raw", "nms"]
    batch: int | None
    score_threshold: float
    iou_threshold: float
    max_detections: int
    preprocessing: Mapping[str, str | float]
    structure: str
    tool_version: str
    input: Literal["tensor", "picture"] = "tensor"
    picture_size: tuple[int, int] | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    class_thresholds: tuple[float, ...] | None = None
    precision: str = "fp32"
    golden: Golden | None = None
    nms: Literal["onnx", "tensorrt"] = "onnx"
    free_size: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_name(self) -> str:
        """Name of the model's input."""
        return "images" if self.input == "tensor" else "pictures"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the model's outputs, in order."""
        if self.output == "raw":
            return ("boxes", "scores")
        if self.nms == "tensorrt":  # named as the plug-in's documentation has them
            return ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
        return ("boxes", "scores", "labels", "num_detections")

    def to_strings(self) -> dict[str, str]:
        """One JSON text per field: the metadata of a model file."""
        fields = {key: json.dumps(value, ensure_ascii=False) for key, value in asdict(self).items()}
        return {VERSION_KEY: str(FORMAT_VERSION), **fields}

    @classmethod
    def from_strings(cls, texts: Mapping[str, str], source: str) -> ModelCard:
        """The card from a file's metadata.

        Raises UserError, naming `source`, when the file is no export of this project or needs another preprocessing.
        """
        if VERSION_KEY not in texts:
            raise UserError(
                f"{source}: not an export of this project (no {VERSION_KEY!r} in its metadata); "
                "write one with tinynas export"
            )
        if texts[VERSION_KEY] != str(FORMAT_VERSION):
            found = f"export version {texts[VERSION_KEY]}, this release reads {FORMAT_VERSION}"
            raise UserError(f"{source}: {found}; write it again from its checkpoint with tinynas export")
        try:
            own = cls.__dataclass_fields__.items()
            # what has a default may be missing: files that were written before it was there
            needed = [
                key for key, one in own if key in texts or (one.default, one.default_factory) == (MISSING, MISSING)
            ]
            values: dict[str, Any] = {key: json.loads(texts[key]) for key in needed}
            for key in ("class_names", "category_ids", "image_size", "picture_size", "class_thresholds"):
                if values.get(key) is not None:
                    values[key] = tuple(values[key])
            golden = values.get("golden")
            if golden is not None:
                rows = {key: tuple(golden[key]) for key in ("scores", "labels")}
                boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in golden["boxes_xyxy"])
                values["golden"] = Golden(**golden | rows | {"boxes_xyxy": boxes})
            card = cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{source}: its metadata is damaged ({error}); export it again") from None
        check_preprocessing(card.preprocessing, source)
        return card


def check_preprocessing(preprocessing: Mapping[str, str | float], source: str) -> None:
    """Raise UserError when a model asks for an input that this release does not make."""
    for key, value in SUPPORTED_INPUT.items():
        if preprocessing.get(key, value) != value:
            raise UserError(f"{source}: needs input {key} {preprocessing[key]!r}; this release makes only {value!r}")
