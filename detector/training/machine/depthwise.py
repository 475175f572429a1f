"""Depthwise convolution whose backward pass is quick on CPUs.

With AVX-512, oneDNN's backward of a strided depthwise convolution is 5 to 20 times slower than its forward, and slower in
bf16 than in fp32; its gradient of 5x5 weights costs up to 18 times the forward pass. Here the gradient of the input is a
stride-1 forward convolution of the spread-out gradient with the flipped kernel. (With AVX2 alone and in fp32 oneDNN's own is
as quick without a stride, and takes a third of the time with one.) The gradient of 3x3 weights is taken in fp32, that of
larger ones as the diagonal of an ordinary convolution's with 8 (bf16: 16) channels a group: many times the products, on
units that are quicker by more. Same gradients, other order of additions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPED_FROM = 5
"""Kernels of this side and more take their weight gradient from groups of channels; smaller ones have a quick one."""


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """x (B, C, H, W), weight (C, 1, k, k) with k odd; zero padding of k // 2."""
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        need_x, need_weight, _ = ctx.needs_input_grad
        return (
            _input_gradient(grad, weight, ctx.stride, x) if need_x else None,
            _weight_gradient(grad, weight, ctx.stride, x) if need_weight else None,
            None,
        )


def _input_gradient(grad: Tensor, weight: Tensor, stride: int, x: Tensor) -> Tensor:
    if x.dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() == "AVX2":
        own, _, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, [stride] * 2, [weight.shape[-1] // 2] * 2, [1, 1], False, [0, 0], len(weight),
            [True, False, False],
        )  # fmt: skip
        assert isinstance(own, Tensor)
        return own
    if stride > 1:
        spread = torch.zeros_like(x, memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    return F.conv2d(grad, weight.flip(2, 3), None, 1, weight.shape[-1] // 2, 1, len(weight))


def _weight_gradient(grad: Tensor, weight: Tensor, stride: int, x: Tensor) -> Tensor:
    channels, side = len(weight), weight.shape[-1]
    together = _channels_together(channels, side, x.dtype)
    if together == 1:
        grad, x = grad.float(), x.float()
    groups = channels // together
    _, dense, _ = torch.ops.aten.convolution_backward(
        grad, x, x.new_empty(channels, together, side, side), None, [stride] * 2, [side // 2] * 2, [1, 1], False, [0, 0],
        groups, [False, True, False],
    )  # fmt: skip
    assert isinstance(dense, Tensor)
    own = dense.view(groups, together, together, side, side).diagonal(dim1=1, dim2=2)
    return own.permute(0, 3, 1, 2).reshape(channels, 1, side, side).float()


def _channels_together(channels: int, side: int, dtype: torch.dtype) -> int:
    """Channels of a group whose weight gradient is taken at once; 1: each by itself."""
    together = 16 if dtype == torch.bfloat16 else 8
    return together if side >= GROUPED_FROM and channels % together == 0 else 1


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d with one filter per channel, odd kernel, "same" padding and no bias."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, C, H / stride, W / stride)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        result = _Depthwise.apply(x, weight, self.stride[0])  # type: ignore[no-untyped-call]
        assert isinstance(result, Tensor)
        return result if bias is None else result + bias.to(result.dtype).reshape(-1, 1, 1)


def speed_up_depthwise(network: nn.Module) -> None:
    """Give the network's depthwise convs the quick backward pass; parameters and state dict keys stay the same."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels == module.out_channels > 1:
            same_padding = module.padding == (module.kernel_size[0] // 2,) * 2 and module.kernel_size[0] % 2 == 1
            if module.bias is None and same_padding and module.dilation == (1, 1):
                module.__class__ = DepthwiseConv2d
