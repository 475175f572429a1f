"""Boxes go where pixels go: transforms are checked against the picture itself and as properties."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.data import augment as augmentation
from detector.data import dataset, mosaic
from detector.data.augment import AugmentConfig, PictureOf, augment, jitter
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.geometry import Picture, affine_matrix, box_areas, keep_visible, orient, warp, warp_boxes
from detector.data.loader import build_loader
from detector.data.sample import write_sample_data

SIZE = (96, 128)
BOX = st.tuples(st.integers(0, 80), st.integers(0, 60), st.integers(8, 40), st.integers(8, 30))


def bright(x: int, y: int, width: int, height: int, size: tuple[int, int] = SIZE, fill: int = 0) -> Picture:
    """A picture with one white rectangle, and its box."""
    image = np.full((*size, 3), fill, dtype=np.uint8)
    image[y : y + height, x : x + width] = 255
    box = np.array([[x, y, min(x + width, size[1]), min(y + height, size[0])]], dtype=np.float32)
    return Picture(image, box, np.array([0], dtype=np.int32), np.array([False]))


def extent(image: npt.NDArray[np.uint8], above: int = 127) -> list[int]:
    """The box around the pixels brighter than `above`."""
    rows, columns = np.nonzero(image[..., 0] > above)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(BOX, st.floats(0.4, 2), st.floats(-180, 180), st.floats(-10, 10), st.floats(-20, 20))
@settings(max_examples=60, deadline=None)
def test_affine_boxes_enclose_the_pixels_tightly(
    box: tuple[int, int, int, int], scale: float, degrees: float, shear: float, shift: float
) -> None:
    picture = bright(*box)
    target = (400, 400)
    matrix = affine_matrix(
        SIZE, target, scale=scale, degrees=degrees, shear_degrees=(shear, shear / 2), shift=(shift, shift / 3)
    )
    found = extent(warp(picture.image, matrix, target, 0), above=20)
    np.testing.assert_allclose(warp_boxes(picture.boxes_xyxy, matrix)[0], found, atol=2.0)


@given(BOX, st.booleans(), st.booleans(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_mirrors_and_quarter_turns_are_exact(
    box: tuple[int, int, int, int], left_right: bool, up_down: bool, turns: int
) -> None:
    turned = orient(bright(*box), left_right=left_right, up_down=up_down, quarter_turns=turns)
    assert turned.boxes_xyxy[0].tolist() == extent(turned.image)


@given(BOX, st.booleans(), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_turning_back_restores_everything(box: tuple[int, int, int, int], flip: bool, turns: int) -> None:
    picture = bright(*box)
    there = orient(picture, left_right=False, up_down=False, quarter_turns=turns)
    back = orient(there, left_right=False, up_down=False, quarter_turns=4 - turns)
    np.testing.assert_array_equal(back.boxes_xyxy, picture.boxes_xyxy)
    np.testing.assert_array_equal(back.image, picture.image)


def test_dropping_rules() -> None:
    boxes = np.array([[0, 0, 1, 9], [0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]], dtype=np.float32)
    whole = np.array([[0, 0, 1, 9], [0, 0, 9, 9], [-90, 0, 9, 9], [-90, 0, 9, 9]], dtype=np.float32)
    ignore = np.array([False, False, False, True])
    picture = Picture(np.zeros((9, 9, 3), dtype=np.uint8), boxes, np.arange(4, dtype=np.int32), ignore)
    # Too thin; whole; a tenth left; a tenth left of an ignored region, which stays.
    assert keep_visible(picture, whole, 2.0, 0.1).labels.tolist() == [1, 3]


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=40, deadline=None)
def test_pipeline_keeps_boxes_inside_and_pictures_untouched(seed: int, strong: bool) -> None:
    pictures = [bright(10 * i, 5 * i, 30, 40, fill=i) for i in range(5)]
    copies = [picture.image.copy() for picture in pictures]
    config = AugmentConfig(
        mixup=0.5, sada=1.0, vertical_flip=0.5, quarter_turns=True, hue=0.1, saturation=0.5, brightness=0.3
    )
    out = augment(1, pictures.__getitem__, np.arange(5), config, np.random.default_rng(seed), strong=strong)
    assert out.image.shape == (*SIZE, 3)
    assert out.image.dtype == np.uint8
    assert len(out.boxes_xyxy) == len(out.labels) == len(out.ignore)
    assert (out.boxes_xyxy[:, :2] >= -1e-3).all()
    assert (out.boxes_xyxy[:, 2:] <= np.array(SIZE[::-1]) + 1e-3).all()
    for picture, copy in zip(pictures, copies):
        np.testing.assert_array_equal(picture.image, copy)


COLOURS = np.array([[255, 60, 60], [60, 255, 60], [60, 60, 255], [255, 255, 60]], dtype=np.uint8)
"""Of the objects of four pictures, by label; any two differ by far in a channel, and none is near the background."""


def coloured(label: int, x: int, y: int, width: int, height: int) -> Picture:
    """A black picture with one rectangle in the label's colour."""
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    image[y : y + height, x : x + width] = COLOURS[label]
    box = np.array([[x, y, x + width, y + height]], dtype=np.float32)
    return Picture(image, box, np.array([label], dtype=np.int32), np.array([False]))


