"""A trained detector, ready to use, whatever file it comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from detector.data.geometry import clip_boxes
from detector.data.image import Pixels, read_image, resize_stretch
from detector.deploy import Floats, Model, Outputs, load_model, run_in_batches
from detector.detections import Detections
from detector.model_card import ModelCard
from detector.suppression import suppress
from search_spaces.errors import UserError

if TYPE_CHECKING:
    from detector.checkpoint import Checkpoint
    from detector.data.annotations import Annotations
    from detector.evaluation import Evaluation, Metrics
    from search_spaces.structure import Structure

ImageLike: TypeAlias = str | Path | npt.NDArray[np.uint8]
Selected: TypeAlias = tuple[Floats, Floats, npt.NDArray[np.int64]]
"""Of one image: boxes_xyxy (K, 4) in pixels, scores (K,), labels (K,)."""
PREDICT_SCORE_THRESHOLD = 0.3
"""What one would look at; a model's own threshold, made for evaluations, is far lower."""


class Detector:
    """`Detector.load("best.pt").predict("street.jpg")`; a checkpoint or any export of one.

    Running an export imports no torch.
    """

    def __init__(self, model: Model, *, by_class: bool = False) -> None:
        self.model = model
        self._by_class = by_class

    @classmethod
    def load(cls, path: str | Path, device: str | None = None, *, threads: int | None = None) -> Detector:
        """From a file, as `deploy.load_model` does. Raises UserError for a file that is no model of this project."""
        return cls(load_model(path, device=device, threads=threads))

    @classmethod
    def of(cls, checkpoint: Checkpoint, device: str | None = None) -> Detector:
        """From a checkpoint in memory."""
        from detector.deploy.torch import model_of

        return cls(model_of(checkpoint, device))

    @property
    def card(self) -> ModelCard:
        """Classes, input and thresholds."""
        return self.model.card

    @property
    def structure(self) -> Structure:
        """The structure, with the classes and image size it was trained for."""
        from search_spaces.text import parse_structure

        return parse_structure(self.card.structure, "the model's structure")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        return self.card.class_names

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to."""
        return self.card.image_size

    def with_thresholds(
        self, *, score: float | None = None, iou: float | None = None, max_detections: int | None = None
    ) -> Detector:
        """The same model with other thresholds of its own; None keeps one.

        Raises UserError for what a model with NMS inside cannot follow.
        """
        wanted = {"score_threshold": score, "iou_threshold": iou, "max_detections": max_detections}
        changes = {key: value for key, value in wanted.items() if value is not None}
        if self.card.output == "nms":
            _check_built_in(self.card, changes)
        card = replace(self.card, **changes)  # type: ignore[arg-type]
        return Detector(replace(self.model, card=card), by_class=self._by_class)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, image: ImageLike, *, score_threshold: float | None = ..., iou_threshold: float | None = ...,
        max_detections: int | None = ...,
    ) -> Detections: ...  # fmt: skip

    @overload
    def predict(
        self, image: Sequence[ImageLike], *, score_threshold: float | None = ..., iou_threshold: float | None = ...,
        max_detections: int | None = ...,
    ) -> list[Detections]: ...  # fmt: skip

    def predict(
        self,
        image: ImageLike | Sequence[ImageLike],
        *,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> Detections | list[Detections]:
        """Find objects in one image (a path, or RGB pixels (H, W, 3) uint8), or in each of a list.

        score_threshold: 0..1, None: as `showing` says; the others, None: the model's own.
        Raises UserError for an image that cannot be read or has another shape, and for a threshold that a model with
        NMS inside cannot follow.
        """
        asked = self.showing(score_threshold).with_thresholds(iou=iou_threshold, max_detections=max_detections)
        if isinstance(image, (list, tuple)):
            return list(asked.detect_each(_pixels(one) for one in image))
        return asked.detect([_pixels(image)])[0]  # type: ignore[arg-type]

    def showing(self, score_threshold: float | None = None) -> Detector:
        """The model at what one would look at: above a score threshold, None: its class thresholds where it has such, else
        0.3 or its own threshold where that is higher. Raises UserError for what is below a threshold that is built in."""
        card = self.card
        if score_threshold is not None:
            asked = self.with_thresholds(score=score_threshold)
            return Detector(replace(asked.model, card=replace(asked.card, class_thresholds=None)))
        if card.class_thresholds is None:
            return self.with_thresholds(score=max(PREDICT_SCORE_THRESHOLD, card.score_threshold))
        return Detector(self.model, by_class=True)

    def detect(self, pictures: Sequence[Pixels]) -> list[Detections]:
        """At the model's own thresholds, in pictures (height, width, 3) uint8 RGB of any size, all in one batch (a model of
        a fixed batch runs as often as needed, its last call filled up with zeros); boxes in their own pixels, cut to them.
        """
        if self.card.input == "picture":
            return [self._in_whole(picture) for picture in pictures]
        if not pictures:
            return []
        none = np.zeros((0, 4), dtype=np.float32)
        images = [resize_stretch(picture, none, self.image_size)[0].transpose(2, 0, 1) for picture in pictures]
        found = self.detect_tensor(np.stack(images).astype(np.float32))
        return [self._in_picture(one, self.image_size, picture.shape[:2]) for one, picture in zip(found, pictures)]

    def detect_each(self, pictures: Iterable[Pixels]) -> Iterator[Detections]:
        """`detect`, for as many pictures as come, in the model's own batches (one by one where it takes any)."""
        waiting: list[Pixels] = []
        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == (self.card.batch or 1):
                yield from self.detect(waiting)
                waiting = []
        yield from self.detect(waiting)

    def evaluate(self, data: str | Path, split: str = "val", *, batch_size: int = 16) -> Metrics:
        """COCO metrics on a split of a data set; score and IoU threshold as in the training's own evaluations."""
        from detector.data.formats import load_split

        annotations, _ = load_split(Path(data), split, self.class_names, of_model=True)
        return self.evaluate_split(annotations, batch_size=batch_size).metrics

    def evaluate_split(
        self, annotations: Annotations, *, batch_size: int = 16, max_detections: int | None = None
    ) -> Evaluation:
        """All detections in the images of a split that is loaded already, and their metrics.

        max_detections: the best of each image and class that count; None: as in the training's own evaluations. Raises
        UserError for an image that cannot be read, and where NMS inside keeps too few.
        """
        from detector.evaluation import scored
        from detector.evaluation.settings import detections_for
        from detector.evaluation.split import detect_split

        counted = self.model.counted_detections if max_detections is None else max_detections
        most = detections_for(self.card.max_detections, counted)
        found = detect_split(self.with_thresholds(max_detections=most).detect, annotations, batch_size)
        return scored(found, annotations, counted)

    def detect_tensor(self, images: Floats) -> Iterator[Selected]:
        """boxes_xyxy (K, 4) in input pixels, scores (K,), labels (K,) of each of the images (N, 3, H, W) float32, RGB
        0..255, any N, at the model's own thresholds; of a model that takes tensors."""
        for outputs in run_in_batches(self.model, images):
            yield from (self._selected(outputs, row) for row in range(len(outputs[0])))

    def _in_whole(self, picture: Pixels) -> Detections:
        """By a model that takes pictures: as it is, or stretched to the size that the model fixes."""
        size = self.card.picture_size or (picture.shape[0], picture.shape[1])
        given = resize_stretch(picture, np.zeros((0, 4), dtype=np.float32), size)[0]
        if self.card.channels == "bgr":
            given = given[..., ::-1]
        batch = np.zeros((self.card.batch or 1, *given.shape), dtype=np.uint8)
        batch[0] = given
        return self._in_picture(self._selected(self.model.run(batch), 0), size, picture.shape[:2])

    def _selected(self, outputs: Outputs, row: int) -> Selected:
        card = self.card
        boxes, scores = (np.asarray(output[row], dtype=np.float32) for output in outputs[:2])
        least: float | Floats = card.score_threshold
        if self._by_class:
            least = np.maximum(np.array(card.class_thresholds, dtype=np.float32), card.score_threshold)
        if card.output == "raw":
            return suppress(boxes, scores, least, card.iou_threshold, card.max_detections)
        labels = np.asarray(outputs[2][row], dtype=np.int64)
        count = min(int(outputs[3][row].item()), card.max_detections)
        boxes, scores, labels = boxes[:count], scores[:count], labels[:count]
        rows = scores > (least[labels] if isinstance(least, np.ndarray) else least)
        return boxes[rows], scores[rows], labels[rows]

    def _in_picture(self, found: Selected, from_hw: tuple[int, int], size_hw: tuple[int, ...]) -> Detections:
        boxes, scores, labels = found
        height, width = size_hw
        sides = np.array([*from_hw[::-1]] * 2, dtype=np.float32)
        scale = np.array([width, height] * 2, dtype=np.float32) / sides
        return Detections(
            boxes_xyxy=clip_boxes(boxes, from_hw) * scale, scores=scores, labels=labels, class_names=self.class_names,
            category_ids=self.card.category_ids, image_size=(height, width),
        )  # fmt: skip


def _pixels(image: ImageLike) -> Pixels:
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"an image is a path or an array (height, width, 3) uint8 RGB; found {found}")
    if not image.size:
        raise UserError(f"the image is empty: {image.shape}")
    return image


def _check_built_in(card: ModelCard, changes: dict[str, float]) -> None:
    """A model with NMS inside can be made stricter after the fact, not laxer."""
    score, iou, most = (
        changes.get(name, getattr(card, name)) for name in ("score_threshold", "iou_threshold", "max_detections")
    )
    problems = {
        f"score threshold ({score:g})": score < card.score_threshold,
        f"IoU threshold ({iou:g})": iou != card.iou_threshold,
        f"number of detections ({most})": most > card.max_detections,
    }
    wrong = next((name for name, bad in problems.items() if bad), None)
    if wrong is not None:
        raise UserError(
            f"the model cannot have another {wrong}: NMS is built in (score {card.score_threshold:g}, "
            f"IoU {card.iou_threshold:g}, at most {card.max_detections}); export it again with that, or with --raw"
        )
