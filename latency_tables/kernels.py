"""Graph ops -> kernels: what a runtime executes after fusion. One key shared by profiler, tables and predictor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from search_spaces.errors import UserError, nearest
from search_spaces.graph import IMAGE_PATH, Dim, Graph, Op

KINDS = ("stem", "conv", "depthwise", "add", "concat", "max_pool", "upsample", "space_to_depth", "detect")
TWO_CHANNEL_KINDS = ("stem", "conv", "detect")
"""Kinds whose in and out channels vary independently; the others have one channel axis, `in_channels`."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One fused kernel. Channels and `kernel` may be arrays of shape (P,); height and width are the *input* map's.

    - stem: a conv that reads the image, or its space-to-depth. conv, depthwise: conv + bias + activation [+ add].
    - concat: `in_channels` = `out_channels` = the joined channels.
    - detect: decoding of all levels; `in_channels` = 4 x (reg_max + 1), `out_channels` = classes, `height` = priors of
      all levels, `width` = 1.
    """

    kind: str
    in_channels: Dim
    out_channels: Dim
    height: int
    width: int
    kernel: Dim = 1
    stride: int = 1
    activation: str = "none"
    fused_add: bool = False

    @property
    def area(self) -> int:
        """Elements per channel of the input map."""
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class KernelSite:
    """A kernel at its place: `path` and `part` of the op it is named after, how often it runs (`count`), and the
    indices of all graph ops that it stands for."""

    kernel: Kernel
    path: str
    part: str
    count: Dim
    ops: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FusionRules:
    """What a runtime fuses; one YAML file per runtime in `latency_tables/runtimes/`.

    - `add_into_conv`: a conv takes over the add that alone reads it. `add_after_activation`: also when the conv has an
      activation of its own before the add. `add_needs_private_operand`: only when nobody reads the add's other operand
      after the add (the runtime adds in place).
    - `free`: kinds that cost nothing because the producers write in place.
    - `activations`: activation -> the class under which its kernels are measured (what costs the same is one class).
    """

    runtime: str
    add_into_conv: bool
    add_after_activation: bool
    add_needs_private_operand: bool
    free: tuple[str, ...]
    activations: dict[str, str]


@cache
def fusion_rules(runtime: str) -> FusionRules:
    """The rules of a runtime. Raises UserError, naming the nearest, for an unknown one."""
    folder = resources.files("latency_tables").joinpath("runtimes")
    known = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    if runtime not in known:
        raise UserError(f"unknown runtime {runtime!r}: {nearest(runtime, known)}")
    data: dict[str, Any] = yaml.safe_load(folder.joinpath(f"{runtime}.yaml").read_text())
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


def _attach(sites: list[KernelSite], position: int, op: int) -> None:
    site = sites[position]
    sites[position] = KernelSite(site.kernel, site.path, site.part, site.count, (*site.ops, op))


def _site(graph: Graph, rules: FusionRules, index: int, count: Dim, add: int | None = None) -> KernelSite:
    op = graph.ops[index]
    kernel = _kernel(graph, rules, op, None if add is None else graph.ops[add])
    return KernelSite(kernel, op.path, op.part, count, (index,) if add is None else (index, add))


def _kernel(graph: Graph, rules: FusionRules, op: Op, add: Op | None) -> Kernel:
    if op.kind == "detect":
        return Kernel("detect", 4 * (op.reg_max + 1), op.num_classes, op.shape.height, 1)
    before, out = graph.in_shape(op), op.shape.channels
    activation = op.activation if add is None else add.activation or op.activation
    measured_as = rules.activations[activation or "none"]
    if op.kind == "conv":
        return Kernel(
            _conv_kind(graph, op), before.channels, out, before.height, before.width, op.kernel, op.stride,
            measured_as, add is not None,
        )  # fmt: skip
    if op.kind == "concat":
        return Kernel("concat", out, out, before.height, before.width)
    if op.kind == "add":
        return Kernel("add", out, out, before.height, before.width, activation=measured_as)
    return Kernel(op.kind, before.channels, out, before.height, before.width, op.kernel)


def _conv_kind(graph: Graph, op: Op) -> str:
    source = graph.ops[op.inputs[0]]
    if source.kind == "space_to_depth":
        source = graph.ops[source.inputs[0]]
    if source.path == IMAGE_PATH:
        return "stem"
    return "depthwise" if op.depthwise else "conv"
