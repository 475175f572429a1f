"""The torch module is the graph: parameters, MACs and shapes agree; merging branches and norms changes nothing."""

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thop import profile
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detector.network import Network
from detector.units import RepConvUnit
from search_spaces import costs
from search_spaces.space import load_space, shipped_spaces
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure, shipped_names
from tests.detector.norms import draw_norms
from tinynas.genes.population import Encoding

FIGURES = json.loads((Path(__file__).parents[1] / "golden" / "family.json").read_text())
PARTS = ("backbone", "neck", "head")


def random_structure(space: str, seed: int, size=(64, 96)) -> Structure:
    import numpy as np

    loaded = load_space(space)
    encoding = Encoding(loaded, size, 3)
    genes = encoding.sample(1, np.random.default_rng(seed))
    genes[:11] = 8 * (1 + genes[:11] % 4)  # narrow enough to run quickly
    for row in range(2, 6):
        genes[row] = max(genes[row], genes[row - 1])
    if space == "csp":
        genes[4], genes[9] = genes[3], genes[8]
        genes[5] = max(genes[5], genes[4])
    return encoding.single(genes)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conv_macs(network: Network, size: tuple[int, int]) -> dict[str, int]:
    """Per part, from torch's own counter, which tells modules apart by their path."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, *size, device="meta"))
    flops = dict.fromkeys((*PARTS, "total"), 0)
    for name, kinds in counter.get_flop_counts().items():
        convolutions = sum(count for kind, count in kinds.items() if "convolution" in str(kind))
        words = name.split(".")
        if name == "Global":
            flops["total"] = convolutions
        elif words[-1] in ("conv",) and words[1] in flops:
            flops[words[1]] += convolutions
    return {part: count // 2 for part, count in flops.items()}


@pytest.mark.parametrize("name", shipped_names())
def test_module_has_the_published_counts(name):
    structure = resolve_structure(name)
    with torch.device("meta"):
        network = Network(structure).eval()
        merged = network.merge_branches()
    for form, key in ((network, "params_train"), (merged, "params_deploy")):
        for part in PARTS:
            assert parameters(form.get_submodule(part)) == FIGURES[name][key][part], (key, part)
        assert parameters(form) == FIGURES[name][key]["total"]
    convs = sum(isinstance(module, nn.Conv2d) for module in merged.modules())
    assert convs == sum(op.kind == "conv" for op in network.graph)


@pytest.mark.parametrize("name", shipped_names())
def test_torch_counts_the_published_macs(name):
    structure = resolve_structure(name)
    with torch.device("meta"):
        network = Network(structure).eval().deploy()
    counted = conv_macs(network, structure.image_size)
    assert counted == FIGURES[name]["conv_macs"]


@pytest.mark.parametrize("name", shipped_names())
def test_thop_counts_the_published_params(name):
    structure = resolve_structure(name)
    network = Network(structure).eval().merge_branches()
    _, found = profile(network, (torch.zeros(1, 3, 64, 64),), verbose=False)
    # thop counts modules of types that it knows; the three scalars of the head are not in one
    assert found == FIGURES[name]["params_deploy"]["total"] - 3


@pytest.mark.parametrize("space", shipped_spaces())
@given(seed=st.integers(0, 10**6))
@settings(max_examples=4, deadline=None)
def test_every_searched_network_runs_as_its_graph_says(space, seed):
    structure = random_structure(space, seed)
    torch.manual_seed(seed)
    network = Network(structure).double().eval()
    draw_norms(network, 0.2, 0.1)
    assert parameters(network) == costs.params(network.graph, deploy=False)
    assert parameters(network.merge_branches()) == costs.params(network.graph)
    images = torch.rand(2, 3, *structure.image_size, dtype=torch.float64)
    with torch.inference_mode():
        raw = network.forward_raw(images)
        boxes, scores = network(images)
        deployed_boxes, deployed_scores = network.deploy()(images)
    for name, index in network.graph.outputs.items():
        if name != "detections":
            shape = network.graph.ops[index].shape
            assert tuple(raw.features[name].shape) == (2, shape.channels, shape.height, shape.width)
    priors = network.graph.ops[-1].shape.height
    assert boxes.shape == (2, priors, 4)
    assert scores.shape == (2, priors, 3)
    torch.testing.assert_close(deployed_scores, scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(deployed_boxes, boxes, atol=1e-3, rtol=1e-5)


def test_deploying_leaves_the_training_form_alone():
    network = Network(random_structure("res", 1))
    before = copy.deepcopy(network.state_dict())
    deployed = network.deploy()
    assert not any(isinstance(m, (RepConvUnit, nn.BatchNorm2d)) for m in deployed.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training


def test_deploying_folds_the_heads_scales():
    torch.manual_seed(0)
    network = Network(resolve_structure("Ns").with_image_size(64, 64)).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        for level, scale in enumerate(network.detect.scales):
            scale.fill_(3 + level)
        deployed = network.deploy()
        expected, found = network.forward_raw(images).reg_logits, deployed.forward_raw(images).reg_logits
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        for scale in deployed.detect.scales:  # nothing is left for the runtime to multiply with
            scale.fill_(7)
        assert torch.equal(deployed.forward_raw(images).reg_logits, found)
    assert not network.detect.folded


def test_space_to_depth_orders_channels_as_published():
    from detector.network import _space_to_depth

    image = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    expected = torch.cat(
        [image[..., 0::2, 0::2], image[..., 1::2, 0::2], image[..., 0::2, 1::2], image[..., 1::2, 1::2]], dim=1
    )
    assert torch.equal(_space_to_depth(image), expected)


def test_class_prior_starts_at_one_percent():
    network = Network(random_structure("mob", 2))
    biases = [value for name, value in network.named_parameters() if name.endswith(".cls.conv.bias")]
    assert len(biases) == 3
    assert torch.allclose(torch.cat(biases).sigmoid(), torch.tensor(0.01), rtol=1e-5)
