from __future__ import annotations

import pytest
import torch
from torch import nn

from detector.training.machine.depthwise import DepthwiseConv2d, speed_up_depthwise


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [(8, 8), (7, 10)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [6, 8, 32])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_same_gradients_as_torch(
    stride: int, kernel: int, side: tuple[int, int], dtype: torch.dtype, channels: int, capability: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    x = torch.randn(2, channels, *side, requires_grad=True)

    def gradients() -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
            y = conv(x)
        assert y.dtype == dtype
        return (y, *torch.autograd.grad(y.float().square().sum(), (x, conv.weight)))

    expected = gradients()
    speed_up_depthwise(nn.Sequential(conv))
    assert type(conv) is DepthwiseConv2d
    tolerance = 1e-4 if dtype is torch.float32 else 0.1
    for found, wanted in zip(gradients(), expected, strict=True):
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def test_other_convs_stay() -> None:
    dense, biased = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
    speed_up_depthwise(nn.Sequential(dense, biased))
    assert type(dense) is nn.Conv2d
    assert type(biased) is nn.Conv2d
