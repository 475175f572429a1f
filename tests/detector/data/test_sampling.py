"""Draws of images: what is expected, that epochs keep to it, and that nothing changes where each image counts alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.augment import AugmentConfig
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.loader import ShardedSampler
from detector.data.origins import Origins, Source
from detector.data.sampling import SamplingConfig, draw, expected_draws, numbered, repeat_factors
from tests.detector.data.several_sets import rooms_and_pets

AS_THEY_ARE = SamplingConfig(smoothing=1.0, class_aware=0.0)


def annotations(sizes: tuple[int, ...], labels: list[list[int]], num_classes: int = 3) -> Annotations:
    """Images of several data sets, one after the other; `labels` of each image's boxes. Every set labels all classes."""
    names = tuple("abcdefgh"[:num_classes])
    image = np.repeat(np.arange(len(labels)), [len(own) for own in labels])
    raw = RawBoxes(
        image=image, boxes_xyxy=np.tile([1.0, 1.0, 20.0, 20.0], (len(image), 1)),
        labels=np.array([label for own in labels for label in own], dtype=np.int64), ignore=np.zeros(len(image), dtype=bool),
    )  # fmt: skip
    sources = tuple(Source(f"set{i}", {name: name for name in names}) for i in range(len(sizes)))
    origins = Origins(sources, np.repeat(np.arange(len(sizes)), sizes).astype(np.int32))
    paths = [Path(f"{i}.jpg") for i in range(len(labels))]
    return pack("t", names, paths, np.full((len(labels), 2), 64, dtype=np.int32), raw, origins=origins)[0]


def test_sizes_are_smoothed_as_stated() -> None:
    sizes = (900, 90, 10)
    data = annotations(sizes, [[0]] * 1000)
    for smoothing in (0.0, 0.3, 0.5, 1.0):
        expected = expected_draws(data, SamplingConfig(smoothing=smoothing, class_aware=0.0))
        shares = np.array(sizes, dtype=float) ** smoothing
        found = np.bincount(data.origins.of_image, expected) if expected is not None else np.array(sizes)
        np.testing.assert_allclose(found, 1000 * shares / shares.sum())
        assert (expected is None) == (smoothing == 1)


def test_images_with_rare_classes_come_more_often() -> None:
    """a is on 80 of 100 images, b on 16, c on 4; with a threshold of 0.16 only c is rare: by sqrt(0.16 / 0.04) = 2."""
    labels = [[0]] * 80 + [[1]] * 14 + [[1, 2]] * 2 + [[2]] * 2 + [[]] * 2
    data = annotations((100,), labels)
    factors = repeat_factors(data, 0.16)
    assert factors.tolist() == [1.0] * 94 + [2.0] * 4 + [1.0] * 2
    expected = expected_draws(data, SamplingConfig(class_aware=0.16))
    assert expected is not None
    np.testing.assert_allclose(expected, factors * 100 / 104)


def test_a_class_is_rare_among_the_images_that_tell_of_it() -> None:
    """Half of the images do not label c: of the others, 1 in 25 has it, not 1 in 50."""
    data = annotations((50, 50), [[0]] * 50 + [[2]] * 2 + [[1]] * 48)
    assert data.origins is not None
    blind = replace(data.origins.sources[0], becomes={"a": "a", "b": "b"})
    told = replace(data, origins=Origins((blind, data.origins.sources[1]), data.origins.of_image))
    assert repeat_factors(told, 0.08)[50] == pytest.approx(np.sqrt(0.08 / 0.04))
    assert repeat_factors(data, 0.08)[50] == pytest.approx(np.sqrt(0.08 / 0.02))


def test_class_aware_draws_keep_the_sets_shares() -> None:
    data = annotations((60, 40), [[0]] * 59 + [[2]] + [[1]] * 40)
    expected = expected_draws(data, SamplingConfig(smoothing=0.5, class_aware=0.5))
    assert expected is not None
    assert data.origins is not None
    shares = np.sqrt([60, 40])
    np.testing.assert_allclose(np.bincount(data.origins.of_image, expected), 100 * shares / shares.sum())
    assert expected[59] > 5 * expected[0]


