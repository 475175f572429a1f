"""Which structures a space holds, by its own rules."""

import re
from dataclasses import replace

import pytest

from search_spaces.space import load_space, shipped_spaces
from search_spaces.text import resolve_structure, shipped_names
from tinynas.genes.membership import genes_of, outside
from tinynas.genes.population import Encoding

HOMES = {"T": "res", "S": "res", "M": "csp", "L": "csp", "Ns": "mob", "Nm": "mob", "Nl": "mob"}


@pytest.mark.parametrize("name", shipped_names())
def test_every_published_detector_is_in_one_shipped_space(name):
    structure = resolve_structure(name)
    assert [space for space in shipped_spaces() if outside(structure, load_space(space)) is None] == [HOMES[name]]


def test_the_largest_is_within_the_layers_of_a_search_with_a_free_neck():
    from search_spaces.costs import layers
    from search_spaces.emit import emit_backbone

    space = load_space("csp")
    assert layers(emit_backbone(resolve_structure("L"))) == 45
    assert space.max_layers < 45 <= space.neck_choices.max_layers


def with_stage(structure, number, **changes):
    stages = list(structure.backbone.stages)
    stages[number - 1] = replace(stages[number - 1], **changes)
    if number < 5 and "out_channels" in changes:
        stages[number] = replace(stages[number], in_channels=changes["out_channels"])
    return replace(structure, backbone=replace(structure.backbone, stages=tuple(stages)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: with_stage(s, 3, depth=7), "stages.3.depth: 7, space res has 6 nearest to it"),
        (lambda s: with_stage(s, 1, hidden_channels=36), "stages.1.hidden: 36"),
        (lambda s: with_stage(s, 3, out_channels=720), "stages.3.out: 720"),
        (lambda s: with_stage(s, 2, kernel=5), r"stages.2.kernel: 5, space res has \[3\]"),
        (lambda s: replace(s, neck=replace(s.neck, depth=2.0)), "none of the 8 neck rules of space res gives it"),
        (lambda s: replace(s, neck=replace(s.neck, links="both")), "none of the 8 neck rules"),
        (lambda s: replace(s, head=replace(s.head, reg_max=7)), "head are not those of space res"),
        (lambda s: replace(s, backbone=replace(s.backbone, activation="silu")), "activations or head are not"),
    ],
)
def test_what_keeps_a_structure_out(change, words):
    structure = resolve_structure("S")
    assert outside(structure, load_space("res")) is None
    assert re.search(words, outside(change(structure), load_space("res")))


def test_genes_are_those_of_the_encoding():
    structure = resolve_structure("Nm")
    encoding = Encoding(load_space("mob"), structure.image_size, structure.head.num_classes)
    assert encoding.single(genes_of(structure)) == structure
