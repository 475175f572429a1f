from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.training.machine.strided_pointwise import StridedPointwiseConv2d, avoid_strided_pointwise


@pytest.mark.parametrize("channels", [3, 8, 15])
@pytest.mark.parametrize("side", [(8, 8), (7, 10)])
def test_same_output_and_gradients(channels: int, side: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 6, 1, 2, bias=False)
    x = torch.randn(2, channels, *side, requires_grad=True)

    def results() -> tuple[torch.Tensor, ...]:
        y = conv(x)
        return (y, *torch.autograd.grad(y.square().sum(), (x, conv.weight)))

    expected = results()  # contiguous layout: the fault is that of channels-last
    avoid_strided_pointwise(nn.Sequential(conv))
    assert type(conv) is StridedPointwiseConv2d
    conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for found, wanted in zip(results(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_backward_pass_survives_a_large_map() -> None:
    conv = nn.Conv2d(8, 32, 1, 2, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    avoid_strided_pointwise(nn.Sequential(conv))
    for _ in range(3):
        x = torch.randn(8, 8, 112, 112).to(memory_format=torch.channels_last).requires_grad_()
        conv(x).sum().backward()
    assert x.grad is not None
    assert torch.count_nonzero(x.grad) == x.grad[:, :, ::2, ::2].numel()


def test_other_convs_stay() -> None:
    wide, dense, grouped = nn.Conv2d(16, 8, 1, 2), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 1, 2, groups=8)
    stride_one = nn.Conv2d(8, 8, 1)
    avoid_strided_pointwise(nn.Sequential(wide, dense, grouped, stride_one))
    assert all(type(conv) is nn.Conv2d for conv in (wide, dense, grouped, stride_one))
