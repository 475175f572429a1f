"""SADA: every operation against a slow, obvious reference; the policy's numbers; what holds for any picture."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil
from PIL import ImageOps

from detector.data.geometry import Picture, affine_matrix
from detector.data.sada.box_level import augment_boxes, change_colours, gaussian_map, move_boxes
from detector.data.sada.colour import COLOUR_OPS
from detector.data.sada.geometric import GEOMETRIC_OPS, Move, move_of
from detector.data.sada.policy import (
    AREA_RATIOS,
    PUBLISHED,
    Operation,
    Policy,
    blended_shares,
    parse_policy,
    size_classes,
)

Pixels = npt.NDArray[np.uint8]
ALWAYS = (1.0, 1.0, 1.0)


def picture(seed: int, size: tuple[int, int] = (48, 64), count: int = 4) -> Picture:
    """Smooth colours under noise, with `count` boxes; the last one is ignored."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [120 + 90 * np.sin((x * a + y * b) / 9 + c) for a, b, c in rng.uniform(-1, 1, (3, 3))]
    image = np.clip(np.stack(waves, axis=2) + rng.normal(0, 6, (*size, 3)), 0, 255).astype(np.uint8)
    sides = rng.uniform(3, 30, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array(size[::-1]) - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    return Picture(image, boxes, np.arange(count, dtype=np.int32), np.arange(count) == count - 1)


def certain(policy: Policy, colour: str | None = None, geometric: str | None = None, level: int = 7) -> Policy:
    """One sub-policy, whose named operations always happen, to every box."""
    pair = (
        Operation(colour or "colour", float(colour is not None), level),
        Operation(geometric or "mirror", float(geometric is not None), level),
    )
    return dataclasses.replace(policy, sub_policies=(pair,), box_probabilities=ALWAYS)


def test_the_published_vector_reads_as_published() -> None:
    policy = parse_policy()
    assert [(c.op, c.probability, c.level, g.op, g.probability, g.level) for c, g in policy.sub_policies] == [
        ("colour", 0.4, 2, "translate_x", 0.4, 4),
        ("brightness", 0.2, 4, "rotate", 0.4, 2),
        ("sharpness", 0.4, 2, "shear_x", 0.2, 6),
        ("solarize_add", 0.2, 2, "mirror", 0.5, 1),
        ("colour", 0.0, 8, "translate_y", 0.2, 8),
    ]
    assert policy.areas == (6.0, 2.0, 0.4)
    assert policy.box_probabilities == pytest.approx((0.1, 0.1, 0.1))


def test_indices_wrap_and_ratios_are_shares() -> None:
    vector = [0, 0, 0, 0, *[7 + 2, 10, 3, 6 + 1, 0, 9] * 5, 0, 9, 4, 1, 0, 2]
    policy = parse_policy(vector)
    assert policy.sub_policies[4] == (Operation("solarize_add", 1.0, 3), Operation("rotate", 0.0, 9))
    assert policy.areas == (0.2, 10.0, 1.0)
    assert policy.box_probabilities == pytest.approx((0.1, 0.0, 0.2))


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (PUBLISHED[:-1], "40 numbers"),
        ((11, *PUBLISHED[1:]), "from 0 to 10"),
        ((*PUBLISHED[:-6], 10, 0, 0, 1, 1, 1), "area indices 0..9"),
        ((*PUBLISHED[:-3], 0, 0, 0), "not all 0"),
    ],
)
def test_other_vectors_are_refused(vector: tuple[int, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_policy(vector)


def test_the_area_ratios_ascend_from_a_fifth_to_ten() -> None:
    """By fifths up to the box's own area, by twos beyond it (the ten values of the search space of SADA's areas)."""
    np.testing.assert_allclose(AREA_RATIOS[:5], np.arange(1, 6) / 5)
    np.testing.assert_allclose(AREA_RATIOS[5:], np.arange(2, 12, 2))


def test_size_classes_and_blended_areas() -> None:
    areas = np.array([1.0, 2047, 2048, 10239, 10240, 51199, 51200, 90000])
    assert size_classes(areas, (800, 900)).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert size_classes(areas / 2, (400, 640)).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    share = blended_shares(areas, (900, 800), parse_policy())
    expected = [6 * 2048, 6 * 2048, 2 * 6144, 2 * 6144, 0.4 * 51200, 0.4 * 51200, 0.4 * 51200, 0.4 * 90000]
    np.testing.assert_allclose(share * areas, expected)


def slow_map(boxes: npt.NDArray[np.float32], shares: list[float], height: int, width: int) -> npt.NDArray[np.float64]:
    weights = np.zeros((height, width))
    for (x0, y0, x1, y1), share in zip(boxes.tolist(), shares):
        radius = math.sqrt(share * height * width / (2 * math.pi))
        for y in range(height):
            for x in range(width):
                away_y = (y + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / height * radius)
                away_x = (x + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / width * radius)
                weights[y, x] += math.exp(-(away_y**2 + away_x**2) / 2)
    return np.minimum(weights, 1)


@given(st.integers(0, 2**32), st.lists(st.floats(0.2, 10), min_size=3, max_size=3))
@settings(max_examples=10, deadline=None)
def test_gaussian_map_is_the_clipped_sum(seed: int, shares: list[float]) -> None:
    boxes = picture(seed, (20, 32), 3).boxes_xyxy
    np.testing.assert_allclose(
        gaussian_map(boxes, np.array(shares), (20, 32)), slow_map(boxes, shares, 20, 32), atol=1e-5
    )


@given(st.floats(12, 30), st.floats(12, 30), st.floats(0.3, 2))
@settings(max_examples=20, deadline=None)
def test_area_under_a_map_is_k_times_the_box(height: float, width: float, share: float) -> None:
    box = np.array([[150 - width / 2, 150 - height / 2, 150 + width / 2, 150 + height / 2]], dtype=np.float32)
    total = gaussian_map(box, np.array([share]), (300, 300)).sum()
    assert total == pytest.approx(share * height * width, rel=1e-3)


def slow_colour(op: str, image: Pixels, level: int) -> npt.NDArray[np.float64]:
    """One value at a time, in shares of full scale."""
    height, width = image.shape[:2]
    values = image / 255.0
    factor = level / 10 * 1.8 + 0.1
    grey = [[sum(w * v for w, v in zip((0.2989, 0.587, 0.114), pixel)) for pixel in row] for row in values.tolist()]
    mean = sum(map(sum, grey)) / (height * width)
    out = np.zeros_like(values)
    for y in range(height):
        for x in range(width):
            for c in range(3):
                value = values[y, x, c]
                if op == "solarize_add":
                    out[y, x, c] = value + level / 10 * 0.4296875 if value <= 0.5 else value
                elif op == "colour":
                    out[y, x, c] = grey[y][x] + factor * (value - grey[y][x])
                elif op == "contrast":
                    out[y, x, c] = mean + factor * (value - mean)
                elif op == "brightness":
                    out[y, x, c] = factor * value
                else:
                    near = [(abs(y + j), abs(x + i), j == i == 0) for j in (-1, 0, 1) for i in (-1, 0, 1)]
                    mirrored = [
                        (b if b < height else 2 * height - 2 - b, a if a < width else 2 * width - 2 - a, own)
                        for b, a, own in near
                    ]
                    smooth = sum(values[b, a, c] * (5 if own else 1) for b, a, own in mirrored) / 13
                    out[y, x, c] = smooth + factor * (value - smooth)
    return 255 * np.clip(out, 0, 1)


@pytest.mark.parametrize("op", ["solarize_add", "colour", "contrast", "brightness", "sharpness"])
@pytest.mark.parametrize("level", [0, 2, 5, 10])
def test_colour_ops_equal_their_formula(op: str, level: int) -> None:
    image = picture(level, (18, 24)).image
    before = image.copy()
    out = COLOUR_OPS[op](image, level)
    assert out.dtype == np.uint8
    np.testing.assert_allclose(out, slow_colour(op, image, level), atol=1.01)
    if op in ("solarize_add", "brightness", "contrast"):  # by tables, whose entries are rounded
        assert np.abs(out - slow_colour(op, image, level)).mean() < 0.3
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("seed", range(5))
def test_equalize_and_auto_contrast_are_those_of_pil(seed: int) -> None:
    image = (60 + picture(seed).image * 0.5).astype(np.uint8)
    np.testing.assert_array_equal(COLOUR_OPS["equalize"](image, 3), np.asarray(ImageOps.equalize(Pil.fromarray(image))))
    stretched = np.asarray(ImageOps.autocontrast(Pil.fromarray(image)))
    np.testing.assert_allclose(COLOUR_OPS["auto_contrast"](image, 3).astype(int), stretched, atol=1)
    assert COLOUR_OPS["auto_contrast"](image, 3).min() == 0


def test_equalize_of_a_small_picture_keeps_black_black() -> None:
    """Fewer than 512 pixels: every one of them is a level."""
    image = np.arange(384, dtype=np.uint16).reshape(16, 24, 1) // 2
    small = np.tile(image.astype(np.uint8), (1, 1, 3))
    out = COLOUR_OPS["equalize"](small, 3)
    np.testing.assert_array_equal(out, np.asarray(ImageOps.equalize(Pil.fromarray(small))))
    assert out.min() == 0


def test_equalize_leaves_the_brightest_value_out_of_its_step() -> None:
    """As PIL does: half of this picture is white."""
    image = picture(2).image.copy()
    image[:24] = 255
    np.testing.assert_array_equal(COLOUR_OPS["equalize"](image, 3), np.asarray(ImageOps.equalize(Pil.fromarray(image))))


@pytest.mark.parametrize("op", COLOUR_OPS)
def test_flat_pictures_stay_finite(op: str) -> None:
    flat = np.full((9, 12, 3), 90, dtype=np.uint8)
    out = COLOUR_OPS[op](flat, 6)
    assert out.shape == flat.shape
    assert len(np.unique(out)) == 1


def slow_blend(
    image: Pixels, changed: npt.NDArray[np.number], weights: npt.NDArray[np.number]
) -> npt.NDArray[np.float64]:
    return weights[..., None] * changed + (1 - weights[..., None]) * image.astype(np.float64)


@pytest.mark.parametrize("op", COLOUR_OPS)
def test_colours_change_around_the_boxes(op: str) -> None:
    start, policy = picture(1), parse_policy()
    boxes = start.boxes_xyxy[:2]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    weights = slow_map(boxes, blended_shares(areas, (48, 64), policy).tolist(), 48, 64)
    expected = slow_blend(start.image, COLOUR_OPS[op](start.image, 8), weights)
    np.testing.assert_allclose(change_colours(start.image, boxes, Operation(op, 1, 8), policy), expected, atol=1.01)
    np.testing.assert_array_equal(change_colours(start.image, boxes[:0], Operation(op, 1, 8), policy), start.image)


def slow_warp(crop: Pixels, move: Move, fill: int) -> npt.NDArray[np.float64]:
    """Every pixel's centre mapped back, its four neighbours weighted."""
    size = (crop.shape[0], crop.shape[1])
    linear = affine_matrix(size, size, degrees=move.degrees, shear_degrees=move.shear_degrees)
    back = np.linalg.inv(np.concatenate([linear, [[0, 0, 1]]]))
    framed = np.full((size[0] + 2, size[1] + 2, 3), fill, dtype=np.float64)
    framed[1:-1, 1:-1] = crop
    out = np.full(crop.shape, fill, dtype=np.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            u, v, _ = back @ (x + 0.5, y + 0.5, 1) + 0.5
            if 0 <= u < size[1] + 1 and 0 <= v < size[0] + 1:
                i, j, a, b = int(u), int(v), u % 1, v % 1
                near = framed[j : j + 2, i : i + 2]
                out[y, x] = (near * np.outer([1 - b, b], [1 - a, a])[..., None]).sum(axis=(0, 1))
    return out


@pytest.mark.parametrize("op", ["mirror", "rotate", "shear_x", "shear_y"])
@pytest.mark.parametrize("negative", [False, True])
def test_crops_change_in_place(op: str, negative: bool) -> None:
    start = picture(2)
    boxes = np.array([[4, 6, 30, 40], [40.4, 10.2, 60.4, 21.6]], dtype=np.float32)
    start = Picture(start.image, boxes, start.labels[:2], start.ignore[:2])
    move = move_of(op, 8, negative=negative)
    expected = start.image.astype(np.float64)
    for x0, y0, x1, y1 in ((4, 6, 30, 40), (40, 10, 60, 22)):
        crop = start.image[y0:y1, x0:x1]
        changed = crop[:, ::-1] if op == "mirror" else slow_warp(crop, move, 114)
        weights = slow_map(np.array([[0, 0, x1 - x0, y1 - y0]], dtype=np.float32), [1.0], y1 - y0, x1 - x0)
        expected[y0:y1, x0:x1] = slow_blend(start.image[y0:y1, x0:x1], changed, weights)
    out = move_boxes(start, np.array([0, 1]), move, fill=114)
    # OpenCV places samples on a grid of 1/32 px.
    np.testing.assert_allclose(out.image, expected, atol=5)
    assert np.abs(out.image - expected).mean() < 0.5
    np.testing.assert_array_equal(out.boxes_xyxy, boxes)
    assert (out.image != start.image).any()


def test_a_shift_changes_no_pixel_of_its_crop() -> None:
    crop = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert Move(shift=(3.0, -2.0)).apply(crop, 114) is crop


def test_strengths_are_the_published_ones() -> None:
    assert move_of("rotate", 2, negative=True).degrees == pytest.approx(-6)
    assert move_of("shear_x", 6, negative=False).shear_degrees == pytest.approx((9, 0))
    assert move_of("shear_y", 10, negative=True).shear_degrees == pytest.approx((0, -15))
    assert move_of("shear_y", 4, negative=False).shear_degrees == pytest.approx((0, 6))
    assert move_of("translate_x", 4, negative=True).shift == pytest.approx((-48, 0))
    assert move_of("translate_y", 8, negative=False).shift == pytest.approx((0, 96))
    assert move_of("mirror", 1, negative=True).mirror


@pytest.mark.parametrize("shift", [(30, 0), (40, 0), (-12, 0), (0, 20), (0, -14)])
def test_translation_pastes_a_copy_and_adds_its_box(shift: tuple[int, int]) -> None:
    start = picture(3)
    boxes = np.array([[10, 12, 30, 32], [2, 2, 9, 9], [45, 30, 63, 47]], dtype=np.float32)
    start = Picture(start.image, boxes, np.array([5, 6, 7], dtype=np.int32), np.zeros(3, dtype=np.bool_))
    out = move_boxes(start, np.array([0]), Move(shift=shift))
    x0, y0 = 10 + shift[0], 12 + shift[1]
    weights, expected = slow_map(np.array([[0, 0, 20, 20]], dtype=np.float32), [1.0], 20, 20), start.image.astype(float)
    for y in range(20):
        for x in range(20):
            if 0 <= y0 + y < 48 and 0 <= x0 + x < 64:
                under = expected[y0 + y, x0 + x]
                expected[y0 + y, x0 + x] = weights[y, x] * start.image[12 + y, 10 + x] + (1 - weights[y, x]) * under
    np.testing.assert_allclose(out.image, expected, atol=1.01)
    assert out.labels.tolist() == [5, 6, 7, 5]
    assert out.boxes_xyxy[3].tolist() == [max(x0, 0), max(y0, 0), min(x0 + 20, 64), min(y0 + 20, 48)]
    assert out.ignore.tolist() == [False] * 4


def test_a_copy_that_would_leave_the_image_is_not_pasted() -> None:
    start = picture(4)
    boxes = np.array([[45, 10, 63, 30]], dtype=np.float32)
    start = Picture(start.image, boxes, start.labels[:1], start.ignore[:1])
    out = move_boxes(start, np.array([0]), Move(shift=(18, 0)))
    np.testing.assert_array_equal(out.image, start.image)
    assert len(out.labels) == 1


@given(
    st.integers(0, 2**32),
    st.sampled_from(sorted(COLOUR_OPS)),
    st.sampled_from(sorted(GEOMETRIC_OPS)),
    st.integers(0, 6),
)
@settings(max_examples=60, deadline=None)
def test_any_picture_keeps_its_form(seed: int, colour: str, geometric: str, count: int) -> None:
    start = picture(seed, (40, 56), count)
    copies = [part.copy() for part in start]
    policy = certain(parse_policy(), colour, geometric)
    out = augment_boxes(start, policy, 1.0, np.random.default_rng(seed))
    assert out.image.shape == start.image.shape
    assert [part.dtype for part in out] == [part.dtype for part in start]
    assert len(out.boxes_xyxy) == len(out.labels) == len(out.ignore)
    assert (out.boxes_xyxy >= 0).all()
    assert (out.boxes_xyxy <= np.array([56, 40, 56, 40])).all()
    assert (out.boxes_xyxy[:, 2:] > out.boxes_xyxy[:, :2]).all()
    np.testing.assert_array_equal(out.boxes_xyxy[:count], start.boxes_xyxy)
    np.testing.assert_array_equal(out.labels[:count], start.labels)
    again = augment_boxes(start, policy, 1.0, np.random.default_rng(seed))
    for one, other in zip(out, again):
        np.testing.assert_array_equal(one, other)
    for part, copy in zip(start, copies):
        np.testing.assert_array_equal(part, copy)


def one_box(size: tuple[int, int], box: tuple[float, ...]) -> Picture:
    start = picture(7, size, 1)
    return start._replace(boxes_xyxy=np.array([box], np.float32), ignore=np.zeros(1, np.bool_))


@pytest.mark.parametrize("size", [(64, 200), (200, 64)])
def test_the_shorter_side_says_how_large_a_box_is(size: tuple[int, int]) -> None:
    """900 px^2 are a large box beside 64 px, and would be a medium one beside 200 px."""
    start = one_box(size, (10, 10, 40, 40))
    for large in (0.0, 1.0):
        policy = dataclasses.replace(
            certain(parse_policy(), "brightness", level=9), box_probabilities=(0.0, 0.0, large)
        )
        out = augment_boxes(start, policy, 1.0, np.random.default_rng(0))
        assert (out.image != start.image).any() == bool(large)


def test_a_box_without_area_changes_nothing() -> None:
    start = one_box((48, 64), (10, 10, 10, 30))
    for geometric in ("mirror", "translate_x"):
        policy = certain(parse_policy(), "brightness", geometric)
        with np.errstate(all="raise"):
            out = augment_boxes(start, policy, 1.0, np.random.default_rng(0), min_side_px=0.0)
        np.testing.assert_array_equal(out.image, start.image)
        assert len(out.labels) == 1


def test_nothing_happens_at_the_start_or_to_ignored_boxes() -> None:
    start = picture(5)
    policy = certain(parse_policy(), "brightness", "mirror")
    crowds = start._replace(ignore=np.ones(4, dtype=np.bool_))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        np.testing.assert_array_equal(augment_boxes(start, policy, 0.0, rng).image, start.image)
        np.testing.assert_array_equal(augment_boxes(crowds, policy, 1.0, rng).image, start.image)
        assert (augment_boxes(start, policy, 1.0, rng).image != start.image).any()


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("op", ["mirror", "shear_x"])
def test_boxes_are_mirrored_where_they_may_be(op: str, mirror: bool) -> None:
    start = picture(6)
    out = augment_boxes(start, certain(parse_policy(), geometric=op), 1.0, np.random.default_rng(0), mirror=mirror)
    assert (out.image != start.image).any() == (mirror or op != "mirror")


@pytest.mark.parametrize("progress", [0.25, 1.0])
def test_frequencies_grow_with_progress(progress: float) -> None:
    """Of 4,000 images: a share probability x progress gets the step, and each class its share of the boxes."""
    sides = np.array([[10, 10], [25, 25], [50, 50]])
    boxes = np.concatenate([np.zeros((3, 2)), sides], axis=1).astype(np.float32)
    start = Picture(
        np.zeros((64, 64, 3), dtype=np.uint8), boxes, np.arange(3, dtype=np.int32), np.zeros(3, dtype=np.bool_)
    )
    assert size_classes(np.prod(sides, axis=1), (64, 64)).tolist() == [0, 1, 2]
    step = Operation("translate_x", 0.8, 1)
    policy = Policy(((Operation("colour", 0.0, 0), step),), (1.0, 1.0, 1.0), (0.1, 0.2, 0.4))
    rng = np.random.default_rng(0)
    added: Counter[int] = Counter()
    for _ in range(4000):
        added.update(augment_boxes(start, policy, progress, rng, min_visible=0.0, min_side_px=0.0).labels[3:].tolist())
    found = np.array([added[label] for label in range(3)]) / 4000
    np.testing.assert_allclose(found, 0.8 * progress * np.array([0.1, 0.2, 0.4]), atol=0.03 * progress)


def test_sub_policies_and_signs_are_drawn_evenly() -> None:
    policy = Policy(
        tuple((Operation("colour", 0.0, 0), Operation("translate_x", 1.0, level)) for level in range(1, 6)),
        (1.0, 1.0, 1.0),
        ALWAYS,
    )
    start = Picture(
        np.zeros((16, 200, 3), dtype=np.uint8),
        np.array([[90, 2, 110, 14]], dtype=np.float32),
        np.zeros(1, dtype=np.int32),
        np.zeros(1, dtype=np.bool_),
    )
    rng = np.random.default_rng(0)
    shifts = Counter(float(augment_boxes(start, policy, 1.0, rng).boxes_xyxy[1, 0]) - 90 for _ in range(1000))
    assert sorted(shifts) == [12.0 * level for level in range(-5, 6) if level]
    assert min(shifts.values()) > 60