def shown(image: npt.NDArray[np.uint8], label: int) -> npt.NDArray[np.bool_]:
    """The pixels (H, W) of the label's colour."""
    return np.asarray((np.abs(image.astype(int) - COLOURS[label]) < 60).all(axis=2), dtype=np.bool_)


def check_both_ways(out: Picture, *, turned: bool) -> None:
    """Every object's pixels lie in boxes of its label, and every box holds its object: up to its edges, which the blend of
    neighbouring pixels blurs by two pixels; turned: on half of its area, as a turned box's hull is larger, unless the frame
    cuts it. Boxes of a few pixels are let go.
    """
    for label in range(len(COLOURS)):
        pixels, covered = shown(out.image, label), np.zeros(SIZE, dtype=bool)
        for x0, y0, x1, y1 in out.boxes_xyxy[out.labels == label]:
            covered[max(int(y0) - 1, 0) : int(y1) + 2, max(int(x0) - 1, 0) : int(x1) + 2] = True
            cut = x0 <= 0 or y0 <= 0 or x1 >= SIZE[1] or y1 >= SIZE[0]
            if min(x1 - x0, y1 - y0) < 6 or (turned and cut):
                continue
            inner = pixels[round(y0) : round(y1), round(x0) : round(x1)]
            assert inner.any(), f"a box of label {label} without its object"
            left, top, right, bottom = _extent_of(inner)
            assert max(left, top, inner.shape[1] - right, inner.shape[0] - bottom) <= 2
            assert inner.mean() > (0.5 if turned else 0.7)
        assert not pixels[~covered].any(), f"pixels of label {label} outside its boxes"


