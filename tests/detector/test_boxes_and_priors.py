from __future__ import annotations

import pytest
import torch

from detector.boxes import aligned_giou, aligned_iou
from detector.priors import decode_distances, encode_distances, priors
from search_spaces.errors import UserError


def test_iou_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 1, 1], [4, 4, 0, 0]])
    second = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [8, 0, 12, 4], [1, 1, 1, 1], [0, 0, 4, 4]])
    assert aligned_iou(first, second).tolist() == pytest.approx([1, 1 / 3, 0, 0, 0])
    assert aligned_giou(first[:3], second[:3]).tolist() == pytest.approx([1, 1 / 3, -1 / 3])


def test_overlaps_are_fp32_for_half_precision_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 600, 600]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        for overlap in (aligned_iou(boxes, boxes), aligned_giou(boxes, boxes)):
            assert overlap.dtype == torch.float32
            assert (overlap == 1).all()


def test_priors_are_grid_points_without_offset_level_by_level() -> None:
    points = priors((64, 96))
    expected = [
        (column * stride, row * stride, stride)
        for stride in (8, 16, 32)
        for row in range(64 // stride)
        for column in range(96 // stride)
    ]
    assert points.tolist() == [list(map(float, row)) for row in expected]


def test_an_image_side_that_no_level_divides_is_refused() -> None:
    with pytest.raises(UserError, match=r"100x96.*multiples of 8"):
        priors((100, 96))


def test_distances_decode_and_encode() -> None:
    points = torch.tensor([[16.0, 32.0, 8.0], [32.0, 0.0, 16.0]])
    distances = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.5, 1.0, 2.0]])
    boxes = decode_distances(distances, points)
    assert boxes.tolist() == [[8, 16, 40, 64], [32, -8, 48, 32]]
    assert torch.equal(encode_distances(boxes, points), distances)
    assert decode_distances(distances.expand(3, -1, -1), points).shape == (3, 2, 4)
