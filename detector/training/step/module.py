"""The one module that a training step runs (and DistributedDataParallel wraps): network, criterion, further terms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from detector.assigners import Targets
from detector.criterion import DetectionCriterion
from detector.network import Network
from detector.training.optimizer import norms_of_frozen
from detector.training.step.terms import LossTerm


class TrainingModule(nn.Module):
    """`forward(images, targets)` -> the losses, scalars. Images (B, 3, H, W) uint8 or float, RGB 0..255."""

    def __init__(
        self,
        network: Network,
        criterion: DetectionCriterion,
        *,
        terms: Mapping[str, LossTerm] | None = None,
        dtype: torch.dtype | None = None,
        channels_last: bool = False,
    ) -> None:
        """dtype: of the network's autocast, None for fp32; the criterion is fp32 always."""
        super().__init__()
        self.network, self.criterion = network, criterion
        self.terms = nn.ModuleDict(terms or {})
        self._dtype = dtype
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._forward_raw = network.forward_raw

    def forward(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The criterion's scalars and each term's under its name; `total` is the sum of all but `num_positives`."""
        images = images.to(torch.float32, memory_format=self._layout)
        with torch.autocast(images.device.type, dtype=self._dtype, enabled=self._dtype is not None):
            raw = self._forward_raw(images)
            found = {name: term(images, raw, targets).float() for name, term in self.terms.items()}
        losses: dict[str, Tensor] = self.criterion(raw.cls_logits, raw.reg_logits, raw.priors, targets)
        total = losses["total"]
        for value in found.values():
            total = total + value
        return {**losses, **found, "total": total}

    def compile_network(self) -> None:
        """Have torch.compile build the network's forward pass at its first call; the criterion stays as it is."""
        self._forward_raw = torch.compile(self.network.forward_raw)

    def train(self, mode: bool = True) -> TrainingModule:
        """As nn.Module; norms of frozen modules keep their statistics."""
        super().train(mode)
        for norm in norms_of_frozen(self.network):
            norm.eval()
        return self