def _extent_of(pixels: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(pixels)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


OBJECTS = [coloured(label, 20 + 9 * label, 12 + 8 * label, 40, 30) for label in range(4)]


@pytest.mark.parametrize("degrees", [0.0, 8.0])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_mosaic_and_affine_boxes_hold_their_objects(degrees: float, seed: int) -> None:
    config = AugmentConfig(
        scale=(0.8, 1.3), degrees=degrees, shear_degrees=degrees / 4, translate=0.1, mixup=0, fill=0, min_visible=0.0,
        min_side_px=0.0,
    )  # fmt: skip
    out = augment(0, OBJECTS.__getitem__, np.arange(1, 4), config, np.random.default_rng(seed))
    check_both_ways(out, turned=degrees > 0)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_mosaic_shows_every_picture_once_around_its_point(seed: int) -> None:
    """Plain pictures in four colours fill the canvas, each its own quarter; four boxes, one in every quarter."""
    plain = [Picture(np.full((*SIZE, 3), COLOURS[label], np.uint8), np.array([[0, 0, SIZE[1], SIZE[0]]], np.float32),
                     np.array([label], np.int32), np.array([False])) for label in range(4)]  # fmt: skip
    layout = mosaic.lay_out(SIZE, np.arange(1, 4), np.random.default_rng(seed))
    tiles = [plain[0], *(plain[other] for other in layout.others)]
    whole = affine_matrix(layout.canvas_hw, SIZE, scale=0.5)  # all of the canvas is seen
    canvas = mosaic.draw(layout, tiles, whole, 0)[..., :3]
    found = mosaic.boxes_on_canvas(layout, tiles, 0.0)
    first = found.boxes_xyxy[0]
    assert canvas.shape == (2 * SIZE[0], 2 * SIZE[1], 3)
    assert found.labels[0] == 0
    corners = [(-1, -1), (0, -1), (-1, 0), (0, 0)]
    for (left, top), box, label in zip(
        corners, found.boxes_xyxy.astype(int).tolist(), found.labels.tolist(), strict=True
    ):
        x, y = first[2] + left * SIZE[1], first[3] + top * SIZE[0]
        assert box == [max(x, 0), max(y, 0), min(x + SIZE[1], 2 * SIZE[1]), min(y + SIZE[0], 2 * SIZE[0])]
        assert (canvas[box[1] : box[3], box[0] : box[2]] == COLOURS[label]).all()


@pytest.mark.parametrize("zoom", [0.5, 1.0, 1.5])
def test_mixup_is_the_mean_of_two_pictures(zoom: float) -> None:
    plain = [bright(0, 0, 0, 0, fill=fill) for fill in (200, 100)]
    config = AugmentConfig(
        mosaic=0,
        scale=(1, 1),
        degrees=0,
        translate=0,
        shear_degrees=0,
        mixup=1,
        mixup_scale=(zoom, zoom),
        flip=0,
        fill=60,
    )
    out = augment(0, plain.__getitem__, np.array([1]), config, np.random.default_rng(0))
    values, counts = np.unique(out.image, return_counts=True)
    shares = dict(zip(values.tolist(), (counts / out.image.size).tolist()))
    inside = min(zoom, 1.0) ** 2
    assert shares[150] == pytest.approx(inside, abs=0.05)
    assert shares.get(130, 0.0) == pytest.approx(1 - inside, abs=0.05)


def mixed(other: Picture, seed: int, zoom: float, flip: float) -> Picture:
    """A black picture mixed with `other`, which alone has a box."""
    black = other._replace(
        image=np.zeros_like(other.image),
        boxes_xyxy=other.boxes_xyxy[:0],
        labels=other.labels[:0],
        ignore=other.ignore[:0],
    )
    still = {"mosaic": 0, "scale": (1, 1), "degrees": 0, "translate": 0, "shear_degrees": 0}
    config = AugmentConfig.model_validate({**still, "mixup": 1, "mixup_scale": (zoom, zoom), "flip": flip})
    return augment(0, [black, other].__getitem__, np.array([1]), config, np.random.default_rng(seed))


def test_a_smaller_picture_is_mixed_in_anywhere_inside_and_a_larger_one_covers_all() -> None:
    height, width = SIZE
    whole = bright(0, 0, width, height)
    small = np.concatenate([mixed(whole, seed, 0.5, 0).boxes_xyxy for seed in range(150)])
    np.testing.assert_allclose(small[:, 2:] - small[:, :2], [(width / 2, height / 2)] * 150, rtol=1e-5)
    np.testing.assert_allclose(small[:, :2].min(axis=0), (0, 0), atol=2)
    np.testing.assert_allclose(small[:, :2].max(axis=0), (width / 2, height / 2), atol=2)
    for seed in range(20):
        np.testing.assert_allclose(mixed(whole, seed, 1.5, 0).boxes_xyxy, [(0, 0, width, height)], atol=1e-3)


def test_the_picture_mixed_in_is_mirrored_half_of_the_time_and_never_upside_down() -> None:
    """Of a finished picture that is hardly ever mirrored itself."""
    found = [mixed(bright(10, 5, 20, 20), seed, 1.0, 1e-9).boxes_xyxy[0].tolist() for seed in range(200)]
    left = sum(box == [10, 5, 30, 25] for box in found)
    right = sum(box == [SIZE[1] - 30, 5, SIZE[1] - 10, 25] for box in found)
    assert left + right == 200
    assert 70 < left < 130


def test_quarter_turns_are_drawn_evenly() -> None:
    config = AugmentConfig(flip=0, quarter_turns=True)
    start, corners = bright(0, 0, 20, 20), []
    for seed in range(400):
        out = augment(0, lambda _: start, np.arange(1), config, np.random.default_rng(seed), strong=False)
        corners.append((bool(out.boxes_xyxy[0, 0] == 0), bool(out.boxes_xyxy[0, 1] == 0)))
    assert len(set(corners)) == 4
    assert all(70 < corners.count(corner) < 130 for corner in set(corners))


def test_areas_of_thin_and_of_inverted_boxes() -> None:
    boxes = np.array([[0, 0, 0.5, 4], [3, 0, 1, 4]], np.float32)
    assert box_areas(boxes).tolist() == [2.0, 0.0]


@pytest.mark.parametrize(("side_px", "stays"), [(1.5, True), (0.5, False)])
def test_a_tiles_box_of_a_pixel_stays_on_the_canvas(side_px: float, stays: bool) -> None:
    """What the zoom then makes of it decides."""
    tile = bright(10, 10, 1, 30)._replace(boxes_xyxy=np.array([[10, 10, 10 + side_px, 40]], np.float32))
    layout = mosaic.lay_out(SIZE, np.zeros(0, np.int64), np.random.default_rng(0))
    assert len(mosaic.boxes_on_canvas(layout, [tile], 0.0).labels) == stays


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_mixup_boxes_hold_their_objects_at_half_strength(seed: int) -> None:
    objects = [coloured(0, 10, 10, 40, 30), coloured(1, 60, 50, 60, 40)]
    config = AugmentConfig(
        mosaic=0,
        scale=(1, 1),
        degrees=0,
        translate=0,
        shear_degrees=0,
        mixup=1,
        fill=0,
        min_visible=0.0,
        min_side_px=0.0,
    )
    out = augment(0, objects.__getitem__, np.array([1]), config, np.random.default_rng(seed))
    assert out.labels.tolist() == [0, 1]
    sides = np.minimum(*out.boxes_xyxy[:, 2:]) - np.maximum(*out.boxes_xyxy[:, :2])
    if (sides < 0).any():  # else the two are mixed where they meet
        check_both_ways(out._replace(image=np.clip(out.image.astype(int) * 2, 0, 255).astype(np.uint8)), turned=False)


def test_sada_grows_and_ends_with_the_strong_epochs() -> None:
    rng = np.random.default_rng(0)
    pictures = [bright(10 * i, 5 * i, 30, 40, fill=i) for i in range(5)]
    pictures = [p._replace(image=rng.integers(0, 256, p.image.shape).astype(np.uint8)) for p in pictures]
    none, full = AugmentConfig(), AugmentConfig(sada=1.0)

    def changed(config: AugmentConfig, progress: float, strong: bool = True) -> int:
        different = 0
        for seed in range(150):
            one, other = (
                augment(0, pictures.__getitem__, np.arange(5), c, np.random.default_rng(seed), strong=s, progress=p)
                for c, s, p in ((none, strong, 1.0), (config, strong, progress))
            )
            different += not np.array_equal(one.image, other.image)
        return different

    assert changed(full, 0.0) == 0
    assert changed(full, 1.0, strong=False) == 0
    assert changed(none, 1.0) == 0
    early, late = changed(full, 0.3), changed(full, 1.0)
    assert 0 < early < late
    assert changed(AugmentConfig(sada=0.3), 1.0) == early


def test_workers_that_outlive_an_epoch_see_how_far_sada_has_grown(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", 8, 0, (64, 64))
    annotations, _ = load_split(tmp_path / "data", "train")
    config = AugmentConfig(mosaic=0, scale=(1, 1), degrees=0, translate=0, shear_degrees=0, mixup=0, flip=0, sada=1)
    data, plain = (DetectionDataset(annotations, (64, 64), settings) for settings in (config, None))
    loader = build_loader(data, 8, shuffle=False, workers=1)

    def batch(epoch: int, progress: float) -> torch.Tensor:
        data.set_epoch(epoch, progress=(progress, progress))
        return next(iter(loader)).images

    untouched = torch.stack([plain[index].image for index in range(8)])
    assert all(torch.equal(batch(epoch, 0.0), untouched) for epoch in range(3))
    full = [batch(epoch, 1.0) for epoch in range(12)]
    assert any(not torch.equal(images, untouched) for images in full)
    data.set_epoch(5, progress=(1.0, 1.0))
    assert torch.equal(full[5], torch.stack([data[index].image for index in range(8)]))


@pytest.mark.parametrize("world_size", [1, 3])
def test_sada_grows_with_every_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    write_sample_data(tmp_path / "data", 10, 0, (64, 64))
    annotations, _ = load_split(tmp_path / "data", "train")
    seen: list[float] = []

    def augment(index: int, source: PictureOf, *_: object, progress: float, **__: object) -> Picture:
        seen.append(progress)
        return source(index)

    monkeypatch.setattr(dataset, "augment", augment)
    data = DetectionDataset(annotations, (64, 64), AugmentConfig(sada=1), seed=4)
    loaders = [build_loader(data, 1, shuffle=True, rank=rank, world_size=world_size) for rank in range(world_size)]
    for epoch in range(2):
        data.set_epoch(epoch, progress=(epoch / 2, (epoch + 1) / 2))
        for _ in zip(*loaders):
            pass
        drawn = seen[:10]  # what follows fills up the last step, with images of the first
        assert drawn == pytest.approx(epoch / 2 + np.arange(10) / 20)
        assert seen[10:] == drawn[: len(seen) - 10]
        seen.clear()


def test_a_shift_moves_the_centre_right_and_down() -> None:
    matrix = affine_matrix((40, 60), (80, 100), scale=1.5, degrees=30, shift=(7, -3))
    np.testing.assert_allclose(matrix @ (30, 20, 1), (50 + 7, 40 - 3))


def test_the_four_images_of_a_mosaic_meet_anywhere_in_the_middle() -> None:
    """From a quarter to three quarters of the canvas, in both directions."""
    layouts = (mosaic.lay_out((100, 200), np.arange(9), np.random.default_rng(seed)) for seed in range(400))
    meetings = np.array([layout.corners_xy[3] for layout in layouts])
    np.testing.assert_allclose(meetings.min(axis=0), (100, 50), atol=4)
    np.testing.assert_allclose(meetings.max(axis=0), (300, 150), atol=4)


@pytest.mark.parametrize(("shift_px", "expected"), [(-1, True), (30, False)])
def test_a_tile_at_the_very_edge_of_the_frame_is_seen(shift_px: int, expected: bool) -> None:
    layout = mosaic.lay_out((100, 200), np.arange(9), np.random.default_rng(0))
    x, y = layout.corners_xy[3]  # of the tile at the lower right
    for move in ((200 + shift_px - x, -y), (-x, 100 + shift_px - y)):
        matrix = np.array([[1.0, 0, move[0]], [0, 1.0, move[1]]])
        assert mosaic.seen(layout, matrix)[3] is expected


def test_the_affine_goes_as_far_either_way_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, ...]] = []

    def recorded(*sizes: tuple[int, int], **how: Any) -> npt.NDArray[np.float64]:
        drawn.append((how["scale"], how["degrees"], *how["shear_degrees"], *how["shift"]))
        return affine_matrix(*sizes, **how)

    monkeypatch.setattr(augmentation, "affine_matrix", recorded)
    config = AugmentConfig(mosaic=0, mixup=0, scale=(0.5, 1.5), degrees=10, shear_degrees=2, translate=0.2)
    for seed in range(300):
        augment(0, lambda _: bright(40, 30, 20, 10), np.arange(1), config, np.random.default_rng(seed))
    height, width = SIZE
    most = np.array([0.5, 10, 2, 2, 0.2 * width, 0.2 * height])
    found = (np.array(drawn) - (1, 0, 0, 0, 0, 0)) / most
    assert found.shape == (300, 6)
    np.testing.assert_allclose(found.min(axis=0), -1, atol=0.05)
    np.testing.assert_allclose(found.max(axis=0), 1, atol=0.05)
    assert (np.abs(found) <= 1).all()


