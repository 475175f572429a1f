"""Variants of neck and head: the report's ablations have the published GFLOPs; files, populations, shapes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.space import load_space
from search_spaces.structure import Neck, Structure
from search_spaces.text import format_structure, parse_structure, read_structure, resolve_structure, shipped_names
from tests.search_spaces.test_population import MEASURES
from tests.search_spaces.test_text import GOOD
from tinynas.genes.population import Encoding

LINKS = ("down", "up", "both", "none")
FUSIONS = ("csp_reparam_elan", "csp_reparam", "csp", "conv")
# Report, tables 3 to 5: what is changed in the neck of S, and the GFLOPs.
PUBLISHED = [
    ({}, 37.8),
    ({"depth": 2 / 3, "out_channels": (192, 192, 192)}, 34.9),
    ({"depth": 2 / 3, "hidden_ratio": 1.0}, 36.1),
    ({"out_channels": (160, 160, 160), "hidden_ratio": 1.0}, 38.2),
    ({"depth": 4 / 3, "hidden_ratio": 0.5}, 37.2),
    ({"links": "none"}, 33.3),
    ({"links": "up"}, 37.7),
    ({"links": "both"}, 42.8),
    ({"fusion": "conv"}, 44.3),
    ({"fusion": "csp"}, 36.7),
    ({"fusion": "csp_reparam"}, 36.7),
]


def variant(structure: Structure, neck: dict | None = None, head: dict | None = None) -> Structure:
    return replace(structure, neck=replace(structure.neck, **neck or {}), head=replace(structure.head, **head or {}))


def options() -> st.SearchStrategy[dict]:
    depths, activations = st.sampled_from([0.0, 0.34, 1.0]), st.sampled_from(["relu", "silu"])
    neck = {"links": st.sampled_from(LINKS), "fusion": st.sampled_from(FUSIONS), "depth": depths}
    head = {"depth": st.integers(0, 3), "activation": activations}
    return st.fixed_dictionaries({"neck": st.fixed_dictionaries(neck), "head": st.fixed_dictionaries(head)})


@pytest.mark.parametrize(("change", "gflops"), PUBLISHED)
def test_published_gflops(change, gflops):
    structure = variant(resolve_structure("S"), change)
    # The report counts 0.2 to 0.5 % beside the convs; 1.5 % is what calibration asks for.
    found = 2e-9 * costs.conv_macs(emit_detector(structure)) * 1.0035
    assert found == pytest.approx(gflops, rel=0.015 if "out_channels" in change else 0.003)


def test_what_each_fusion_adds():
    small = resolve_structure("S")
    csp, reparam, elan = (
        emit_detector(variant(small, {"fusion": name})) for name in ("csp", "csp_reparam", "csp_reparam_elan")
    )
    assert costs.conv_macs(csp) == costs.conv_macs(reparam) < costs.conv_macs(elan)
    assert costs.params(csp, deploy=False) < costs.params(reparam, deploy=False)
    neck = [op for op in csp if op.part == "neck"]
    assert not any(op.reparam for op in neck)
    assert any(op.reparam for op in reparam if op.part == "neck")


@pytest.mark.parametrize(("links", "nodes"), [("down", 5), ("up", 5), ("both", 6), ("none", 4)])
def test_nodes_of_the_neck(links, nodes):
    graph = emit_detector(variant(resolve_structure("T"), {"links": links}))
    assert sum(op.path.endswith(".close") for op in graph) == nodes


@pytest.mark.parametrize("depth", range(4))
def test_head_convs(depth):
    structure = resolve_structure("T")
    graph = emit_detector(variant(structure, head={"depth": depth, "activation": "silu"}))
    before = emit_detector(structure)
    widths = structure.neck.out_channels
    added = sum(2 * depth * (9 * width**2 + 2 * width) for width in widths)
    assert costs.params(graph) - costs.params(before) == added
    convs = [op for op in graph if op.part == "head" and op.kind == "conv" and op.norm]
    assert len(convs) == 6 * depth
    assert {op.activation for op in convs} <= {"silu"}


@given(changes=options(), space=st.sampled_from(["res", "mob"]), seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_population_rows_equal_single_networks(changes, space, seed):
    encoding = Encoding(load_space(space), (64, 96), 3)
    genes = encoding.sample(4, np.random.default_rng(seed))
    population = emit_detector(variant(encoding.population(genes), **changes))
    singles = [emit_detector(variant(encoding.single(genes, index), **changes)) for index in range(4)]
    for label, measure in MEASURES.items():
        rows = np.broadcast_to(np.asarray(measure(population)), (4,))
        np.testing.assert_allclose(rows, [measure(graph) for graph in singles], rtol=1e-12, err_msg=label)


@given(changes=options())
@settings(deadline=None)
def test_text_round_trip(changes):
    structure = variant(resolve_structure("S"), **changes)
    assert parse_structure(format_structure(structure)) == structure


@pytest.mark.parametrize("name", shipped_names())
def test_released_files_carry_no_new_keys(name):
    text = format_structure(resolve_structure(name))
    assert not any(word in text for word in ("links", "fusion", "head: {kind: zero, depth"))
    neck = resolve_structure(name).neck
    assert (neck.links, neck.fusion) == (Neck.__dataclass_fields__["links"].default, "csp_reparam_elan")


def test_only_what_differs_is_written():
    text = format_structure(variant(resolve_structure("S"), {"links": "both"}, {"depth": 2}))
    assert "depthwise: false, links: both}" in text
    assert "num_classes: 80, depth: 2}" in text
    assert "fusion" not in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("depthwise: false", "depthwise: false, links: left", ["my.txt:14", "links", "'left' found", "'both'"]),
        ("depthwise: false", "depthwise: false, fusion: elan", ["my.txt:14", "fusion", "'csp_reparam'"]),
        ("depthwise: false", "depthwise: false, fusions: csp", ["unknown key", "fusion"]),
        ("num_classes: 3", "num_classes: 3, depth: -1", ["my.txt:15", "head.depth", "-1 found"]),
        ("num_classes: 3", "num_classes: 3, activation: gelu", ["my.txt:15", "head.activation", "'gelu' found"]),
    ],
)
def test_wrong_options_are_named(old, new, words):
    with pytest.raises(UserError) as caught:
        parse_structure(GOOD.replace(old, new), "my.txt")
    for word in words:
        assert word in str(caught.value)


DARKNET = Path(__file__).parents[2] / "docs" / "structures" / "csp-darknet-s.txt"


def test_darknet_by_hand():
    """CSP-Darknet at width 1/2 and depth 1/3: the weights of each stage, counted on paper."""
    graph = emit_detector(read_structure(DARKNET))

    def layer(before: int, out: int, hidden: int, blocks: int) -> int:
        convs = [9 * before * out, *[out * hidden] * 2, *[hidden**2, 9 * hidden**2] * blocks, 2 * hidden * out]
        return sum(convs) + 2 * (out + (2 + 2 * blocks) * hidden + out)

    spp = 512 * 256 + 1024 * 512 + 2 * (256 + 512)
    expected = 9 * 12 * 32 + 2 * 32 + layer(32, 64, 32, 1) + layer(64, 128, 64, 3) + layer(128, 256, 128, 3)
    assert costs.params(graph, part="backbone") == expected + layer(256, 512, 256, 1) + spp
    adds = [op.path for op in graph if op.kind == "add" and op.part == "backbone"]
    assert len(adds) == 7  # none in the last stage
    assert format_structure(read_structure(DARKNET)) == DARKNET.read_text()


def test_a_csp_wrapper_has_its_own_activation():
    """In the released L the inner blocks follow the backbone's activation, the wrapper around them is ReLU."""
    backbone = replace(resolve_structure("L").backbone, activation="silu")
    found = {}
    for op in emit_detector(replace(resolve_structure("L"), backbone=backbone)):
        words = op.path.split(".")
        if op.part == "backbone" and words[1].startswith("stage") and op.kind in ("conv", "add"):
            found.setdefault(words[-1], set()).add(op.activation)
    wrapper = {name: found[name] for name in ("down", "shortcut", "start", "fuse")}
    assert set.union(*wrapper.values()) == {"relu"}
    assert (found["conv1"], found["add"]) == ({"silu"}, {"silu"})


@given(seed=st.integers(0, 10**6), tied=st.booleans())
@settings(max_examples=10, deadline=None)
def test_darknet_population_rows_equal_single_networks(seed, tied):
    encoding = Encoding(load_space("csp"), (64, 96), 3)
    genes = encoding.sample(3, np.random.default_rng(seed))

    def darknet(structure: Structure) -> Structure:
        stages = list(structure.backbone.stages)
        if not tied:
            stages[3] = replace(stages[3], hidden_channels=stages[2].hidden_channels + 8)
        return replace(structure, backbone=replace(structure.backbone, space="darknet", stages=tuple(stages)))

    population = emit_detector(darknet(encoding.population(genes)))
    singles = [emit_detector(darknet(encoding.single(genes, index))) for index in range(3)]
    for label, measure in MEASURES.items():
        rows = np.broadcast_to(np.asarray(measure(population)), (3,))
        np.testing.assert_allclose(rows, [measure(graph) for graph in singles], rtol=1e-12, err_msg=label)
