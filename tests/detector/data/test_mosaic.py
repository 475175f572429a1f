"""A mosaic draws and decodes only what its map shows, and what comes out is that of the whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data import cache
from detector.data.augment import AugmentConfig, augment
from detector.data.cache import PictureSource
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.geometry import Picture, affine_matrix, warp
from detector.data.loader import build_loader, collate
from detector.data.mosaic import Layout, draw, lay_out, seen
from detector.data.sample import write_sample_data

SIZE = (64, 96)
PARTNERS = np.arange(4)


def noisy(seed: int) -> Picture:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 40, (3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 24, (3, 2))], axis=1).astype(np.float32)
    image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    return Picture(image, boxes, np.arange(3, dtype=np.int32), np.array([False, False, True]))


PICTURES = [noisy(seed) for seed in range(4)]


def whole_canvas(layout: Layout, tiles: list[Picture], fill: int) -> np.ndarray:
    """Every tile pasted onto a canvas of three channels."""
    canvas = np.full((*layout.canvas_hw, 3), fill, dtype=np.uint8)
    height, width = layout.size_hw
    for tile, (x, y) in zip(tiles, layout.corners_xy):
        x0, y0 = max(x, 0), max(y, 0)
        part = tile.image[y0 - y : layout.canvas_hw[0] - y, x0 - x : layout.canvas_hw[1] - x]
        canvas[y0 : min(y + height, layout.canvas_hw[0]), x0 : min(x + width, layout.canvas_hw[1])] = part
    return canvas


def mapped_in_three_channels(image: np.ndarray, matrix: np.ndarray, fill: int) -> np.ndarray:
    """OpenCV's own map of three channels, by pixel centres."""
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (fill,) * 3}
    return cv2.warpAffine(image, centred, SIZE[::-1], flags=cv2.INTER_LINEAR, **border)


@given(
    st.integers(0, 2**32), st.floats(0.1, 2.5), st.floats(-180, 180), st.floats(-30, 30), st.floats(-1.2, 1.2),
    st.floats(-1.2, 1.2),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_what_is_seen_is_that_of_the_whole(
    seed: int, scale: float, degrees: float, shear: float, shift_x: float, shift_y: float
) -> None:
    layout = lay_out(SIZE, PARTNERS, np.random.default_rng(seed))
    matrix = affine_matrix(
        layout.canvas_hw, SIZE, scale=scale, degrees=degrees, shear_degrees=(shear, shear / 3),
        shift=(shift_x * SIZE[1], shift_y * SIZE[0]),
    )  # fmt: skip
    tiles = [PICTURES[0], *(PICTURES[other] for other in layout.others)]
    drawn = draw(layout, [tile if there else None for tile, there in zip(tiles, seen(layout, matrix))], matrix, 114)
    expected = mapped_in_three_channels(whole_canvas(layout, tiles, 114), matrix, 114)
    np.testing.assert_array_equal(warp(drawn, matrix, SIZE, 114), expected)


@pytest.mark.parametrize("fill", [0, 114])
def test_maps_of_three_channels_are_opencvs(fill: int) -> None:
    for number, picture in enumerate(PICTURES):
        matrix = affine_matrix(SIZE, SIZE, scale=0.4 + 0.5 * number, degrees=11 * number, shift=(5, -3))
        expected = mapped_in_three_channels(picture.image, matrix, fill)
        np.testing.assert_array_equal(warp(picture.image, matrix, SIZE, fill), expected)


def test_pictures_that_are_not_seen_are_not_read() -> None:
    """At a zoom of 2 the frame is half a tile wide: far fewer than four pictures are needed."""
    read: list[int] = []

    def source(index: int) -> Picture:
        read.append(index)
        return PICTURES[index]

    config = AugmentConfig(scale=(2.0, 2.0), degrees=0, shear_degrees=0, mixup=0)
    for seed in range(100):
        augment(0, source, PARTNERS, config, np.random.default_rng(seed))
    assert 100 < len(read) < 330
    read.clear()
    for seed in range(100):
        augment(0, source, PARTNERS, AugmentConfig(scale=(0.3, 0.3), translate=0, mixup=0), np.random.default_rng(seed))
    assert len(read) == 400


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_no_box_is_lost_with_a_tile(seed: int) -> None:
    """Boxes of no size count (min_side_px 0): then all tiles are read, and none but those of no size are more."""
    found = [
        augment(
            0, PICTURES.__getitem__, PARTNERS, AugmentConfig(min_side_px=side, mixup=0, min_visible=0),
            np.random.default_rng(seed),
        )
        for side in (0.0, 0.01)
    ]  # fmt: skip
    sides = found[0].boxes_xyxy[:, 2:] - found[0].boxes_xyxy[:, :2]
    kept = (sides >= 0.01).all(axis=1)
    np.testing.assert_array_equal(found[0].boxes_xyxy[kept], found[1].boxes_xyxy)
    np.testing.assert_array_equal(found[0].image, found[1].image)


def test_a_cache_keeps_as_many_pictures_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample_data(tmp_path / "data", 6, 0, (64, 64))
    annotations, _ = load_split(tmp_path / "data", "train")
    read, decode = [], cache.read_image

    def counted(path: Path, **options: object) -> np.ndarray:
        read.append(path)
        return decode(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "read_image", counted)
    source = PictureSource(annotations, (64, 64), 4 * 64 * 64 * 3 + 5)
    first = [source(index).image.copy() for index in range(6)]
    assert len(read) == 6
    again = [source(index).image for index in range(6)]
    assert read[6:] == list(annotations.image_paths[4:])
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)


def test_a_sample_reads_each_of_its_pictures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample_data(tmp_path / "data", 2, 0, (64, 64))
    annotations, _ = load_split(tmp_path / "data", "train")
    read, decode = [], cache.read_image
    monkeypatch.setattr(cache, "read_image", lambda path, **options: read.append(path) or decode(path, **options))
    for config, most in ((None, 1), (AugmentConfig(mosaic=0, mixup=0), 1), (AugmentConfig(mosaic=1, mixup=0), 4)):
        data = DetectionDataset(annotations, (64, 64), config, cache_bytes=0)
        read.clear()
        data[0]
        assert 1 <= len(read) <= most


def test_batches_are_channels_last(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", 4, 0, (64, 64))
    annotations, _ = load_split(tmp_path / "data", "train")
    data = DetectionDataset(annotations, (64, 96))
    alone = collate([data[index] for index in range(4)])
    (fetched,) = build_loader(data, 4, shuffle=False, workers=1)
    for batch in (alone, fetched):
        assert batch.images.shape == (4, 3, 64, 96)
        assert batch.images.stride() == (64 * 96 * 3, 1, 96 * 3, 3)
    assert (alone.images == fetched.images).all()
    assert fetched.images.is_shared()