def test_hues_go_round() -> None:
    """From magenta (300 degrees) a quarter turn on is orange (30 degrees)."""
    magenta = np.full((1, 1, 3), (255, 0, 255), np.uint8)
    as_far_as_it_goes = SimpleNamespace(uniform=lambda *_: np.array([1.0, 0.0, 0.0]))
    found = jitter(magenta, AugmentConfig(hue=0.25), as_far_as_it_goes)  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0, 0], (255, 127.5, 0), atol=3)


def test_black_stays_black() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    config = AugmentConfig(hue=0.5, saturation=1.0, brightness=1.0)
    assert not any(jitter(black, config, np.random.default_rng(seed)).any() for seed in range(20))


@pytest.mark.parametrize(("left_px", "stays"), [(15, True), (7, False)])
def test_a_tenth_of_a_box_is_enough_by_default(left_px: int, stays: bool) -> None:
    """A box 100 px wide, of which the picture's frame cuts off all but so many columns."""
    whole = np.array([[left_px - 100, 10, left_px, 60]], np.float32)
    cut = bright(0, 10, left_px, 50)
    config = AugmentConfig()
    assert len(keep_visible(cut, whole, config.min_side_px, config.min_visible).labels) == stays


@pytest.mark.parametrize(("side_px", "stays"), [(3, True), (1, False)])
def test_boxes_below_two_pixels_are_dropped_by_default(side_px: int, stays: bool) -> None:
    thin, config = bright(10, 10, side_px, 50), AugmentConfig()
    assert len(keep_visible(thin, thin.boxes_xyxy, config.min_side_px, config.min_visible).labels) == stays


