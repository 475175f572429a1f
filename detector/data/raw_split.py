"""One split as its files give it: what every format's reader returns, before classes are matched and boxes cleaned."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations, DataReport, RawBoxes, map_labels, pack
from detector.data.origins import Origins
from search_spaces.errors import UserError, listed

Tell = Callable[[str, str, str], None]
"""`tell(kind, where, reason)` hears of a mistake; when it returns, the reader goes on without that record."""


def refuse(kind: str, where: str, reason: str) -> NoReturn:
    """The `Tell` that stops at the first mistake: raises UserError."""
    raise UserError(f"{where}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSplit:
    """N images and M boxes in any order, labels indexing this split's own `class_names`.

    sizes_hw (N, 2) int32; files: N annotation files; records (M,) int64: line, object or id of each box, in its file
    record_text: how such a place is written, with {file} and {record}; record_texts: image by image (N), where they differ
    declared: the files hold a list of classes (else the classes are those that occur)
    image_ids (N,) and category_ids (C,) int64 where the format has them
    notes: what the reader made of things that a box cannot hold, a line each
    origins: of the images, where several data sets are read as one
    """

    source: str
    class_names: tuple[str, ...]
    declared: bool
    image_paths: tuple[Path, ...]
    sizes_hw: npt.NDArray[np.int32]
    files: tuple[Path, ...]
    boxes: RawBoxes
    records: npt.NDArray[np.int64]
    record_text: str
    image_ids: npt.NDArray[np.int64] | None = None
    category_ids: npt.NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    record_texts: tuple[str, ...] = ()
    origins: Origins | None = None

    def where(self, row: int) -> str:
        """File and place in it of box `row`."""
        image = int(self.boxes.image[row])
        text = self.record_texts[image] if self.record_texts else self.record_text
        return text.format(file=self.files[image], record=int(self.records[row]))

    def without(self, images: Sequence[int]) -> RawSplit:
        """The split less these images (0-based) and their boxes."""
        if not images:
            return self
        keep = np.ones(len(self.image_paths), dtype=np.bool_)
        keep[list(images)] = False
        return self.only(keep)

    def only(self, keep: npt.NDArray[np.bool_]) -> RawSplit:
        """The images that the mask (N,) names, with their boxes."""
        place = np.cumsum(keep) - 1
        kept = np.flatnonzero(keep).tolist()
        boxes = self.boxes.select(keep[self.boxes.image])
        return replace(
            self,
            image_paths=tuple(self.image_paths[i] for i in kept),
            sizes_hw=self.sizes_hw[keep],
            files=tuple(self.files[i] for i in kept),
            boxes=replace(boxes, image=place[boxes.image].astype(np.int64)),
            records=self.records[keep[self.boxes.image]],
            image_ids=None if self.image_ids is None else self.image_ids[keep],
            record_texts=tuple(self.record_texts[i] for i in kept) if self.record_texts else (),
            origins=None if self.origins is None else self.origins.only(keep),
        )


class BoxColumns:
    """Collects boxes as plain numbers, 53 bytes each: no Python object per box is kept."""

    def __init__(self) -> None:
        self.image, self.label, self.record = array("q"), array("q"), array("q")
        self._ignore, self._areas, self._sides = array("b"), array("f"), array("f")

    def add(
        self, image: int, label: int, record: int, box: tuple[float, float, float, float], *, ignore: bool = False,
        area: float = float("nan"),
    ) -> None:  # fmt: skip
        """One box, xyxy in pixels; `area` nan: the box's own. Raises TypeError or OverflowError for what does not fit, and
        then adds nothing."""
        try:
            self.image.append(image)
            self.label.append(label)
            self.record.append(record)
            self._sides.extend(box)
            self._ignore.append(ignore)
            self._areas.append(area)
        except (TypeError, OverflowError):
            count = len(self._areas)
            for column in (self.image, self.label, self.record, self._ignore):
                del column[count:]
            del self._sides[4 * count :]
            raise

    def boxes(self) -> tuple[RawBoxes, npt.NDArray[np.int64]]:
        """What was collected, as views, and the records (M,)."""
        sides = np.frombuffer(self._sides, dtype=np.float32).reshape(-1, 4)
        raw = RawBoxes(
            image=np.frombuffer(self.image, dtype=np.int64),
            boxes_xyxy=sides,
            labels=np.frombuffer(self.label, dtype=np.int64),
            ignore=np.frombuffer(self._ignore, dtype=np.bool_),
            areas=np.frombuffer(self._areas, dtype=np.float32),
        )
        return raw, np.frombuffer(self.record, dtype=np.int64)


def packed(
    split: RawSplit, class_names: Sequence[str] | None = None, *, of_model: bool = False
) -> tuple[Annotations, DataReport]:
    """Labels matched to `class_names`, the training split's or a model's, by name (None: the split's own list), boxes cleaned
    and sorted by image.

    Warns when both lists are declared and differ. Raises UserError for a class that has boxes but no place in
    `class_names`, for a name that occurs twice and for a split without images.
    """
    wanted = split.class_names if class_names is None else tuple(class_names)
    labels = map_labels(split.boxes.labels, split.class_names, wanted, split.where, of_model=of_model)
    if split.declared and split.class_names != wanted:
        warnings.warn(difference(split.source, split.class_names, wanted), stacklevel=3)
    for note in split.notes:
        warnings.warn(f"{split.source}: {note}", stacklevel=3)
    return pack(
        split.source,
        wanted,
        split.image_paths,
        split.sizes_hw,
        replace(split.boxes, labels=labels),
        image_ids=split.image_ids,
        category_ids=_category_ids(split, wanted),
        origins=split.origins,
    )


def difference(source: str, found: Sequence[str], wanted: Sequence[str]) -> str:
    """How two lists of classes differ, in one line."""
    more = [name for name in found if name not in wanted]
    fewer = [name for name in wanted if name not in found]
    parts = [f"not among them: {listed(more, 5)}"] if more else []
    parts += [f"missing here: {listed(fewer, 5)}"] if fewer else []
    return f"{source}: its classes are not the training classes ({'; '.join(parts) or 'other order'}); matched by name"


def _category_ids(split: RawSplit, wanted: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """The file's id of each wanted class; a class that the file lacks gets an unused one."""
    if split.category_ids is None:
        return None
    known = dict(zip(split.class_names, split.category_ids.tolist()))
    first = max(known.values(), default=0) + 1
    spare = iter(range(first, first + len(wanted)))
    return np.array([known[name] if name in known else next(spare) for name in wanted], dtype=np.int64)
