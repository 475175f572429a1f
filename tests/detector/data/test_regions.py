"""Whatever is done to pictures of several data sets, the region map says which one is seen where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.data.augment import AugmentConfig, augment
from detector.data.geometry import Picture
from detector.data.regions import CELL_PX, LAYERS, NOWHERE, plain

SIZE = (96, 128)
FILL = 10
COLOURS = (60, 110, 160, 210)
"""Of pictures of sets 0 to 3; no two pairs of them and the fill have one mean."""


def source(index: int) -> Picture:
    number = index % len(COLOURS)
    image = np.full((*SIZE, 3), COLOURS[number] + number, dtype=np.uint8)
    box = np.array([[0, 0, SIZE[1], SIZE[0]]], dtype=np.float32)
    return Picture(image, box, np.array([0], dtype=np.int32), np.array([False]), plain(number))


def colour(number: int) -> int:
    return FILL if number == NOWHERE else COLOURS[number] + int(number)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "changes",
    [
        {"mixup": 0.0}, {"mosaic": 0.0, "mixup": 0.0}, {"mixup": 1.0}, {"mosaic": 0.0, "mixup": 1.0},
        {"mixup": 0.5, "quarter_turns": True, "vertical_flip": 0.5},
    ],
)  # fmt: skip
def test_the_map_says_what_is_seen(seed: int, changes: dict[str, float]) -> None:
    config = AugmentConfig(fill=FILL, degrees=40, **changes)
    picture = augment(seed, source, np.arange(4), config, np.random.default_rng(seed))
    assert picture.regions.shape == (LAYERS, SIZE[0] // CELL_PX, SIZE[1] // CELL_PX)
    mixed = (picture.regions[1] != NOWHERE).any()
    assert mixed or changes["mixup"] < 1
    clear = 0
    for row, column in np.ndindex(picture.regions.shape[1:]):
        y, x = row * CELL_PX, column * CELL_PX
        around = 6 if "quarter_turns" in changes else 0  # stretched: cells no longer fall on cells
        rows, columns = slice(max(y - around, 0), y + CELL_PX + around), slice(max(x - around, 0), x + CELL_PX + around)
        cell = picture.image[rows, columns, 0].astype(int)
        if np.ptp(cell) > 1:  # a border between pictures
            continue
        clear += 1
        first, second = (colour(number) for number in picture.regions[:, row, column])
        expected = {first} if not mixed else {(first + second) / 2}
        assert min(abs(cell.mean() - value) for value in expected) <= 1.5, (row, column)
    assert clear > 40


def test_the_last_epochs_show_one_picture_each() -> None:
    picture = augment(2, source, np.arange(4), AugmentConfig(), np.random.default_rng(0), strong=False)
    assert (picture.regions[0] == 2).all()
    assert (picture.regions[1] == NOWHERE).all()


def test_one_data_set_needs_no_map() -> None:
    def one(index: int) -> Picture:
        return Picture(*source(index)[:4])

    picture = augment(0, one, np.arange(4), AugmentConfig(mixup=1.0), np.random.default_rng(0))
    assert picture.regions.shape == (0, SIZE[0] // CELL_PX, SIZE[1] // CELL_PX)
    assert torch.from_numpy(picture.regions).numel() == 0


def test_the_map_draws_nothing() -> None:
    """The same picture with sets and without."""

    def one(index: int) -> Picture:
        return Picture(*source(index)[:4])

    for seed in range(4):
        pictures = [
            augment(0, of, np.arange(4), AugmentConfig(sada=1.0), np.random.default_rng(seed)) for of in (source, one)
        ]
        np.testing.assert_array_equal(pictures[0].image, pictures[1].image)
        np.testing.assert_array_equal(pictures[0].boxes_xyxy, pictures[1].boxes_xyxy)
