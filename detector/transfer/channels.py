"""Which channels of one network stand for which channels of another.

Values that an addition, a depthwise conv, a pooling or an upsampling ties channel by channel form a group: whatever is
kept of one of them must be kept of all. A narrower network keeps the channels of a group whose norms scale most, in
their order; a wider one has all of them first and new ones behind.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.network import Network
from search_spaces.graph import Graph, Op

NEW = -1
"""A channel that stands for none of the other network's."""


def origin(graph: Graph, index: int) -> int:
    """The op that made or joined the channels of op `index`: back through pooling, upsampling and depthwise convs."""
    while _works_by_channel(graph.ops[index]):
        index = graph.ops[index].inputs[0]
    return index


def _works_by_channel(op: Op) -> bool:
    return op.kind in ("max_pool", "upsample") or (op.kind == "conv" and op.depthwise)


class Channels:
    """The channel groups of a network, and which channels each keeps in a narrower one."""

    def __init__(self, network: Network) -> None:
        self.graph = network.graph
        self._group = list(range(len(self.graph)))
        for index, op in enumerate(self.graph):
            if op.kind == "add" or _works_by_channel(op):
                for source in op.inputs:
                    self._join(index, source)
        self._scale: dict[int, Tensor] = {}
        for index, op in enumerate(self.graph):
            if op.kind == "conv" and op.norm:
                group, scale = self.group(index), _norm_scale(network.get_submodule(op.path))
                self._scale[group] = self._scale.get(group, torch.zeros_like(scale)) + scale

    def group(self, index: int) -> int:
        """A number that all values of a group share."""
        while self._group[index] != index:
            index = self._group[index]
        return index

    def kept(self, index: int, width: int) -> Tensor:
        """For each of `width` channels the one of op `index` that it stands for, or NEW. Shape (width,), int64."""
        own = int(self.graph.ops[index].shape.channels)
        if width >= own:
            return torch.cat([torch.arange(own), torch.full((width - own,), NEW)])
        scale = self._scale.get(self.group(index))
        if scale is None or len(scale) != own:
            return torch.arange(width)
        return scale.argsort(descending=True, stable=True)[:width].sort().values

    def _join(self, first: int, second: int) -> None:
        first, second = self.group(first), self.group(second)
        self._group[max(first, second)] = min(first, second)


def matched_channels(target: Graph, index: int, source: Channels, other: int) -> Tensor:
    """For each channel of the target's op `index`, the channel of the source's op `other` that it stands for, or NEW.

    All are NEW where the two values are of different kinds (an image and its folded form, a join and a single map).
    """
    index, other = origin(target, index), origin(source.graph, other)
    op, like = target.ops[index], source.graph.ops[other]
    width = int(op.shape.channels)
    kinds = {op.kind, like.kind}
    if kinds == {"concat"}:
        return _matched_joins(target, op, source, like)
    if len(kinds) > 1 and kinds & {"concat", "input", "space_to_depth"}:
        return torch.full((width,), NEW)
    return source.kept(other, width)


def _matched_joins(target: Graph, op: Op, source: Channels, like: Op) -> Tensor:
    """Inputs of the same name stand for each other, and so do the first ones; a name without its like goes by place."""
    names = [_name(target, index) for index in op.inputs]
    others = [_name(source.graph, index) for index in like.inputs]
    starts = [0]
    for index in like.inputs:
        starts.append(starts[-1] + int(source.graph.ops[index].shape.channels))
    found = []
    for place, (index, name) in enumerate(zip(op.inputs, names)):
        if place and name in others[1:]:
            at = others.index(name, 1)
        elif place == 0 or (place < len(others) and others[place] not in names):
            at = place
        else:
            found.append(torch.full((int(target.ops[index].shape.channels),), NEW))
            continue
        channels = matched_channels(target, index, source, like.inputs[at])
        found.append(torch.where(channels >= 0, channels + starts[at], channels))
    return torch.cat(found)


def _name(graph: Graph, index: int) -> str:
    """What a joined value is called in every network: the tap's name, where the path would tell the stage's depth."""
    taps = {at: name for name, at in graph.outputs.items() if name.startswith("tap")}
    return taps.get(index, graph.ops[index].path)


def _norm_scale(unit: nn.Module) -> Tensor:
    norms = [module for module in unit.modules() if isinstance(module, nn.BatchNorm2d)]
    return torch.stack([norm.weight.detach().abs() for norm in norms]).sum(0)
