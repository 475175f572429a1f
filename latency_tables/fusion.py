"""Graph ops -> kernels: what a runtime fuses, and the kernels that it executes then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from latency_tables.kernels import Kernel, KernelSite
from search_spaces.errors import UserError, nearest
from search_spaces.graph import IMAGE_PATH, Dim, Graph, Op


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionRules:
    """What a runtime fuses; one YAML file per runtime in `latency_tables/runtimes/`, where `avx2` holds what differs on
    x86 processors without AVX-512, and the key of a precision (`int8`) what differs in that one.

    - `add_into_conv`: a conv takes over the add that alone reads it. `add_after_activation`: also when the conv has an
      activation of its own before the add. `add_needs_private_operand`: only when nobody reads the add's other operand
      after the add (the runtime adds in place).
    - `free`: kinds that cost nothing because the producers write in place.
    - `activations`: activation -> the class under which its kernels are measured (what costs the same is one class).
    - `channel_block`: channels are padded to multiples of this (an image's are not); a concat of parts that are
      not multiples is a `reordered_concat`.
    - `tail_block`: channels that convs work on at a time without padding them: widths that are no multiple are measured
      and interpolated apart from those that are (1: all alike).
    """

    runtime: str
    add_into_conv: bool
    add_after_activation: bool
    add_needs_private_operand: bool
    free: tuple[str, ...]
    activations: dict[str, str]
    channel_block: int = 1
    tail_block: int = 1


@cache
def fusion_rules(runtime: str, precision: str = "fp32", extensions: tuple[str, ...] = ()) -> FusionRules:
    """The rules of a runtime in a precision, on a processor with these vector extensions (as HostFacts has them; none: not
    known, taken for one with AVX-512). Raises UserError, naming the nearest, for an unknown runtime."""
    folder = resources.files("latency_tables").joinpath("runtimes")
    known = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    if runtime not in known:
        raise UserError(f"unknown runtime {runtime!r}: {nearest(runtime, known)}")
    data: dict[str, Any] = yaml.safe_load(folder.joinpath(f"{runtime}.yaml").read_text())
    without_avx512, int8 = data.pop("avx2", {}), data.pop("int8", {})
    if "avx2" in extensions and "avx512f" not in extensions:
        data.update(without_avx512)
    if precision == "int8":
        data.update(int8)
    return FusionRules(**{"runtime": runtime, **data, "free": tuple(data["free"])})


def fuse(graph: Graph, rules: FusionRules) -> list[KernelSite]:
    """The kernels that a runtime executes, in order. Every op but the image is in exactly one site per candidate
    (a conv whose add only some candidates have gives two sites with complementary counts)."""
    taken = _fused_adds(graph, rules)
    folded = {add: conv for conv, add in taken.items()}
    sites: list[KernelSite] = []
    place: dict[int, int] = {}
    for index, op in enumerate(graph.ops):
        if op.kind == "input" or index in folded:
            continue
        if op.kind in rules.free:
            producers = [folded.get(source, source) for source in op.inputs]
            place[index] = next(place[producer] for producer in producers if producer in place)
            _attach(sites, place[index], index)
            continue
        add = taken.get(index)
        place[index] = len(sites)
        if op.kind == "concat":
            sites.extend(_concat_sites(graph, rules, index))
            continue
        if add is None:
            sites.append(_site(graph, rules, index, op.count))
            continue
        fused_count = graph.ops[add].count
        sites.append(_site(graph, rules, index, fused_count, add))
        alone = op.count - fused_count
        if np.any(alone):
            sites.append(_site(graph, rules, index, alone))
    return sites


def _fused_adds(graph: Graph, rules: FusionRules) -> dict[int, int]:
    """Conv index -> index of the add that it takes over."""
    taken: dict[int, int] = {}
    if not rules.add_into_conv:
        return taken
    outputs = set(graph.outputs.values())
    for index, op in enumerate(graph.ops):
        if op.kind != "add":
            continue
        for source, other in (op.inputs[::-1], op.inputs):
            conv = graph.ops[source]
            if (
                conv.kind == "conv"
                and source not in taken
                and graph.consumers[source] == (index,)
                and source not in outputs
                and (conv.activation is None or (rules.add_after_activation and op.activation is None))
                and not (rules.add_needs_private_operand and _read_after(graph, other, index))
            ):
                taken[source] = index
                break
    return taken


def _read_after(graph: Graph, tensor: int, step: int) -> bool:
    return any(reader > step for reader in graph.consumers[tensor]) or tensor in graph.outputs.values()


def _concat_sites(graph: Graph, rules: FusionRules, index: int) -> list[KernelSite]:
    """A concat, as a copy where all its parts are whole blocks, and with changes of layout where they are not."""
    op = graph.ops[index]
    site = _site(graph, rules, index, op.count)
    if rules.channel_block == 1:
        return [site]
    parts = [graph.ops[source].shape.channels for source in op.inputs]
    ragged = np.any(np.stack(np.broadcast_arrays(*(part % rules.channel_block for part in parts))), axis=0)
    reordered = replace(site, kernel=replace(site.kernel, kind="reordered_concat"), count=op.count * _whole(ragged))
    plain = replace(site, count=op.count * _whole(~ragged))
    return [item for item in (plain, reordered) if np.any(item.count)]


def _whole(mask: npt.NDArray[np.bool_]) -> Dim:
    return mask.astype(np.int64) if mask.ndim else int(mask)


def _attach(sites: list[KernelSite], position: int, op: int) -> None:
    site = sites[position]
    sites[position] = KernelSite(
        kernel=site.kernel, path=site.path, part=site.part, count=site.count, ops=(*site.ops, op)
    )


def _site(graph: Graph, rules: FusionRules, index: int, count: Dim, add: int | None = None) -> KernelSite:
    op = graph.ops[index]
    kernel = _kernel(graph, rules, op, None if add is None else graph.ops[add])
    return KernelSite(
        kernel=kernel, path=op.path, part=op.part, count=count, ops=(index,) if add is None else (index, add)
    )


def _kernel(graph: Graph, rules: FusionRules, op: Op, add: Op | None) -> Kernel:
    if op.kind == "detect":
        return Kernel(
            kind="detect",
            in_channels=4 * (op.reg_max + 1),
            out_channels=op.num_classes,
            height=op.shape.height,
            width=1,
        )
    before = graph.in_shape(op)
    inputs, out = _blocked(before.channels, rules), _blocked(op.shape.channels, rules)
    activation = op.activation if add is None else add.activation or op.activation
    measured_as = rules.activations[activation or "none"]
    if op.kind == "conv":
        kind = _conv_kind(graph, op)
        return Kernel(
            kind=kind,
            in_channels=before.channels if kind == "stem" else inputs,
            out_channels=out,
            height=before.height,
            width=before.width,
            kernel=op.kernel,
            stride=op.stride,
            activation=measured_as,
            fused_add=add is not None,
        )
    if op.kind == "concat":
        return Kernel(
            kind="concat",
            in_channels=op.shape.channels,
            out_channels=op.shape.channels,
            height=before.height,
            width=before.width,
        )
    if op.kind == "add":
        return Kernel(
            kind="add",
            in_channels=out,
            out_channels=out,
            height=before.height,
            width=before.width,
            activation=measured_as,
        )
    if op.kind == "space_to_depth":
        inputs, out = before.channels, op.shape.channels
    return Kernel(
        kind=op.kind, in_channels=inputs, out_channels=out, height=before.height, width=before.width, kernel=op.kernel
    )


def _blocked(channels: Dim, rules: FusionRules) -> Dim:
    """Channels as a runtime with blocks has them."""
    block = rules.channel_block
    return channels if block == 1 else -(-channels // block) * block


def _conv_kind(graph: Graph, op: Op) -> str:
    source = graph.ops[op.inputs[0]]
    if source.kind == "space_to_depth":
        source = graph.ops[source.inputs[0]]
    if source.path == IMAGE_PATH:
        return "stem"
    return "depthwise" if op.depthwise else "conv"