@pytest.mark.parametrize(("setting", "low", "high"), [("brightness", 100, 255), ("saturation", 100, 255)])
def test_colours_go_both_ways_and_never_wrap_round(setting: str, low: int, high: int) -> None:
    """Half less to half more of 200 levels, cut at 255."""
    config = AugmentConfig(**{setting: 0.5})
    channel = 2 if setting == "brightness" else 1
    image = cv2.cvtColor(np.full((1, 1, 3), (60, 200, 200), np.uint8), cv2.COLOR_HSV2RGB)
    found = [jitter(image, config, np.random.default_rng(seed)) for seed in range(300)]
    levels = [int(cv2.cvtColor(one, cv2.COLOR_RGB2HSV)[0, 0, channel]) for one in found]
    assert min(levels) == pytest.approx(low, abs=5)
    assert max(levels) == pytest.approx(high, abs=5)


def test_hues_turn_as_far_either_way() -> None:
    image = cv2.cvtColor(np.full((1, 1, 3), (90, 200, 200), np.uint8), cv2.COLOR_HSV2RGB)
    config = AugmentConfig(hue=0.2)
    found = [jitter(image, config, np.random.default_rng(seed)) for seed in range(300)]
    hues = [int(cv2.cvtColor(one, cv2.COLOR_RGB2HSV)[0, 0, 0]) for one in found]
    assert min(hues) == pytest.approx(90 - 36, abs=2)
    assert max(hues) == pytest.approx(90 + 36, abs=2)


