"""Batches that are awkward for an assigner: crowds, ties, boxes outside the image, images without boxes.

Coordinates are multiples of 1/4 px, so that what ties in exact arithmetic ties in fp32.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from detector.priors import priors
from tests.detector.scenes import Scene, SceneTargets, random_scene

SIDE = 96


def _quarters(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.randint(round(4 * low), round(4 * high), shape, generator=generator) / 4


def _corners(center: Tensor, half: Tensor) -> Tensor:
    return torch.cat((center - half, center + half), dim=-1)


def _crowded(generator: torch.Generator, shape: tuple[int, int]) -> Tensor:
    """Around one point, every box twice."""
    boxes = _corners(_quarters(generator, 40, 44, *shape, 2), _quarters(generator, 2, 20, *shape, 2))
    return boxes[:, torch.arange(shape[1]) // 2]


def _outside(generator: torch.Generator, shape: tuple[int, int]) -> Tensor:
    """Centres anywhere from far left to far right of the image, boxes across its border or beyond."""
    return _corners(_quarters(generator, -60, SIDE + 60, *shape, 2), _quarters(generator, 1, 40, *shape, 2))


def _on_the_grid(generator: torch.Generator, shape: tuple[int, int]) -> Tensor:
    """Centres on priors or half-way between, so that priors are equally near by fours."""
    center = torch.randint(2, 22, (*shape, 2), generator=generator) * 4.0
    return _corners(center, torch.randint(1, 6, (*shape, 1), generator=generator) * 8.0)


def _tiny(generator: torch.Generator, shape: tuple[int, int]) -> Tensor:
    """Half a pixel to two: most of them without a prior inside."""
    return _corners(_quarters(generator, 0, SIDE, *shape, 2), _quarters(generator, 0.25, 1, *shape, 2))


KINDS = {"crowded": _crowded, "outside": _outside, "on_the_grid": _on_the_grid, "tiny": _tiny}


def hard_scene(seed: int, kind: str, batch: int, num_boxes: int, num_classes: int, equal_predictions: bool) -> Scene:
    """A scene of a kind; the first image of several is empty. Equal predictions: one box and one score everywhere."""
    generator = torch.Generator().manual_seed(seed)
    points = priors((SIDE, SIDE))
    shape = (batch, num_boxes)
    truth = KINDS[kind](generator, shape)
    valid = torch.rand(shape, generator=generator) > 0.15
    if batch > 1:
        valid[0] = False
    labels = torch.randint(0, num_classes, shape, generator=generator)
    targets = SceneTargets(truth, labels, valid, torch.rand(shape, generator=generator) < 0.15)
    pick = torch.randint(0, num_boxes, (batch, len(points)), generator=generator)
    if equal_predictions:
        pick[...] = 0
    logits = torch.randn(batch, len(points), num_classes, generator=generator) * 2 - 1
    if equal_predictions:
        logits = logits[:, :1].expand_as(logits).clone()
    else:
        logits[:, ::2] = -1.0
    predicted = truth.gather(1, pick[..., None].expand(-1, -1, 4)).clone()
    if not equal_predictions:
        predicted += _quarters(generator, 0, 3, *predicted.shape)
        predicted[..., 2:] += 0.25
    return Scene(points, predicted, logits, targets)


def scenes() -> st.SearchStrategy[Scene]:
    """Random scenes and hard ones."""
    seed, batch, classes = st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4)
    random = st.builds(random_scene, seed, batch, st.integers(0, 7), classes)
    hard = st.builds(hard_scene, seed, st.sampled_from(sorted(KINDS)), batch, st.integers(1, 8), classes, st.booleans())
    return st.one_of(random, hard)
