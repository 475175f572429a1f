"""Weights of one conv unit written into another of other widths, another kernel or another number of branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.units import ConvUnit, RepConvUnit

Taken = dict[str, int]
"""{key of a state dict: how many of its values came from elsewhere}."""


@dataclass(frozen=True, slots=True)
class Filters:
    """A conv's weight (out, in, k, k) with the BatchNorm or the bias behind it."""

    weight: Tensor
    norm: Mapping[str, Tensor] | None = None
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """What is known of a target conv: for each output (`rows`) and input channel (`columns`) the source's, or -1."""

    rows: Tensor
    columns: Tensor

    @property
    def known_rows(self) -> Tensor:
        return self.rows >= 0


def filters_of(unit: nn.Module) -> dict[str, Filters]:
    """A unit's branches by name: `conv`, or `dense` and `pointwise`."""
    if isinstance(unit, RepConvUnit):
        return {
            "dense": Filters(unit.dense.weight.detach(), unit.dense_norm.state_dict()),
            "pointwise": Filters(unit.pointwise.weight.detach(), unit.pointwise_norm.state_dict()),
        }
    assert isinstance(unit, ConvUnit)
    norm = None if unit.norm is None else unit.norm.state_dict()
    bias = None if unit.conv.bias is None else unit.conv.bias.detach()
    return {"conv": Filters(unit.conv.weight.detach(), norm, bias)}


@torch.no_grad()
def take_filters(unit: nn.Module, source: nn.Module, reach: Reach) -> Taken:
    """Write a source unit into a unit of the target; the keys of the unit with the number of values taken.

    Input channels that the source lacks weigh nothing on known outputs; outputs that it lacks stay as they are.
    """
    filters = filters_of(source)
    if isinstance(unit, RepConvUnit):
        dense = filters.get("dense") or filters["conv"]
        taken = _take(unit.dense, unit.dense_norm, dense, reach, "dense", "dense_norm")
        if "pointwise" in filters:
            return taken | _take(
                unit.pointwise, unit.pointwise_norm, filters["pointwise"], reach, "pointwise", "pointwise_norm"
            )
        unit.pointwise_norm.weight[reach.known_rows] = 0
        return taken
    assert isinstance(unit, ConvUnit)
    one = filters.get("conv") or _merged(source)
    return _take(unit.conv, unit.norm, one, reach, "conv", "norm")


@torch.no_grad()
def silence(unit: nn.Module) -> list[str]:
    """Let a unit's output start at zero, learning from there; the keys that this overwrote."""
    keys = []
    for name, norm in unit.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.zero_()
            norm.bias.zero_()
            keys += [f"{name}.weight", f"{name}.bias"]
    return keys


@torch.no_grad()
def make_identity(unit: nn.Module, rows: Tensor, columns: Tensor) -> None:
    """Let output r be input c (in evaluation) wherever `rows[r]` and `columns[c]` name the same channel."""
    same = (rows[:, None] == columns[None]) & (rows >= 0)[:, None]
    known = same.any(1)
    conv, norm = (unit.dense, unit.dense_norm) if isinstance(unit, RepConvUnit) else (unit.conv, unit.norm)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    middle = conv.kernel_size[0] // 2
    weight = torch.zeros_like(conv.weight)
    weight[:, :, middle, middle] = same.to(weight.dtype)
    conv.weight[known] = weight[known]
    norm.weight[known] = (1 + norm.eps) ** 0.5
    if isinstance(unit, RepConvUnit):
        unit.pointwise_norm.weight[known] = 0


def fit_kernel(weight: Tensor, size: int) -> Tensor:
    """(out, in, k, k) -> (out, in, size, size): set into zeros at the centre, or its centre cut out."""
    pad = (size - weight.shape[-1]) // 2
    return F.pad(weight, [pad] * 4)


def _take(
    conv: nn.Conv2d, norm: nn.BatchNorm2d | None, filters: Filters, reach: Reach, conv_name: str, norm_name: str
) -> Taken:
    known, rows = reach.known_rows, reach.rows[reach.known_rows]
    columns = torch.zeros(1, dtype=torch.int64) if conv.groups > 1 else reach.columns
    size = conv.kernel_size[0]
    weight = torch.zeros_like(conv.weight[known])
    weight[:, columns >= 0] = fit_kernel(filters.weight, size)[rows][:, columns[columns >= 0]]
    conv.weight[known] = weight
    area = min(size, filters.weight.shape[-1]) ** 2
    taken = {f"{conv_name}.weight": len(rows) * int((columns >= 0).sum()) * area}
    if norm is not None and filters.norm is not None:
        for name, value in norm.state_dict(keep_vars=True).items():
            if value.ndim:
                value[known] = filters.norm[name][rows]
            else:
                value.copy_(filters.norm[name])
            taken[f"{norm_name}.{name}"] = len(rows) if value.ndim else 1
    if conv.bias is not None and filters.bias is not None:
        conv.bias[known] = filters.bias[rows]
        taken[f"{conv_name}.bias"] = len(rows)
    return taken


def _merged(source: nn.Module) -> Filters:
    """Two branches as one conv and a norm: the same function in evaluation.

    The norm's statistics are those of the sum if the branches were independent, so that training starts near it too.
    """
    assert isinstance(source, RepConvUnit)
    merged = source.merge()
    norms = (source.dense_norm, source.pointwise_norm)
    shift = merged.conv.bias
    assert shift is not None
    mean = torch.stack([norm.bias.detach() for norm in norms]).sum(0)
    variance = torch.stack([norm.weight.detach().square() for norm in norms]).sum(0)
    norm: dict[str, Any] = {
        "weight": (variance + norms[0].eps).sqrt(),
        "bias": mean,
        "running_mean": mean - shift.detach(),
        "running_var": variance,
        "num_batches_tracked": norms[0].num_batches_tracked,
    }
    return Filters(merged.conv.weight.detach(), norm)
