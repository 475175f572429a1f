"""Non-maximum suppression against the obvious one: per class, box by box."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector import suppression as module
from detector.boxes import aligned_iou
from detector.postprocess import postprocess
from detector.priors import decode_distances, priors
from detector.suppression import suppress


def reference_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        if all(aligned_iou(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(i)
    return kept


def reference_postprocess(
    boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, limit: int
) -> list[tuple[float, int, int]]:
    """Rows score, prior, class."""
    found = []
    for c in range(scores.shape[1]):
        above = [a for a in range(len(boxes)) if scores[a, c] > score_threshold]
        for i in reference_nms(boxes[above], scores[above, c], iou_threshold):
            found.append((float(scores[above[i], c]), above[i], c))
    return sorted(found, key=lambda row: (-row[0], row[1], row[2]))[:limit]


def crowded(seed: int, count: int, classes: int, levels: int) -> tuple[Tensor, Tensor]:
    """Boxes around few places, with scores on few levels so that many tie."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(4, 4, generator=generator).cumsum(-1) * 40
    boxes = places[torch.randint(0, 4, (count,), generator=generator)]
    boxes = boxes + torch.rand(count, 4, generator=generator) * 8
    return boxes, torch.randint(0, levels + 1, (count, classes), generator=generator) / levels


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 40),
    classes=st.integers(1, 3),
    levels=st.sampled_from([1, 5, 1000]),
    limit=st.sampled_from([1, 7, 500]),
    block=st.sampled_from([1, 8, 256]),
    scale=st.sampled_from([1.0, 0.02]),
    iou_threshold=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_equals_the_slow_reference(
    seed: int, count: int, classes: int, levels: int, limit: int, block: int, scale: float, iou_threshold: float
) -> None:
    """scale: of the boxes; the small ones have sides of less than a pixel."""
    boxes, scores = crowded(seed, count, classes, levels)
    boxes = boxes * scale
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found_boxes, found_scores, found_labels = postprocess(boxes, scores, 0.3, iou_threshold, limit)
    expected = reference_postprocess(boxes, scores, 0.3, iou_threshold, limit)
    assert found_scores.tolist() == [row[0] for row in expected]
    assert found_labels.tolist() == [row[2] for row in expected]
    assert torch.equal(found_boxes, boxes[[row[1] for row in expected]])


@pytest.mark.parametrize("seed", range(4))
def test_arrays_and_tensors_alike(seed: int) -> None:
    boxes, scores = crowded(seed, 60, 3, 10)
    found = suppress(boxes.numpy(), scores.numpy(), 0.3, 0.5, 50)
    for array, tensor in zip(found, postprocess(boxes, scores, 0.3, 0.5, 50)):
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(array, tensor.numpy())


def test_every_class_may_have_a_threshold() -> None:
    boxes, scores = (one.numpy() for one in crowded(0, 60, 3, 10))
    own = np.array([0.2, 0.55, 0.9], np.float32)
    _, kept, labels = suppress(boxes, scores, own, 0.5, 500)
    for label, threshold in enumerate(own):
        _, alone, _ = suppress(boxes, scores[:, [label]], float(threshold), 0.5, 500)
        np.testing.assert_array_equal(kept[labels == label], alone)


def test_classes_do_not_suppress_each_other_and_a_prior_may_have_several() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    scores = torch.tensor([[0.9, 0.8], [0.7, 0.85]])
    found_boxes, found_scores, labels = postprocess(boxes, scores)
    assert found_scores.tolist() == pytest.approx([0.9, 0.85])
    assert labels.tolist() == [0, 1]
    assert found_boxes.shape == (2, 4)


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, 2), (0.499, 1)])
def test_an_overlap_of_just_the_threshold_is_kept(threshold: float, kept: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])
    assert aligned_iou(boxes[0], boxes[1]) == 0.5
    assert len(postprocess(boxes, torch.tensor([[0.9], [0.8]]), iou_threshold=threshold)[0]) == kept


@pytest.mark.parametrize("shape", [(0, 3), (5, 3)])
def test_nothing_above_the_threshold_gives_empty_tensors(shape: tuple[int, int]) -> None:
    boxes, scores, labels = postprocess(torch.zeros(shape[0], 4), torch.full(shape, 0.05))
    assert boxes.shape == (0, 4)
    assert scores.shape == labels.shape == (0,)
    assert labels.dtype == torch.int64


def test_gradients_and_half_precision_are_left_behind() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.bfloat16, requires_grad=True)
    scores = torch.tensor([[0.5]], dtype=torch.bfloat16, requires_grad=True)
    found_boxes, found_scores, _ = postprocess(boxes, scores)
    assert found_boxes.dtype == found_scores.dtype == torch.float32
    assert not found_boxes.requires_grad


def test_twenty_thousand_candidates_take_well_under_a_second() -> None:
    generator = torch.Generator().manual_seed(0)
    points = priors((640, 640))
    boxes = decode_distances(torch.rand(len(points), 4, generator=generator) * 4, points)
    scores = torch.rand(len(points), 3, generator=generator)
    start = time.perf_counter()
    assert len(postprocess(boxes, scores, 0.2)[0]) == 500
    assert time.perf_counter() - start < 0.5  # about 5 ms on two cores; the margin is for a busy machine
