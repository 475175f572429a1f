"""What was found in one image: the one currency between models, metrics, drawings and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from search_spaces.errors import UserError
from search_spaces.files import csv_text

if TYPE_CHECKING:
    from detector.data.image import Pixels


CSV_COLUMNS = ("x1", "y1", "x2", "y2", "score", "label", "category_id", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """K detections of one image, best first.

    boxes_xyxy (K, 4) float32, pixels of the image as given; scores (K,) float32; labels (K,) int64
    class_names, category_ids: of the model, by label; the ids are those of the data trained on
    image_size: height, width of the image in pixels
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.float32], float, str]]:
        """(box (4,), score, class name) one by one."""
        return iter(zip(self.boxes_xyxy, self.scores.tolist(), self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """The class name of every detection."""
        return tuple(self.class_names[label] for label in self.labels.tolist())

    def above(self, score: float | Mapping[str, float]) -> Detections:
        """Those that score above a threshold, or above their class's (by name; classes that are not named keep all).

        Raises UserError for a name that is none of the model's.
        """
        if not isinstance(score, Mapping):
            return self[self.scores > score]
        unknown = next((name for name in score if name not in self.class_names), None)
        if unknown is not None:
            raise UserError(f"no class is named {unknown!r}; the model knows {', '.join(self.class_names)}")
        least = np.array([score.get(name, -1.0) for name in self.class_names], dtype=np.float32)
        return self[self.scores > least[self.labels]]

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Detections:
        """Those of a slice, a mask (K,) or places (n,)."""
        return replace(self, boxes_xyxy=self.boxes_xyxy[rows], scores=self.scores[rows], labels=self.labels[rows])

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict each: `box_xyxy` (pixels), `score`, `label` (from 0), `category_id` (of the data trained on), `name`."""
        columns = zip(self.boxes_xyxy.tolist(), self.scores.tolist(), self.labels.tolist())
        return [
            {
                "box_xyxy": [round(side, 2) for side in box],
                "score": round(score, 5),
                "label": label,
                "category_id": self.category_ids[label],
                "name": self.class_names[label],
            }
            for box, score, label in columns
        ]

    def to_json(self) -> str:
        """An object with `width`, `height` and `detections`, the rows of `to_rows`, on one line."""
        height, width = self.image_size
        content = {"width": width, "height": height, "detections": self.to_rows()}
        return json.dumps(content, ensure_ascii=False)

    def to_csv(self) -> str:
        """A table with the columns CSV_COLUMNS; boxes in pixels."""
        rows = [
            (*row["box_xyxy"], row["score"], row["label"], row["category_id"], row["name"]) for row in self.to_rows()
        ]
        return csv_text([CSV_COLUMNS, *rows])

    def to_yolo(self) -> str:
        """A line each: label, centre x and y, width, height (shares of the image's sides), score."""
        height, width = self.image_size
        x1, y1, x2, y2 = (self.boxes_xyxy / np.array([width, height, width, height], dtype=np.float32)).T
        columns = zip(self.labels.tolist(), (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, self.scores.tolist())
        return "".join(f"{label} {' '.join(f'{value:.6f}' for value in rest)}\n" for label, *rest in columns)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Entries of a COCO results file: `bbox` is x, y, width, height in pixels."""
        return [
            {
                "image_id": image_id,
                "category_id": row["category_id"],
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                "score": row["score"],
            }
            for row in self.to_rows()
            for x1, y1, x2, y2 in (row["box_xyxy"],)
        ]

    def to_supervision(self) -> Any:
        """The `Detections` of the package supervision, class names in its `data`. Raises UserError without that package."""
        try:
            from supervision import Detections as Foreign
        except ImportError:
            raise UserError("to_supervision needs the package supervision; pip install supervision") from None
        return Foreign(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.labels,
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )

    def draw(self, picture: Pixels, ids: npt.NDArray[np.int64] | None = None) -> Pixels:
        """A copy of the picture (H, W, 3) uint8 RGB with boxes, names and scores; small ones come back enlarged.

        ids (K,): numbers of the tracks that the detections belong to, shown too.
        """
        from detector.drawing import draw_detections

        return draw_detections(picture, self.boxes_xyxy, self.labels, self.class_names, self.scores, ids=ids)
