"""What every loss keeps to: element by element, fp32 under any precision, finite, zero at its optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from detector.losses.distribution_focal import distribution_focal_loss
from detector.losses.giou import giou_loss
from detector.losses.quality_focal import quality_focal_loss
from search_spaces.plugins import plugin_names

COUNT = 24


@dataclass(frozen=True)
class Case:
    """`loss(predicted, target)`; both of `optimum` are predictions and targets whose loss is 0."""

    loss: Callable[[Tensor, Tensor], Tensor]
    predicted: Tensor
    target: Tensor
    optimum: tuple[Tensor, Tensor]
    extremes: tuple[Tensor, Tensor]


def corners(generator: torch.Generator) -> Tensor:
    low = torch.rand(COUNT, 2, generator=generator) * 40
    return torch.cat((low, low + 1 + torch.rand(COUNT, 2, generator=generator) * 30), dim=-1)


def case(name: str) -> Case:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(COUNT, 8, generator=generator) * 3
    large = torch.tensor([-65504.0, 65504.0, 0.0, 65504.0, -65504.0, -30.0, 30.0, 1.0]).expand(COUNT, 8)
    whole = torch.arange(COUNT) % 7
    peaks = torch.full((COUNT, 8), -200.0).scatter_(1, whole[:, None], 200.0)
    if name == "quality_focal":
        soft, hard = (
            torch.rand(COUNT, 8, generator=generator),
            (torch.rand(COUNT, 8, generator=generator) > 0.5).float(),
        )
        return Case(quality_focal_loss, logits, soft, (400 * hard - 200, hard), (large, soft.round()))
    if name == "distribution_focal":
        distances = torch.rand(COUNT, generator=generator) * 9 - 1  # some below 0, some beyond the last bin
        return Case(distribution_focal_loss, logits, distances, (peaks, whole.float()), (large, distances * 1e4))
    if name == "giou":
        boxes, points = corners(generator), torch.zeros(COUNT, 4)
        return Case(giou_loss, boxes, corners(generator), (boxes, boxes), (points, boxes * 1e3))
    raise AssertionError(f"loss {name}: no case here yet")


pytestmark = pytest.mark.parametrize("name", plugin_names("detector.losses"))


def test_one_value_per_element_none_below_zero(name: str) -> None:
    c = case(name)
    result = c.loss(c.predicted, c.target)
    assert result.shape == (c.predicted.shape if name == "quality_focal" else (COUNT,))
    assert (result >= 0).all()
    assert (result > 0).any()
    for row in range(0, COUNT, 5):
        some = slice(row, row + 1)
        assert torch.allclose(c.loss(c.predicted[some], c.target[some]), result[some], rtol=1e-6)


def test_zero_at_the_optimum(name: str) -> None:
    c = case(name)
    assert torch.allclose(c.loss(*c.optimum), torch.zeros(()), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_fp32_and_the_same_values(name: str, dtype: torch.dtype) -> None:
    c = case(name)
    half = c.predicted.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = c.loss(half, c.target)
    assert result.dtype == torch.float32
    assert torch.equal(result, c.loss(half.detach().float(), c.target))
    result.sum().backward()
    assert half.grad is not None
    assert half.grad.isfinite().all()


def test_finite_at_the_ends_of_fp16_with_gradients(name: str) -> None:
    predicted, target = case(name).extremes
    half = predicted.half().requires_grad_()
    result = case(name).loss(half, target)
    assert result.isfinite().all()
    result.sum().backward()
    assert half.grad is not None
    assert half.grad.isfinite().all()


def test_gradients_equal_differences(name: str) -> None:
    c = case(name)
    predicted = c.predicted.clone().requires_grad_()
    c.loss(predicted, c.target).sum().backward()
    assert predicted.grad is not None
    step = 2.0**-6
    for column in range(predicted.shape[1]):
        moved = torch.zeros_like(c.predicted)
        moved[:, column] = step
        up, down = c.loss(c.predicted + moved, c.target), c.loss(c.predicted - moved, c.target)
        slope = ((up - down) / (2 * step)).reshape(COUNT, -1).sum(dim=1)
        assert torch.allclose(predicted.grad[:, column], slope, atol=2e-3, rtol=1e-2)


def test_no_elements_give_a_connected_zero(name: str) -> None:
    c = case(name)
    nothing = c.predicted[:0].clone().requires_grad_()
    total = c.loss(nothing, c.target[:0]).sum()
    assert total == 0
    total.backward()
    assert nothing.grad is not None
