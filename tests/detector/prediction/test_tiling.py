"""Tiles, and detections put together across their borders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.image import Pixels
from detector.detections import Detections
from detector.prediction.looking import in_tiles
from detector.tiling import Tile, cut_sides, fits_no_tile, merged, tiles_of
from tests.detector.prediction.clips import detections, find_blocks

NONE = [False] * 4
LEFT, TOP, RIGHT, BOTTOM = ([side == k for side in range(4)] for k in range(4))


def put_together(boxes: list[list[float]], scores: list[float], cut: list[list[bool]], labels: list[int] | None = None):
    found = merged(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(labels or [0] * len(boxes)),
        np.array(cut),
        0.6,
    )
    return [(box, round(score, 3)) for box, score in zip(found[0].tolist(), found[1].tolist())]


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 700), st.integers(32, 700), st.floats(0, 0.9))
def test_tiles_cover_the_picture_and_overlap(height: int, width: int, tall: int, wide: int, overlap: float) -> None:
    tiles = tiles_of((height, width), (tall, wide), overlap)
    for side, start, extent in ((width, "x", "width"), (height, "y", "height")):
        spans = sorted({(getattr(tile, start), getattr(tile, extent)) for tile in tiles})
        assert spans[0][0] == 0
        assert sum(spans[-1]) == side
        for (a, length), (b, _) in pairwise(spans):
            assert a + length - b >= overlap * length - 1
    assert len(tiles) == len({(tile.x, tile.y) for tile in tiles})


def test_only_borders_inside_the_picture_cut() -> None:
    boxes = np.array([[0, 0, 50, 50], [100, 30, 200, 90], [120, 95, 150, 100]], np.float32)
    left, right = Tile(0, 0, 200, 100), Tile(100, 0, 200, 100)
    assert cut_sides(boxes[:2], left, (100, 300)).tolist() == [NONE, RIGHT]
    assert cut_sides(boxes[1:], right, (100, 300)).tolist() == [LEFT, NONE]
    assert cut_sides(boxes[2:], right, (200, 300)).tolist() == [BOTTOM]


def test_what_the_overlap_holds_is_left_to_the_tiles() -> None:
    boxes = np.array([[0, 0, 40, 40], [0, 0, 41, 10], [0, 0, 10, 300]], np.float32)
    assert fits_no_tile(boxes, tiles_of((100, 260), (100, 150), 0.2)).tolist() == [False, True, False]  # 40 px overlap
    assert fits_no_tile(boxes, tiles_of((260, 260), (150, 150), 0.2)).tolist() == [False, True, True]


def test_whole_boxes_suppress_by_overlap() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [30, 0, 40, 10]]
    assert put_together(boxes, [0.5, 0.9, 0.3], [NONE] * 3) == [([0, 0, 10, 9], 0.9), ([30, 0, 40, 10], 0.3)]
    assert len(put_together(boxes, [0.5, 0.9, 0.3], [NONE] * 3, [0, 1, 0])) == 3
    # a whole small thing within a large one of its class stays
    assert len(put_together([[0, 0, 100, 100], [10, 10, 20, 20]], [0.9, 0.8], [NONE] * 2)) == 2


def test_a_piece_goes_into_the_whole_box_that_holds_it() -> None:
    # and the better score stays, whichever it was
    assert put_together([[0, 0, 30, 10], [20, 0, 30, 10]], [0.5, 0.9], [NONE, LEFT]) == [([0, 0, 30, 10], 0.9)]
    assert put_together([[0, 0, 30, 10], [28, 0, 40, 10]], [0.5, 0.9], [NONE, LEFT])[0] == ([28, 0, 40, 10], 0.9)


def test_pieces_become_one() -> None:
    pieces = [[0, 0, 60, 20], [50, 1, 110, 21], [100, 0, 140, 20]]
    both = [side or other for side, other in zip(LEFT, RIGHT)]
    assert put_together(pieces, [0.6, 0.7, 0.5], [RIGHT, both, LEFT]) == [([0, 0, 140, 21], 0.7)]
    tall = [[0, 0, 20, 60], [1, 50, 21, 110]]
    assert put_together(tall, [0.6, 0.7], [BOTTOM, TOP]) == [([0, 0, 21, 110], 0.7)]
    # on facing sides of the border, and as wide along it: else they are two things
    assert len(put_together(pieces[:2], [0.6, 0.7], [RIGHT, RIGHT])) == 2
    assert len(put_together([[0, 0, 60, 20], [50, 15, 110, 60]], [0.6, 0.7], [RIGHT, LEFT])) == 2
    assert len(put_together([[0, 0, 60, 20], [70, 0, 110, 20]], [0.6, 0.7], [RIGHT, LEFT])) == 2


def test_nothing_found() -> None:
    assert put_together([], [], np.zeros((0, 4), bool)) == []  # type: ignore[arg-type]


def scattered(seed: int) -> tuple[Pixels, set[tuple[int, ...]]]:
    """Bright blocks that do not touch, of 6 to 150 pixels, on 700 x 900."""
    rng = np.random.default_rng(seed)
    taken, boxes = np.zeros((700, 900), np.uint8), set()
    for _ in range(300):
        width, height = rng.integers(6, 150, 2).tolist() if rng.random() < 0.2 else rng.integers(6, 30, 2).tolist()
        x, y = int(rng.integers(1, 899 - width)), int(rng.integers(1, 699 - height))
        if not taken[max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4].any():
            taken[y : y + height, x : x + width] = 255
            boxes.add((x, y, x + width, y + height))
    return np.repeat(taken[..., None], 3, axis=2), boxes


@pytest.mark.parametrize("seed", range(3))
def test_everything_is_found_once_wherever_borders_run(seed: int) -> None:
    picture, boxes = scattered(seed)

    def small_things_only(pictures: Sequence[Pixels]) -> list[Detections]:
        # as a detector of 200 x 200 pixels does: what it shrinks is lost
        return [found[found.scores > 0] if picture.shape[0] <= 200 else found[found.scores > 1]
                for picture, found in zip(pictures, find_blocks(pictures))]  # fmt: skip

    (found,) = in_tiles(small_things_only, (200, 200), 0.6, 1000)([picture])
    assert {tuple(map(int, box)) for box in found.boxes_xyxy} == boxes
    assert len(found) == len(boxes)


def test_a_large_thing_is_found_in_the_picture_as_a_whole() -> None:
    picture = np.zeros((600, 600, 3), np.uint8)
    cv2.rectangle(picture, (40, 50), (559, 539), (255, 255, 255), -1)
    cv2.rectangle(picture, (10, 10), (19, 19), (255, 255, 255), -1)
    (found,) = in_tiles(find_blocks, (200, 200), 0.6, 1000)([picture])
    assert sorted(found.boxes_xyxy.tolist()) == [[10, 10, 20, 20], [40, 50, 560, 540]]
    assert found.image_size == (600, 600)


def test_a_small_thing_in_the_picture_as_a_whole_is_not_trusted() -> None:
    def wrong_when_shrunk(pictures: Sequence[Pixels]) -> list[Detections]:
        return [detections([[300, 300, 320, 320]], [0.99], size_hw=(600, 600)) if len(picture) > 200 else found
                for picture, found in zip(pictures, find_blocks(pictures))]  # fmt: skip

    picture = np.zeros((600, 600, 3), np.uint8)
    cv2.rectangle(picture, (310, 305), (329, 324), (255, 255, 255), -1)
    (found,) = in_tiles(wrong_when_shrunk, (200, 200), 0.6, 1000)([picture])
    assert found.boxes_xyxy.tolist() == [[310, 305, 330, 325]]


def test_a_picture_no_larger_than_a_tile_is_looked_at_once() -> None:
    calls = []

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        calls.append(len(pictures))
        return find_blocks(pictures)

    in_tiles(look, (200, 200), 0.6, 10)([np.zeros((200, 150, 3), np.uint8), np.zeros((200, 201, 3), np.uint8)])
    assert calls == [1, 3]
