"""The optimiser with grouped weight decay and layer-wise rates, and modules that do not learn.

Conv weights decay, norms, biases and the head's scales do not. With `muon` they are of two kinds, see `muon`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from detector.training.optimizer.muon import Muon
from detector.training.settings.config import OptimizerConfig
from search_spaces.errors import UserError

BACKBONE, HEAD = "backbone", "head"
SHORT_RUN_STEPS, LONG_RUN_STEPS = 2_000, 20_000


def parameter_groups(
    module: nn.Module, weight_decay: float, layer_decay: float = 1.0, *, matrices: bool = False
) -> list[dict[str, Any]]:
    """Groups of the parameters that learn: those of two or more axes with `weight_decay`, the others without.

    matrices: for Muon, the convs that mix channels have groups of their own, marked `matrix`; not the head's, which give
    scores and distances. With a `layer_decay` below 1 each layer (stem, stages, neck, head) has its own groups, named
    `layer`, whose `rate_share` is `layer_decay` to the power of the layer's distance from the head.
    """
    if layer_decay == 1.0:
        return _by_kind(module, weight_decay, matrices)
    layers = layer_names(module)
    groups = []
    for number, name in enumerate(layers):
        share = layer_decay ** (len(layers) - 1 - number)
        for group in _by_kind(module.get_submodule(name), weight_decay, matrices and name != HEAD):
            groups.append({**group, "layer": name, "rate_share": share})
    return groups


def layer_names(network: nn.Module) -> list[str]:
    """Paths of a detector's layers from the image on: `backbone.stem`, `backbone.stage1`, ..., `neck`, `head`."""
    names: list[str] = []
    for name, child in network.named_children():
        names += [f"{name}.{inner}" for inner, _ in child.named_children()] if name == BACKBONE else [name]
    return names


def peak_rate(config: OptimizerConfig, batch_size: int, total_steps: int) -> float:
    """The peak rate for `batch_size` images per step over all processes.

    `short_run_factor` multiplies it in runs of at most 2,000 steps; its logarithm falls to 0 at 20,000 steps, in
    proportion to the logarithm of their number.
    """
    decades = math.log(LONG_RUN_STEPS / SHORT_RUN_STEPS)
    share = min(max(math.log(LONG_RUN_STEPS / max(total_steps, 1)) / decades, 0.0), 1.0)
    factor: float = config.short_run_factor**share
    return config.learning_rate_per_image * batch_size * factor


def build_optimizer(
    module: nn.Module,
    config: OptimizerConfig,
    batch_size: int,
    total_steps: int = LONG_RUN_STEPS,
    others: Iterable[nn.Module] = (),
) -> torch.optim.Optimizer:
    """SGD (Nesterov), AdamW or Muon at the peak rate for `batch_size` images per step over all processes, `total_steps`
    in all.

    others: modules beside the detector whose parameters learn too, each in groups of its own.
    """
    muon = config.name == "muon"
    groups = parameter_groups(module, config.weight_decay, config.layer_decay, matrices=muon)
    for other in others:
        groups += _by_kind(other, config.weight_decay, muon)
    rate = peak_rate(config, batch_size, total_steps)
    betas = (config.momentum, 0.999)
    # One pass over each tensor on a CPU, where the step would take longer than a tenth of a small network's.
    quick = {"fused": True} if next(module.parameters()).device.type == "cpu" else {"foreach": True}
    made: torch.optim.Optimizer
    if muon:
        made = Muon(groups, rate, betas, **quick)
    elif config.name == "adamw":
        made = torch.optim.AdamW(groups, lr=rate, betas=betas, **quick)
    else:
        nesterov = config.momentum > 0
        made = torch.optim.SGD(groups, lr=rate, momentum=config.momentum, nesterov=nesterov, foreach=True)
    set_rate(made, rate)
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate (times the group's own `rate_share`, where it has one)."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)


def freeze(network: nn.Module, names: list[str]) -> None:
    """Stop the named modules from learning: `backbone`, `stem`, `stage2`, a range `stem..stage2`, or a module's path.

    Raises UserError for a name that is not there, and when nothing is left to learn.
    """
    for name in names:
        for path in _frozen_paths(network, name):
            network.get_submodule(path).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"freeze: nothing is left to learn with {', '.join(names)} frozen; leave one of them out")


def norms_of_frozen(network: nn.Module) -> list[nn.Module]:
    """BatchNorms whose weights do not learn: they keep their statistics too."""
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad
    ]


def _by_kind(module: nn.Module, weight_decay: float, matrices: bool) -> list[dict[str, Any]]:
    """The groups of a module that have parameters. matrices: whether there are matrices among them."""
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {(True, True): [], (True, False): [], (False, False): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2
            mixes = matrices and decays and min(parameter.shape[:2]) > 1 and name.split(".")[0] != HEAD
            kinds[decays, mixes].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "matrix": matrix}
        for (decays, matrix), parameters in kinds.items()
        if parameters
    ]


def _frozen_paths(network: nn.Module, name: str) -> list[str]:
    """The modules that a name of `freeze` stands for."""
    stages = [path.removeprefix(f"{BACKBONE}.") for path in layer_names(network) if path.startswith(f"{BACKBONE}.")]
    first, dots, last = name.partition("..")
    if dots:
        if first in stages and last in stages and stages.index(first) <= stages.index(last):
            return [f"{BACKBONE}.{stage}" for stage in stages[stages.index(first) : stages.index(last) + 1]]
    elif name in stages:
        return [f"{BACKBONE}.{name}"]
    elif name and name in dict(network.named_modules()):
        return [name]
    top = ", ".join(child for child, _ in network.named_children())
    raise UserError(
        f"freeze: the network has no module {name!r}; expected {top}, {', '.join(stages)}, a range such as "
        f"{'..'.join(stages[:2])}, or a module's path"
    )
