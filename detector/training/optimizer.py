"""The optimiser with grouped weight decay: conv weights decay, norms, biases and the head's scales do not."""

from __future__ import annotations

import torch
from torch import nn

from detector.training.config import OptimizerConfig
from search_spaces.errors import UserError


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups of the parameters that learn: those of two or more axes with `weight_decay`, the others without."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]


def build_optimizer(module: nn.Module, config: OptimizerConfig, batch_size: int) -> torch.optim.Optimizer:
    """SGD (Nesterov) or AdamW at the peak rate for `batch_size` images per step over all processes."""
    groups = parameter_groups(module, config.weight_decay)
    rate = config.learning_rate_per_image * batch_size
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(config.momentum, 0.999), foreach=True)
    return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, nesterov=config.momentum > 0, foreach=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate (times the group's own `rate_share`, where it has one)."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)


def freeze(network: nn.Module, names: list[str]) -> None:
    """Stop the named modules (`backbone`, `neck`) from learning. Raises UserError for a name that is not there."""
    modules = dict(network.named_modules())
    for name in names:
        if name not in modules or not name:
            top = ", ".join(child for child, _ in network.named_children())
            raise UserError(f"freeze: the network has no module {name!r}; expected {top}, or a module inside one")
        modules[name].requires_grad_(False)


def norms_of_frozen(network: nn.Module) -> list[nn.Module]:
    """BatchNorms whose weights do not learn: they keep their statistics too."""
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad
    ]
