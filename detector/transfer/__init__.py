"""Weights of one detector as the start of another: other classes, other widths, depths and kernels.

Where the target is at least as wide, deep and large-kernelled, it computes what the source computed (in evaluation, up
to rounding): new channels weigh nothing on old ones, additional residual blocks add nothing, kernels stand in zeros. Where
it is smaller, the channels whose norms scale most are kept, the first blocks of a stage and the centres of kernels.
Nothing is drawn at random; what is new keeps the target's own start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from detector.checkpoint import Checkpoint
from detector.network import Network
from detector.transfer.channels import NEW, Channels, matched_channels
from detector.transfer.filters import Reach, Taken, make_identity, silence, take_filters
from detector.transfer.matching import Match, match_convs
from detector.transfer.report import TransferReport
from search_spaces.errors import UserError
from search_spaces.graph import Op
from search_spaces.structure import Structure

Aliases: TypeAlias = Mapping[str, Sequence[str]]
"""By class, other names for it."""
UNLIKELY_BIN = -8.0
"""Start of the logits of distances beyond the source's: e^-8 of the others' probability."""


def transfer_checkpoint(
    checkpoint: Checkpoint,
    network: Network,
    class_names: Sequence[str],
    source: str,
    aliases: Aliases = MappingProxyType({}),
) -> TransferReport:
    """Start `network` (fresh, on the CPU) from a checkpoint's averaged weights, classes matched by name, also by those that
    the checkpoint's data sets or the network's (`aliases`, by class) have for them.

    Raises UserError when neither backbone nor neck of the checkpoint is of the network's kind.
    """
    refused = refusals(checkpoint.structure, network.structure)
    if "backbone" in refused and "neck" in refused:
        raise UserError(
            f"{source}: nothing in it fits this structure (backbone: {refused['backbone']}; neck: {refused['neck']}); "
            f"expected a checkpoint with {network.structure.backbone.space} blocks"
        )
    rows = match_classes(checkpoint.class_names, class_names, checkpoint.class_aliases, aliases)
    report = transfer_weights(checkpoint.network(), network, rows, class_names)
    found = [(name, checkpoint.class_names[row]) for name, row in zip(class_names, rows) if row != NEW]
    return replace(report, renamed=[f"{name} ({other})" for name, other in found if _key(name) != _key(other)])


def refusals(source: Structure, target: Structure) -> dict[str, str]:
    """{part: why its weights cannot be taken over}, for parts whose convs mean other things."""
    found = {}
    if source.backbone.space != target.backbone.space:
        found["backbone"] = f"its blocks are {source.backbone.space}, here {target.backbone.space}"
    one, other = source.neck, target.neck
    if one.kind != other.kind:
        found["neck"] = f"its kind is {one.kind}, here {other.kind}"
    elif one.depthwise != other.depthwise:
        found["neck"] = f"its blocks are {'' if one.depthwise else 'not '}depthwise, here they are" + (
            "" if other.depthwise else " not"
        )
    if source.head.kind != target.head.kind:
        found["head"] = f"its kind is {source.head.kind}, here {target.head.kind}"
    return found


def match_classes(
    source: Sequence[str],
    names: Sequence[str],
    source_aliases: Aliases = MappingProxyType({}),
    aliases: Aliases = MappingProxyType({}),
) -> list[int]:
    """For each name the source's label of the same name (whatever its case), or -1.

    Where there is none: the one that another of its own names (`aliases`) is, then the one that it is another name of
    (`source_aliases`). What is another name of two of the source's classes stands for neither.
    """
    labels = {_key(name): label for label, name in reversed(list(enumerate(source)))}
    others: dict[str, int] = {}
    for label, name in enumerate(source):
        for other in source_aliases.get(name, ()):
            others[_key(other)] = label if others.get(_key(other), label) == label else NEW
    rows = []
    for name in names:
        keys = [_key(one) for one in (name, *aliases.get(name, ()))]
        found = (known[key] for known in (labels, others) for key in keys if known.get(key, NEW) != NEW)
        rows.append(next(found, NEW))
    return rows


def _key(name: str) -> str:
    return name.strip().casefold()


def transfer_weights(
    source: Network, network: Network, class_rows: Sequence[int], class_names: Sequence[str] = ()
) -> TransferReport:
    """Write the weights of `source` into `network`, both in training form and on the CPU.

    class_rows: for each class of `network` the source's label, or -1 for a class that starts at probability 0.01.
    """
    refused = refusals(source.structure, network.structure)
    channels, taken, used = Channels(source), Taken(), set[int]()
    for match in match_convs(network.graph, channels):
        op = network.graph.ops[match.target]
        if op.part not in refused:
            found = _transfer_conv(match, op, network, source, channels, class_rows)
            taken |= {f"{op.path}.{key}": count for key, count in found.items()}
            if found and match.source is not None:
                used.add(match.source)
    if "head" not in refused:
        taken |= _transfer_scales(network, source)
    return TransferReport(
        sizes={key: value.numel() for key, value in network.state_dict().items()},
        parameters=frozenset(name for name, _ in network.named_parameters()),
        taken=taken,
        refused=refused,
        unused=[op.path for index, op in enumerate(source.graph) if op.kind == "conv" and index not in used],
        new_classes=[name for name, row in zip(class_names, class_rows) if row == NEW],
        same_structure=_skeleton(source.structure) == _skeleton(network.structure),
    )


def _transfer_conv(
    match: Match, op: Op, network: Network, source: Network, channels: Channels, class_rows: Sequence[int]
) -> Taken:
    unit, graph, taken = network.get_submodule(op.path), network.graph, Taken()
    if match.source is not None:
        like = source.graph.ops[match.source]
        columns = matched_channels(graph, op.inputs[0], channels, like.inputs[0])
        rows = _rows(match, network, source, channels, class_rows)
        if bool((columns >= 0).any()) and bool((rows >= 0).any()):
            taken = take_filters(unit, source.get_submodule(like.path), Reach(rows, columns))
            if op.path.endswith(".reg"):
                _fill_new_bins(unit, rows)
    elif match.passes is not None:
        rows = matched_channels(graph, match.target, channels, match.passes)
        make_identity(unit, rows, matched_channels(graph, op.inputs[0], channels, match.passes))
    if match.silent:
        for key in silence(unit):
            taken.pop(key, None)
    return taken


def _rows(match: Match, network: Network, source: Network, channels: Channels, class_rows: Sequence[int]) -> Tensor:
    """The source's output channels of a conv: classes by name, box bins by side and distance, all others by group."""
    assert match.source is not None
    words = network.graph.ops[match.target].path.split(".")
    if words[0] == "head" and words[-1] == "cls":
        return torch.tensor(list(class_rows))
    if words[0] == "head" and words[-1] == "reg":
        bins, others = network.detect.reg_max + 1, source.detect.reg_max + 1
        numbers = torch.arange(bins)
        return torch.cat([torch.where(numbers < others, numbers + side * others, NEW) for side in range(4)])
    return matched_channels(network.graph, match.target, channels, match.source)


@torch.no_grad()
def _fill_new_bins(unit: torch.nn.Module, rows: Tensor) -> None:
    new = rows == NEW
    conv = unit.conv
    assert isinstance(conv, torch.nn.Conv2d)
    assert conv.bias is not None
    conv.weight[new] = 0
    conv.bias[new] = UNLIKELY_BIN


@torch.no_grad()
def _transfer_scales(network: Network, source: Network) -> Taken:
    """The learned factor of each level's box logits."""
    own, other = network.detect, source.detect
    taken = Taken()
    for level in range(min(len(own.strides), len(other.strides))):
        own.get_parameter(f"scale{level}").copy_(other.get_parameter(f"scale{level}"))
        taken[f"head.detect.scale{level}"] = 1
    return taken


def _skeleton(structure: Structure) -> tuple[object, ...]:
    """What a state dict's shapes depend on, classes aside."""
    plain = structure.with_classes(1)
    return plain.backbone, plain.neck, plain.head


__all__ = ["TransferReport", "match_classes", "refusals", "transfer_checkpoint", "transfer_weights"]