@given(st.lists(st.floats(0.01, 6), min_size=1, max_size=60), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_an_epoch_has_all_draws_and_none_strays(weights: list[float], seed: int) -> None:
    expected = np.array(weights) * len(weights) / sum(weights)
    drawn = draw(expected, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=len(expected))
    assert len(drawn) == len(expected)
    assert (np.abs(counts - expected) < 1 + 1e-9).all()


def test_equal_expectations_are_a_plain_shuffle() -> None:
    drawn = draw(np.ones(50), np.random.default_rng(3))
    assert sorted(drawn.tolist()) == list(range(50))
    assert drawn.tolist() != list(range(50))


def test_draws_against_theory() -> None:
    """Chi-square: what of an image's expectation is no whole number comes as a draw with that probability, in each epoch on
    its own. 1,500 epochs of 40 images; their number per epoch is fixed, so there is one degree of freedom less."""
    rng = np.random.default_rng(11)
    expected = rng.uniform(0.2, 4.0, 40) ** 1.5
    expected *= len(expected) / expected.sum()
    epochs = 1500
    counts = sum(np.bincount(draw(expected, rng), minlength=len(expected)) for _ in range(epochs))
    odds = expected % 1
    extra = counts - epochs * np.floor(expected)
    statistic = float(np.sum((extra - epochs * odds) ** 2 / (epochs * odds * (1 - odds))))
    low, high = stats.chi2.ppf([0.0005, 0.9995], len(expected) - 1)
    assert low < statistic < high
    # and the test tells: by one per cent of other expectations, it is far out
    wrong = expected * np.where(np.arange(len(expected)) % 2, 1.03, 0.97)
    wrong *= len(wrong) / wrong.sum()
    biased = sum(np.bincount(draw(wrong, rng), minlength=len(expected)) for _ in range(epochs))
    extra = biased - epochs * np.floor(expected)
    assert float(np.sum((extra - epochs * odds) ** 2 / (epochs * odds * (1 - odds)))) > high


def test_two_images_have_their_chances() -> None:
    """The start of the steps is drawn: with a fixed one the same images come in every epoch."""
    rng = np.random.default_rng(4)
    drawn = sum(int((draw(np.array([0.2, 1.8]), rng) == 0).sum()) for _ in range(2000))
    assert stats.binomtest(drawn, 2000, 0.2).pvalue > 0.01


def test_the_sets_shares_of_the_draws_against_theory() -> None:
    """Chi-square of the draws by data set, over epochs of the data set itself."""
    data = annotations((300, 40, 8), [[i % 3] for i in range(348)])
    dataset = DetectionDataset(data, (64, 64), AugmentConfig(), seed=5, sampling=SamplingConfig(class_aware=0.0))
    assert data.origins is not None
    counts = np.zeros(3)
    for epoch in range(60):
        dataset.set_epoch(epoch)
        counts += np.bincount(data.origins.of_image[dataset.order() % 348], minlength=3)
    shares = np.sqrt([300, 40, 8])
    found = stats.chisquare(counts, counts.sum() * shares / shares.sum())
    assert found.pvalue > 0.05
    assert stats.chisquare(counts, counts.sum() * np.array([300, 40, 8]) / 348).pvalue < 1e-6


def test_repetitions_are_told_apart() -> None:
    assert numbered(np.array([2, 0, 2, 2, 1]), 3).tolist() == [2, 0, 5, 8, 1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Annotations:
    """Four pictures, of which three come from one set."""
    general = rooms_and_pets(tmp_path_factory.mktemp("sets"))
    return load_split(general, "train")[0].subset([0, 1, 1, 2])


def test_an_image_that_comes_again_is_augmented_anew(small: Annotations) -> None:
    dataset = DetectionDataset(small, (64, 64), AugmentConfig(), seed=1, sampling=SamplingConfig(smoothing=0.0))
    assert dataset.expected_draws is not None
    assert dataset.expected_draws.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    dataset.set_epoch(0)
    draws = dataset.order()
    again = [number for number in draws.tolist() if number >= 4]
    assert again
    for number in again:
        first, second = dataset[number % 4], dataset[number]
        assert first.index == second.index == number % 4
        assert not np.array_equal(first.image.numpy(), second.image.numpy())
        np.testing.assert_array_equal(second.image.numpy(), dataset[number].image.numpy())


def test_partners_are_drawn_as_often_as_pictures(small: Annotations) -> None:
    """The last picture is a quarter of all and half of the draws: so it is of a mosaic's other tiles."""
    dataset = DetectionDataset(small, (64, 64), AugmentConfig(), seed=1, sampling=SamplingConfig(smoothing=0.0))
    partners = []
    for epoch in range(50):
        dataset.set_epoch(epoch)
        partners += dataset._partners().tolist()
    assert partners.count(3) / len(partners) == pytest.approx(0.5, abs=0.02)


def test_each_image_alike_changes_no_bit(small: Annotations) -> None:
    plain = DetectionDataset(replace(small, origins=None), (64, 64), AugmentConfig(), seed=1)
    sampled = DetectionDataset(
        replace(small, origins=None), (64, 64), AugmentConfig(), seed=1, sampling=SamplingConfig()
    )
    for epoch in (0, 3):
        plain.set_epoch(epoch)
        sampled.set_epoch(epoch)
        assert plain.order().tolist() == sampled.order().tolist()
        np.testing.assert_array_equal(plain[2].image.numpy(), sampled[2].image.numpy())


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_draws_of_an_epoch(small: Annotations, world: int) -> None:
    dataset = DetectionDataset(small, (64, 64), AugmentConfig(), seed=1, sampling=SamplingConfig(smoothing=0.0))
    dataset.set_epoch(2)
    shares = [list(ShardedSampler(dataset, shuffle=True, rank=rank, world_size=world)) for rank in range(world)]
    dealt = [share[place] for place in range(len(shares[0])) for share in shares]
    assert dealt[:4] == dataset.order().tolist()
