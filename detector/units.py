"""Torch modules for single graph ops."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.priors import decode_distances, expected_distances, priors
from search_spaces.graph import Graph, Op

NORM_EPS = 1e-3
NORM_MOMENTUM = 0.03


def activation(name: str | None) -> nn.Module | None:
    """`relu`, `silu` or None."""
    match name:
        case None:
            return None
        case "relu":
            return nn.ReLU(inplace=True)
        case "silu":
            return nn.SiLU(inplace=True)
    raise ValueError(f"no activation named {name}")


class ConvUnit(nn.Module):
    """Conv, BatchNorm (or a bias) and activation."""

    def __init__(self, in_channels: int, op: Op) -> None:
        super().__init__()
        self.conv = _conv(in_channels, op, int(op.kernel), bias=op.bias)
        self.norm = _norm(self.conv) if op.norm else None
        self.act = activation(op.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the one conv that the unit is in deploy form (evaluation statistics)."""
        return (self.conv.weight, self.conv.bias) if self.norm is None else fused(self.conv.weight, self.norm)

    def fuse_norm(self) -> None:
        """Merge the BatchNorm into the conv (evaluation statistics)."""
        if self.norm is not None:
            self.conv = with_weights(self.conv, *fused(self.conv.weight, self.norm))
            self.norm = None


class RepConvUnit(nn.Module):
    """A k x k and a 1x1 conv-BatchNorm on the same input, summed, then the activation (report, 2.2).

    `merge()` turns it into a ConvUnit with one k x k conv and a bias.
    """

    def __init__(self, in_channels: int, op: Op) -> None:
        super().__init__()
        self.op = op
        self.dense = _conv(in_channels, op, int(op.kernel), bias=False)
        self.dense_norm = _norm(self.dense)
        self.pointwise = _conv(in_channels, op, 1, bias=False)
        self.pointwise_norm = _norm(self.pointwise)
        self.act = activation(op.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense_norm(self.dense(x)) + self.pointwise_norm(self.pointwise(x))
        return x if self.act is None else self.act(x)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one conv that the unit is in deploy form (evaluation statistics)."""
        weight, bias = fused(self.dense.weight, self.dense_norm)
        point_weight, point_bias = fused(self.pointwise.weight, self.pointwise_norm)
        pad = self.dense.kernel_size[0] // 2
        return weight + F.pad(point_weight, [pad] * 4), bias + point_bias

    def merge(self) -> ConvUnit:
        """The same function as one conv."""
        unit = ConvUnit.__new__(ConvUnit)
        nn.Module.__init__(unit)
        unit.conv = with_weights(self.dense, *self.folded())
        unit.norm = None
        unit.act = self.act
        return unit


class Detect(nn.Module):
    """Class and regression maps of all levels -> logits in prior order, or decoded boxes and scores (report, 2.2).

    Priors stand at (column x stride, row x stride), without a half-cell offset, ordered by stride, then row by row.
    folded: the learnt scales of the regression maps are in the convs before, as in deploy form.
    """

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.strides, self.reg_max, self.num_classes = op.strides, op.reg_max, op.num_classes
        for level in range(len(op.strides)):
            self.register_parameter(f"scale{level}", nn.Parameter(torch.tensor(1.0)))
        self.folded = False
        self.register_buffer("bins", torch.arange(op.reg_max + 1, dtype=torch.float32), persistent=False)
        self.bins: Tensor

    def logits(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (B, A, C) and box-distribution logits (B, A, 4 x (reg_max + 1))."""
        cls = [level.flatten(2).transpose(1, 2) for level in maps[0::2]]
        scaled = maps[1::2] if self.folded else [level * scale for level, scale in zip(maps[1::2], self.scales)]
        reg = [level.flatten(2).transpose(1, 2) for level in scaled]
        return torch.cat(cls, 1), torch.cat(reg, 1)

    @property
    def scales(self) -> list[nn.Parameter]:
        """Of the regression maps, by level."""
        return [self.get_parameter(f"scale{level}") for level in range(len(self.strides))]

    def priors(self, maps: list[Tensor]) -> Tensor:
        """(A, 3): x, y in input pixels, stride."""
        height, width = maps[0].shape[-2:]
        stride = self.strides[0]
        return priors((height * stride, width * stride), self.strides, maps[0].device)

    def decode(self, reg_logits: Tensor, priors_A3: Tensor) -> Tensor:
        """Boxes (B, A, 4), xyxy in input pixels, from box-distribution logits (fp32)."""
        return decode_distances(expected_distances(reg_logits, self.bins), priors_A3)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) xyxy in input pixels and scores (B, A, C) after the sigmoid."""
        cls, reg = self.logits(maps)
        return self.decode(reg, self.priors(maps)), cls.float().sigmoid()


def op_module(graph: Graph, op: Op) -> nn.Module | None:
    """The module that holds the op's weights or activation; None for ops without either."""
    if op.kind == "conv":
        in_channels = graph.in_channels(op)
        return RepConvUnit(int(in_channels), op) if op.reparam else ConvUnit(int(in_channels), op)
    if op.kind == "add":
        return activation(op.activation)
    if op.kind == "max_pool":
        return nn.MaxPool2d(int(op.kernel), stride=1, padding=int(op.kernel) // 2)
    if op.kind == "detect":
        return Detect(op)
    return None


def fused(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of conv + BatchNorm as one conv, computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = norm.bias.double() - norm.running_mean.double() * scale
    return (weight.double() * scale.reshape(-1, 1, 1, 1)).to(weight.dtype), bias.to(weight.dtype)


def with_weights(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A conv of the same geometry with these weights."""
    new = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups,  # type: ignore[arg-type]
        device=weight.device, dtype=weight.dtype,
    )  # fmt: skip
    new.weight = nn.Parameter(weight.detach().clone(), requires_grad=conv.weight.requires_grad)
    new.bias = nn.Parameter(bias.detach().clone(), requires_grad=conv.weight.requires_grad)
    return new


def _conv(in_channels: int, op: Op, kernel: int, *, bias: bool) -> nn.Conv2d:
    out = int(op.shape.channels)
    groups = in_channels if op.depthwise else 1
    return nn.Conv2d(in_channels, out, kernel, op.stride, kernel // 2, groups=groups, bias=bias)


def _norm(conv: nn.Conv2d) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(conv.out_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
