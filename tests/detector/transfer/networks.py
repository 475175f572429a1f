"""Networks of every space, trained a little, and their weights moved to others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from detector.network import Network
from detector.transfer import TransferReport, transfer_weights
from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure
from tests.detector.norms import draw_norms

SPACES = ("mob", "res", "csp", "darknet")
STRIDES = (2, 2, 2, 1, 2)
NECK_DEPTHS = (0.0, 0.34, 0.67)
SIZE = (32, 64)


def build(
    space: str, outs: tuple[int, ...] = (8, 8, 8, 16, 16, 24), hidden: int = 16, depths: tuple[int, ...] = (1, 2, 2, 2, 2),
    kernel: int = 3, *, neck: dict[str, Any] | None = None, head: dict[str, Any] | None = None, **backbone: Any,
) -> Structure:  # fmt: skip
    """outs: of the stem and the five stages."""
    mob = space == "mob"
    act = "silu" if mob else "relu"
    stages = tuple(
        Stage(in_channels=i, out_channels=o, hidden_channels=hidden, depth=depth, stride=stride, kernel=kernel)
        for i, o, depth, stride in zip(outs, outs[1:], depths, STRIDES)
    )
    taps = (outs[2], outs[4], outs[5])
    made = Backbone(
        space=space, stem=Stem("conv" if mob else "focus", outs[0]), stages=stages, activation=act, reparam=not mob
    )
    return Structure(
        image_size=SIZE,
        backbone=replace(made, **backbone),
        neck=replace(
            Neck(
                kind="repgfpn",
                depth=0.34,
                hidden_ratio=0.5,
                in_channels=taps,
                out_channels=taps,
                activation=act,
                depthwise=mob,
            ),
            **neck or {},
        ),
        head=replace(Head(kind="zero", reg_max=7, kernel=1, num_classes=3), **head or {}),
    )


def trained(structure: Structure, seed: int = 0) -> Network:
    """A network in float64 with norms as training leaves them: none at its start."""
    torch.manual_seed(seed)
    network = Network(structure).double().eval()
    draw_norms(network, 0.5, 0.3)
    for level in range(3):
        nn.init.uniform_(network.detect.get_parameter(f"scale{level}"), 0.5, 1.5)
    return network


def moved(source: Network, structure: Structure, seed: int = 1) -> tuple[Network, TransferReport]:
    torch.manual_seed(seed)
    network = Network(structure).double().eval()
    return network, transfer_weights(source, network, range(3))


def assert_same_function(one: Network, other: Network) -> None:
    images = 255 * torch.rand(2, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        found, wanted = other.forward_raw(images), one.forward_raw(images)
    torch.testing.assert_close(found.cls_logits, wanted.cls_logits, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.reg_logits, wanted.reg_logits, rtol=1e-6, atol=1e-8)


@st.composite
def sizes(draw: st.DrawFn, space: str) -> dict[str, Any]:
    outs = [draw(st.sampled_from([8, 16, 24])) for _ in range(6)]
    if space == "csp" or draw(st.booleans()):
        outs[4] = outs[3]
    return {
        "outs": tuple(sorted(outs)),
        "hidden": draw(st.sampled_from([8, 16, 24])),
        "depths": tuple(draw(st.integers(1, 3)) for _ in range(5)),
        "kernel": draw(st.sampled_from([3, 5])),
    }


@st.composite
def structures(draw: st.DrawFn, space: str) -> Structure:
    neck = {
        "depth": draw(st.sampled_from(NECK_DEPTHS)),
        "hidden_ratio": draw(st.sampled_from([0.5, 1.0])),
        "links": draw(st.sampled_from(["down", "up", "both", "none"])),
        "fusion": draw(st.sampled_from(["csp_reparam_elan", "csp_reparam", "csp", "conv"])),
        "depthwise": draw(st.booleans()),
        "out_channels": draw(st.sampled_from([(8, 16, 24), (24, 24, 24)])),
    }
    head = {
        "kernel": draw(st.sampled_from([1, 3])),
        "reg_max": draw(st.sampled_from([4, 7])),
        "depth": draw(st.integers(0, 1)),
    }
    more = {"spp": draw(st.booleans()), "reparam": draw(st.booleans())}
    stem = Stem(draw(st.sampled_from(["conv", "focus"])), 8, draw(st.sampled_from([3, 5])))
    made = build(space, **draw(sizes(space)), neck=neck, head=head, **more)
    first = replace(made.backbone.stages[0], in_channels=8)
    return replace(made, backbone=replace(made.backbone, stem=stem, stages=(first, *made.backbone.stages[1:])))
