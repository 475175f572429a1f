"""Large pictures cut into overlapping tiles with their boxes, so that small objects stay large enough to learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data import formats
from detector.data.annotations import Annotations, clip
from detector.data.convert import check_pictures, merged_classes, read_all, renamed_line
from detector.data.image import Pixels
from detector.data.raw_split import packed
from detector.data.writing import Content, Put, claim, write_data_set
from detector.drawing import write_picture
from detector.tiling import tiles_of
from search_spaces.errors import UserError

_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_QUALITY = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicing:
    """size, overlap: of a tile in pixels and as a share of it; visible: the share of a box that a tile must hold, else the
    part in it is a region to ignore; empty: the share of tiles without a box that is kept, drawn with `seed`.
    """

    size: int = 640
    overlap: float = 0.2
    visible: float = 0.3
    empty: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Sliced:
    """What was written: per split, pictures, tiles, and boxes whole or cut; and what did not come along, a line each."""

    pictures: dict[str, int]
    tiles: dict[str, int]
    boxes: dict[str, int]
    lost: tuple[str, ...]


def slice_data(source: Path, out: Path, to: str, slicing: Slicing) -> Sliced:
    """Write all splits of `source` in tiles, in the format `to`; as `convert` does, and with its errors."""
    target = formats.writable(to)
    claim(out)
    raw, lost = read_all(source)
    names, ids = merged_classes(list(raw.values()))
    contents, whole = {}, {}
    for part, (name, split) in enumerate(raw.items()):
        annotations, _ = packed(replace(split, declared=False), names)
        check_pictures(annotations, copied_to=None)
        whole[name] = len(annotations)
        rng = np.random.default_rng([slicing.seed, part])
        contents[name] = _tiled(replace(annotations, category_ids=ids), slicing, rng)
        if not len(contents[name].annotations):
            raise UserError(f"{source}: no tile of the {name!r} split holds a box; choose --size or --empty larger")
    parts = sum(int(content.annotations.ignore.sum()) for content in contents.values())
    if parts and to == "yolo":
        lost.append(f"{parts} parts of boxes, and crowds: the format cannot mark them as regions to ignore")
    renamed = write_data_set(target, contents, out)
    return Sliced(
        pictures=whole,
        tiles={name: len(content.annotations) for name, content in contents.items()},
        boxes={name: int((~content.annotations.ignore).sum()) for name, content in contents.items()},
        lost=(*lost, *renamed_line(renamed)),
    )


def _tiled(annotations: Annotations, slicing: Slicing, rng: np.random.Generator) -> Content:
    """The split in tiles, with the function that writes them."""
    owners: list[int] = []
    corners: list[tuple[int, int]] = []
    sizes: list[tuple[int, int]] = []
    boxes: list[npt.NDArray[np.float32]] = []
    labels: list[npt.NDArray[np.int32]] = []
    ignore: list[npt.NDArray[np.bool_]] = []
    areas: list[npt.NDArray[np.float32]] = []
    for i in range(len(annotations)):
        height, width = (int(side) for side in annotations.sizes_hw[i])
        rows = slice(int(annotations.offsets[i]), int(annotations.offsets[i + 1]))
        for tile in tiles_of((height, width), (slicing.size, slicing.size), slicing.overlap):
            corner, size = (tile.x, tile.y), (tile.height, tile.width)
            found = _within(annotations, rows, corner, size, slicing.visible)
            if not (~found[2]).any() and rng.random() >= slicing.empty:
                continue
            owners.append(i)
            corners.append(corner)
            sizes.append(size)
            boxes.append(found[0])
            labels.append(found[1])
            ignore.append(found[2])
            areas.append(found[3])
    result = Annotations(
        class_names=annotations.class_names,
        category_ids=annotations.category_ids,
        image_paths=tuple(_tile_name(annotations.image_paths[i], corner) for i, corner in zip(owners, corners)),
        image_ids=np.arange(1, len(owners) + 1, dtype=np.int64),
        sizes_hw=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        offsets=np.cumsum([0, *map(len, labels)]).astype(np.int64),
        boxes_xyxy=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        labels=np.concatenate([np.zeros(0, np.int32), *labels]),
        ignore=np.concatenate([np.zeros(0, np.bool_), *ignore]),
        areas=np.concatenate([np.zeros(0, np.float32), *areas]),
    )
    return Content(result, _cutter(annotations, owners, corners, sizes))


def _within(
    annotations: Annotations, rows: slice, corner: tuple[int, int], size: tuple[int, int], visible: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Boxes of one picture in one tile, in its pixels: boxes, labels, ignore, areas; parts under 1 px are left out."""
    given = annotations.boxes_xyxy[rows] - np.array([*corner, *corner], dtype=np.float32)
    inside, _ = clip(given, np.tile(np.array(size, dtype=np.int32), (len(given), 1)))
    sides = inside[:, 2:] - inside[:, :2]
    whole = (given[:, 2:] - given[:, :2]).prod(axis=1)
    share = sides.prod(axis=1) / np.maximum(whole, 1e-9)
    keep = (sides >= 1).all(axis=1)
    ignored = annotations.ignore[rows] | (share < visible)
    return (
        inside[keep].astype(np.float32),
        annotations.labels[rows][keep],
        ignored[keep],
        (annotations.areas[rows] * share)[keep].astype(np.float32),
    )


def _tile_name(path: Path, corner: tuple[int, int]) -> Path:
    suffix = path.suffix if path.suffix.lower() in _KEPT_SUFFIXES else ".png"
    return path.with_name(f"{path.stem}_{corner[0]}_{corner[1]}{suffix}")


def _cutter(
    annotations: Annotations, owners: list[int], corners: list[tuple[int, int]], sizes: list[tuple[int, int]]
) -> Put:
    """Writes tiles; a picture is decoded once for all of its own, which follow one another."""
    last: tuple[int, Pixels] | None = None

    def put(index: int, place: Path) -> None:
        nonlocal last
        owner, (x, y), (height, width) = owners[index], corners[index], sizes[index]
        if last is None or last[0] != owner:
            last = owner, annotations.picture(owner)
        write_picture(last[1][y : y + height, x : x + width], place, _QUALITY)

    return put
