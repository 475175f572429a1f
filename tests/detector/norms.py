"""Norms as training leaves them, not as they start."""

from torch import nn


def draw_norms(network: nn.Module, spread: float, shift: float) -> None:
    """Scales and variances within `spread` of 1, offsets and means within `shift` of 0."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1 - spread, 1 + spread)
            nn.init.uniform_(module.bias, -shift, shift)
            nn.init.uniform_(module.running_mean, -shift, shift)
            nn.init.uniform_(module.running_var, 1 - spread, 1 + spread)
