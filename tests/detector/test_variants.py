"""Ablation variants of neck and head as torch modules: forward pass, parameters and MACs are the graph's."""

from dataclasses import replace

import pytest
import torch

from detector.network import Network
from search_spaces import costs
from search_spaces.structure import Structure
from search_spaces.text import parse_structure
from tests.detector.test_network import conv_macs, parameters
from tests.search_spaces.test_text import GOOD

NECKS = [
    {"links": "none"},
    {"links": "up"},
    {"links": "both"},
    {"fusion": "conv"},
    {"fusion": "csp"},
    {"fusion": "csp_reparam"},
    {"depth": 0.0},
    {"out_channels": (24, 24, 24)},
    {"links": "both", "fusion": "conv", "depthwise": True},
    {"links": "up", "fusion": "csp", "depthwise": True, "activation": "silu"},
]
VARIANTS = [(neck, {}) for neck in NECKS] + [({"depth": 1 - depth / 3}, {"depth": depth}) for depth in (1, 2, 3)]


def small(neck: dict, head: dict) -> Structure:
    structure = parse_structure(GOOD)
    return replace(structure, neck=replace(structure.neck, **neck), head=replace(structure.head, **head))


@pytest.mark.parametrize(("neck", "head"), VARIANTS)
def test_forward_and_counts(neck, head):
    torch.manual_seed(0)
    network = Network(small(neck, head)).eval()
    graph = network.graph
    assert parameters(network) == costs.params(graph, deploy=False)
    assert parameters(network.merge_branches()) == costs.params(graph)
    with torch.device("meta"):
        deployed = Network(network.structure).eval().deploy()
    counted = conv_macs(deployed, (64, 96))
    assert counted == {part: costs.conv_macs(graph, part=part) for part in ("backbone", "neck", "head")} | {
        "total": costs.conv_macs(graph)
    }
    images = 255 * torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        boxes, scores = network(images)
        again, _ = network.deploy()(images)
    assert boxes.shape == (2, 126, 4)
    assert scores.shape == (2, 126, 3)
    torch.testing.assert_close(again, boxes, atol=0.05, rtol=1e-3)


@pytest.mark.parametrize(("neck", "head"), VARIANTS)
def test_every_parameter_is_trained(neck, head):
    torch.manual_seed(0)
    network = Network(small(neck, head)).train()
    raw = network.forward_raw(255 * torch.rand(2, 3, 64, 96))
    (raw.cls_logits.square().sum() + raw.reg_logits.square().sum()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None and not name.startswith("head.detect")]
    assert not idle


def test_darknet_backbone():
    structure = small({}, {})
    structure = replace(structure, backbone=replace(structure.backbone, space="darknet", activation="silu"))
    torch.manual_seed(0)
    network = Network(structure).eval()
    assert parameters(network) == costs.params(network.graph, deploy=False)
    images = 255 * torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        boxes, _ = network(images)
        again, _ = network.deploy()(images)
    torch.testing.assert_close(again, boxes, atol=0.05, rtol=1e-3)
