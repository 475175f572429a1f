"""The one module that a training step runs (and DistributedDataParallel wraps): network and criterion together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.assigners import Targets
from detector.criterion import DetectionCriterion
from detector.network import Network
from detector.training.optimizer import norms_of_frozen


class TrainingModule(nn.Module):
    """`forward(images, targets)` -> the criterion's scalars. Images (B, 3, H, W) uint8 or float, RGB 0..255."""

    def __init__(
        self,
        network: Network,
        criterion: DetectionCriterion,
        *,
        dtype: torch.dtype | None = None,
        channels_last: bool = False,
    ) -> None:
        """dtype: of the network's autocast, None for fp32; the criterion is fp32 always."""
        super().__init__()
        self.network, self.criterion = network, criterion
        self._dtype = dtype
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._forward_raw = network.forward_raw

    def forward(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        images = images.to(torch.float32, memory_format=self._layout)
        with torch.autocast(images.device.type, dtype=self._dtype, enabled=self._dtype is not None):
            raw = self._forward_raw(images)
        losses: dict[str, Tensor] = self.criterion(raw.cls_logits, raw.reg_logits, raw.priors, targets)
        return losses

    def compile_network(self) -> None:
        """Have torch.compile build the network's forward pass at its first call; the criterion stays as it is."""
        self._forward_raw = torch.compile(self.network.forward_raw)

    def train(self, mode: bool = True) -> TrainingModule:
        """As nn.Module; norms of frozen modules keep their statistics."""
        super().train(mode)
        for norm in norms_of_frozen(self.network):
            norm.eval()
        return self
