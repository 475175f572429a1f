"""Training with the rounding of an int8 export: weights and activations are put on the grids that they will be stored on.

Every unit computes as the one conv that it is in deploy form, with the BatchNorms' running statistics, which stay as they
are. Weights have 255 levels and a scale per out channel. Activations have 256 levels and the range of the batch, as an
exporter gives them the range of its calibration pictures. Gradients pass the rounding unchanged. Parameters and state dict
keys stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.network import Network
from detector.units import ConvUnit, RepConvUnit
from search_spaces.graph import Op

_LEAST = 1e-12
_ROUNDED = frozenset({"conv", "add", "concat"})


@dataclass(frozen=True, slots=True)
class Rounding:
    """What an exporter rounds.

    symmetric: values of both signs get as many levels above zero as below. apart: SiLU is a sigmoid and a product, whose
    inputs are rounded too. logits: of the head, as well.
    """

    symmetric: bool
    apart: bool
    logits: bool


ROUNDINGS = {
    "openvino": Rounding(symmetric=True, apart=False, logits=False),
    "onnx": Rounding(symmetric=False, apart=True, logits=True),
}
"""By format: NNCF's preset `performance`, ONNX Runtime's QDQ."""


class QuantisedNetwork(Network):
    """A Network whose ops' outputs are rounded. `round_as_exported` makes one."""

    rounding: Rounding
    as_they_are: frozenset[str]

    def _run(self, op: Op, inputs: list[Tensor]) -> Tensor:
        result = super()._run(op, inputs)
        if op.kind not in _ROUNDED or op.path in self.as_they_are:
            return result
        return rounded(result, symmetric=self.rounding.symmetric)


class QuantisedConvUnit(ConvUnit):
    """A ConvUnit with rounded weights."""

    rounding: Rounding

    def forward(self, x: Tensor) -> Tensor:
        return _run(self, self.conv, x)


class QuantisedRepConvUnit(RepConvUnit):
    """A RepConvUnit that computes as its merged conv, with rounded weights."""

    rounding: Rounding

    def forward(self, x: Tensor) -> Tensor:
        return _run(self, self.dense, x)


def round_as_exported(network: Network, format_name: str) -> Network:
    """`network` itself, which rounds from now on as an int8 export to that format does."""
    rounding = ROUNDINGS[format_name]
    network.__class__ = QuantisedNetwork
    assert isinstance(network, QuantisedNetwork)
    *_, detect = network.graph.ops
    logits = frozenset(network.graph.ops[source].path for source in detect.inputs)
    network.rounding, network.as_they_are = rounding, frozenset() if rounding.logits else logits
    for module in network.modules():
        if isinstance(module, RepConvUnit):
            module.__class__ = QuantisedRepConvUnit
        elif isinstance(module, ConvUnit):
            module.__class__ = QuantisedConvUnit
        if isinstance(module, QuantisedConvUnit | QuantisedRepConvUnit):
            module.rounding = rounding
    return network


def rounded(x: Tensor, *, symmetric: bool) -> Tensor:
    """`x` on 256 levels over its own range, which zero is part of; on 255 around zero if `symmetric` and of both signs."""
    values = x.float()
    low, high = torch.aminmax(values.detach())
    low, high = low.clamp(max=0), high.clamp(min=0)
    if symmetric:
        both = low < 0
        reach = torch.maximum(-low, high)
        low, high = torch.where(both, -reach * (128 / 127), low), torch.where(both, reach, high)
    scale = ((high - low) / 255).clamp(min=_LEAST)
    zero = torch.round(-low / scale).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255).to(x.dtype)


def rounded_weight(weight: Tensor) -> Tensor:
    """`weight` (out, ...) on 255 levels around zero for each out channel."""
    scale = (weight.detach().abs().amax(dim=tuple(range(1, weight.ndim))) / 127).clamp(min=_LEAST)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def _run(unit: QuantisedConvUnit | QuantisedRepConvUnit, conv: nn.Conv2d, x: Tensor) -> Tensor:
    weight, bias = unit.folded()
    x = conv._conv_forward(x, rounded_weight(weight), bias)
    if isinstance(unit.act, nn.SiLU) and unit.rounding.apart:
        x = rounded(x, symmetric=unit.rounding.symmetric)
        return x * rounded(torch.sigmoid(x), symmetric=unit.rounding.symmetric)
    return x if unit.act is None else unit.act(x)
