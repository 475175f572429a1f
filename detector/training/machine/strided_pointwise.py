"""1x1 convolutions with a stride, of few input channels, whose backward pass does not crash on CPUs.

oneDNN's fp32 backward of such a convolution in channels-last layout writes past its memory where the input has fewer
than 16 channels (torch 2.13 on a CPU with AVX-512: segmentation fault). A 1x1 conv reads only the pixels that its stride
picks: picked first, the same conv has stride 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW_CHANNELS = 16


class StridedPointwiseConv2d(nn.Conv2d):
    """nn.Conv2d 1x1 with a stride, without padding, groups or dilation."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
        picked = x[:, :, :: self.stride[0], :: self.stride[1]].contiguous(memory_format=torch.channels_last)
        return F.conv2d(picked, weight, bias)


def avoid_strided_pointwise(network: nn.Module) -> None:
    """Let the network's strided 1x1 convs of few channels pick their pixels first; parameters and keys stay the same."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.kernel_size == (1, 1) and max(module.stride) > 1:
            plain = module.groups == 1 and module.padding == (0, 0)
            if plain and module.in_channels < FEW_CHANNELS:
                module.__class__ = StridedPointwiseConv2d