@pytest.mark.parametrize(
    ("flip", "pairs", "mirror"), [(0.5, {}, True), (0.0, {}, False), (0.5, {"a": "b"}, False), (0.0, {"a": "b"}, False)]
)
def test_sada_mirrors_where_all_may_be_mirrored(
    monkeypatch: pytest.MonkeyPatch, flip: float, pairs: dict[str, str], mirror: bool
) -> None:
    """A box alone cannot change its label, and what must not be mirrored is not mirrored in a box either."""
    asked: list[bool] = []

    def recorded(picture: Picture, *_: object, mirror: bool, **__: object) -> Picture:
        asked.append(mirror)
        return picture

    monkeypatch.setattr(augmentation, "augment_boxes", recorded)
    labels = np.zeros(1, np.int32)
    picture = Picture(np.zeros((32, 32, 3), np.uint8), np.array([[4, 4, 20, 20]], np.float32), labels, labels != 0)
    config = AugmentConfig(mosaic=0, mixup=0, flip=flip, flip_pairs=pairs, sada=1.0)
    augment(
        0, lambda index: picture, np.arange(1), config, np.random.default_rng(0), mirrored=np.arange(2, dtype=np.int32)
    )
    assert asked == [mirror]


def test_nothing_to_draw_from() -> None:
    empty = Picture(
        np.zeros((32, 32, 3), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.float32),
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.bool_),
    )
    none = np.zeros(0, dtype=np.int64)
    out = augment(0, lambda _: empty, none, AugmentConfig(mixup=1, sada=1), np.random.default_rng(0))
    assert out.image.shape == (32, 32, 3)
    assert out.boxes_xyxy.shape == (0, 4)


def test_config_is_the_published_recipe_and_refuses_nonsense() -> None:
    config = AugmentConfig()
    assert (config.mosaic, config.scale, config.degrees, config.translate) == (1.0, (0.1, 2.0), 10.0, 0.2)
    assert (config.shear_degrees, config.mixup, config.mixup_scale, config.flip) == (2.0, 0.15, (0.5, 1.5), 0.5)
    assert (config.fill, config.vertical_flip, config.hue) == (114, 0.0, 0.0)
    for wrong in ({"mosiac": 1}, {"mosaic": 1.2}, {"scale": (2.0, 0.1)}, {"scale": (0.0, 1.0)}):
        with pytest.raises(ValidationError):
            AugmentConfig.model_validate(wrong)
    with pytest.raises(ValidationError):
        config.hue = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("setting", "most"),
    [
        *((name, 1.0) for name in ("mosaic", "mixup", "flip", "sada", "vertical_flip", "min_visible")),
        *((name, 1.0) for name in ("translate", "saturation", "brightness")),
        *(("degrees", 180.0), ("shear_degrees", 45.0), ("hue", 0.5), ("fill", 255), ("min_side_px", None)),
    ],
)
def test_settings_end_where_they_mean_nothing_more(setting: str, most: float | None) -> None:
    step = 1 if setting == "fill" else 0.01
    for value in (0, *(() if most is None else (most,))):
        assert getattr(AugmentConfig.model_validate({setting: value}), setting) == value
    for value in (-step, *(() if most is None else (most + step,))):
        with pytest.raises(ValidationError):
            AugmentConfig.model_validate({setting: value})
