"""Generated sample data: textured pictures with discs, squares and triangles, learnable within minutes on a CPU."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from detector.data import formats
from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.image import Pixels
from search_spaces.errors import UserError, nearest
from search_spaces.files import check_new_folder

CORNERS = {"disc": 48, "square": 4, "triangle": 3}
"""The shapes that can be drawn, with their number of polygon corners."""

Points = npt.NDArray[np.float64]


def write_sample_data(
    directory: Path,
    images_train: int = 320,
    images_val: int = 40,
    size: tuple[int, int] = (320, 320),
    classes: Sequence[str] = ("disc", "square", "triangle"),
    seed: int = 0,
    format: str = "coco",
    *,
    overwrite: bool = False,
) -> None:
    """Write a train and a val split of generated JPEG pictures of `size` (height, width) into `directory`.

    classes: some of disc, square, triangle. format: a name from `detector.data.formats`. The same arguments give the
    same files. The folder appears whole or not at all. Raises UserError when it exists with content (unless
    `overwrite`), or for an unknown class or format.
    """
    for name in classes:
        if name not in CORNERS:
            raise UserError(f"unknown sample class {name!r}; {nearest(name, CORNERS)}")
    if not classes or min(size) < 32 or images_train < 1 or images_val < 0:
        raise UserError("sample data: expected at least one class, one training image and sides of at least 32 px")
    check_new_folder(directory, "choose another folder or pass --overwrite", overwrite=overwrite)
    formats.get(format)
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}")
    try:
        for part, (split, count) in enumerate((("train", images_train), ("val", images_val))):
            if count:
                _write_split(staging, split, count, size, tuple(classes), [seed, part], format)
        if directory.is_dir():
            shutil.rmtree(directory)
        staging.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def draw_picture(
    size: tuple[int, int], classes: Sequence[str], rng: np.random.Generator
) -> tuple[Pixels, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """One picture (height, width, 3) uint8 RGB with boxes_xyxy (n, 4) px and labels (n,); one in twenty is empty."""
    canvas = _background(size, rng)
    hidden = np.zeros(size, dtype=bool)
    boxes, labels = [], []
    for _ in range(0 if rng.random() < 0.05 else int(rng.integers(1, 8))):
        label = int(rng.integers(len(classes)))
        points = _outline(classes[label], size, rng)
        mask = _mask(points, size)
        solid = mask > 0.5
        # Shapes are drawn front to back: what is covered for the most part could not be told by anyone.
        if not solid.any() or hidden[solid].mean() > 0.4:
            continue
        visible = mask * ~hidden
        paint = _texture(classes[label], points, canvas[solid].mean(axis=0), size, rng)
        canvas += visible[..., None] * (paint - canvas)
        hidden |= solid
        boxes.append([*points.min(axis=0), *points.max(axis=0)])
        labels.append(label)
    blur = rng.uniform(0.0, 1.2)
    if blur > 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), blur), dtype=np.float32)
    canvas += rng.normal(0, rng.uniform(1, 8), canvas.shape)
    canvas *= rng.uniform(0.6, 1.15)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    return image, np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(labels, dtype=np.int64)


def _write_split(
    root: Path, split: str, count: int, size: tuple[int, int], classes: tuple[str, ...], seed: list[int], format: str
) -> None:
    chosen = formats.writable(format)
    folder = chosen.image_folder(root, split)
    folder.mkdir(parents=True, exist_ok=True)
    paths, boxes, labels = [], [], []
    for i in range(count):
        image, image_boxes, image_labels = draw_picture(size, classes, np.random.default_rng([*seed, i]))
        path = folder / f"{split}_{i:05d}.jpg"
        if not cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise UserError(f"{path}: cannot write the image; check the folder's permissions and free space")
        paths.append(path)
        # Two decimals are what every format keeps.
        boxes.append(image_boxes.round(2))
        labels.append(image_labels)
    annotations = _packed(split, classes, paths, size, boxes, labels)
    chosen.write(root, split, annotations)


def _packed(
    split: str,
    classes: tuple[str, ...],
    paths: list[Path],
    size: tuple[int, int],
    boxes: list[npt.NDArray[np.float64]],
    labels: list[npt.NDArray[np.int64]],
) -> Annotations:
    raw = RawBoxes(
        image=np.repeat(np.arange(len(paths)), [len(found) for found in labels]).astype(np.int64),
        boxes_xyxy=np.concatenate(boxes),
        labels=np.concatenate(labels),
        ignore=np.zeros(sum(len(found) for found in labels), dtype=np.bool_),
    )
    return pack(split, classes, paths, np.tile(np.array(size, dtype=np.int32), (len(paths), 1)), raw)[0]


def _background(size: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A colour gradient under smooth noise: corners and blotches drawn small, enlarged smoothly."""
    height, width = size
    gradient = cv2.resize(rng.uniform(60, 200, (2, 2, 3)).astype(np.float32), (width, height))
    cells = int(rng.integers(4, 24))
    blotches = cv2.resize(
        rng.normal(0, rng.uniform(4, 22), (cells, cells, 3)).astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    return np.asarray(gradient + blotches, dtype=np.float32)


def _texture(
    name: str, points: Points, behind: npt.NDArray[np.float32], size: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """What a shape is filled with: of four colours the one farthest from what lies behind, with grain and a pattern of
    its class (a disc is shaded like a ball, a square striped, a triangle dark towards its rim)."""
    colours = rng.uniform(0, 255, (4, 3))
    colour = colours[np.argmax(np.square(colours - behind).sum(axis=1))]
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    centre, radius = points.mean(axis=0), float(np.ptp(points, axis=0).max()) / 2
    if name == "disc":
        distance = np.hypot(x - centre[0] + radius / 3, y - centre[1] + radius / 3) / radius
        pattern = 70 - 110 * np.clip(distance, 0, 1.4)
    elif name == "square":
        (x1, y1), (x2, y2) = points[0], points[1]
        along = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / max(float(np.hypot(x2 - x1, y2 - y1)), 1.0)
        pattern = 45 * np.sign(np.sin(along * 2 * np.pi / max(radius / 2.5, 4.0)))
    else:
        inside = cv2.distanceTransform((_mask(points, size) > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        pattern = np.where(inside < radius / 6, -90, 30)
    return np.asarray(colour + pattern[..., None] + rng.normal(0, 5, (*size, 1)), dtype=np.float32)


def _outline(name: str, size: tuple[int, int], rng: np.random.Generator) -> Points:
    """The corners (k, 2) of one shape, x and y in pixels, wholly inside the picture."""
    corners = CORNERS[name]
    radius = min(size) * np.exp(rng.uniform(np.log(0.06), np.log(0.22)))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    stretch = rng.uniform(0.8, 1.0, 2)
    points = radius * stretch * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    low, high = 1 - points.min(axis=0), np.array(size[::-1]) - 1 - points.max(axis=0)
    return np.asarray(points + rng.uniform(low, high), dtype=np.float64)


def _mask(points: Points, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """How much of each pixel the polygon covers, 0..1, from a drawing four times as large."""
    fine = np.zeros((size[0] * 4, size[1] * 4), dtype=np.uint8)
    corners = np.round((points * 4 - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [corners], 255, shift=4)
    return np.asarray(cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA) / 255, dtype=np.float32)
