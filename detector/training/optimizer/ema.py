"""Exponential moving average of a network's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from detector.training.settings.config import EmaConfig


def decay_at(step: int, config: EmaConfig, total_steps: int) -> float:
    """Decay of the average after `step` updates: decay x (1 - exp(-step / ramp)) (technical report, section 3).

    A run shorter than the average's memory 1 / (1 - decay) would end with its early weights in the average; so the
    memory is at most `memory_share` of the run.
    """
    decay = min(config.decay, 1 - _least_share(config, total_steps))
    return max(decay, 0.0) * (1 - math.exp(-step / config.ramp_steps))


def _least_share(config: EmaConfig, total_steps: int) -> float:
    """What the newest value counts for at least, so that an average reaches back `memory_share` of the run at most."""
    return 0.0 if config.memory_share is None else 1 / max(config.memory_share * total_steps, 1.0)


def keep_statistics_fresh(network: nn.Module, config: EmaConfig, total_steps: int) -> None:
    """Let BatchNorm's running statistics reach back no further than the average of the weights does in a short run.

    They take 3 % of each batch's (`NORM_MOMENTUM`), so that they reach back 33 batches. A run of 128 steps at a high rate
    would end with statistics of weights that are gone, and evaluate as if it had learnt nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, _least_share(config, total_steps))


class Ema:
    """`weights`: {state dict key: averaged tensor}; floats in fp32, buffers of whole numbers are copied.

    The caller updates after sound steps only, so a step that is skipped never reaches the average.
    """

    def __init__(self, network: nn.Module, config: EmaConfig, total_steps: int) -> None:
        """`network` keeps its tensors from here on (values change in place, as optimisers and loading do)."""
        self.config, self.total_steps, self.updates = config, total_steps, 0
        live = {name: value.detach() for name, value in network.state_dict().items()}
        self.weights = {name: value.clone() for name, value in live.items()}
        floats = [name for name, value in live.items() if value.is_floating_point()]
        self._averages: list[Tensor] = [self.weights[name] for name in floats]
        self._values: list[Tensor] = [live[name] for name in floats]
        whole = [name for name in live if name not in set(floats)]
        self._copies: list[Tensor] = [self.weights[name] for name in whole]
        self._counters: list[Tensor] = [live[name] for name in whole]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network's weights; running statistics are averaged too."""
        self.updates += 1
        torch._foreach_lerp_(self._averages, self._values, 1 - decay_at(self.updates, self.config, self.total_steps))
        if self._copies:
            torch._foreach_copy_(self._copies, self._counters)

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor], updates: int) -> None:
        """Go on from saved weights after `updates` updates."""
        self.updates = updates
        for name, average in self.weights.items():
            average.copy_(weights[name])
